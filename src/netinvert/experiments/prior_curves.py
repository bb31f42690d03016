"""Priors at equal code error: each picture's measures between the weights, and what may be claimed of
them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netinvert.evaluation.report import Estimate
from netinvert.evaluation.statistics import PairedTest, compared, estimate, holm

LEAST = 20
"""Pictures that a claim needs."""
MARGINS = {"ssim": 0.01}
OTHER_MARGIN = 0.05
"""Smaller differences do not matter: of SSIM, and of shares (5 points)."""
ALPHA = 0.05
Verdict = Literal["better", "worse", "equivalent", "undecided", "not enough"]


@dataclass(frozen=True, eq=False)
class Curve:
    """A prior on a canvas at a layer, at W ``weights`` (the least first; 0 is without it): ``errors`` (W, M),
    and by measure ``values`` (W, M), of M images; ``pictures`` (M,) says of which code each is."""

    layer: str
    prior: str
    canvas: str
    weights: tuple[float, ...]
    errors: Tensor
    values: Mapping[str, Tensor]
    pictures: Tensor

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.prior}, {self.canvas}"

    def at(self, measure: str, level: Tensor) -> Tensor:
        """The measure (M,) where the image's own curve has a code error (M,); NaN where it has not."""
        return at_error(self.errors, self.values[measure], level)

    def nearest(self, level: Tensor) -> Tensor:
        """The places (M,) of the weights whose images are nearest to these code errors."""
        off = (self.errors.clamp_min(1e-9) / level).log().abs()
        return off.nan_to_num(torch.inf).argmin(0)


def at_error(errors: Tensor, values: Tensor, level: Tensor) -> Tensor:
    """Values (W, M) along the weights, where the errors (W, M) are those of ``level`` (M,): between two
    weights straight over the errors' logarithm; where a curve comes by several times, the mean; NaN where it
    never does. Nothing is extrapolated.

    Example:
        >>> errors, values = torch.tensor([[0.1], [0.4]]), torch.tensor([[0.0], [1.0]])
        >>> [round(at_error(errors, values, torch.tensor([level])).item(), 3) for level in (0.2, 0.5)]
        [0.5, nan]
    """
    logs, wanted = errors.double().clamp_min(1e-9).log(), level.double().clamp_min(1e-9).log()
    values = values.double()
    if len(logs) == 1:
        return torch.where(logs[0] == wanted, values[0], torch.nan)
    first, second = logs[:-1], logs[1:]
    level_way = second == first
    share = torch.where(level_way, 0.5, (wanted - first) / torch.where(level_way, 1.0, second - first))
    here = (torch.minimum(first, second) <= wanted) & (wanted <= torch.maximum(first, second))
    between = values[:-1] + share * (values[1:] - values[:-1])
    found = torch.where(here, between, 0.0).sum(0) / here.sum(0)
    return torch.where(here.any(0), found, torch.nan)


def common_place(curves: Sequence[Curve]) -> int:
    """The weight of the first curve, the reference, at whose code errors a layer's curves are compared: that
    which most images of all curves reach; of equal ones the nearest to the middle. No measure has a say."""
    first = curves[0]
    above = [place for place, weight in enumerate(first.weights) if weight > 0] or [0]
    middle = above[len(above) // 2]

    def reached(place: int) -> tuple[float, int]:
        there = [at_error(one.errors, one.errors, first.errors[place]).isfinite() for one in curves]
        return float(torch.stack(there).double().mean()), -abs(place - middle)

    return max(above, key=reached)


@dataclass(frozen=True, eq=False)
class Claim:
    """A curve against the reference of its layer by a measure, at the reference's own code error: the
    ``comparison`` (None: too few pictures), and p-values corrected for the family (Holm)."""

    curve: Curve
    measure: str
    comparison: PairedTest | None
    p: float = 1.0
    p_apart: float = 1.0

    @property
    def verdict(self) -> Verdict:
        """``equivalent``: surely nearer than the margin, also where surely not the same."""
        if self.comparison is None:
            return "not enough"
        if self.p_apart < ALPHA:
            return "equivalent"
        if self.p < ALPHA:
            return "better" if self.comparison.apart.value > 0 else "worse"
        return "undecided"


def claims(layers: Mapping[str, Sequence[Curve]], measure: str) -> list[Claim]:
    """Of every layer's curves but the first, which is the reference; all are one family of tests."""
    made = [
        _claim(curve, curves[0], measure, common_place(curves))
        for curves in layers.values()
        for curve in curves[1:]
        if measure in curve.values
    ]
    known = [one for one in made if one.comparison is not None]
    both = [holm([getattr(one.comparison, name) for one in known]) for name in ("p", "p_apart")]
    corrected = dict(zip(map(id, known), zip(*both, strict=True), strict=True))
    return [Claim(one.curve, one.measure, one.comparison, *corrected.get(id(one), ())) for one in made]


def figure_of(values: Tensor, pictures: Tensor) -> Estimate | None:
    """The mean over images (M,), with its interval over pictures; None where nothing is known."""
    known = ~values.isnan()
    return estimate(values[known], pictures[known]) if bool(known.any()) else None


def _claim(curve: Curve, reference: Curve, measure: str, place: int) -> Claim:
    theirs = reference.values[measure][place].double()
    return Claim(curve, measure, _paired(curve, measure, reference.errors[place], theirs))


def _paired(curve: Curve, measure: str, level: Tensor, theirs: Tensor) -> PairedTest | None:
    """A curve at a code error (M,) against other values (M,); None: too few pictures have both."""
    values = curve.at(measure, level)
    both = ~(values.isnan() | theirs.isnan())
    if len(set(curve.pictures[both].tolist())) < LEAST:
        return None
    return compared(values, theirs, curve.pictures, MARGINS.get(measure, OTHER_MARGIN))


def winner(found: Sequence[Claim], level: Tensor) -> Claim | None:
    """Of one layer's claims by one measure that which is surely better than the reference, and, at the code
    errors ``level`` (M,), surely better than every other that is (Holm over these tests); None if there is
    none, or if it is undecided which."""
    better = [one for one in found if one.verdict == "better"]
    better.sort(key=lambda one: -one.comparison.apart.value if one.comparison else 0.0)
    if not better:
        return None
    best, *others = better
    tests = [_paired(best.curve, one.measure, level, one.curve.at(one.measure, level)) for one in others]
    known = [one for one in tests if one is not None and one.apart.value > 0]
    sure = len(known) == len(others) and all(p < ALPHA for p in holm([one.p for one in known]))
    return best if sure else None
