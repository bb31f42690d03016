"""Which prior, with which weight, on which canvas? Many settings tried on a few codes.

Each is held against two wishes that pull apart: a small code error, and a natural image.
"""

from __future__ import annotations

import math
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

ERROR_FLOOR = 0.05
"""Code errors far below it are as good as none. Chosen by eye, on posenet and mobilenet-v2."""
LEAST = 1e-6
"""Of a naturalness in a score: SSIM may be below 0."""
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Trial:
    """A draw at one layer. ``error`` (ijcv16) and ``naturalness`` (the settings' measure) are means over the
    codes, None where it failed.

    ``on_front``: no other trial of the layer has both a smaller error and a greater naturalness.
    ``score``: how much naturalness for how much error, ``naturalness / (error + ERROR_FLOOR)``.
    """

    layer: str
    draw: Draw
    outcome: Outcome
    error: float | None
    naturalness: float | None
    on_front: bool = False
    score: float | None = None


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
    """The trials of one layer with their scores, and the Pareto front marked."""
    known = [one for one in trials if one.error is not None and one.naturalness is not None]

    def mark(one: Trial) -> Trial:
        if one not in known:
            return one
        score = max(_naturalness(one), LEAST) / (_error(one) + ERROR_FLOOR)
        return replace(one, on_front=not any(_beats(other, one) for other in known), score=score)

    return [mark(one) for one in trials]


def recommended(trials: Sequence[Trial]) -> Trial | None:
    """Of the trials of one layer the one with the greatest score; None if all failed.

    It is on the front, for a smaller error or a greater naturalness alone makes a greater score.
    """
    front = [one for one in trials if one.on_front]
    return max(front, key=_score) if front else None


def recommended_for_all(trials: Sequence[Trial]) -> tuple[Draw, float] | None:
    """The draw with the greatest geometric mean of its scores at all layers, and that mean.

    Draws are the same at two layers if they stand at the same place in the order of what is tried. None if
    the layers differ in that, or no draw came through at all of them.
    """
    layers = list(dict.fromkeys(one.layer for one in trials))
    rows = [[one for one in trials if one.layer == layer] for layer in layers]
    if len({tuple(one.draw.curve for one in row) for row in rows}) > 1:
        return None
    columns = [column for column in zip(*rows, strict=True) if all(one.score is not None for one in column)]
    if not columns:
        return None
    means = [math.exp(sum(math.log(_score(one)) for one in column) / len(column)) for column in columns]
    best = max(range(len(columns)), key=means.__getitem__)
    return columns[best][0].draw, means[best]


def _beats(one: Trial, other: Trial) -> bool:
    """At least as good in both, and better in one."""
    errors, natural = (_error(one), _error(other)), (_naturalness(one), _naturalness(other))
    no_worse = errors[0] <= errors[1] and natural[0] >= natural[1]
    return no_worse and (errors[0] < errors[1] or natural[0] > natural[1])


def _error(one: Trial) -> float:
    return math.inf if one.error is None else one.error


def _naturalness(one: Trial) -> float:
    return -math.inf if one.naturalness is None else one.naturalness


def _score(one: Trial) -> float:
    return 0.0 if one.score is None else one.score


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
