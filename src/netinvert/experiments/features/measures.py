"""What readers make of changed images: how much further off than the control's, and whose azimuth wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from netinvert.evaluation.readers import RIGHT
from netinvert.evaluation.statistics import Significance
from netinvert.experiments.features import registration as named
from netinvert.experiments.features.registration import Hypothesis
from netinvert.experiments.pose_evaluation import FLIPPED
from netinvert.experiments.registered import DRAWS, enough_tested
from netinvert.io.cells import Cell
from netinvert.scenes.cameras import azimuth_difference, within_circle

LEAST_ERROR = 1.0
"""Degrees: errors below count as this in a ratio, so that a hundredth of a degree is no hundredfold gain."""
OCTANTS = ("front", "front left", "left", "back left", "back", "back right", "right", "front right")
"""By azimuth, from 0 on: the side of the object that the camera sees."""
Scale = Literal["ratio", "degrees", "flips"]


@dataclass(frozen=True, eq=False)
class FeatureReadings:
    """Of N objects before B backgrounds, after I ``changes``, by R ``readers``: the geodesic ``error`` and
    the ``azimuth`` that is read (N, B, I, R), NaN where an object has no such change or a reader is not
    asked; the ``truth`` azimuth (N, I), that of the part that is turned, ``other`` (N, I), and the ``share``
    (N, I) of the object's visible pixels that a change touches. ``names`` are the objects'."""

    readers: tuple[str, ...]
    changes: tuple[str, ...]
    names: tuple[str, ...]
    error: Tensor
    azimuth: Tensor
    truth: Tensor
    other: Tensor
    share: Tensor

    @classmethod
    def joined(
        cls, cells: Sequence[Cell], readers: Sequence[str], limited: Sequence[bool]
    ) -> FeatureReadings:
        """From cells of some objects each. A reader that is limited is asked only where it reads the
        unchanged image right."""
        changes = tuple(dict.fromkeys(name for cell in cells for name in cell.facts["changes"]))

        def joined(key: str) -> Tensor:
            parts = []
            for cell in cells:
                own: Tensor = cell.tensors[key]
                axis = 2 if own.ndim == 4 else 1
                shape = [len(changes) if place == axis else size for place, size in enumerate(own.shape)]
                places = torch.tensor([changes.index(one) for one in cell.facts["changes"]])
                parts.append(own.new_full(shape, torch.nan).index_copy(axis, places, own))
            return torch.cat(parts)

        tensors = {key: joined(key) for key in ("error", "azimuth", "truth", "other", "share")}
        unread = tensors["error"][:, :, changes.index(named.UNCHANGED)] >= RIGHT
        unread &= torch.tensor(list(limited))
        for key in ("error", "azimuth"):
            tensors[key] = tensors[key].masked_fill(unread[:, :, None], torch.nan)
        names = tuple(name for cell in cells for name in cell.facts["names"])
        return cls(tuple(readers), changes, names, **tensors)

    def at(self, change: str) -> int:
        """The place of a change; none has -1."""
        return self.changes.index(change) if change in self.changes else -1

    def measured(self, change: str, scale: Scale) -> Tensor:
        """Values (N, B, R) of a change: the logarithm of the error, degrees, or whether front and back are
        taken for one another."""
        place = self.at(change)
        error = self.error[:, :, place]
        if scale == "degrees":
            return error
        if scale == "ratio":
            return error.clamp_min(LEAST_ERROR).log()
        turned = azimuth_difference(self.azimuth[:, :, place], self.truth[:, None, place, None])
        return (turned > FLIPPED).float().masked_fill(turned.isnan(), torch.nan)

    def follows(self, change: str, read_from: str = "") -> Tensor:
        """Whether (N, B, R) the azimuth that is read is nearer to the turned part's than to the object's; it
        may be ``read_from`` the image of another change, such as one where nothing is turned."""
        place = self.at(change)
        read = self.azimuth[:, :, self.at(read_from or change)]
        near, far = (azimuth_difference(read, one[:, None, place, None]) for one in (self.other, self.truth))
        return (near < far).float().masked_fill((near - far).isnan(), torch.nan)

    def effects(self, change: str, control: str, scale: Scale) -> Tensor:
        """By how much more than the control's, (N, B, R); all NaN where there is no such change."""
        if min(self.at(change), self.at(control)) < 0:
            return torch.full_like(self.error[:, :, 0], torch.nan)
        return self.measured(change, scale) - self.measured(control, scale)

    def over_area(self, change: str, control: str = "") -> Tensor:
        """``follows`` less the share of the object's pixels that the turned part has, (N, B, R); with a
        ``control``, where nothing is turned, less whichever is larger: that share, or what follows there."""
        if min(self.at(change), self.at(control or change)) < 0:
            return torch.full_like(self.error[:, :, 0], torch.nan)
        floor = self.share[:, None, self.at(change), None]
        if control:
            floor = torch.maximum(floor, self.follows(change, control))
        return self.follows(change) - floor

    def tested(self, one: Hypothesis, blind: int | None) -> Significance | None:
        """The test of a hypothesis about the first reader; ``blind`` is the place of the one with random
        weights. None where fewer than ENOUGH objects say anything."""
        if one.measure == "follows":
            values = self.over_area(one.change, one.control)[..., 0]
        else:
            both = self.effects(one.change, one.control, "ratio")
            if one.measure == "gain":
                if blind is None:
                    return None
                both = both - both[..., blind, None]
            values = both[..., 0]
        return enough_tested(values.nanmean(1)[:, None], DRAWS)[0]

    def touched(self, change: str) -> Tensor:
        """The share (N,) of each object's pixels that a change touches, NaN where it has none."""
        place = self.at(change)
        return torch.full_like(self.share[:, 0], torch.nan) if place < 0 else self.share[:, place]

    def octants(self) -> Tensor:
        """Which of OCTANTS (N,) each object is seen from."""
        return (within_circle(self.truth[:, self.at(named.UNCHANGED)] + 22.5) // 45).long()

    def rows(self) -> list[dict[str, Any]]:
        """A row an object, background and change: what each reader reads."""
        found = []
        for n, name in enumerate(self.names):
            for b, background in enumerate(named.BACKGROUNDS):
                for i, change in enumerate(self.changes):
                    if self.truth[n, i].isnan():
                        continue
                    known = {"object": name, "background": background, "change": change}
                    values = {"azimuth": self.truth[n, i], "part azimuth": self.other[n, i]}
                    values |= {"pixels touched": self.share[n, i]}
                    for r, reader in enumerate(self.readers):
                        values[f"{reader}: azimuth"] = self.azimuth[n, b, i, r]
                        values[f"{reader}: error"] = self.error[n, b, i, r]
                    row = {key: round(float(value), 4) for key, value in values.items() if value.isfinite()}
                    found.append(known | row)
        return found
