"""The settings that a sweep tries: priors and canvases by name, weights from a grid or at random."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

from netinvert.encoder import Encoder
from netinvert.errors import ConfigError, NetinvertError
from netinvert.presets import CANVASES, PRIORS, Recipe, recipe, with_canvas

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
        how = with_canvas(how, encoder, draw.canvas)
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
