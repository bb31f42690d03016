"""What a preset has to know of a code to fit it: is it a vector, and how much does it say of contrast?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.inversion.objectives import AnyEncoder, paired, shapes_of
from netinvert.io.assets import photographs

FAINTER = 0.8
"""The contrast is lowered to this share of a photograph's."""
PROBES = ("coffee", "raccoon")
"""The photographs that are asked: their mean is near that of all seven, at two sevenths of the time."""
FULL = 0.025
"""The squared code error of such a photograph from which priors have their full weight: that of classifiers'
maps. Those of pose and face networks have a half to a tenth of it."""
INDIFFERENT = 1e-3
"""Of the difference between two photographs' codes: below it, a code says nothing of contrast (HOG, SIFT)."""


@dataclass(frozen=True)
class Contrast:
    """What a code says of an image's contrast: ``sensitivity`` is the mean squared code error,
    ‖Φ - Φ0‖² / ‖Φ0‖², of photographs whose contrast is lowered by a fifth; ``other`` is that of another
    photograph."""

    sensitivity: float
    other: float

    @property
    def known(self) -> bool:
        """Whether the code says anything of it."""
        return not self.sensitivity < INDIFFERENT * self.other

    @property
    def share(self) -> float:
        """The share of its full weight that a prior gets beside such a code, so that it takes from images of
        different networks about the same share of their contrast.

        >>> Contrast(0.005, 1.0).share, Contrast(0.2, 1.0).share
        (0.2, 1.0)
        """
        return float(f"{min(1.0, self.sensitivity / FULL):.3g}")  # the same on other machines


@torch.no_grad()
def contrast_of(encoder: AnyEncoder) -> Contrast:
    """Ask two photographs. A prior, which is least for flat images, takes contrast away where the code says
    little of it, unless its weight is small.

    >>> from netinvert import Encoder, load_network
    >>> contrast_of(Encoder(load_network("hog"), "output")).known
    False
    >>> 0.01 < contrast_of(Encoder(load_network("posenet"), "relu3")).sensitivity < 0.03
    True
    """
    images = reference_images(encoder, PROBES)
    mean = images.mean((1, 2, 3), keepdim=True)
    codes, fainter = encoder(images), encoder(mean + FAINTER * (images - mean))
    pairs = [
        (code.double().flatten(1), other.double().flatten(1)) for _, other, code in paired(fainter, codes)
    ]
    return Contrast(
        _mean([_difference(other, code) for code, other in pairs]),
        _mean([_difference(code.roll(1, 0), code) for code, _ in pairs]),
    )


def _difference(other: Tensor, code: Tensor) -> Tensor:
    """Relative and squared, (N,); 0 for codes of nothing but zeros."""
    norms = code.square().sum(1)
    return (other - code).square().sum(1) / torch.where(norms > 0, norms, torch.inf)


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).mean())


def is_vector(encoder: AnyEncoder) -> bool:
    """Whether no layer's code has more than one place: (D,), (D, 1, 1) and the like."""
    return all(math.prod(shape) == max(shape, default=1) for shape in shapes_of(encoder))


def reference_images(encoder: AnyEncoder, names: tuple[str, ...] | None = None) -> Tensor:
    """The package's photographs (all, or those named) as the network takes them; eight images of noise where
    it takes neither colour nor grey."""
    channels = encoder.preprocessing.channels
    if channels in (1, 3):
        known, images = photographs(encoder.size, channels)
        if names is not None:
            images = images[[known.index(name) for name in names]]
    else:
        source = torch.Generator().manual_seed(0)
        images = torch.rand(8, channels, *encoder.size, generator=source, dtype=torch.float32)
    return images.to(encoder.device, encoder.dtype)
