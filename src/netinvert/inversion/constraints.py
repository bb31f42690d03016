"""What is applied to the image between steps: functions (image, gradient, step) -> image, all (N, C, H, W).

``gradient`` is that of the energy at the image before the step; ``step`` counts the stage's steps from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError

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


NARROWEST = 0.3
"""Blurs narrower than this "work very poorly", warns their code: they do next to nothing."""
TRUNCATE = 4.0
"""Where a Gaussian ends, in standard deviations (scipy.ndimage.gaussian_filter)."""


@dataclass(frozen=True)
class Decay:
    """L2 decay: every pixel comes nearer to the mean colour, x (1 - ``share``)."""

    centre: tuple[float, ...]
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"a decay is a share from 0 to less than 1, got {self.share}")

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image, paler."""
        centre = _colour(self.centre, image)
        return centre + (image - centre) * (1 - self.share)


@dataclass(frozen=True)
class Blur:
    """A Gaussian of standard deviation ``std`` pixels, each channel by itself, in every ``every``-th step.

    The first step is one of them, as in their code. Beyond its border the image is mirrored.
    """

    std: float
    every: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.std) and self.std >= NARROWEST):
            raise ConfigError(
                f"blurs narrower than {NARROWEST} pixels do next to nothing: choose a standard deviation of "
                f"{NARROWEST} or more, or leave the blur out; got {self.std}"
            )
        if self.every < 1:
            raise ConfigError(f"blur in every so many steps, 1 or more, got {self.every}")

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image, blurred if it is time."""
        if (step - 1) % self.every:
            return image
        return _blurred(_blurred(image, self.std, -2), self.std, -1)


@dataclass(frozen=True)
class ClipSmallNorm:
    """Pixels whose colour is among the nearest to the mean, below this percentile, become the mean colour."""

    centre: tuple[float, ...]
    percentile: float

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image with few pixels left."""
        centre = _colour(self.centre, image)
        norms = torch.linalg.vector_norm(image - centre, dim=1, keepdim=True)
        return torch.where(norms < percentile(norms, self.percentile), centre, image)


@dataclass(frozen=True)
class ClipSmallContribution:
    """Pixels that matter least to the activation a, below this percentile, become the mean colour.

    What is lost without a pixel, to first order, is |Σ_c -x ∂a/∂x|, with the gradient before the step.
    ``signed`` leaves out the absolute value, as an option of their code does: pixels that help go first.
    """

    centre: tuple[float, ...]
    percentile: float
    signed: bool = False

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image with few pixels left."""
        centre = _colour(self.centre, image)
        # The energy is -a, so this is -x ∂a/∂x: what a would gain without the pixel.
        benefit = ((image - centre) * gradient).sum(1, keepdim=True)
        if not self.signed:
            benefit = benefit.abs()
        return torch.where(benefit < percentile(benefit, self.percentile), centre, image)


def percentile(values: Tensor, percent: float) -> Tensor:
    """The percentile of each sample's values (N, ...) -> (N, 1, ...), linear between them as numpy's."""
    flat = values.flatten(1)
    place = percent / 100 * (flat.shape[1] - 1)
    low = math.floor(place)
    below = flat.kthvalue(low + 1, dim=1).values
    above = flat.kthvalue(min(low + 2, flat.shape[1]), dim=1).values
    found = below + (above - below) * (place - low)
    return found.view(-1, *[1] * (values.ndim - 1))


def stretched(image: Tensor, centre: tuple[float, ...]) -> Tensor:
    """Images (N, C, H, W) as their code saves them: the mean colour grey, the largest difference 0 or 1.

    Without it, images in which a small difference from the mean does all show nothing (``norm01c``).
    """
    offset = image - _colour(centre, image)
    largest = offset.abs().amax((1, 2, 3), keepdim=True)
    return 0.5 + offset / (2 * largest.clamp_min(torch.finfo(image.dtype).tiny))


def _blurred(image: Tensor, std: float, dimension: int) -> Tensor:
    """Along one dimension, the image mirrored at its border (the border pixel twice)."""
    radius = int(TRUNCATE * std + 0.5)
    length = image.shape[dimension]
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / std).square())
    weights = weights / weights.sum()
    index = torch.arange(-radius, length + radius, device=image.device) % (2 * length)
    mirrored = image.index_select(dimension, torch.where(index < length, index, 2 * length - 1 - index))
    parts = (mirrored.narrow(dimension, k, length) * weight for k, weight in enumerate(weights.tolist()))
    blurred = torch.zeros_like(image)
    for part in parts:
        blurred += part
    return blurred


def _colour(centre: tuple[float, ...], image: Tensor) -> Tensor:
    return torch.tensor(centre, dtype=image.dtype, device=image.device).view(-1, 1, 1)


def _check_percentile(percent: float) -> None:
    if not 0 <= percent <= 100:
        raise ConfigError(f"a percentile is a number from 0 to 100, got {percent}")
