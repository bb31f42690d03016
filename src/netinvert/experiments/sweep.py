"""The settings that a sweep tries: priors and canvases by name, weights from a grid or at random."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from netinvert.errors import ConfigError, NetinvertError
from netinvert.evaluation.evaluate import shipped_reference
from netinvert.experiments.inversions import Outcome, Scale, Task, histograms_of, mean_and_deviation, outcome
from netinvert.inversion.canvases import CANVASES, with_canvas
from netinvert.inversion.objectives import Match
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.prior_spec import PRIORS
from netinvert.inversion.schedule import Recipe
from netinvert.io.assets import photographs
from netinvert.models.encoder import Encoder

NONE = "none"
NATURALNESS = ("gradients", "naturalness", "ssim")
"""What a code error may be held against, by its name in ``inversions.MEASURES``."""
FACTORS = (0.1, 1.0, 10.0)
"""Weights that are tried of a prior, times its own, where the user names none."""


@dataclass(frozen=True)
class Settings:
    """What is tried. Empty ``priors`` are all that there are; ``weights`` FACTORS times each prior's own;
    ``canvases`` the preset's own. ``draws`` random settings between the extremes instead of the whole grid.

    A prior is a name as ``--prior`` takes it; one of several (``a+b``) has the weight of the first varied,
    one with a weight (``a=0.3``) stays as it is. ``measure``, of NATURALNESS, is that of the trade-off.
    """

    priors: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    canvases: tuple[str, ...] = ()
    preset: str = "default"
    measure: str = "gradients"
    draws: int | None = None
    steps: int | None = None
    seed: int = 0
    batch: int = 8

    def __post_init__(self) -> None:
        if self.measure not in NATURALNESS:
            raise ConfigError(f"there is no measure '{self.measure}'; choose from {', '.join(NATURALNESS)}")
        for weight in self.weights:
            if not (math.isfinite(weight) and weight > 0):
                raise ConfigError(f"weights are numbers above 0, got {weight}; the prior 'none' has none")
        for canvas in self.canvases:
            if canvas not in CANVASES:
                raise ConfigError(f"there is no canvas '{canvas}'; choose from {', '.join(CANVASES)}")
        if self.draws is not None and self.draws < 1:
            raise ConfigError(f"a random search has at least 1 draw, got {self.draws}")
        if self.batch < 1:
            raise ConfigError(f"at least 1 code is inverted at once, got {self.batch}")

    @property
    def named_priors(self) -> tuple[str, ...]:
        """Those to try, each once."""
        return tuple(dict.fromkeys(self.priors or (*PRIORS, NONE)))

    @property
    def named_canvases(self) -> tuple[str | None, ...]:
        """Those to try; None is the preset's own."""
        return tuple(dict.fromkeys(self.canvases)) or (None,)


@dataclass(frozen=True)
class Draw:
    """One setting: a prior by name, its weight (None: without one, or in the name), a canvas by name."""

    prior: str
    weight: float | None
    canvas: str | None

    @property
    def text(self) -> str:
        """The prior as ``--prior`` takes it."""
        if self.weight is None:
            return self.prior
        first, plus, rest = self.prior.partition("+")
        return f"{first}={self.weight:.4g}{plus}{rest}"

    @property
    def options(self) -> str:
        """For the command line."""
        return f"--prior {self.text}" + (f" --canvas {self.canvas}" if self.canvas else "")

    @property
    def curve(self) -> str:
        """What all draws of one curve share."""
        return self.prior + (f", {self.canvas}" if self.canvas else "")


def draws(settings: Settings, encoder: Encoder, left_out: dict[str, None] | None = None) -> list[Draw]:
    """The grid, or random settings: priors and canvases with equal chances, weights even in the logarithm.

    A prior that this network cannot have raises NetinvertError if the user named it, else goes to
    ``left_out``.
    """
    own: dict[str, float | None] = {}
    for prior in settings.named_priors:
        try:
            own[prior] = _own_weight(settings.preset, prior, encoder)
        except NetinvertError as error:
            if settings.priors or left_out is None:
                raise
            left_out[f"{prior} at {encoder.layer}: {error}"] = None
    canvases = settings.named_canvases
    if settings.draws is not None:
        return _random(settings, own)
    found = []
    for canvas, (prior, weight) in itertools.product(canvases, own.items()):
        if weight is None:
            found.append(Draw(prior, None, canvas))
        else:
            found += [Draw(prior, one, canvas) for one in _weights(settings, weight)]
    return found


def recipe_of(settings: Settings, draw: Draw, encoder: Encoder) -> Recipe:
    """The preset with this setting. Raises NetinvertError."""
    how = recipe(settings.preset, encoder, draw.text)
    if draw.canvas is not None:
        how = with_canvas(how, draw.canvas)
    return how if settings.steps is None else how.with_steps(settings.steps)


def _own_weight(preset: str, prior: str, encoder: Encoder) -> float | None:
    """The weight that the preset gives to the (first) prior; None if there is none to vary."""
    how = recipe(preset, encoder, prior)  # refuses unknown ones
    if prior == NONE or "=" in prior.partition("+")[0]:
        return None
    return how.priors[0][0]


def _weights(settings: Settings, own: float) -> tuple[float, ...]:
    return tuple(sorted(set(settings.weights))) or tuple(factor * own for factor in FACTORS)


def _random(settings: Settings, own: dict[str, float | None]) -> list[Draw]:
    assert settings.draws is not None
    source = random.Random(settings.seed)
    found = []
    for _ in range(settings.draws):
        # The same numbers for every layer, whatever the weights are there.
        prior, canvas, place = (
            source.choice(list(own)),
            source.choice(settings.named_canvases),
            source.random(),
        )
        weight = own[prior]
        if weight is not None:
            low, high = (limit(_weights(settings, weight)) for limit in (min, max))
            weight = low * (high / low) ** place
        found.append(Draw(prior, weight, canvas))
    return found


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
