"""Canvases that are networks: an untrained one's weights, or a trained decoder's input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from netinvert.errors import ConfigError
from netinvert.inversion.canvas import Canvas
from netinvert.io.running import draw

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
