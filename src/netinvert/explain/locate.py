"""Where the object is, by a saliency map alone (Simonyan et al. 2013, section 3.2): seeds, GrabCut, a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.explain.occlusion import opencv

OBJECT, BACKGROUND = 0.95, 0.30
"""Quantiles of a map: above the first are pixels of the object, up to the second of the background."""
ROUNDS = 5
"""Of GrabCut (Rother et al. 2004)."""
Box = tuple[int, int, int, int]
"""First row and column, and those behind the last."""


@dataclass(frozen=True, eq=False)
class Located:
    """The object's pixels (H, W) bool, the largest connected piece of what GrabCut finds; and their box."""

    mask: Tensor
    box: Box


def locate(image: Tensor, saliency: Tensor, above: float = OBJECT, below: float = BACKGROUND) -> Located:
    """Of an image (3, H, W) in [0, 1] and its map (H, W), the more the likelier the object. Colours of the
    object are learned from pixels above a quantile of the map, those of the background from pixels below
    another; the rest goes to whichever fits it. Seeds OpenCV's random numbers. Raises ConfigError,
    MissingExtraError without OpenCV.

    >>> image = torch.full((3, 32, 32), 0.2)
    >>> image[:, 8:20, 10:24] = 0.9
    >>> bump = (-(torch.linspace(-2, 2.5, 32) ** 2)).exp()
    >>> locate(image, bump[:, None] * bump).box
    (8, 10, 20, 24)
    """
    cv2 = opencv()
    if image.ndim != 3 or image.shape[0] != 3 or saliency.shape != image.shape[1:]:
        raise ConfigError(
            f"an object is located in an image (3, H, W) by a map (H, W), got {(*image.shape,)} and "
            f"{(*saliency.shape,)}"
        )
    if not 0 < below < above < 1:
        raise ConfigError(f"quantiles are 0 < below < above < 1, got {below:g} and {above:g}")
    values = saliency.double().cpu()
    high, low = (float(values.flatten().quantile(share)) for share in (above, below))
    labels = np.full(values.shape, cv2.GC_PR_BGD, np.uint8)
    labels[(values <= low).numpy()] = cv2.GC_BGD
    seeds = values > high if bool((values > high).any()) else values >= high
    labels[seeds.numpy()] = cv2.GC_FGD
    if not (labels == cv2.GC_BGD).any() or low >= float(values.max()):
        raise ConfigError("the map is the same everywhere, so it points at nothing")
    pixels = (255 * image.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(pixels, labels, None, models[0], models[1], ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, marks, facts, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    mask = torch.from_numpy(marks == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax()))
    return Located(mask, box_of(mask))


def box_of(mask: Tensor) -> Box:
    """The least box around a mask (H, W) bool. Raises ConfigError for an empty one.

    >>> box_of(torch.eye(4) * torch.tensor([0, 1, 1, 0]) > 0)
    (1, 1, 3, 3)
    """
    rows, columns = (mask.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    if not rows:
        raise ConfigError("the mask is empty, so it has no box")
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def box_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """The shared area of two boxes over that of both, 0 to 1.

    >>> box_iou((0, 0, 2, 2), (0, 1, 2, 3))
    0.3333333333333333
    """
    sides = [min(first[k + 2], second[k + 2]) - max(first[k], second[k]) for k in (0, 1)]
    shared = max(0.0, sides[0]) * max(0.0, sides[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)
