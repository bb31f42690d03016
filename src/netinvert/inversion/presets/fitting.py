"""What a preset has to know of a code to fit it: is it a vector, how much does it say of contrast, and how
large are the network's responses?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinvert.inversion.objectives import Activate, AnyEncoder, Code, code_error, one_layer, shapes_of
from netinvert.io.assets import photographs

FAINTER = 0.8
"""The contrast is lowered to this share of a photograph's."""
PROBE, OTHER = "raccoon", "coffee"
"""The photographs that are asked: of all seven, the first is nearest to their mean across networks."""
FULL = 0.025
"""The squared code error of such a photograph from which priors have their full weight: that of classifiers'
maps. Those of pose and face networks have a half to a tenth of it."""
INDIFFERENT = 1e-3
"""Of the difference between two photographs' codes: below it, a code says nothing of contrast (HOG, SIFT)."""
CLEAR = 4 * INDIFFERENT
"""From here on another photograph, whose code differs by 4 at most as a rule, need not be asked."""


@dataclass(frozen=True)
class Contrast:
    """What a code says of an image's contrast: ``sensitivity`` is the mean squared code error,
    ‖Φ - Φ0‖² / ‖Φ0‖², of a photograph whose contrast is lowered by a fifth; ``other`` is that of another
    photograph, 0 where the first is so large that nobody asked."""

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
    """Ask a photograph. A prior, which is least for flat images, takes contrast away where the code says
    little of it, unless its weight is small.

    >>> from netinvert import Encoder, load_network
    >>> contrast_of(Encoder(load_network("hog"), "output")).known
    False
    >>> 0.01 < contrast_of(Encoder(load_network("posenet"), "relu3")).sensitivity < 0.03
    True
    """
    image = reference_images(encoder, PROBE)[:1]
    mean = image.mean((1, 2, 3), keepdim=True)
    code = encoder(image)
    sensitivity = _difference(encoder(mean + FAINTER * (image - mean)), code)
    if sensitivity >= CLEAR:
        return Contrast(sensitivity, 0.0)
    return Contrast(sensitivity, _difference(encoder(reference_images(encoder, OTHER)[-1:]), code))


def _difference(other: Code, code: Code) -> float:
    """Relative and squared; 0 for codes of nothing but zeros."""
    return float(torch.nan_to_num(code_error(other, code), 0.0, 0.0).square())


def is_vector(encoder: AnyEncoder) -> bool:
    """Whether no layer's code has more than one place: (D,), (D, 1, 1) and the like."""
    return all(math.prod(shape) == max(shape, default=1) for shape in shapes_of(encoder))


def reference_images(encoder: AnyEncoder, only: str = "*") -> Tensor:
    """The package's photographs (all, or ``only`` that of a name) as the network takes them; eight images of
    noise where it takes neither colour nor grey."""
    channels = encoder.preprocessing.channels
    if channels in (1, 3):
        images = photographs(encoder.size, channels, only)[1]
    else:
        source = torch.Generator().manual_seed(0)
        images = torch.rand(8, channels, *encoder.size, generator=source, dtype=torch.float32)
    return images.to(encoder.device, encoder.dtype)


def in_units_of_photographs(encoder: AnyEncoder, objective: Activate) -> Activate:
    """The same direction, scaled so that the photograph which responds most has 1.

    Where none responds (dead units, images of other channels), by the direction's response to noise, or not.
    """
    with torch.no_grad():
        codes = one_layer(encoder(reference_images(encoder)), "an activation")
    responses = torch.einsum("nd,rd->nr", objective.direction.flatten(1), codes.flatten(1))
    largest = responses.amax(1)
    spread = responses.std(1)
    scale = torch.where(largest > 0, largest, torch.where(spread > 0, spread, torch.ones_like(largest)))
    shape = (-1, *[1] * (objective.direction.ndim - 1))
    return replace(objective, direction=objective.direction / scale.view(shape))
