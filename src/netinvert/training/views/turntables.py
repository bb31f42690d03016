"""Objects seen from the same sides (the 62 views of "Learning to generate chairs"), which of the views a
training knows, and transformations of their images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.images import LUMA
from netinvert.io.running import generator_at, sent
from netinvert.models.generator import TRANSFORMS
from netinvert.scenes.cameras import angles_from_rotation
from netinvert.scenes.dataset_config import CHAIRS62, RING, SPLITS, DatasetConfig
from netinvert.scenes.dataset_reader import DatasetError, load_arrays, shard_paths
from netinvert.scenes.dataset_writer import image_maker
from netinvert.scenes.objects import Object3D

AZIMUTHS, ELEVATIONS = 31, 2
"""Of the views of an object."""


@dataclass(frozen=True, eq=False)
class Turntables:
    """I objects in V = 62 views each: ``planes`` uint8 (I, V, 4, H, W), colours multiplied by the mask and
    the mask, without shadows; ``azimuth`` and ``elevation`` (V,) in degrees, the same for all;
    ``identities``, which object each is in its dataset; ``distance`` (I,) of the cameras."""

    planes: Tensor
    azimuth: Tensor
    elevation: Tensor
    identities: tuple[int, ...]
    distance: Tensor

    @classmethod
    def of(cls, folder: Path, count: int | None = None) -> Turntables:
        """The first ``count`` objects of a dataset, in all its splits.

        Raises DatasetError: nothing to read, or other views; ConfigError: fewer objects than asked for.
        """
        found: list[tuple[int, Tensor, Tensor, Tensor, float]] = []
        for split in SPLITS:
            if not (folder.is_dir() and any(folder.glob(f"{split}-*.tar"))):
                continue
            arrays = load_arrays(folder, split)
            azimuth, elevation, _ = angles_from_rotation(torch.from_numpy(arrays.rotation))
            for identity in sorted(set(arrays.identity.tolist())):
                own = arrays.identity == identity
                planes = without_shadows(arrays.rgba[own], arrays.mask[own])
                distance = float(arrays.records[int(own.argmax())]["distance"])
                found.append((identity, planes, azimuth[own], elevation[own], distance))
        if not found:
            shard_paths(folder)  # tells what is missing
        if any(len(one[1]) != AZIMUTHS * ELEVATIONS for one in found):
            raise DatasetError(
                f"{folder} does not hold the {AZIMUTHS * ELEVATIONS} views of {CHAIRS62}: render with "
                f"--views {AZIMUTHS * ELEVATIONS}"
            )
        found.sort(key=lambda one: one[0])
        if count is not None and len(found) < count:
            raise ConfigError(f"{folder} holds {len(found)} objects, {count} were asked for: render more")
        found = found[:count]
        return cls(
            torch.stack([one[1] for one in found]),
            found[0][2],
            found[0][3],
            tuple(one[0] for one in found),
            torch.tensor([one[4] for one in found]),
        )

    @classmethod
    def rendered(cls, plan: DatasetConfig, identities: Iterable[int]) -> Turntables:
        """Some objects of a plan of 62 views, rendered in memory.

        Raises MissingExtraError: without the extra scenes; MeshError: a file cannot be read.
        """
        source, identities = plan.source(), tuple(identities)
        things = [source.make(plan.object_seed(one), one) for one in identities]
        cameras = [plan.camera(thing.vertices, 0, plan.generator(0, 0)) for thing in things]
        distance = [float(np.linalg.norm(one.position)) for one in cameras]
        return cls.joined([rendered_ring(plan, thing) for thing in things], identities, distance)

    @classmethod
    def joined(
        cls, rings: Sequence[Tensor], identities: Sequence[int], distance: Sequence[float]
    ) -> Turntables:
        """Rings of views (62, 4, H, W) uint8, with their cameras' distances, together."""
        azimuth, elevation = torch.tensor(RING, dtype=torch.float32).unbind(1)
        return cls(torch.stack(list(rings)), azimuth, elevation, tuple(identities), torch.tensor(distance))

    @property
    def size(self) -> int:
        """The images' side, in pixels."""
        return self.planes.shape[-1]

    def images(self, who: Tensor, view: Tensor, paper: float = 1.0) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] of objects (N,) in views (N,), on paper of that grey."""
        planes = self.planes[who, view].float().div(255)
        return planes[:, :3] + (1 - planes[:, 3:]) * paper


def without_shadows(rgba: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Tensor:
    """(V, 4, H, W) uint8: colours multiplied by the mask, and the mask."""
    colours = torch.from_numpy(rgba).float()
    alpha = torch.where(torch.from_numpy(mask) > 0, colours[..., 3], torch.zeros(()))
    planes = torch.cat([colours[..., :3] * (alpha / 255)[..., None], alpha[..., None]], -1)
    return planes.round().to(torch.uint8).permute(0, 3, 1, 2)


def rendered_ring(plan: DatasetConfig, thing: Object3D, views: Iterable[int] | None = None) -> Tensor:
    """The planes of views of an object as a plan asks, all if None, uint8 (V, 4, H, W), rendered in memory.

    Raises MissingExtraError: without the extra scenes; MeshError."""
    render, seen = image_maker(plan, thing), []
    for view in range(plan.views) if views is None else views:
        rng = plan.generator(0, view)
        seen.append(render(plan.camera(thing.vertices, view, rng), plan.light(rng), view))
    return without_shadows(np.stack([one.rgba for one in seen]), np.stack([one.mask for one in seen]))


@dataclass(frozen=True)
class KnownViews:
    """Which views a training knows: all of every other object; of the ones between, the ``azimuths`` that are
    spread most evenly, at both elevations, or where not ``both`` at the lower one.

    Dosovitskiy et al. 2015, section 5.2: what is known of many objects helps where little is known of one.
    """

    azimuths: int = 16
    both: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.azimuths <= AZIMUTHS:
            raise ConfigError(f"of {AZIMUTHS} azimuths, 1 or more are known, not {self.azimuths}")

    def mask(self, objects: int) -> Tensor:
        """(objects, 62) bool."""
        place = torch.arange(AZIMUTHS)
        step = (place * self.azimuths) // AZIMUTHS
        known = torch.cat([torch.tensor([True]), step[1:] != step[:-1]])
        row = torch.cat([known, known & self.both])
        every = torch.ones(objects, AZIMUTHS * ELEVATIONS, dtype=torch.bool)
        every[1::2] = row
        return every


@dataclass(frozen=True, eq=False)
class ViewBatch:
    """Objects ``identity`` (B,) seen from ``azimuth`` and ``elevation`` (B,), their ``transformation``
    (B, 8), and what is to be drawn, ``planes`` (B, 4, H, W) in [0, 1]."""

    identity: Tensor
    azimuth: Tensor
    elevation: Tensor
    transformation: Tensor
    planes: Tensor

    def to(self, device: torch.device) -> ViewBatch:
        """The same on another device."""
        return ViewBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class ViewBatches:
    """Makes batches of known views, each by (seed, step) alone; half of them are transformed."""

    tables: Turntables
    known: Tensor
    size: int
    seed: int

    def __call__(self, step: int) -> ViewBatch:
        """The batch of a step."""
        generator = generator_at(self.seed, step)
        places = self.known.nonzero()
        which = places[torch.randint(len(places), (self.size,), generator=generator)]
        amounts = 2 * torch.rand((self.size, len(TRANSFORMS)), generator=generator) - 1
        amounts[torch.rand(self.size, generator=generator) < 0.5] = 0
        device = self.tables.planes.device
        planes = self.tables.planes[sent(which[:, 0], device), sent(which[:, 1], device)].float().div_(255)
        angles = (one[which[:, 1]] for one in (self.tables.azimuth, self.tables.elevation))
        azimuth, elevation = (sent(one, device) for one in angles)
        amounts = sent(amounts, device)
        return ViewBatch(
            sent(which[:, 0], device), azimuth, elevation, amounts, transformed_planes(planes, amounts)
        )

    def to(self, device: torch.device) -> ViewBatches:
        """Work there from now on."""
        return replace(self, tables=replace(self.tables, planes=self.tables.planes.to(device)))


def transformed_planes(planes: Tensor, amounts: Tensor) -> Tensor:
    """Images (N, 4, H, W) in [0, 1], colours multiplied by the mask, after transformations (N, 8): turned,
    moved, zoomed and stretched about the middle, and with other colours; empty where nothing is known."""
    units = torch.tensor(list(TRANSFORMS.values()), device=amounts.device)
    turn, right, down, zoom, stretch, hue, saturation, brightness = (amounts * units).unbind(1)
    moved = planes
    if bool((amounts[:, :5] != 0).any()):
        c, s = turn.deg2rad().cos(), turn.deg2rad().sin()
        wide, tall = (-zoom - stretch).exp(), (-zoom + stretch).exp()
        # of a place in the output, where it comes from: moved back, turned back, shrunk
        rows = [torch.stack([wide * c, wide * s], -1), torch.stack([-tall * s, tall * c], -1)]
        matrix = torch.stack(rows, 1)
        place = torch.stack([2 * right, 2 * down], -1)[..., None]
        grid = F.affine_grid(
            torch.cat([matrix, -matrix @ place], -1), list(planes.shape), align_corners=False
        )
        moved = F.grid_sample(planes, grid, align_corners=False)
    colour, mask = moved[:, :3], moved[:, 3:]
    mixed = torch.einsum("nij,njhw->nihw", colour_change(hue, saturation, brightness), colour)
    return torch.cat([torch.minimum(mixed.clamp_min(0), mask), mask], 1)


def colour_change(hue: Tensor, saturation: Tensor, brightness: Tensor) -> Tensor:
    """(N, 3, 3) of angles (N,) in degrees and logarithms of factors (N,): colours are turned about the axis
    of greys, drawn from or towards their luma, and multiplied."""
    axis = torch.full((3,), math.sqrt(1 / 3), device=hue.device)
    cross = torch.zeros(3, 3, device=hue.device)
    cross[0, 1], cross[0, 2], cross[1, 2] = -axis[2], axis[1], -axis[0]
    cross = cross - cross.T
    eye, along = torch.eye(3, device=hue.device), torch.outer(axis, axis)
    c, s = (one[:, None, None] for one in (hue.deg2rad().cos(), hue.deg2rad().sin()))
    turned = c * eye + (1 - c) * along + s * cross
    luma = torch.tensor(LUMA, device=hue.device).expand(3, 3)
    factor = saturation.exp()[:, None, None]
    return (factor * eye + (1 - factor) * luma) @ turned * brightness.exp()[:, None, None]
