"""Several images with the same code that differ as much as they can: what a code leaves open."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.metrics import spread
from netinvert.inversion.history import Result
from netinvert.inversion.invert import Inversion, prepare
from netinvert.inversion.objectives import Energy, PairwiseDiversity
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.schedule import Recipe
from netinvert.models.encoder import Encoder

PRESET = "fourier-adam"
WEIGHT = 0.1
"""Of the images' likeness beside the squared code error."""


@dataclass(frozen=True, eq=False)
class Diversity:
    """Images of M codes, ``size`` neighbouring samples each. ``distance`` and ``ssim`` (one value a code) are
    the mean root mean square difference and the mean likeness of their pairs."""

    result: Result
    size: int
    distance: list[float]
    ssim: list[float]


def diversify(
    encoder: Encoder,
    code: Tensor,
    count: int = 4,
    weight: float = WEIGHT,
    preset: str | Recipe = PRESET,
    seed: int = 0,
) -> Diversity:
    """Find ``count`` images for each code (M, *code_shape) or (*code_shape), as unlike as they can be.

    With weight 0 they are plain restarts with seeds seed, seed + 1, …, against which to read the spread.
    The images of one code see one another; those of other codes do not. Raises CodeError, ConfigError.
    """
    how = preset if isinstance(preset, Recipe) else recipe(preset, encoder)
    target = encoder.check_code(torch.as_tensor(code))
    run = Run(seed=[seed + k for _ in range(len(target)) for k in range(count)])
    inversion = prepare_diverse(encoder, target, how, (count, weight), run)
    return measured(inversion.run(run), count)


def prepare_diverse(
    encoder: Encoder, codes: Tensor, how: Recipe, apart: tuple[int, float], run: Run
) -> Inversion:
    """``codes`` (M, *code_shape), checked; ``apart``: how many images of each, and the weight of likeness."""
    count, weight = apart
    if count < 2 or not 0 <= weight < float("inf"):
        raise ConfigError(f"2 images or more, and a weight of 0 or more, got {count} and {weight}")
    if any(stage.optimizer.needs_fixed_objective for stage in how.stages) and weight > 0:
        raise ConfigError(
            f"the recipe '{how.name}' has a line search, under which the other images must not move; use the "
            f"preset {PRESET}"
        )
    plain = prepare(encoder, codes.repeat_interleave(count, 0), how, run=run)
    if weight == 0:
        return plain
    terms = (*plain.energy.terms, (how.data_weight * weight, PairwiseDiversity(count, encoder.centre)))
    return Inversion(plain.canvas, Energy(terms), encoder, plain.stages)


def measured(result: Result, count: int) -> Diversity:
    """The spread of groups of ``count`` neighbours."""
    found = spread(result.image.view(-1, count, *result.image.shape[1:]))
    return Diversity(result, count, found["distance"], found["ssim"])
