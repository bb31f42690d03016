"""Views of a dataset as tensors in memory, and what can be done to them without changing what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.scenes.backgrounds import random_background
from netinvert.scenes.dataset_reader import Arrays

POOL = 3000  # backgrounds
SHIFT = 3  # pixels of 64, either way
MIRROR = (-1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Views:
    """N views in memory, as tensors: ``rgba`` uint8 (N, 4, H, W), ``rotation`` (N, 3, 3), ``symmetry`` (N,);
    ``table`` (I, V) holds the indices of each identity's V views."""

    rgba: Tensor
    rotation: Tensor
    symmetry: Tensor
    table: Tensor

    @classmethod
    def of(cls, arrays: Arrays) -> Views:
        """The views of a dataset's split. Raises ConfigError: an identity has fewer than two views."""
        _, inverse, counts = np.unique(arrays.identity, return_inverse=True, return_counts=True)
        if counts.min() < 2:
            raise ConfigError("training needs two views an identity at least: render with --views 2 or more")
        order, width = np.argsort(inverse, kind="stable"), int(counts.min())
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        table = np.stack([order[start : start + width] for start in starts])
        return cls(
            torch.from_numpy(arrays.rgba).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(arrays.rotation),
            torch.from_numpy(arrays.symmetry),
            torch.from_numpy(table),
        )


def background_pool(seed: int, size: int, count: int = POOL) -> Tensor:
    """Random backgrounds (count, 3, size, size) uint8."""
    rng = np.random.default_rng([seed, 3])
    pool = np.stack([random_background(rng, size) for _ in range(count)])
    return torch.from_numpy(pool).permute(0, 3, 1, 2).contiguous()


def mirrored(rgba: Tensor, rotation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the images as seen in a mirror: a mirrored chair is a chair, in the pose M R M."""
    chosen = (torch.rand(len(rgba), generator=generator) < 0.5).nonzero().squeeze(1)
    rgba[chosen] = rgba[chosen].flip(-1)
    flip = torch.tensor(MIRROR)
    rotation = rotation.clone()
    rotation[chosen] = rotation[chosen] * flip * flip[:, None]
    return rgba, rotation


def shifted(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to SHIFT pixels, transparent where nothing is known."""
    side = rgba.shape[-1]
    amount = round(SHIFT * side / 64)
    padded = F.pad(rgba, (amount,) * 4)
    places = torch.randint(2 * amount + 1, (len(rgba), 2), generator=generator).tolist()
    return torch.stack(
        [one[:, y : y + side, x : x + side] for one, (y, x) in zip(padded, places, strict=True)]
    )
