"""What a image shows of an attribute, and how well that agrees with what is true."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.evaluation.evaluate import read_poses
from netinvert.experiments.attributes.changes import chroma, object_weights
from netinvert.experiments.attributes.series import Kind
from netinvert.models.encoder import Encoder

OUTSIDE = 0.2
"""Alpha below which a pixel shows the background."""
PALE, PLAIN = 0.06, 0.18
"""Distances from the background's colour, RGB in [0, 1], at which a pixel begins to count as the object's and
counts whole, where there is no mask."""


@dataclass(frozen=True)
class Agreement:
    """``r2``: the share of the truth's variance that the measured values, as they are, explain. ``line``: the
    same of a straight line of measured over true values, and its ``slope``: 1 is as true, 0 not at all.
    ``error`` is the median distance, ``error_baseline`` the same with true values of other chairs and
    settings; angles in degrees. ``accuracy`` and ``accuracy_baseline`` are the same two for classes."""

    r2: float
    line: float
    slope: float
    error: float | None = None
    error_baseline: float | None = None
    accuracy: float | None = None
    accuracy_baseline: float | None = None


def agreement(measured: Tensor, truth: Tensor, kind: Kind, generator: torch.Generator) -> Agreement:
    """Of values (N, K, T), K settings of N chairs. A ``value`` counts about its chair's mean, so a chair is
    compared with itself. A class is the largest of T."""
    others = shuffled(truth, generator)
    if kind == "value":
        measured, truth, others = (each - each.mean(1, keepdim=True) for each in (measured, truth, others))
    x, y = (each.flatten(0, 1).double() for each in (truth, measured))
    x, y = x - x.mean(0), y - y.mean(0)
    product, spread = (x * y).sum(), x.square().sum()
    r2 = float(1 - (y - x).square().sum() / spread)
    line = float(product.square() / (spread * y.square().sum()).clamp_min(1e-12))
    slope = float(product / spread)
    if kind == "class":
        found = measured.argmax(-1)
        right, by_chance = (float((found == each.argmax(-1)).double().mean()) for each in (truth, others))
        return Agreement(r2, line, slope, accuracy=right, accuracy_baseline=by_chance)
    error, chance = (float(_distance(measured, each, kind).median()) for each in (truth, others))
    return Agreement(r2, line, slope, error, chance)


def shuffled(truth: Tensor, generator: torch.Generator) -> Tensor:
    """True values (N, K, T) given to other chairs and, within those, other settings."""
    count, settings = truth.shape[:2]
    rows = torch.rand(count, generator=generator).argsort()[:, None]
    found: Tensor = truth[rows, torch.rand(count, settings, generator=generator).argsort(1)]
    return found


def _distance(measured: Tensor, truth: Tensor, kind: Kind) -> Tensor:
    if kind == "value":
        distance: Tensor = (measured - truth).norm(dim=-1)
        return distance
    angles = [torch.atan2(each[..., 1], each[..., 0]) for each in (measured, truth)]
    between = torch.rad2deg(angles[0] - angles[1])
    return (torch.remainder(between + 180, 360) - 180).abs()


# -- measures: images (M, 3, H, W) and alpha (M, 1, H, W) to values (M, T) -----------------------------


def object_colour(images: Tensor, alpha: Tensor) -> Tensor:
    """The mean colour (M, 3) of the object."""
    weights = object_weights(alpha)
    return (weights * images).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-6)


def object_chroma(images: Tensor, alpha: Tensor) -> Tensor:
    """The coloured part (M, 2) of the object's mean colour."""
    return chroma(object_colour(images, alpha))


def object_lightness(images: Tensor, alpha: Tensor) -> Tensor:
    """The mean (M, 1) of the object's red, green and blue."""
    return object_colour(images, alpha).mean(1, keepdim=True)


def background_colour(images: Tensor, alpha: Tensor) -> Tensor:
    """The median colour (M, 3) outside the object and its shadow; of all pixels if there is no outside."""
    flat = images.flatten(2)
    outside = torch.where(alpha.flatten(2) < OUTSIDE, flat, torch.full((), math.nan))
    found = outside.nanmedian(-1).values
    return torch.where(found.isnan(), flat.median(-1).values, found)


def log_contrast(images: Tensor, alpha: Tensor) -> Tensor:
    """The logarithm (M, 1) of the standard deviation of the grey image."""
    return images.mean(1).flatten(1).std(1, keepdim=True).clamp_min(1e-4).log()


def centroid(images: Tensor, alpha: Tensor) -> Tensor:
    """The object's centre of mass (M, 2): pixels to the right and down from the image's centre."""
    weights = object_weights(alpha)[:, 0]
    height, width = weights.shape[-2:]
    down, right = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
    total = weights.sum((1, 2)).clamp_min(1e-6)
    sums = torch.stack([(weights.sum(1) * right).sum(1), (weights.sum(2) * down).sum(1)], 1)
    return sums / total[:, None]


def log_size(images: Tensor, alpha: Tensor) -> Tensor:
    """The logarithm (M, 1) of the root mean square distance of the object's pixels from their centroid, which
    is half a pixel at least."""
    weights = object_weights(alpha)[:, 0]
    height, width = weights.shape[-2:]
    down, right = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
    squares = (weights * (down[:, None].square() + right.square())).sum((1, 2))
    mean = squares / weights.sum((1, 2)).clamp_min(1e-6)
    spread = mean - centroid(images, alpha).square().sum(1)
    return 0.5 * spread.clamp_min(0.25).log()[:, None]


MEASURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hue": object_chroma,
    "lightness": object_lightness,
    "background": background_colour,
    "contrast": log_contrast,
    "position": centroid,
    "far": centroid,
    "scale": log_size,
}
"""By attribute; poses and parts are read by networks."""


def pose_read(name: str, reader: Encoder, images: Tensor) -> Tensor | None:
    """The azimuth (M, 2), as cosine and sine, or the elevation (M, 1) in degrees that a network reads."""
    reading = read_poses(reader, images)
    if reading is None:
        return None
    if name == "elevation":
        return reading.elevation[:, None]
    azimuth = torch.deg2rad(reading.azimuth)
    return torch.stack([azimuth.cos(), azimuth.sin()], 1)


def found_alpha(images: Tensor) -> Tensor:
    """An alpha (M, 1, H, W) for images before one colour: how much pixels differ from the border."""
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], -1)
    behind = border.median(-1).values[:, :, None, None]
    distance: Tensor = (images - behind).norm(dim=1, keepdim=True)
    return ((distance - PALE) / (PLAIN - PALE)).clamp(0, 1)
