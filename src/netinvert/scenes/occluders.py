"""Things before the object: they hide a part of the picture, and of what is known of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netinvert.scenes.backgrounds import random_background

Pixels = NDArray[np.uint8]


def occluded(
    rng: np.random.Generator, picture: Pixels, mask: Pixels, parts: Pixels, share: float
) -> tuple[Pixels, Pixels, Pixels]:
    """Hide up to ``share`` of a picture (H, W, 3) behind a bar, a disc or a board; mask and parts follow.

    A ``share`` of 0 leaves everything as it is and draws nothing from the generator.
    """
    if share == 0:
        return picture, mask, parts
    height, width = mask.shape
    area = rng.uniform(0, share) * height * width
    hidden = _shape(rng, (height, width), area)
    surface = random_background(rng, max(height, width))[:height, :width]
    return (
        np.where(hidden[..., None], surface, picture),
        np.where(hidden, np.uint8(0), mask),
        np.where(hidden, np.uint8(0), parts),
    )


def _shape(rng: np.random.Generator, size: tuple[int, int], area: float) -> NDArray[np.bool_]:
    """A turned rectangle, long or squat, or a disc, of at most ``area`` pixels."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    cx, cy, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, np.pi)
    if rng.random() < 0.3:
        return np.asarray(np.hypot(x - cx, y - cy) <= np.sqrt(area / np.pi))
    aspect = np.exp(rng.uniform(-2, 2))
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    half = np.sqrt(area * aspect) / 2, np.sqrt(area / aspect) / 2
    return np.asarray((np.abs(u) <= half[0]) & (np.abs(v) <= half[1]))
