"""Random changes of what the network sees, drawn anew at every step from each sample's own generator.

A transform takes images (N, C, H, W) and one generator a sample and gives images of the same shape. What the
network is to say has to hold for all of them, which keeps patterns that work at one place and size only
out of the image (Olah et al. 2017; for crops and noise Fel et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from netinvert.errors import ConfigError

Transform = Callable[[Tensor, Sequence[Generator]], Tensor]


@dataclass(frozen=True)
class RandomAffine:
    """Turned by up to ``degrees``, scaled by up to the share ``scale`` and moved by up to the share ``shift``
    of the image's sides, in one interpolation; the border is mirrored."""

    degrees: float = 5.0
    scale: float = 0.1
    shift: float = 0.05

    def __post_init__(self) -> None:
        if not (0 <= self.scale < 1 and self.degrees >= 0 and self.shift >= 0):
            raise ConfigError(
                "a view changes by 0 or more degrees and shares, and its scale by less than 1, got "
                f"{self.degrees}, {self.shift} and {self.scale}"
            )

    def __call__(self, images: Tensor, sources: Sequence[Generator]) -> Tensor:
        """The images from other places."""
        turn, factor, right, down = _uniform(sources, 4, images)
        turn, factor = turn * math.radians(self.degrees), 1 + self.scale * factor
        cos, sin = factor * turn.cos(), factor * turn.sin()
        stretch = images.shape[-2] / images.shape[-1]  # the grid's units are half heights and half widths
        moves = (2 * self.shift * right, 2 * self.shift * down)
        return _warped(images, [[cos, -sin * stretch, moves[0]], [sin / stretch, cos, moves[1]]])


@dataclass(frozen=True)
class RandomCrop:
    """A window with sides of ``low`` to ``high`` of the image's, anywhere in it, scaled up to its size."""

    low: float = 0.5
    high: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high <= 1:
            raise ConfigError(f"a crop's side is a share of the image's, got {self.low} to {self.high}")

    def __call__(self, images: Tensor, sources: Sequence[Generator]) -> Tensor:
        """The crops."""
        size, right, down = _uniform(sources, 3, images)
        side = (self.low + self.high) / 2 + (self.high - self.low) / 2 * size
        right, down = right * (1 - side), down * (1 - side)
        zero = torch.zeros_like(side)
        return _warped(images, [[side, zero, right], [zero, side, down]])


@dataclass(frozen=True)
class RandomNoise:
    """Gaussian noise of this standard deviation, in the image's units."""

    sigma: float = 0.02

    def __call__(self, images: Tensor, sources: Sequence[Generator]) -> Tensor:
        """The images with noise."""
        noise = [torch.randn(images.shape[1:], generator=source, dtype=torch.float32) for source in sources]
        return images + self.sigma * torch.stack(noise).to(images)


@dataclass(frozen=True)
class RandomErasing:
    """With this probability, a rectangle of one random colour over a part of the image; its sides are up to
    the share ``side`` of the image's. So no part alone may carry the code."""

    probability: float = 0.3
    side: float = 0.4

    def __post_init__(self) -> None:
        if not (0 <= self.probability <= 1 and 0 < self.side <= 1):
            raise ConfigError(
                f"a cover has a probability and a share of the sides, got {self.probability} and {self.side}"
            )

    def __call__(self, images: Tensor, sources: Sequence[Generator]) -> Tensor:
        """The images, some of them partly covered."""
        _, channels, height, width = images.shape
        rows = [torch.rand(5 + channels, generator=source, dtype=torch.float32) for source in sources]
        drawn = torch.stack(rows).to(images)
        chance, tall, wide, top, left = drawn[:, :5, None].unbind(1)
        tall, wide = (self.side * (0.1 + 0.9 * share) for share in (tall, wide))
        down, right = (torch.arange(n).to(images) / n for n in (height, width))
        across = (down >= top * (1 - tall)) & (down < top * (1 - tall) + tall)
        along = (right >= left * (1 - wide)) & (right < left * (1 - wide) + wide)
        covered = (across[:, :, None] & along[:, None]) & (chance < self.probability)[:, :, None]
        return torch.where(covered[:, None], drawn[:, 5:, None, None], images)


@dataclass(frozen=True)
class RandomDownsample:
    """With this probability, at half the resolution (averaged, then interpolated): patterns of single pixels,
    by which networks differ most, do not count."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"a probability lies between 0 and 1, got {self.probability}")

    def __call__(self, images: Tensor, sources: Sequence[Generator]) -> Tensor:
        """The images, some of them coarse."""
        drawn = torch.stack([torch.rand((), generator=source, dtype=torch.float64) for source in sources])
        size = [max(1, length // 2) for length in images.shape[-2:]]
        small = interpolate(images, size, mode="area")
        coarse = interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False)
        return torch.where((drawn < self.probability).view(-1, 1, 1, 1).to(images.device), coarse, images)


def _uniform(sources: Sequence[Generator], count: int, like: Tensor) -> list[Tensor]:
    """So many numbers in [-1, 1) a sample, each (N,)."""
    drawn = [2 * torch.rand(count, generator=source, dtype=torch.float64) - 1 for source in sources]
    return list(torch.stack(drawn).to(like).unbind(1))


def _warped(images: Tensor, rows: list[list[Tensor]]) -> Tensor:
    matrices = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)  # (N, 2, 3)
    grid = affine_grid(matrices, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


Projection = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class Ball:
    """Keep each pixel's colour vector within ``radius`` of ``centre`` (Mahendran & Vedaldi 2016)."""

    centre: tuple[float, ...]
    radius: float

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image, pixels outside the ball moved to its surface."""
        centre = torch.tensor(self.centre, dtype=image.dtype, device=image.device).view(-1, 1, 1)
        offset = image - centre
        norm = torch.linalg.vector_norm(offset, dim=1, keepdim=True)
        return torch.where(norm > self.radius, centre + offset * (self.radius / norm), image)


@dataclass(frozen=True)
class Box:
    """Keep every value within [low, high]."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image, clamped."""
        return image.clamp(self.low, self.high)
