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
from torch.nn.functional import affine_grid, grid_sample

from netinvert.errors import ConfigError

Transform = Callable[[Tensor, Sequence[Generator]], Tensor]


@dataclass(frozen=True)
class RandomScale:
    """About the middle, by a factor between ``low`` and ``high``; the border is mirrored."""

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ConfigError(f"factors go from a number above 0 up, got {self.low} to {self.high}")

    def __call__(self, images: Tensor, sources: Sequence[Generator]) -> Tensor:
        """The images, larger or smaller."""
        factors = _uniform(sources, self.low, self.high, images)
        zero = torch.zeros_like(factors)
        return _warped(images, [[1 / factors, zero, zero], [zero, 1 / factors, zero]])


@dataclass(frozen=True)
class RandomRotation:
    """About the middle, by up to ``degrees`` to either side; the border is mirrored."""

    degrees: float = 5.0

    def __call__(self, images: Tensor, sources: Sequence[Generator]) -> Tensor:
        """The images, turned."""
        angles = _uniform(sources, -math.radians(self.degrees), math.radians(self.degrees), images)
        cos, sin, zero = torch.cos(angles), torch.sin(angles), torch.zeros_like(angles)
        stretch = images.shape[-2] / images.shape[-1]  # the grid's units are half heights and half widths
        return _warped(images, [[cos, -sin * stretch, zero], [sin / stretch, cos, zero]])


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
        side = _uniform(sources, self.low, self.high, images)
        right, down = (_uniform(sources, -1.0, 1.0, images) * (1 - side) for _ in range(2))
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


def _uniform(sources: Sequence[Generator], low: float, high: float, like: Tensor) -> Tensor:
    """One number a sample, (N,)."""
    drawn = torch.cat([torch.rand(1, generator=source, dtype=torch.float64) for source in sources])
    return (low + (high - low) * drawn).to(like)


def _warped(images: Tensor, rows: list[list[Tensor]]) -> Tensor:
    matrices = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)  # (N, 2, 3)
    grid = affine_grid(matrices, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)
