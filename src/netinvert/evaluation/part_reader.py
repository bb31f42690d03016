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
        shares.append(part_shares(torch.from_numpy(masks)))
    rgba = torch.from_numpy(np.stack([one for one, *_ in found])).permute(0, 3, 1, 2).float() / 255
    paper = torch.tensor(PAPER).float()[:, None, None] / 255
    return PartMaps(paper + rgba[:, 3:] * (rgba[:, :3] - paper), torch.stack(shares), known)


def part_shares(masks: Tensor) -> Tensor:
    """How much of each of CELLS x CELLS places is no chair, and of each part (P, H, W) bool,
    (1 + P, CELLS, CELLS)."""
    chair = masks.float()
    return F.adaptive_avg_pool2d(torch.cat([1 - chair.sum(0, keepdim=True), chair]), CELLS)


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
        reader = cls.of_weights(explained, torch.zeros(()), maps.names)
        inner, outer = torch.zeros(()), torch.zeros(())
        for images, shares in zip(
            *(torch.split(each, CHUNK) for each in (maps.images, maps.shares)), strict=True
        ):
            seen = reader._features(images)
            inner = inner + seen.T @ seen
            outer = outer + seen.T @ shares.movedim(1, -1).flatten(0, 2)
        ridge = RIDGE * torch.eye(len(inner))
        return cls(reader.encoder, torch.linalg.solve(inner + ridge, outer), maps.names)

    @classmethod
    def of_weights(cls, explained: Network, weights: Tensor, names: tuple[str, ...]) -> PartReader:
        """One that was fitted. Raises MissingExtraError without the extra imagenet."""
        name = next(one for one in LAYERS if one != explained.name)
        return cls(Encoder(load_network(name), layers=LAYERS[name]), weights, names)

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
    return part_overlaps(found, truth, max(1, int(truth.max()))).nanmean(1)


def part_overlaps(found: Tensor, truth: Tensor, parts: int) -> Tensor:
    """The same of each of so many parts, (N, parts); NaN of those that are not there in truth. Raises
    ConfigError: shapes differ.

    Example:
        >>> truth = torch.tensor([[[0, 1], [2, 2]]])
        >>> part_overlaps(torch.tensor([[[0, 1], [2, 0]]]), truth, 3).tolist()
        [[1.0, 0.5, nan]]
    """
    if found.shape != truth.shape:
        raise ConfigError(f"parts are compared place by place, got {found.shape} and {truth.shape}")
    columns = []
    for part in range(1, parts + 1):
        one, own = (labels.flatten(1) == part for labels in (found, truth))
        both, either = (places.sum(1).double() for places in (one & own, one | own))
        columns.append(torch.where(own.any(1), both / either, torch.nan))
    return torch.stack(columns, 1)
