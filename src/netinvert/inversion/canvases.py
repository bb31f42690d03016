"""Canvases by name, and recipes on other canvases than their own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.inversion.canvas import Canvas, Fourier, Phase, Pixels
from netinvert.inversion.codes import AnyEncoder
from netinvert.inversion.network_canvas import DecoderPrior, DeepPrior
from netinvert.inversion.optimizers import Adam, DecayingAdaGrad, Momentum
from netinvert.inversion.schedule import MakeCanvas, Recipe, Stage
from netinvert.io.config import Registry
from netinvert.io.images import fit
from netinvert.io.running import draw
from netinvert.models.decoder import Decoder

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


@register_canvas("fourier")
def fourier_canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """A spectrum, of nearly grey noise or of start images."""
    return Fourier.noise(_shape(encoder), seeds, _like(encoder)) if start is None else Fourier(start)


@register_canvas("pixels")
def pixel_canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """Pixels in units of [0, 1] without a bound, around the network's grey."""
    if start is None:
        start = around_centre(encoder, START_NOISE / PIXEL * normal_noise(encoder, seeds))
    return Pixels(start, encoder.centre, size=encoder.size)


@register_canvas("phase")
def phase_canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """A spectrum of natural magnitude, with random phases or those of start images."""
    return Phase.noise(_shape(encoder), seeds, _like(encoder)) if start is None else Phase.of(start)


@register_canvas("deep-prior")
def deep_prior_canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """An untrained network. Raises ConfigError for start images."""
    if start is not None:
        raise ConfigError("the deep-prior canvas cannot start from an image; use another canvas for that")
    return DeepPrior(_shape(encoder), seeds, _like(encoder))


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
    shape = _shape(encoder)
    return draw(seeds, lambda source: torch.randn(shape, generator=source, dtype=torch.float32))


def _shape(encoder: AnyEncoder) -> tuple[int, int, int]:
    return (encoder.preprocessing.channels, *encoder.size)


def _like(encoder: AnyEncoder) -> Tensor:
    return torch.empty(0, dtype=encoder.dtype, device=encoder.device)


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
    return replace(how, canvas=canvas, stages=stages, priors=(), prior="none")
