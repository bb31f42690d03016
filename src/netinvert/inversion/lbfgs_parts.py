"""L-BFGS's settings, and a line search for the strong Wolfe conditions that is told one point at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
MOST_TRIALS = 10
ROUNDING = 1e-8
"""Relative differences of losses below this are rounding."""


@dataclass(frozen=True)
class Point:
    """A step along the direction, the loss there and its slope along the direction."""

    step: float
    loss: float
    slope: float

    @property
    def finite(self) -> bool:
        """Whether loss and slope are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.slope)


class Search:
    """Brackets and zooms (Nocedal & Wright, algorithms 3.5 and 3.6).

    ``trial`` is the step to evaluate next. :meth:`tell` takes the point found there and gives the next
    trial, or None when the search is over; ``accepted`` then holds the point taken, or None.
    """

    def __init__(self, start: Point, first: float) -> None:
        self.start = start
        self.trial = first
        self.trials = 0
        self.low = start  # the best point so far; the minimum lies between it and ``high``, if there is one
        self.high: Point | None = None
        self.accepted: Point | None = None

    def tell(self, point: Point) -> float | None:
        """Take the point at ``trial``; give the next trial, or None at the end."""
        self.trials += 1
        if point.finite and self._decreases(point) and abs(point.slope) <= -CURVATURE * self.start.slope:
            self.accepted = point
            return None
        self._narrow(point)
        if self.trials >= MOST_TRIALS or self._gain() <= ROUNDING * abs(self.low.loss):
            self.accepted = self.low if self.low.step > 0 else None
            return None
        self.trial = self._next()
        return self.trial

    def _decreases(self, point: Point) -> bool:
        return point.loss <= self.start.loss + SUFFICIENT_DECREASE * point.step * self.start.slope

    def _narrow(self, point: Point) -> None:
        if not point.finite or not self._decreases(point) or point.loss >= self.low.loss:
            self.high = point
            return
        ahead = math.inf if self.high is None else self.high.step
        if point.slope * (ahead - self.low.step) >= 0:
            self.high = self.low
        self.low = point

    def _gain(self) -> float:
        """What is still to be gained within the bracket, to first order."""
        if self.high is None:
            return math.inf
        return abs(self.high.step - self.low.step) * abs(self.low.slope)

    def _next(self) -> float:
        if self.high is None:  # still downhill: go on
            return 4 * self.low.step
        if not self.high.finite:
            return self.low.step + 0.1 * (self.high.step - self.low.step)
        near, far = sorted((self.low.step, self.high.step))
        margin = 0.1 * (far - near)
        guess = cubic_minimum(self.low, self.high)
        if not math.isfinite(guess):  # losses so large that their squares overflow
            return self.low.step + 0.1 * (self.high.step - self.low.step)
        return min(max(guess, near + margin), far - margin)

    def state(self) -> Tensor:
        """As numbers; :meth:`restored` undoes it."""
        high = self.high or Point(math.nan, math.nan, math.nan)
        points = [
            value for point in (self.start, self.low, high) for value in (point.step, point.loss, point.slope)
        ]
        return torch.tensor([self.trial, self.trials, self.high is not None, *points], dtype=torch.float64)

    @classmethod
    def restored(cls, state: Tensor) -> Search:
        """The search that :meth:`state` described."""
        trial, trials, bracketed, *rest = state.tolist()
        search = cls(Point(*rest[:3]), trial)
        search.trials = int(trials)
        search.low = Point(*rest[3:6])
        search.high = Point(*rest[6:9]) if bracketed else None
        return search


def cubic_minimum(a: Point, b: Point) -> float:
    """Where the cubic through two points with their slopes is least; their middle if it has no minimum."""
    width = b.step - a.step
    d1 = a.slope + b.slope - 3 * (b.loss - a.loss) / width
    root = d1 * d1 - a.slope * b.slope
    if root < 0:
        return (a.step + b.step) / 2
    d2 = math.copysign(math.sqrt(root), width)
    divisor = b.slope - a.slope + 2 * d2
    return b.step - width * (b.slope + d2 - d1) / divisor if divisor != 0 else (a.step + b.step) / 2


@dataclass(frozen=True)
class WarmUp:
    """Steps of Adam before the first line search, until the loss is ``until`` times the first one or below.

    Far from a match the gradient changes too fast for curvature to help, in nearly grey noise or where
    most ReLUs are shut; steps of a fixed size leave such a place. At most ``steps``, each sample by itself.
    """

    rate: float = 0.05
    until: float = 0.3
    steps: int = 60
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class LBFGSSettings:
    """As of :class:`netinvert.LBFGS`."""

    history: int = 10
    first_step: float = 0.01
    warm_up: WarmUp | None = None
