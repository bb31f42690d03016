"""Changes to images of objects, each of one attribute by a known amount; all else stays as it is.

Images are RGBA (N, 4, H, W) in [0, 1], straight alpha. Hues are angles in the plane of colours across grey,
0 degrees at red, in which a turn by any angle is linear and leaves the mean of red, green and blue as it is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.scenes.shading import DARKNESS

SHADES = 0.6
"""How much of a painted object's own light and dark is left."""


def object_weights(alpha: Tensor) -> Tensor:
    """Where the object is, in [0, 1], of an alpha that shadows on the ground have a part in."""
    return ((alpha - DARKNESS) / (1 - DARKNESS)).clamp(0, 1)


def chroma(colour: Tensor) -> Tensor:
    """The coloured part (..., 2) of colours (..., 3): its length says how strong, its angle is the hue."""
    return colour @ _plane(colour).mT


def hue_rotated(rgba: Tensor, degrees: Tensor) -> Tensor:
    """All hues turned by (N,) degrees; what leads out of [0, 1] is clipped."""
    colour = rgba[:, :3].movedim(1, -1)
    grey = colour.mean(-1, keepdim=True)
    turned = grey + (chroma(colour) @ _turns(degrees)[:, None]) @ _plane(colour)
    return torch.cat([turned.movedim(-1, 1).clamp(0, 1), rgba[:, 3:]], 1)


def painted(rgba: Tensor, lightness: Tensor, hue: Tensor | None = None, saturation: float = 0.6) -> Tensor:
    """The objects in one colour: of a mean ``lightness`` (N,), grey or of a ``hue`` (N,) in degrees.

    Their shading stays, SHADES of it. The mean chroma is ``lightness * saturation`` long. Shadows stay black.
    """
    weights = object_weights(rgba[:, 3:])
    grey = rgba[:, :3].mean(1, keepdim=True)
    mean = (weights * grey).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp_min(1e-6)
    shade = 1 - SHADES + SHADES * grey / mean.clamp_min(1e-6).reshape(-1, 1, 1, 1)
    tint = torch.ones(len(rgba), 3)
    if hue is not None:
        angle = torch.deg2rad(hue)
        tint = 1 + saturation * torch.stack([angle.cos(), angle.sin()], 1) @ _plane(tint)
    colour = shade * (lightness[:, None] * tint)[:, :, None, None]
    shadow = (rgba[:, 3:] <= DARKNESS) & (grey < 0.02)
    return torch.cat([torch.where(shadow, rgba[:, :3], colour.clamp(0, 1)), rgba[:, 3:]], 1)


def moved(rgba: Tensor, pixels: Tensor, side: int) -> Tensor:
    """Windows (N, 4, ``side``, ``side``) of the middle of larger images, in which these have moved by whole
    pixels (N, 2), right and down; transparent where nothing is known."""
    reach = int(pixels.abs().max())
    padded = F.pad(rgba, (reach,) * 4)
    top, left = ((length - side) // 2 + reach for length in rgba.shape[-2:])
    return torch.stack(
        [
            one[:, top - y : top - y + side, left - x : left - x + side]
            for one, (x, y) in zip(padded, pixels.long().tolist(), strict=True)
        ]
    )


def resized(rgba: Tensor, sides: Tensor, side: int) -> Tensor:
    """Windows (N, 4, ``side``, ``side``) of the middle of square images resampled to ``sides`` (N,);
    transparent where nothing is known.

    Raises ConfigError for sides that differ from ``side`` by odd numbers, which would move the centre.
    """
    if bool(((sides - side) % 2 != 0).any()):
        raise ConfigError("the centre stays only where the sides differ by even numbers of pixels")
    mixed = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    found = []
    for one, each in zip(mixed, sides.long().tolist(), strict=True):
        scaled = F.interpolate(one[None], (each, each), mode="bilinear", antialias=True)
        found.append(F.pad(scaled, ((side - each) // 2,) * 4))
    both = torch.cat(found).clamp(0, 1)
    return torch.cat([both[:, :3] / both[:, 3:].clamp_min(1e-6), both[:, 3:]], 1).clamp(0, 1)


def contrasted(images: Tensor, factor: Tensor) -> Tensor:
    """Images (N, 3, H, W) with (N,) times their contrast about their own mean."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + factor.reshape(-1, 1, 1, 1) * (images - mean)).clamp(0, 1)


def _plane(like: Tensor) -> Tensor:
    """Two unit vectors (2, 3) across grey, the first towards red."""
    rows = [[2 / math.sqrt(6), -1 / math.sqrt(6), -1 / math.sqrt(6)], [0, math.sqrt(0.5), -math.sqrt(0.5)]]
    return torch.tensor(rows, dtype=like.dtype)


def _turns(degrees: Tensor) -> Tensor:
    """Matrices (N, 2, 2) that turn row vectors."""
    angle = torch.deg2rad(degrees)
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)], -2)
