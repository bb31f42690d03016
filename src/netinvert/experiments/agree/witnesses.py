"""What three witnesses say of each part of chairs: how much the network needs it, how well it comes back from
its codes, and how much an attribution gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.part_reader import part_overlaps
from netinvert.experiments.agree.registration import Kind
from netinvert.experiments.features.registration import PARTS
from netinvert.io.cells import Cell

OTHERS = 32
"""Chairs whose inversions, in the place of a chair's own, say what of it is right by chance."""
OWN, RANDOM = "its own", "random"
OPTIMISED, DECODED = "optimised", "decoded"
NAMES: Mapping[Kind, str] = {"parts": "overlap", "pixels": "pixel error"}
"""What is measured of a part."""


@dataclass(frozen=True)
class Arm:
    """How images were made: of a layer's codes, "optimised" or "decoded"; ``weights`` are the network's own
    or random."""

    layer: str
    how: str = OPTIMISED
    weights: str = OWN

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.layer}, {self.how}{', random weights' * (self.weights == RANDOM)}"


@dataclass(frozen=True, eq=False)
class Witnesses:
    """Of N chairs by ``names`` and the P parts of PARTS, NaN of those that are not in sight: the log ratio of
    the pose's error without a part to that with as much covered elsewhere, before B backgrounds, ``needed``
    (N, B, P); each part's share of the chair's pixels, ``size`` (N, P); its share of the attribution over
    that share, by the network with its own weights and with random ones, ``attribution`` (N, 2, P).

    The chairs, ``original`` (N, 3, H, W) uint8, where each part is seen, ``masks`` (N, P, H, W) bool, and the
    part of each place, ``truth`` (N, h, w) uint8; of A ``arms`` the ``images`` (N, A, 3, H, W) uint8, what a
    reader of parts sees in them, ``labels`` (N, A, h, w) uint8, and in the originals, ``seen`` (N, h, w)
    uint8, and the code errors, ``code`` (N, A). ``heat`` (N, H, W) is the attribution."""

    names: tuple[str, ...]
    arms: tuple[Arm, ...]
    needed: Tensor
    size: Tensor
    attribution: Tensor
    original: Tensor = field(repr=False)
    masks: Tensor = field(repr=False)
    truth: Tensor = field(repr=False)
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    seen: Tensor = field(repr=False)
    code: Tensor = field(repr=False)
    heat: Tensor = field(repr=False)

    @classmethod
    def joined(cls, cells: Sequence[Cell], arms: tuple[Arm, ...]) -> Witnesses:
        """From cells of some chairs each."""
        tensors = {key: torch.cat([one.tensors[key] for one in cells]) for key in cells[0].tensors}
        return cls(tuple(name for one in cells for name in one.facts), arms, **tensors)

    @property
    def count(self) -> int:
        """Chairs."""
        return len(self.names)

    @cached_property
    def necessity(self) -> Tensor:
        """(N, P), the mean over backgrounds."""
        return self.needed.mean(1)

    def attributed(self, weights: str = OWN) -> Tensor:
        """(N, P)."""
        return self.attribution[:, int(weights == RANDOM)]

    @cached_property
    def figures(self) -> dict[tuple[Arm, Kind], tuple[Tensor, Tensor]]:
        """By arm and measure, of each part (N, P), in the chair's own images and in the mean over those of
        OTHERS: "parts", the intersection over union that the reader finds; "pixels", the root mean square
        error where the part is."""
        turns = range(min(OTHERS, self.count - 1) + 1)
        found: dict[tuple[Arm, Kind], tuple[Tensor, Tensor]] = {}
        for place, arm in enumerate(self.arms):
            labels, images = self.labels[:, place], self.images[:, place]
            overlaps = [part_overlaps(labels.roll(-k, 0), self.truth, len(PARTS)) for k in turns]
            errors = [self._errors(images.roll(-k, 0)) for k in turns]
            for kind, values in zip(NAMES, (overlaps, errors), strict=True):
                others = torch.stack(values[1:] or [torch.full_like(values[0], torch.nan)])
                found[arm, kind] = values[0], others.mean(0)
        return found

    def _errors(self, images: Tensor) -> Tensor:
        rows = []
        for image, own, masks in zip(images, self.original, self.masks, strict=True):
            squares = ((image.float() - own.float()) / 255).square().mean(0)
            rows.append((squares * masks).sum((1, 2)) / masks.sum((1, 2)))  # 0 / 0 of no part
        return torch.stack(rows).double().sqrt()

    def recovery(self, arm: Arm, kind: Kind) -> Tensor:
        """How well each part (N, P) comes back, less what is right by chance: by how much the overlap is
        above that of others' images, or the logarithm of how many times nearer the pixels are."""
        own, others = self.figures[arm, kind]
        nearer = (others.clamp_min(1 / 255) / own.clamp_min(1 / 255)).log()
        found = own - others if kind == "parts" else nearer
        return found.round(decimals=9)  # so that what is alike is ranked alike

    def ceiling(self) -> Tensor:
        """The overlap (N, P) that the reader finds in the originals."""
        return part_overlaps(self.seen, self.truth, len(PARTS))

    def by_part(self) -> report.Table:
        """A row a chair and part."""
        values: dict[str, Tensor] = {
            "share of pixels": self.size,
            "necessity": self.necessity,
            "attribution": self.attributed(),
            "attribution, random weights": self.attributed(RANDOM),
            "parts: original": self.ceiling(),
        }
        for arm in self.arms:
            for kind, name in NAMES.items():
                own, others = self.figures[arm, kind]
                values |= {f"{arm.name}: {name}": own, f"{arm.name}: {name}, others": others}
        rows: list[dict[str, Any]] = []
        for n, chair in enumerate(self.names):
            for p, part in enumerate(PARTS):
                if self.size[n, p].isfinite():
                    known = {key: round(float(each[n, p]), 5) for key, each in values.items()}
                    found = {key: value for key, value in known.items() if value == value}  # noqa: PLR0124
                    rows.append({"chair": chair, "part": part, **found})
        return report.Table.of(rows, ["chair", "part", *values])
