"""Brightness and contrast like a photograph's, for codes that say nothing of either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from netinvert.errors import ConfigError


@dataclass(frozen=True)
class Exposure:
    """Squared distance of an image's mean and deviation from ``mean`` and ``deviation``, over ``deviation``².

    Over all pixels and channels, in [0, 1]. HOG and SIFT are the same for ``a · image + b`` (a > 0); total
    variation alone would then shrink a towards zero, and nothing would hold b.
    """

    mean: float = 0.5
    deviation: float = 0.22
    name: ClassVar[str] = "exposure"

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ConfigError(f"an image's deviation is above zero, got {self.deviation}")

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """(N, C, H, W) to (N,); the code is not looked at."""
        pixels = image.flatten(1)
        mean = pixels.mean(1)
        # The deviation's derivative at a constant image would be infinite.
        deviation = ((pixels - mean[:, None]).square().mean(1) + 1e-8).sqrt()
        off = (mean - self.mean).square() + (deviation - self.deviation).square()
        return off / self.deviation**2
