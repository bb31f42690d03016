"""A sweep: priors and canvases by name, weights from a grid or at random, held against one another."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from netinvert.errors import ConfigError, NetinvertError
from netinvert.experiments.configs.images import Invert
from netinvert.experiments.configs.studies import Sweep
from netinvert.experiments.inputs import Inputs
from netinvert.experiments.inversions import (
    PresetChoice,
    Reconstructions,
)
from netinvert.inversion.objectives import Match
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.prior_spec import PRIORS
from netinvert.io.images import write_png
from netinvert.io.rundir import RunDir
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

    def choice(self, config: Sweep) -> PresetChoice:
        """Its recipe."""
        return PresetChoice(config.preset, self.text, self.canvas, config.steps)


def settings_of(config: Sweep, encoder: Encoder, left_out: dict[str, None] | None = None) -> list[Setting]:
    """The grid, or random settings: priors and canvases with equal chances, weights even in the logarithm.

    A prior that this network cannot have raises NetinvertError if the user named it, else goes to
    ``left_out``.
    """
    own: dict[str, float | None] = {}
    for prior in dict.fromkeys(config.priors or (*PRIORS, NONE)):
        try:
            own[prior] = _own_weight(config.preset, prior, encoder)
        except NetinvertError as error:
            if config.priors or left_out is None:
                raise
            left_out[f"{prior} at {encoder.layer}: {error}"] = None
    canvases: list[str | None] = [*dict.fromkeys(config.canvases)] or [None]
    if config.random is not None:
        return _random(config, own, canvases)
    found = []
    for canvas, (prior, weight) in itertools.product(canvases, own.items()):
        weights = (None,) if weight is None else _weights(config, weight)
        found += [Setting(prior, one, canvas) for one in weights]
    return found


def _own_weight(preset: str, prior: str, encoder: Encoder) -> float | None:
    """The weight that the preset gives to the (first) prior; None if there is none to vary."""
    how = recipe(preset, encoder, prior)  # refuses unknown ones
    if prior == NONE or "=" in prior.partition("+")[0]:
        return None
    return how.priors[0][0]


def _weights(config: Sweep, own: float) -> tuple[float, ...]:
    return tuple(sorted(set(config.prior_weights))) or tuple(factor * own for factor in FACTORS)


def _random(config: Sweep, own: dict[str, float | None], canvases: Sequence[str | None]) -> list[Setting]:
    source = random.Random(config.seed)
    found = []
    for _ in range(config.random or 0):
        # The same numbers for every layer, whatever the weights are there.
        prior, canvas, place = source.choice(list(own)), source.choice(canvases), source.random()
        weight = own[prior]
        if weight is not None:
            low, high = (limit(_weights(config, weight)) for limit in (min, max))
            weight = low * (high / low) ** place
        found.append(Setting(prior, weight, canvas))
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

    def facts(self) -> dict[str, object]:
        """Every figure."""
        setting = {"prior": self.setting.text, "canvas": self.setting.canvas, "weight": self.setting.weight}
        own = {
            "error": self.error,
            "natural": self.naturalness,
            "on_front": self.on_front,
            "score": self.score,
        }
        return {"layer": self.layer, **setting, **own, **self.found.facts()}


def marked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of one layer with their scores, and the Pareto front marked."""
    known = [one for one in trials if one.known]

    def mark(one: Trial) -> Trial:
        if not one.known:
            return one
        error, natural = one.point
        score = max(natural, LEAST) / (error + ERROR_FLOOR)
        return replace(one, on_front=not any(_beats(other, one) for other in known), score=score)

    return [mark(one) for one in trials]


def _beats(one: Trial, other: Trial) -> bool:
    """At least as good in both, and better in one."""
    (error, natural), (other_error, other_natural) = one.point, other.point
    no_worse = error <= other_error and natural >= other_natural
    return no_worse and (error < other_error or natural > other_natural)


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
    return {
        name: [one for one in trials if one.layer == name] for name in dict.fromkeys(t.layer for t in trials)
    }


# -- the sweep -----------------------------------------------------------------------------------------


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


def trial_of(layer: str, setting: Setting, found: Reconstructions, measure: str) -> Trial:
    """A setting with what was found of it."""
    return Trial(layer, setting, found, found.mean("ijcv16"), found.mean(measure))


def command_of(config: Sweep, one: Trial) -> str:
    """What inverts the same codes by this setting."""
    same = ("input", "network", "weights", "size", "mean", "std", "order", "scale", "preset", "steps", "seed")
    return Invert(
        **{name: getattr(config, name) for name in same},
        layer=one.layer,
        prior=one.setting.text,
        canvas=one.setting.canvas,
        out=Path("out/best"),
    ).command_line()


def save_trial_images(folder: RunDir, trials: Sequence[Trial], inputs: Inputs) -> list[list[str]]:
    """Write every image; gives the files of each trial."""
    for stem, image in zip(inputs.stems, () if inputs.originals is None else inputs.originals, strict=False):
        write_png(image, folder.path(f"images/original-{stem}.png"))
    files: list[list[str]] = []
    for number, one in enumerate(trials, 1):
        files.append([])
        start = trial_file(f"{number:03d}", one.layer, one.setting.text, one.setting.canvas)
        for stem, image in zip(
            inputs.stems, () if one.found.images is None else one.found.images, strict=False
        ):
            files[-1].append(f"images/{start}-{stem}.png")
            write_png(image, folder.path(files[-1][-1]))
    return files


def trial_file(*parts: str | None) -> str:
    """A file name of these parts."""
    return "-".join(re.sub(r"[^\w.=+-]", "_", part) for part in parts if part)
