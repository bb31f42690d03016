"""Which part of a chair each place of a picture shows, as a linear map reads it from the features of a
network that took no part in making the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.observer import LAYERS
from netinvert.evaluation.readers import CHUNK
from netinvert.io.images import fit
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.models.registry import load_network
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import image_maker
from netinvert.scenes.fresh import UPRIGHT
from netinvert.scenes.seeds import HOG

CELLS = 28
"""Places of a picture, down and right, of which the part is read."""
RIDGE = 1.0


@dataclass(frozen=True, eq=False)
class PartMaps:
    """``images`` (N, 3, H, W) in [0, 1] of chairs before paper, and how much of each of CELLS x CELLS places
    is of which part, ``shares`` (N, 1 + P, CELLS, CELLS): the first is what is no chair, the others
    ``names``."""

    images: Tensor
    shares: Tensor
    names: tuple[str, ...]


def part_maps(
    chairs: int, seed: int = HOG, size: int = 128, names: tuple[str, ...] | None = None
) -> PartMaps:
    """So many chairs of a seed, those of ``fresh_chairs``; parts that ``names`` leave out count as no chair.

    Raises MissingExtraError without the extra scenes."""
    plan = DatasetConfig(identities=chairs, views=1, size=size, seed=seed, **UPRIGHT)
    source, found = plan.source(), []
    for identity in range(chairs):
        thing = source.make(plan.object_seed(identity), identity)
        rng = plan.generator(identity, 0)
        camera = plan.camera(thing.vertices, 0, rng)
        seen = image_maker(plan, thing)(camera, plan.light(rng), 0)
        found.append((seen.rgba, seen.parts, tuple(thing.parts)))
    known = names or tuple(sorted({one for *_, parts in found for one in parts}))
    shares = []
    for _, labels, parts in found:
        masks = np.stack([labels == 1 + parts.index(one) if one in parts else labels < 0 for one in known])
        chair = torch.from_numpy(masks).float()
        whole = torch.cat([1 - chair.sum(0, keepdim=True), chair])
        shares.append(F.adaptive_avg_pool2d(whole, CELLS))
    rgba = torch.from_numpy(np.stack([one for one, *_ in found])).permute(0, 3, 1, 2).float() / 255
    paper = torch.tensor(PAPER).float()[:, None, None] / 255
    return PartMaps(paper + rgba[:, 3:] * (rgba[:, :3] - paper), torch.stack(shares), known)


@dataclass(frozen=True, eq=False)
class PartReader:
    """``weights`` (C + 1, 1 + P) of the features of a place; of a part the largest answer counts."""

    encoder: Encoder[dict[str, Tensor], dict[str, tuple[int, ...]]]
    weights: Tensor
    names: tuple[str, ...]

    @classmethod
    def fitted(cls, explained: Network, maps: PartMaps) -> PartReader:
        """By ridge regression, on a network of the observers' that is not the one explained.

        Raises MissingExtraError without the extra imagenet."""
        name = next(one for one in LAYERS if one != explained.name)
        reader = cls(Encoder(load_network(name), layers=LAYERS[name]), torch.zeros(()), maps.names)
        inner, outer = torch.zeros(()), torch.zeros(())
        for images, shares in zip(
            *(torch.split(each, CHUNK) for each in (maps.images, maps.shares)), strict=True
        ):
            seen = reader._features(images)
            inner = inner + seen.T @ seen
            outer = outer + seen.T @ shares.movedim(1, -1).flatten(0, 2)
        ridge = RIDGE * torch.eye(len(inner))
        return cls(reader.encoder, torch.linalg.solve(inner + ridge, outer), maps.names)

    @torch.no_grad()
    def labels(self, images: Tensor) -> Tensor:
        """The parts (N, CELLS, CELLS), from 1; 0 is no chair."""
        found = [(self._features(part) @ self.weights).argmax(1) for part in torch.split(images, CHUNK)]
        return torch.cat(found).reshape(-1, CELLS, CELLS)

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        """Of all places, (N * CELLS * CELLS, C + 1)."""
        codes = self.encoder(fit(images.clamp(0, 1), self.encoder.size).to(self.encoder.dtype)).values()
        maps = [F.interpolate(F.normalize(one, dim=1), (CELLS, CELLS), mode="bilinear") for one in codes]
        maps.append(torch.ones_like(maps[0][:, :1]))
        return torch.cat(maps, 1).movedim(1, -1).flatten(0, 2)


def part_overlap(found: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of labels (N, H, W), from 1, in the mean over the parts that are there in
    truth, (N,); NaN where none is. Raises ConfigError: shapes differ.

    Example:
        >>> truth = torch.tensor([[[0, 1], [2, 2]]])
        >>> part_overlap(torch.tensor([[[0, 1], [2, 0]]]), truth).item()
        0.75
    """
    if found.shape != truth.shape:
        raise ConfigError(f"parts are compared place by place, got {found.shape} and {truth.shape}")
    rows = []
    for one, own in zip(found, truth, strict=True):
        each = [
            ((one == part) & (own == part)).sum() / ((one == part) | (own == part)).sum()
            for part in own.unique().tolist()
            if part
        ]
        rows.append(torch.stack(each).double().mean() if each else torch.tensor(torch.nan).double())
    return torch.stack(rows)
