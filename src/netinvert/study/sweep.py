"""Which prior, with which weight, on which canvas? Many settings tried on a few codes.

Each is held against two wishes that pull apart: a small code error, and a natural image.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from netinvert.encoder import Encoder
from netinvert.energy import Match
from netinvert.errors import ConfigError
from netinvert.judging import shipped_reference
from netinvert.presets import Recipe
from netinvert.samples import photographs
from netinvert.study.draws import Draw, Settings, draws, recipe_of
from netinvert.study.inversions import Outcome, Scale, Task, histograms_of, mean_and_deviation, outcome

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Trial:
    """A draw at one layer. ``error`` (ijcv16) and ``naturalness`` (the settings' measure) are means over the
    codes, None where it failed.

    ``on_front``: no other trial of the layer has both a smaller error and a greater naturalness.
    ``distance`` from the corner where the best error and the best naturalness of the layer would meet, in
    units of how far the median trial falls behind them.
    """

    layer: str
    draw: Draw
    outcome: Outcome
    error: float | None
    naturalness: float | None
    on_front: bool = False
    distance: float | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """What is inverted at one layer: codes (N, ...), and the originals (N, C, H, W) where they are known."""

    encoder: Encoder
    codes: Tensor
    originals: Tensor | None


@dataclass(frozen=True, eq=False)
class Plan:
    """A sweep, checked: for every layer a recipe a draw. ``left_out`` says what cannot be tried, and why."""

    settings: Settings
    rows: tuple[tuple[Subject, tuple[tuple[Draw, Recipe], ...]], ...]
    left_out: tuple[str, ...]

    @property
    def trials(self) -> int:
        """How many there will be."""
        return sum(len(pairs) for _, pairs in self.rows)


def plan(settings: Settings, subjects: Sequence[Subject]) -> Plan:
    """Raises NetinvertError if a prior or canvas that the user named cannot be had, or no setting is left."""
    for subject in subjects:
        Match(subject.codes)  # refuses codes that cannot be matched
        if settings.measure == "ssim" and subject.originals is None:
            raise ConfigError("SSIM compares with originals, and a file of codes has none; use 'gradients'")
    left_out: dict[str, None] = {}
    rows = []
    for subject in subjects:
        found = draws(settings, subject.encoder, left_out)
        pairs = [(draw, recipe_of(settings, draw, subject.encoder)) for draw in found]
        if not pairs:
            raise ConfigError(f"nothing is left to try: {'; '.join(left_out)}")
        rows.append((subject, tuple(pairs)))
    return Plan(settings, tuple(rows), tuple(left_out))


def perform(planned: Plan, place: Callable[[str], Path], progress: Progress) -> list[Trial]:
    """Try everything; what is kept at ``place(digest)`` is not tried again. KeyboardInterrupt at Ctrl-C."""
    settings = planned.settings
    trials: list[Trial] = []
    for subject, pairs in planned.rows:
        encoder, codes = subject.encoder, subject.codes
        scale = Scale(subject.originals, _histograms(subject), shipped_reference(encoder))
        layer = []
        for draw, how in pairs:
            task = Task(encoder, how, codes, (settings.seed,) * len(codes))
            found = outcome(task, scale, settings.batch, place)
            layer.append(_trial(encoder.layer, draw, found, settings.measure))
            done = len(trials) + len(layer)
            progress(f"{done} of {planned.trials}: {_line(layer[-1])}")
        trials += marked(layer)
    return trials


def marked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of one layer with the Pareto front marked, and the distances from the corner."""
    known = [one for one in trials if one.error is not None and one.naturalness is not None]
    if not known:
        return list(trials)
    best_error, error_unit = _scale([_error(one) for one in known])
    best_natural, natural_unit = _scale([-_naturalness(one) for one in known])

    def mark(one: Trial) -> Trial:
        if one not in known:
            return one
        beside = (_error(one) - best_error) / error_unit
        below = (-_naturalness(one) - best_natural) / natural_unit
        on_front = not any(_beats(other, one) for other in known)
        return replace(one, on_front=on_front, distance=math.hypot(beside, below))

    return [mark(one) for one in trials]


def recommended(trials: Sequence[Trial]) -> Trial | None:
    """Of the trials of one layer the one of the front that is nearest to the corner; None if all failed."""
    front = [one for one in trials if one.on_front]
    return min(front, key=lambda one: (_distance(one), _error(one))) if front else None


def recommended_for_all(trials: Sequence[Trial]) -> tuple[Draw, float] | None:
    """The draw with the smallest mean distance over the layers at which all was tried, and that distance.

    Draws are the same at two layers if they have the same name, canvas and place among their weights.
    """
    layers = list(dict.fromkeys(one.layer for one in trials))
    rows = [[one for one in trials if one.layer == layer] for layer in layers]
    if len({len(row) for row in rows}) > 1:
        return None  # other settings at other layers
    columns = [
        column for column in zip(*rows, strict=True) if all(one.distance is not None for one in column)
    ]
    if not columns:
        return None
    means = [sum(map(_distance, column)) / len(column) for column in columns]
    best = min(range(len(columns)), key=means.__getitem__)
    return columns[best][0].draw, means[best]


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """The least, and how far the median is from it (or the greatest, or 1, where that is nothing).

    The median, for a few useless settings would stretch the whole range.
    """
    least = min(values)
    return least, statistics.median(values) - least or max(values) - least or 1.0


def _beats(one: Trial, other: Trial) -> bool:
    """At least as good in both, and better in one."""
    errors, natural = (_error(one), _error(other)), (_naturalness(one), _naturalness(other))
    no_worse = errors[0] <= errors[1] and natural[0] >= natural[1]
    return no_worse and (errors[0] < errors[1] or natural[0] > natural[1])


def _error(one: Trial) -> float:
    return math.inf if one.error is None else one.error


def _naturalness(one: Trial) -> float:
    return -math.inf if one.naturalness is None else one.naturalness


def _distance(one: Trial) -> float:
    return math.inf if one.distance is None else one.distance


# -- trials --------------------------------------------------------------------------------------------


def _histograms(subject: Subject) -> dict[str, Tensor]:
    """Of the originals; where they are not known, the mean of netinvert's photographs."""
    if subject.originals is not None:
        return histograms_of(subject.originals)
    found = histograms_of(photographs(subject.encoder.size)[1])
    return {name: one.mean(0, keepdim=True).expand(len(subject.codes), -1) for name, one in found.items()}


def _trial(layer: str, draw: Draw, found: Outcome, measure: str) -> Trial:
    means = [mean_and_deviation(found.measured.get(name, ())) for name in ("ijcv16", measure)]
    error, natural = (None if mean is None else mean[0] for mean in means)
    return Trial(layer, draw, found, error, natural)


def _line(one: Trial) -> str:
    where = f"{one.layer}, {one.draw.options}"
    if one.outcome.failure is not None:
        return f"{where}: {one.outcome.failure}"
    return f"{where}: code error {_error(one):.3f}, naturalness {_naturalness(one):.3f}"
