"""Image priors: functions of an image alone, one value a sample, averaged over pixels.

Averages, not sums, so that a weight means the same at every resolution. Images are (N, C, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# Keeps the gradient of |d|^beta finite at d = 0 for beta < 2: a thousandth of the range, squared.
SMOOTHING = 1e-6


def total_variation(image: Tensor, beta: float = 1.0, isotropic: bool = True) -> Tensor:
    """TV^beta averaged over pixels and summed over channels: (N, C, H, W) -> (N,).

    Isotropic: (dx² + dy²)^(beta/2). Anisotropic: |dx|^beta + |dy|^beta. Forward differences, zero at the
    last row and column (Mahendran & Vedaldi 2015, section 3; the difference scheme of their code).
    """
    down = image[..., 1:, :] - image[..., :-1, :]
    right = image[..., :, 1:] - image[..., :, :-1]
    pixels = image.shape[-2] * image.shape[-1]
    if beta == 2:  # where the two kinds agree and nothing needs smoothing
        return (down.square().flatten(1).sum(1) + right.square().flatten(1).sum(1)) / pixels
    if not isotropic:
        return (_smooth_power(down.square(), beta) + _smooth_power(right.square(), beta)) / pixels
    squared = torch.nn.functional.pad(down.square(), (0, 0, 0, 1)) + torch.nn.functional.pad(
        right.square(), (0, 1)
    )
    return _smooth_power(squared, beta) / pixels


def _smooth_power(squared: Tensor, beta: float) -> Tensor:
    """Sum of ``squared^(beta/2)`` over a sample, smoothed at zero, and exactly 0 where that is 0."""
    smooth = squared + SMOOTHING
    power = smooth.sqrt() if beta == 1 else smooth.pow(beta / 2)
    floor: float = SMOOTHING ** (beta / 2)
    return (power - floor).flatten(1).sum(1)


def alpha_norm(image: Tensor, alpha: float = 6.0, colour: bool = True) -> Tensor:
    """Mean over pixels of the alpha-th power of a pixel: (N, C, H, W) -> (N,).

    ``colour``: of the norm of the pixel's colour vector (Mahendran & Vedaldi 2016); otherwise of each
    channel's absolute value, summed over channels (Mahendran & Vedaldi 2015).
    """
    pixels = image.shape[-2] * image.shape[-1]
    squared = image.square()
    if colour:
        squared = squared.sum(1, keepdim=True)
    if alpha < 2:
        return _smooth_power(squared, alpha) / pixels
    return squared.pow(alpha / 2).flatten(1).sum(1) / pixels


@dataclass(frozen=True)
class TotalVariation:
    """The term of :func:`total_variation`."""

    beta: float = 1.0
    isotropic: bool = True
    name: Literal["tv"] = "tv"

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """One value a sample, (N,)."""
        return total_variation(image, self.beta, self.isotropic)


@dataclass(frozen=True)
class AlphaNorm:
    """The term of :func:`alpha_norm`, of the image's difference from ``centre`` (one number a channel)."""

    centre: tuple[float, ...]
    alpha: float = 6.0
    colour: bool = True
    name: Literal["alpha"] = "alpha"

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """One value a sample, (N,)."""
        centre = torch.tensor(self.centre, dtype=image.dtype, device=image.device).view(-1, 1, 1)
        return alpha_norm(image - centre, self.alpha, self.colour)
