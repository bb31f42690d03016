"""What three witnesses say of each part of chairs: how much the network needs it, how well it comes back from
its codes, and how much an attribution gives it; and how two of them agree: rank correlations within chairs,
their intervals over chairs, and what they would be if each chair's parts were ordered at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import part_overlaps
from netinvert.evaluation.report import Estimate
from netinvert.evaluation.statistics import DRAWS, central, times_drawn
from netinvert.experiments.agree.registration import Held, Kind
from netinvert.experiments.features.registration import PARTS
from netinvert.experiments.registered import ENOUGH
from netinvert.explain.part_truth import LEAST_PARTS
from netinvert.explain.sanity import ranks
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


# -- how two of them agree -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PartAgreement:
    """A correlation with its 95 % interval, the probability ``p`` of one as far from 0 if each chair's parts
    were ordered at random (two-sided), the ``chairs`` that it is of (N,) bool, and its values in the samples
    of the bootstrap, ``spread`` (DRAWS,)."""

    found: Estimate
    p: float
    chairs: Tensor
    spread: Tensor

    def above(self, other: PartAgreement) -> Estimate | None:
        """By how much it is above another of the same chairs, in the same samples; None: other chairs."""
        if not torch.equal(self.chairs, other.chairs):
            return None
        return Estimate(self.found.value - other.found.value, *central(self.spread - other.spread))


def part_agreement(
    first: Tensor, second: Tensor, size: Tensor, held: Held, draws: int
) -> PartAgreement | None:
    """Of what two witnesses say of parts (N, P), NaN where nothing, of N chairs; ``size`` (N, P) are the
    parts'. None: fewer than ENOUGH chairs have LEAST_PARTS that both know.

    With nothing ``held`` it is Spearman's ρ over the parts of a chair, in the mean over chairs. With the size
    held, it is the correlation of what is left of ranks when the parts' ranks by size have had their say
    (one slope for all chairs); with the kind, of ranks less what all parts of a kind have in common. p is of
    ``draws`` permutations of each chair's parts, with something held of what is left of them (Freedman &
    Lane 1983); the interval is of the bootstrap over chairs.

    Example:
        >>> one = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
        >>> found = part_agreement(one, one.exp(), -one, "", 99)
        >>> round(found.found.value, 6), found.p
        (1.0, 0.01)
    """
    known = first.isfinite() & second.isfinite() & size.isfinite()
    chairs = known.sum(1) >= LEAST_PARTS
    if chairs.sum() < ENOUGH:
        return None
    known = known[chairs]
    rows = [within_ranks(one[chairs], known) for one in (first, second)]
    if held == "size":
        rows.append(within_ranks(size[chairs], known))
    elif held == "kind":
        kinds = torch.eye(known.shape[1], dtype=torch.float64)
        rows += [_centred(one.expand(len(known), -1), known) for one in kinds]
    values = torch.stack(rows, 2)
    products = torch.einsum("npa,npb->nab", values, values)
    spread = _partial((times_drawn(len(known), DRAWS) @ products.flatten(1)).view(-1, *products.shape[1:]))
    found = Estimate(_partial(products.sum(0)).item(), *central(spread))
    return PartAgreement(found, _permuted(*_left(values), known, draws), chairs, spread)


def within_ranks(values: Tensor, known: Tensor) -> Tensor:
    """Ranks (N, P) of each chair's parts that are known, as a vector of length 1 about 0, so that the product
    of two is Spearman's ρ; 0 of the others, and where all are alike."""
    found = torch.zeros(values.shape, dtype=torch.float64)
    for row, one, here in zip(found, values, known, strict=True):
        row[here] = ranks(one[here])
    return F.normalize(_centred(found, known), dim=1)


def _centred(values: Tensor, known: Tensor) -> Tensor:
    kept = values * known
    return (kept - kept.sum(1, keepdim=True) / known.sum(1, keepdim=True)) * known


def _partial(products: Tensor) -> Tensor:
    """The correlation (...) of the first two columns, the others held, of sums of products (..., A, A)."""
    left = products[..., :2, :2]
    if products.shape[-1] > 2:
        across = products[..., :2, 2:]
        left = left - across @ torch.linalg.pinv(products[..., 2:, 2:], hermitian=True) @ across.mT
    scale = (left[..., 0, 0] * left[..., 1, 1]).clamp_min(0).sqrt()
    return torch.where(scale > 1e-9, left[..., 0, 1] / scale, 0.0)


def _left(values: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of the first two columns (N, P) each of (N, P, A) when the others have had their say."""
    rows = values.flatten(0, 1)
    others = rows[:, 2:]
    left = rows[:, :2] - others @ (torch.linalg.pinv(others) @ rows[:, :2]) if others.shape[1] else rows
    first, second = left[:, :2].unflatten(0, values.shape[:2]).unbind(2)
    return first, second


def _permuted(first: Tensor, second: Tensor, known: Tensor, draws: int) -> float:
    orders = torch.tensor(list(permutations(range(known.shape[1]))))
    kept = orders == torch.arange(known.shape[1])
    allowed = (kept | known[:, None]).all(2)  # parts that are not known stay where they are
    products = torch.einsum("nkp,np->nk", first[:, orders], second)
    drawn = torch.multinomial(allowed.double(), draws, True, generator=torch.Generator().manual_seed(0))
    chance = products.gather(1, drawn).sum(0)
    own = (first * second).sum().abs() - 1e-9
    return (int((chance.abs() >= own).sum()) + 1) / (draws + 1)
