"""What is applied to the image between steps: functions (image, gradient, step) -> image, all (N, C, H, W).

``gradient`` is that of the energy at the image before the step; ``step`` counts the stage's steps from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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
