"""Several images with the same code that differ as much as they can: what a code leaves open."""

from __future__ import annotations

import dataclasses

from netinvert.errors import ConfigError
from netinvert.inversion.codes import AnyEncoder, Code, map_code
from netinvert.inversion.invert import Inversion, prepare, read_codes
from netinvert.inversion.objectives import Energy, PairwiseDiversity
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import Recipe

PRESET = "fourier-adam"
WEIGHT = 0.1
"""Of the images' likeness beside the squared code error."""


def diversify(
    encoder: AnyEncoder,
    code: Code,
    count: int = 4,
    *,
    weight: float = WEIGHT,
    preset: str | Recipe = PRESET,
    seed: int = 0,
) -> Result:
    """Find ``count`` images for each code (M, *code_shape) or (*code_shape), as unlike as they can be.

    The images of a code are neighbouring samples of the result. With weight 0 they are plain restarts with
    seeds seed, seed + 1, …, against which to read their spread (:func:`netinvert.spread`). The images of one
    code see one another; those of other codes do not. Raises CodeError, ConfigError.
    """
    how = preset if isinstance(preset, Recipe) else recipe(preset, encoder)
    inversion = prepare_diverse(encoder, read_codes(encoder, code), how, (count, weight))
    return inversion.run(Run(seed=[seed + k for _ in range(inversion.count // count) for k in range(count)]))


def prepare_diverse(encoder: AnyEncoder, codes: Code, how: Recipe, apart: tuple[int, float]) -> Inversion:
    """``codes`` (M, *code_shape), checked; ``apart``: how many images of each, and the weight of likeness."""
    count, weight = apart
    if count < 2 or not 0 <= weight < float("inf"):
        raise ConfigError(f"2 images or more, and a weight of 0 or more, got {count} and {weight}")
    if any(stage.method.needs_fixed_objective for stage in how.stages) and weight > 0:
        raise ConfigError(
            f"the recipe '{how.name}' has a line search, under which the other images must not move; use the "
            f"preset {PRESET}"
        )
    plain = prepare(encoder, map_code(lambda code: code.repeat_interleave(count, 0), codes), how)
    if weight == 0:
        return plain
    likeness = (how.data_weight * weight, PairwiseDiversity(count, encoder.centre))
    return dataclasses.replace(plain, energy=Energy((*plain.energy.terms, likeness)))
