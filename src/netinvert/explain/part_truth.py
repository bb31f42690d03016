"""Which parts of a chair move the pose that a network reads: by taking them away, as renderings allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netinvert.explain.sanity import rank_correlation
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

LEAST_SEEN = 0.003
"""Of an image's pixels: parts that cover less are left out."""
LEAST_PARTS = 3
"""Chairs with fewer parts in sight are left out: there is nothing to order."""


@dataclass(frozen=True, eq=False)
class PartViews:
    """N chairs and what is left of each without one of its parts, up to P of them: ``images`` (N, 3, H, W),
    ``without`` (N, P, 3, H, W), the pixels in which a part is seen, ``masks`` (N, P, H, W) bool, none of a
    part that a chair has not; the parts' names."""

    images: Tensor
    without: Tensor
    masks: Tensor
    names: tuple[str, ...]

    @property
    def seen(self) -> Tensor:
        """Which parts are there, (N, P)."""
        return self.masks.flatten(2).any(2)


def part_views(plan: DatasetConfig, identities: Iterable[int]) -> PartViews | None:
    """Of those of a plan's chairs that have a front and LEAST_PARTS in sight; None if none has. In studio
    light before paper, without a shadow on the ground: of a chair without its legs it would lie elsewhere.

    Raises MissingExtraError without the extra scenes."""
    source, light = plan.source(), replace(STUDIO, shadow=False)
    found: list[tuple[NDArray[np.uint8], dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]]]] = []
    for identity in identities:
        thing = source.make(plan.object_seed(identity), identity)
        if thing.symmetry != 1:
            continue
        camera = plan.camera(thing.vertices, 0, plan.generator(identity, 0))
        whole = Renderer(thing).image(camera, light)
        masks = {name: whole.parts == 1 + place for place, name in enumerate(thing.parts)}
        seen = {name: mask for name, mask in masks.items() if mask.mean() >= LEAST_SEEN}
        if len(seen) >= LEAST_PARTS:
            left = {name: Renderer(thing.without(name)).image(camera, light).rgba for name in seen}
            found.append((whole.rgba, {name: (left[name], seen[name]) for name in seen}))
    if not found:
        return None
    names = tuple(sorted({name for _, parts in found for name in parts}))
    nothing = np.zeros(found[0][0].shape[:2], bool)
    rows = [[parts.get(name, (rgba, nothing)) for name in names] for rgba, parts in found]
    return PartViews(
        _before_paper([rgba for rgba, _ in found]),
        torch.stack([_before_paper([left for left, _ in row]) for row in rows]),
        torch.from_numpy(np.stack([[mask for _, mask in row] for row in rows])),
        names,
    )


def part_plan(chairs: int, size: int, seed: int) -> DatasetConfig:
    """Chairs as they stand before whoever sits down, a view each."""
    return DatasetConfig(identities=chairs, views=1, size=size, seed=seed, **UPRIGHT)


def _before_paper(rgba: list[NDArray[np.uint8]]) -> Tensor:
    pixels = torch.from_numpy(np.stack(rgba)).permute(0, 3, 1, 2).float() / 255
    paper = torch.tensor(PAPER).float()[:, None, None] / 255
    return paper + pixels[:, 3:] * (pixels[:, :3] - paper)


def mass_in(maps: Tensor, masks: Tensor) -> Tensor:
    """How much of maps (N, H, W), without their signs, lies in masks (N, P, H, W), (N, P)."""
    return torch.einsum("nhw,nphw->np", maps.abs().double(), masks.double())


def rank_agreement(mass: Tensor, moves: Tensor, seen: Tensor) -> Tensor:
    """The rank correlation (N,) over the parts ``seen`` (N, P) of a chair between what they have of a map and
    how far the answer moves without them, both (N, P)."""
    rows = [
        rank_correlation(one[here][None], move[here][None])[0]
        for one, move, here in zip(mass, moves, seen, strict=True)
    ]
    return torch.stack(rows)


def names_the_most(mass: Tensor, moves: Tensor, seen: Tensor) -> Tensor:
    """Whether (N,) the part with the most of a map is the one that moves the answer most."""
    hidden = torch.full_like(mass, -1)
    first, second = (torch.where(seen, one.to(mass), hidden).argmax(1) for one in (mass, moves))
    return (first == second).double()
