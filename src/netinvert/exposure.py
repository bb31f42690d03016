"""Brightness and contrast like a photograph's, for codes that say nothing of either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import avg_pool2d

from netinvert.errors import ConfigError

PARTS = 4


@dataclass(frozen=True)
class Exposure:
    """Squared distance of an image's mean and local deviation from given ones, over ``deviation``².

    The deviation is the root mean square of that within each of 4 × 4 parts of the image: of the whole, it
    would be had for next to nothing by a slow change from black to white, with the contents as faint as
    before. The defaults are about what photographs have, in [0, 1]. HOG and SIFT are the same for
    ``a · image + b`` (a > 0); total variation alone would shrink a towards zero, and nothing would hold b.
    """

    mean: float = 0.5
    deviation: float = 0.15
    name: ClassVar[str] = "exposure"

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ConfigError(f"an image's deviation is above zero, got {self.deviation}")

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """(N, C, H, W) to (N,); the code is not looked at."""
        part = (max(image.shape[-2] // PARTS, 1), max(image.shape[-1] // PARTS, 1))
        # About the middle, where squares lose no digits.
        centred = image - self.mean
        means = avg_pool2d(centred, part)
        variance = (avg_pool2d(centred.square(), part) - means.square()).flatten(1).mean(1)
        # The root's derivative at zero would be infinite.
        deviation = (variance.clamp_min(0) + 1e-8).sqrt()
        off = centred.flatten(1).mean(1).square() + (deviation - self.deviation).square()
        return off / self.deviation**2
