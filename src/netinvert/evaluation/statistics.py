"""Intervals of figures over objects: the bootstrap, with the object as the unit that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.report import Estimate

DRAWS = 2000
"""Samples of the bootstrap."""
COMPARED = 10_000
"""Samples where small p-values are asked for."""
LEVEL = 0.95
Statistic = Literal["mean", "median"]


def estimate(
    values: Tensor,
    groups: Tensor | None = None,
    statistic: Statistic = "mean",
    weights: Tensor | None = None,
) -> Estimate:
    """The mean or median of values (N,) with its 95 % interval: percentiles of the bootstrap over groups
    (Efron & Tibshirani 1993, chapter 13), where ``groups`` (N,) says which object each value is of; without
    it, each is an object. A mean may have ``weights`` (N,). Of one object there is no interval. The same
    values give the same interval.

    Raises ConfigError: no values, or not one group each.

    Example:
        >>> found = estimate(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> found.value, found.low < 2 < 3 < found.high
        (2.5, True)
    """
    return _interval(_checked(values, groups)[None], groups, statistic, weights)


def difference(
    first: Tensor,
    second: Tensor,
    groups: Tensor | None = None,
    statistic: Statistic = "mean",
    weights: Tensor | None = None,
) -> Estimate:
    """By how much a figure of the first values (N,) is above that of the second, paired: both are of the same
    objects, and every draw of the bootstrap takes both. As :func:`estimate`.

    Example:
        >>> worse = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> found = difference(worse, worse - 0.5)
        >>> found.value, found.low, found.high
        (0.5, 0.5, 0.5)
    """
    if first.shape != second.shape:
        raise ConfigError(f"paired values are of one shape, got {first.shape} and {second.shape}")
    both = torch.stack([_checked(first, groups), _checked(second, groups)])
    return _interval(both, groups, statistic, weights)


def ratio(first: Tensor, second: Tensor) -> Estimate:
    """How many times the mean of the second values (N,) that of the first is, paired: every draw of the
    bootstrap takes both values of an object. As :func:`estimate`.

    Example:
        >>> halves = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> found = ratio(halves, 2 * halves)
        >>> found.value, found.low, found.high
        (0.5, 0.5, 0.5)
    """
    if first.shape != second.shape:
        raise ConfigError(f"paired values are of one shape, got {first.shape} and {second.shape}")
    above, below = _checked(first, None), _checked(second, None)
    value = float(above.sum() / below.sum())
    if len(above) < 2:
        return Estimate(value)
    times = times_drawn(len(above), DRAWS)
    return Estimate(value, *central((times @ above) / (times @ below)))


def differs(found: Estimate) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return found.low is not None and found.high is not None and not found.low <= 0 <= found.high


@dataclass(frozen=True)
class Significance:
    """A mean with its 95 % interval, the probability ``p`` of one as far from 0 if there were no difference
    (two-sided), and the ``count`` of objects."""

    found: Estimate
    p: float
    count: int


@lru_cache(maxsize=2)
def times_drawn(count: int, draws: int) -> Tensor:
    """How often each of ``count`` objects is in each sample of the bootstrap, (draws, count); to be read,
    not changed."""
    drawn = torch.randint(count, (draws, count), generator=torch.Generator().manual_seed(0))
    times = torch.zeros(draws, count, dtype=torch.float64)
    return times.scatter_add_(1, drawn, torch.ones(draws, count, dtype=torch.float64))


def means_and_tests(values: Tensor, draws: int = DRAWS) -> list[Significance]:
    """The means of the columns of values (N, M), of one object a row, NaN where it has none: percentiles of
    the bootstrap, and twice the share of draws on the other side of 0 (Efron & Tibshirani 1993, chapters 13
    and 15). The same draws of objects serve all columns. A column without values is an error.

    Raises ConfigError: no values in a column.

    Example:
        >>> far, none = torch.linspace(1, 3, 20), torch.linspace(-1, 1, 20)
        >>> one, other = means_and_tests(torch.stack([far, none], 1))
        >>> one.found.value, one.p < 0.01, other.p > 0.5
        (2.0, True, True)
    """
    known = values.isfinite()
    if values.ndim != 2 or not known.any(0).all():
        raise ConfigError("means are of columns of values (N, M) that each have some")
    times = times_drawn(len(values), draws)
    filled, present = values.double().nan_to_num(), known.double()
    spread = (times @ filled) / (times @ present)
    found = []
    for column, mean in enumerate((filled.sum(0) / present.sum(0)).tolist()):
        own = spread[:, column]
        own = own[own.isfinite()]
        beyond = min(int((own <= 0).sum()), int((own >= 0).sum()))
        p = min(1.0, 2 * (beyond + 1) / (len(own) + 1))
        found.append(Significance(Estimate(mean, *central(own)), p, int(known[:, column].sum())))
    return found


@dataclass(frozen=True)
class PairedTest:
    """By how much one figure is above another, paired; ``p`` of no difference (two-sided), ``p_apart`` of a
    difference beyond the margin (the larger of two one-sided tests, Schuirmann 1987: small is equivalent)."""

    apart: Estimate
    p: float
    p_apart: float
    objects: int


def compared(first: Tensor, second: Tensor, groups: Tensor, margin: float) -> PairedTest:
    """The mean of the first values (N,) against that of the second, paired, by COMPARED draws of the
    bootstrap over groups (N,); pairs of which a value is NaN are left out. Raises ConfigError: none is left.

    Example:
        >>> first, objects = torch.linspace(0, 1, 40), torch.arange(40)
        >>> found = compared(first, first - 0.5, objects, 0.05)
        >>> found.apart.value, found.p < 0.001, found.p_apart
        (0.5, True, 1.0)
    """
    both = ~(first.isnan() | second.isnan())
    apart = (first - second)[both].double()
    if not len(apart):
        raise ConfigError("no pair is known: there is nothing to compare")
    place = torch.unique(groups[both], return_inverse=True)[1]
    count = int(place.max()) + 1
    empty = torch.zeros(count, dtype=torch.float64)
    sums, sizes = empty.index_add(0, place, apart), empty.index_add(0, place, torch.ones_like(apart))
    times = times_drawn(count, COMPARED)
    spread = (times @ sums) / (times @ sizes)

    def beyond(limit: float, above: bool) -> float:
        """Of one sample."""
        past = spread >= limit if above else spread <= limit
        return (int(past.sum()) + 1) / (COMPARED + 1)

    p = min(1.0, 2 * min(beyond(0, True), beyond(0, False)))
    found = Estimate(float(apart.mean()), *central(spread))
    return PairedTest(found, p, max(beyond(margin, True), beyond(-margin, False)), count)


def holm(values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, corrected for their number (Holm 1979): where one is below α, the chance
    of any false rejection is below α.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order, largest = sorted(range(len(values)), key=values.__getitem__), 0.0
    found = [0.0] * len(values)
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        found[place] = largest
    return found


def central(spread: Tensor) -> tuple[float, float]:
    """The ends between which LEVEL of the samples of the bootstrap lie (B,)."""
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(spread, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def _checked(values: Tensor, groups: Tensor | None) -> Tensor:
    if values.ndim != 1 or not len(values):
        raise ConfigError(f"an interval is of values (N,), one or more; got {tuple(values.shape)}")
    if groups is not None and groups.shape != values.shape:
        raise ConfigError(f"every value is of one group: got {len(values)} values and {len(groups)} groups")
    return values.double()


def _interval(rows: Tensor, groups: Tensor | None, statistic: Statistic, weights: Tensor | None) -> Estimate:
    """Of rows (1, N), or of two, (2, N), their difference."""
    count = rows.shape[1]
    place = torch.arange(count) if groups is None else torch.unique(groups, return_inverse=True)[1]
    objects = int(place.max()) + 1

    own = torch.ones(count, dtype=torch.float64) if weights is None else weights.double()

    def figure(times: Tensor) -> Tensor:
        """(B,) of how often each value counts, (B, N)."""
        found: list[Tensor] = []
        for row in rows:
            if statistic == "mean":
                found.append(times @ (own * row) / (times @ own))
                continue
            ordered, order = row.sort()
            cumulated = times[:, order].cumsum(1)
            # The middle one of an odd number, the lower of the two middle ones of an even one, as torch has.
            middle = (cumulated[:, -1:] + 1) // 2
            found.append(ordered[(cumulated < middle).sum(1)])
        return found[0] if len(found) == 1 else found[0] - found[1]

    value = float(figure(torch.ones(1, count, dtype=torch.float64)))
    if objects < 2:
        return Estimate(value)
    return Estimate(value, *central(figure(times_drawn(objects, DRAWS)[:, place])))
