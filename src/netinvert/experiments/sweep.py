"""A sweep: priors and canvases by name, weights from a grid or at random, held against one another.

Its page has trade-off curves, the Pareto front, the recommended setting and all images.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from netinvert.errors import ConfigError, NetinvertError
from netinvert.evaluation.report import (
    number,
)
from netinvert.experiments.configs.looks import Grid, Sweep
from netinvert.experiments.inputs import Inputs
from netinvert.experiments.inversions import PresetChoice, Reconstructions
from netinvert.inversion.objectives import Match
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.priors import PRIORS
from netinvert.models.encoder import Encoder

NONE = "none"
FACTORS = (0.1, 1.0, 10.0)
"""Weights that are tried of a prior, times its own, where the user names none."""
ERROR_FLOOR = 0.05
"""Code errors far below it are as good as none. Chosen by eye, on posenet and mobilenet-v2."""
LEAST = 1e-6
"""Of a naturalness in a score: SSIM may be below 0."""


@dataclass(frozen=True)
class Setting:
    """A prior by name, its weight (None: without one, or in the name), a canvas by name (None: the preset's).

    Of several priors (``a+b``) the weight is that of the first.
    """

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
        """What all settings of one curve share."""
        return self.prior + (f", {self.canvas}" if self.canvas else "")

    def choice(self, config: Grid) -> PresetChoice:
        """Its recipe."""
        return PresetChoice(config.preset, self.text, self.canvas, config.steps)


def weights_of(
    config: Grid, encoder: Encoder, left_out: dict[str, None] | None, factors: Sequence[float] = FACTORS
) -> dict[str, tuple[float, ...]]:
    """The weights of each prior: the user's, or these times its own; none where there is nothing to vary.

    A prior that this network cannot have raises NetinvertError if the user named it, else goes to
    ``left_out``.
    """
    tried: dict[str, tuple[float, ...]] = {}
    for prior in dict.fromkeys(config.priors or (*PRIORS, NONE)):
        try:
            own = recipe(config.preset, encoder, prior).priors  # refuses unknown ones
        except NetinvertError as error:
            if config.priors or left_out is None:
                raise
            left_out[f"{prior} at {encoder.layer}: {error}"] = None
            continue
        varies = prior != NONE and "=" not in prior.partition("+")[0]
        given = tuple(sorted(set(config.prior_weights)))
        tried[prior] = (given or tuple(factor * own[0][0] for factor in factors)) if varies else ()
    return tried


def grid_settings(tried: dict[str, tuple[float, ...]], canvases: Sequence[str | None]) -> list[Setting]:
    """Every weight of every prior on every canvas (None: the preset's own)."""
    pairs = itertools.product(dict.fromkeys(canvases), tried.items())
    return [Setting(prior, one, canvas) for canvas, (prior, some) in pairs for one in some or (None,)]


def settings_of(config: Sweep, encoder: Encoder, left_out: dict[str, None] | None = None) -> list[Setting]:
    """The grid, or random settings: priors and canvases with equal chances, weights even in the logarithm.
    Raises as ``weights_of``."""
    tried = weights_of(config, encoder, left_out)
    canvases: list[str | None] = [*dict.fromkeys(config.canvases)] or [None]
    if config.random is None:
        return grid_settings(tried, canvases)
    source, found = random.Random(config.seed), []
    for _ in range(config.random):
        # The same numbers for every layer, whatever the weights are there.
        prior, canvas, place = source.choice(list(tried)), source.choice(canvases), source.random()
        low, high = (limit(tried[prior], default=1.0) for limit in (min, max))
        found.append(Setting(prior, low * (high / low) ** place if tried[prior] else None, canvas))
    return found


def planned_settings(
    config: Sweep, encoder: Encoder, inputs: Inputs, left_out: dict[str, None]
) -> list[Setting]:
    """The settings to try at a layer, checked. Raises NetinvertError."""
    Match(inputs.codes)  # refuses codes that cannot be matched
    if config.measure == "ssim" and inputs.originals is None:
        raise ConfigError(
            "--measure ssim compares with originals, and a file of codes has none; use gradients"
        )
    found = settings_of(config, encoder, left_out)
    for setting in found:
        setting.choice(config).recipe(encoder)  # refuses what cannot go together
    if not found:
        raise ConfigError(f"nothing is left to try: {'; '.join(left_out)}")
    return found


# -- the Pareto front ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trial:
    """A setting at one layer. ``error`` (ijcv16) and ``naturalness`` (the sweep's measure) are means over the
    codes, None where it failed."""

    layer: str
    setting: Setting
    found: Reconstructions
    error: float | None
    naturalness: float | None
    on_front: bool = False
    score: float | None = None

    @property
    def known(self) -> bool:
        """Whether it came through."""
        return self.error is not None and self.naturalness is not None

    @property
    def point(self) -> tuple[float, float]:
        """Code error and naturalness; the worst where they are not known."""
        return (
            math.inf if self.error is None else self.error,
            -math.inf if self.naturalness is None else self.naturalness,
        )

    @property
    def words(self) -> str:
        """Its figures in a sentence."""
        likeness = self.found.mean("ssim")
        text = f"code error {number(self.error, 3)}, naturalness {number(self.naturalness, 3)}"
        return text if likeness is None else f"{text}, SSIM {likeness:.3f}"

    def facts(self) -> dict[str, object]:
        """Every figure."""
        setting = {"prior": self.setting.text, "canvas": self.setting.canvas, "weight": self.setting.weight}
        own = {"error": self.error, "natural": self.naturalness}
        front = {"on_front": self.on_front, "score": self.score}
        return {"layer": self.layer, **setting, **own, **front, **self.found.facts()}


def trial_of(layer: str, setting: Setting, found: Reconstructions, measure: str) -> Trial:
    """A setting with what was found of it."""
    return Trial(layer, setting, found, found.mean("ijcv16"), found.mean(measure))


def marked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of one layer with their scores, and the Pareto front marked: those that no other beats, by
    being at least as good in both and better in one."""
    points = [one.point for one in trials if one.known]

    def mark(one: Trial) -> Trial:
        if not one.known:
            return one
        error, natural = one.point
        beaten = any(x <= error and y >= natural and (x, y) != (error, natural) for x, y in points)
        return replace(one, on_front=not beaten, score=max(natural, LEAST) / (error + ERROR_FLOOR))

    return [mark(one) for one in trials]


def recommended(trials: Sequence[Trial]) -> Trial | None:
    """Of the trials of one layer the one with the greatest score; None if all failed.

    It is on the front, for a smaller error or a greater naturalness alone makes a greater score.
    """
    return max((one for one in trials if one.on_front), key=lambda one: one.score or 0.0, default=None)


def recommended_for_all(trials: Sequence[Trial]) -> tuple[Setting, float] | None:
    """The setting with the greatest geometric mean of its scores at all layers, and that mean.

    Settings are the same at two layers if they stand at the same place in the order of what is tried. None
    if the layers differ in that, or no setting came through at all of them.
    """
    rows = by_layer(trials).values()
    if len({tuple(one.setting.curve for one in row) for row in rows}) > 1:
        return None
    columns = [column for column in zip(*rows, strict=True) if all(one.score is not None for one in column)]
    means = [math.exp(sum(math.log(one.score or 0.0) for one in column) / len(column)) for column in columns]
    best = max(range(len(columns)), key=means.__getitem__, default=None)
    return None if best is None else (columns[best][0].setting, means[best])


def by_layer(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """In the order of the layers."""
    layers = dict.fromkeys(one.layer for one in trials)
    return {name: [one for one in trials if one.layer == name] for name in layers}


def by_curve(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """By prior and canvas, each in the order of its weights."""
    names = dict.fromkeys(one.setting.curve for one in trials)
    by_weight = sorted(trials, key=lambda one: one.setting.weight or 0.0)
    return {name: [one for one in by_weight if one.setting.curve == name] for name in names}
