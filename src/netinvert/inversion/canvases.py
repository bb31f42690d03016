"""Canvases by name, those that need more than pixels or a spectrum, and recipes on other canvases."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from netinvert.errors import ConfigError
from netinvert.inversion.canvas import Canvas, Fourier, Pixels, colour_matrix, image_shape, like, to_logits
from netinvert.inversion.objectives import AnyEncoder, Code, one_layer
from netinvert.inversion.schedule import Adam, DecayingAdaGrad, MakeCanvas, Momentum, Recipe, Stage
from netinvert.io.assets import photographs
from netinvert.io.config import Registry
from netinvert.io.images import fit
from netinvert.io.running import draw
from netinvert.models.decoder import Decoder, fitting_decoder

SPREAD = 1.0
"""Standard deviation of the values before the sigmoid, which uses most of the range and saturates little."""


class Phase(Canvas):
    """MACO (Fel et al. 2023): ``image = sigmoid(colour · irfft(magnitude · exp(i phase)))``, standardised.

    ``phase`` (N, C, H, W // 2 + 1) in radians; ``magnitude`` (C, H, W // 2 + 1) from
    :func:`natural_magnitude`. Nothing can be made sharper or louder than natural images are, so no other
    prior is needed.
    """

    magnitude: Tensor
    colour: Tensor | None

    def __init__(self, phase: Tensor, magnitude: Tensor, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.phase = nn.Parameter(phase.detach().clone())
        self.register_buffer("magnitude", magnitude, persistent=False)
        self.register_buffer(
            "colour", colour_matrix(phase) if phase.shape[1] == 3 else None, persistent=False
        )

    @classmethod
    def noise(cls, shape: tuple[int, int, int], seeds: Sequence[int], like: Tensor) -> Phase:
        """Random phases, one seed a sample; ``shape`` is (C, H, W)."""
        channels, height, width = shape
        columns = width // 2 + 1
        phase = draw(
            seeds,
            lambda source: torch.randn(channels, height, columns, generator=source, dtype=torch.float32),
        )
        magnitude = natural_magnitude(shape).to(like)
        return cls(phase.to(like), magnitude, (height, width))

    @classmethod
    def of(cls, image: Tensor) -> Phase:
        """The phases of images (N, C, H, W) in [0, 1]; the magnitudes are lost."""
        size = (image.shape[-2], image.shape[-1])
        magnitude = natural_magnitude((image.shape[1], *size)).to(image)
        return cls(_phase_of(image), magnitude, size)

    def forward(self) -> Tensor:
        """Images (N, C, H, W) within (0, 1)."""
        spectrum = torch.polar(self.magnitude.expand_as(self.phase), self.phase)
        values = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        spread, mean = torch.std_mean(values, dim=(1, 2, 3), keepdim=True)
        values = SPREAD * (values - mean) / spread
        if self.colour is not None:
            values = torch.einsum("dc,nchw->ndhw", self.colour, values)
        return torch.sigmoid(values)

    def replace(self, image: Tensor) -> None:
        """Take the phases of these images."""
        with torch.no_grad():
            self.phase.copy_(_phase_of(image))


def natural_magnitude(shape: tuple[int, int, int]) -> Tensor:
    """How strong each frequency is in photographs, (C, H, W // 2 + 1), from the slope of their spectra.

    For three channels: the mean amplitude of the package's photographs in decorrelated colours, smoothed to
    c / f^s a channel, for so few pictures say more about themselves than about their kind.
    """
    channels, height, width = shape
    down, right = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    frequency = torch.sqrt(down.square() + right.square()).clamp_min(1.0 / max(height, width))
    if channels != 3:
        return (1 / frequency).expand(channels, -1, -1).contiguous()
    _, images = photographs((128, 128))
    spectrum = torch.fft.rfft2(to_logits(images, colour_matrix(images)), norm="ortho").abs().mean(0)
    down, right = torch.fft.fftfreq(128)[:, None], torch.fft.rfftfreq(128)[None, :]
    known = torch.sqrt(down.square() + right.square())
    inside = (known > 0) & (known < 0.5)
    magnitudes = []
    for each in spectrum:
        x, y = known[inside].log(), each[inside].log()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        magnitudes.append(torch.exp(y.mean() + slope * (frequency.log() - x.mean())))
    magnitude: Tensor = torch.stack(magnitudes) * math.sqrt(height * width) / 128
    return magnitude


def _phase_of(image: Tensor) -> Tensor:
    colour = colour_matrix(image) if image.shape[1] == 3 else None
    phase: Tensor = torch.fft.rfft2(to_logits(image.detach(), colour), norm="ortho").angle()
    return phase


WIDTHS = (16, 32, 64, 64, 64)
"""Ulyanov et al. have (16, 32, 64, 128, 128, 128) for feature inversion; this is what a CPU can do."""
SKIP, INPUT, KERNEL = 4, 16, 3
SLOPE = 0.2
INPUT_SCALE = 0.1


class DeepPrior(Canvas):
    """The deep image prior (Ulyanov et al. 2018): an hourglass network draws the image from fixed noise.

    Its weights are the parameters, one network a sample. Convolutions run as groups, and normalisation is
    over each image by itself, so that samples stay independent.
    """

    input: Tensor

    def __init__(
        self, shape: tuple[int, int, int], seeds: Sequence[int], like: Tensor, widths: Sequence[int] = WIDTHS
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 3:
            raise ConfigError(
                f"the deep-prior canvas draws images of 3 pixels or more a side, got {height} by {width}; "
                "use another canvas"
            )
        self.size = (height, width)
        self.widths = tuple(widths)
        # Fewer scales for small images: the coarsest has 4 pixels or more.
        self.widths = self.widths[: max(1, int(math.log2(min(self.size) / 4)))]
        self.shapes = list(_weight_shapes(channels, self.widths))

        def start(source: Generator) -> Tensor:
            return torch.cat([_initial(shape, source) for shape in self.shapes])

        flat = draw(seeds, start).to(like)
        sizes = [math.prod(shape) for shape in self.shapes]
        self.weights = nn.ParameterList(  # each (N, out, in, k, k), and the last layer's bias (N, C)
            nn.Parameter(part.reshape(len(seeds), *shape).clone())
            for part, shape in zip(torch.split(flat, sizes, 1), self.shapes, strict=True)
        )
        size = (INPUT, *self.size)
        noise = draw(seeds, lambda source: torch.rand(size, generator=source, dtype=torch.float32))
        self.register_buffer("input", INPUT_SCALE * noise.to(like), persistent=False)

    def forward(self) -> Tensor:
        """Images (N, C, H, W) within (0, 1)."""
        weights = iter(self.weights)

        def unit(x: Tensor, stride: int = 1) -> Tensor:
            return F.leaky_relu(F.instance_norm(_convolution(x, next(weights), stride)), SLOPE)

        x, beside = self.input, []
        for _ in self.widths:
            beside.append(unit(x))
            x = unit(unit(x, 2))
        for skip in reversed(beside):
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = unit(unit(F.instance_norm(torch.cat([x, skip], 1))))
        return torch.sigmoid(_convolution(x, next(weights), 1) + next(weights)[..., None, None])


class DecoderPrior(Canvas):
    """A trained decoder's input (Nguyen et al. 2016): ``image = decoder(latent)``.

    ``decoder`` maps (N, D) or any (N, ...) to images (N, C, H, W) in [0, 1], every sample by itself;
    ``latent`` is where to start.
    """

    def __init__(self, decoder: Callable[[Tensor], Tensor], latent: Tensor) -> None:
        super().__init__()
        self.decoder = (decoder,)  # in a tuple it is no submodule, whose weights would be optimised, too
        self.latent = nn.Parameter(latent.detach().clone())
        with torch.no_grad():
            image = decoder(self.latent)
        if image.ndim != 4 or image.shape[0] != latent.shape[0]:
            raise ConfigError(
                f"a decoder gives images (N, C, H, W), one for each of {latent.shape[0]} inputs; this one "
                f"gave {tuple(image.shape)}"
            )

    def forward(self) -> Tensor:
        """The decoder's images."""
        return self.decoder[0](self.latent)


def _weight_shapes(channels: int, widths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """In the order in which they run."""
    for before, width in itertools.pairwise((INPUT, *widths)):
        yield (SKIP, before, 1, 1)
        yield (width, before, KERNEL, KERNEL)
        yield (width, width, KERNEL, KERNEL)
    before = widths[-1]
    for width in reversed(widths):
        yield (width, before + SKIP, KERNEL, KERNEL)
        yield (width, width, 1, 1)
        before = width
    yield (channels, before, 1, 1)
    yield (channels,)


def _initial(shape: Sequence[int], source: Generator) -> Tensor:
    """torch's own initialisation of a convolution; zero for the bias. Flat."""
    if len(shape) == 1:
        return torch.zeros(shape[0], dtype=torch.float32)
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return ((2 * torch.rand(*shape, generator=source, dtype=torch.float32) - 1) * bound).flatten()


def _convolution(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """x (N, in, H, W) with a kernel a sample, (N, out, in, k, k): N groups of one convolution."""
    count, out = weight.shape[:2]
    margin = weight.shape[-1] // 2
    if margin:
        x = F.pad(x, (margin,) * 4, mode="replicate")
    grouped = x.reshape(1, -1, *x.shape[-2:])
    result = F.conv2d(grouped, weight.flatten(0, 1), stride=stride, groups=count)
    return result.reshape(count, out, *result.shape[-2:])


PIXEL = 1 / 255
"""The papers measure images in 0..255 around the mean; their pixel canvas keeps that as its unit."""
START_NOISE = 0.05
DEEP_PRIOR_RATE = 0.01


CANVASES: Registry[MakeCanvas] = Registry("canvas", "netinvert.canvases")


def register_canvas(name: str, make: MakeCanvas | None = None) -> Callable[[MakeCanvas], MakeCanvas]:
    """Give a canvas a name for ``canvas=`` and ``--canvas``. Raises ConfigError if the name is taken.

    ``make(encoder, seeds, start)`` gives a :class:`Canvas` of noise, one seed a sample, or of the ``start``
    images (N, C, H, W) where they are not None. A decorator, or a call with the function.

    >>> @register_canvas("doctest-grey")
    ... def grey(encoder, seeds, start):
    ...     return Pixels(torch.full((len(seeds), 3, *encoder.size), 0.5), encoder.centre)
    >>> list(CANVASES)[-1]
    'doctest-grey'
    >>> CANVASES.remove("doctest-grey")
    """
    return CANVASES.register(name, make)


register_canvas("fourier", Fourier.begin)


@register_canvas("pixels")
def pixel_canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """Pixels in units of [0, 1] without a bound, around the network's grey."""
    if start is None:
        start = around_centre(encoder, START_NOISE / PIXEL * normal_noise(encoder, seeds))
    return Pixels(start, encoder.centre, size=encoder.size)


@register_canvas("phase")
def phase_canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """A spectrum of natural magnitude, with random phases or those of start images."""
    return Phase.noise(image_shape(encoder), seeds, like(encoder)) if start is None else Phase.of(start)


@register_canvas("deep-prior")
def deep_prior_canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """An untrained network. Raises ConfigError for start images."""
    if start is not None:
        raise ConfigError("the deep-prior canvas cannot start from an image; use another canvas for that")
    return DeepPrior(image_shape(encoder), seeds, like(encoder))


def paper_canvas(encoder: AnyEncoder, start: Tensor | None, noise: Callable[[], Tensor]) -> Canvas:
    """The papers' pixels, in 0..255 around the mean: of ``noise`` (N, C, H, W) where no start is given."""
    return Pixels(
        around_centre(encoder, noise()) if start is None else start, encoder.centre, PIXEL, encoder.size
    )


def with_canvas(how: Recipe, canvas: str | Canvas | MakeCanvas) -> Recipe:
    """The recipe on another canvas, in units of [0, 1]: one of CANVASES, one of your own, or what makes it.

    Only for optimisers whose steps do not depend on the canvas's unit (L-BFGS, Adam). The weights of a deep
    prior are moved by Adam, as many steps as the recipe has. Raises ConfigError.
    """
    if isinstance(canvas, str):
        make = CANVASES.find(canvas)
    elif isinstance(canvas, Canvas):
        make = _copies_of(canvas)
    elif isinstance(canvas, nn.Module) or not callable(canvas):
        raise ConfigError(
            f"{type(canvas).__name__} is no canvas: derive it from netinvert.Canvas, or give a name, or a "
            "function (encoder, seeds, start) that makes one"
        )
    else:
        make = canvas
    fixed = how.unnormalised or any(
        isinstance(stage.optimizer, Momentum | DecayingAdaGrad) for stage in how.stages
    )
    if fixed and canvas == "pixels":
        return how
    if fixed:
        raise ConfigError(
            f"the steps of '{how.name}' are made for pixels in 0..255; use another preset with this canvas"
        )
    stages = (Stage(how.steps, Adam(DEEP_PRIOR_RATE)),) if canvas == "deep-prior" else how.stages
    return replace(how, canvas=make, stages=stages)


def _copies_of(canvas: Canvas) -> MakeCanvas:
    """Every run begins from the canvas as it was given."""
    kept = copy.deepcopy(canvas)

    def make(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
        fresh = copy.deepcopy(kept).to(encoder.device)
        if start is not None:
            fresh.replace(start)
        return fresh

    return make


def around_centre(encoder: AnyEncoder, noise: Tensor) -> Tensor:
    """The network's grey with noise given in 0..255."""
    centre = torch.tensor(encoder.centre, dtype=encoder.dtype, device=encoder.device).view(-1, 1, 1)
    return centre + PIXEL * noise.to(encoder.device, encoder.dtype)


def normal_noise(encoder: AnyEncoder, seeds: Sequence[int]) -> Tensor:
    """(N, C, H, W) of standard normal numbers, one seed a sample."""
    shape = image_shape(encoder)
    return draw(seeds, lambda source: torch.randn(shape, generator=source, dtype=torch.float32))


RATE, HALVING = 0.03, 50
"""Of Adam, in units of the code's root mean square."""
STEPS = 200


def decoded_start(decoder: Decoder, encoder: AnyEncoder, code: Tensor) -> Tensor:
    """The decoder's images (N, C, *encoder.size) of codes, to start an optimisation from.

    Raises CodeError for an encoder that the decoder does not belong to.
    """
    decoder.check_encoder(encoder)
    with torch.no_grad():
        images = decoder(encoder.check_code(code))
    return fit(images, encoder.size).to(encoder.device, encoder.dtype)


def shipped_decoder(encoder: AnyEncoder) -> Decoder:
    """The shipped decoder that fits. Raises ConfigError where none does."""
    decoder = fitting_decoder(encoder)
    if decoder is None:
        raise ConfigError(
            f"no shipped decoder fits layer '{encoder.layer}' of {encoder.network.name} with these weights: "
            "give one that does, train one with netinvert decoder train, or use another preset or method"
        )
    return decoder


def shipped_start(encoder: AnyEncoder, code: Code) -> Tensor:
    """Its images (N, C, *encoder.size) of codes. Raises ConfigError where none fits."""
    return decoded_start(shipped_decoder(encoder), encoder, one_layer(code, "a decoder"))


def on_decoder(how: Recipe, decoder: Decoder, encoder: AnyEncoder, code: Tensor) -> Recipe:
    """The recipe with the decoder's input as its canvas, starting from the codes (Nguyen et al. 2016).

    The decoder's own images are all that can be found, so priors are left out; Adam moves its input, in
    units of the root mean square of each code, for as many steps as the recipe has, ``STEPS`` at most.
    Raises CodeError for an encoder that the decoder does not belong to.
    """
    decoder.check_encoder(encoder)
    decoder = decoder.to(encoder.device)
    start = encoder.check_code(code)
    unit = start.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (start.ndim - 1))
    if not bool((unit > 0).all()):
        raise ConfigError("a code of nothing but zeros gives the decoder's input no scale: leave it out")

    def canvas(encoder: AnyEncoder, seeds: Sequence[int], image: Tensor | None) -> Canvas:
        if image is not None:
            raise ConfigError("a decoder's canvas starts from the code, not from an image")
        return DecoderPrior(lambda offset: decoder(start + unit * offset), torch.zeros_like(start))

    stages = (Stage(min(how.steps, STEPS), Adam(RATE, halving=HALVING)),)
    how = replace(how, canvas=canvas, stages=stages, priors=(), prior="none")
    return replace(how, start=None, below=-math.inf)
