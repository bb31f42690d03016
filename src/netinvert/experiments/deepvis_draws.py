"""What a random search over the regularisers of Yosinski et al. 2015 tries, and what comes of a setting.

Beside the random settings stand the paper's four sets, and these with longer steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.optimizers import ProgressRate
from netinvert.inversion.presets.yosinski15 import DEEPVIS, DeepVis, Regularisers
from netinvert.io.seeds import generators

HIGHEST_RATE = 1e8
RANGES: dict[str, tuple[float, ...]] = {
    "decay": (1e-4, 0.3),
    "blur": (0.3, 2.0),
    "blur_every": (1, 2, 4, 8, 16),
    "small_norm": (5.0, 90.0),
    "small_contribution": (5.0, 95.0),
    "desired": (2.0, 200.0),
}
"""Ours; the paper names none. Each regulariser is in half of the draws. ``decay``, ``blur`` and ``desired``
(the progress that a step is to make) are drawn evenly by their logarithm, percentiles evenly."""


@dataclass(frozen=True)
class Search:
    """What is tried: ``draws`` settings, each on all ``channels`` at once, for ``steps`` steps.

    ``published_steps`` None leaves the published sets their own 500 to 1000. They also run with ``factor``
    times their learning rates, which are CaffeNet's; 1 leaves that out.
    """

    channels: tuple[int, ...]
    draws: int = 300
    steps: int = 200
    published_steps: int | None = None
    factor: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.channels:
            raise ConfigError("a search needs at least one channel to make images for")
        for name in ("draws", "steps", "published_steps"):
            value = getattr(self, name)
            if value is not None and value < (0 if name == "draws" else 1):
                raise ConfigError(f"{name.replace('_', ' ')}: at least 1 (no draws: 0), got {value}")
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise ConfigError(f"the factor of the learning rates is a number above 0, got {self.factor}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"a seed is a whole number from 0 to 2**63 - 1, got {self.seed}")


@dataclass(frozen=True)
class Trial:
    """A setting to try; ``name`` is its file name."""

    name: str
    settings: DeepVis
    published: bool = False


@dataclass(frozen=True, eq=False)
class Tried:
    """What came of it, one value a channel: ``pictures`` (N, C, H, W) uint8, stretched around the mean.

    ``activation`` as the network gives it; ``naturalness`` the intersection of the gradients' histogram with
    that of photographs; ``roughness`` as :func:`roughness`; ``spread`` the standard deviation in 0..255.
    """

    trial: Trial
    pictures: Tensor
    activation: Tensor
    naturalness: Tensor
    roughness: Tensor
    spread: Tensor
    best_step: Tensor


def trials(search: Search) -> list[Trial]:
    """The published sets first, then the draws; more draws begin with the same ones."""
    found = [
        Trial(name, settings, True)
        for published, own in DEEPVIS.items()
        for name, settings in (
            (published, own),
            (f"{published}-x{search.factor:g}", own.faster(search.factor)),
        )
        if settings is own or search.factor != 1
    ]
    if search.published_steps is not None:
        steps = search.published_steps
        found = [replace(trial, settings=replace(trial.settings, steps=steps)) for trial in found]
    source = generators([search.seed])[0]
    for number in range(1, search.draws + 1):
        numbers = torch.rand(10, generator=source, dtype=torch.float64).tolist()
        found.append(Trial(f"draw-{number:04d}", drawn(numbers, search.steps)))
    return found


def drawn(numbers: Sequence[float], steps: int) -> DeepVis:
    """A setting from ten numbers in [0, 1): four say which regularisers there are, others how."""
    decays, blurs, norms, contributions, decay, blur, every, norm, contribution, desired = numbers
    often = RANGES["blur_every"]
    regularisers = Regularisers(
        decay=_log_between("decay", decay) if decays < 0.5 else 0.0,
        blur=_log_between("blur", blur) if blurs < 0.5 else 0.0,
        blur_every=int(often[int(every * len(often))]) if blurs < 0.5 else 0,
        small_norm=_between("small_norm", norm) if norms < 0.5 else 0.0,
        small_contribution=_between("small_contribution", contribution) if contributions < 0.5 else 0.0,
    )
    return DeepVis(steps, ProgressRate(_log_between("desired", desired), HIGHEST_RATE), regularisers)


def _between(name: str, share: float) -> float:
    low, high = RANGES[name]
    return round(low + share * (high - low), 1)


def _log_between(name: str, share: float) -> float:
    low, high = RANGES[name]
    return float(f"{low * (high / low) ** share:.3g}")
