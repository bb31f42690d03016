"""Images that a network says most of something of: activation maximisation, caricatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.history import Result
from netinvert.inversion.invert import Inversion, start_images
from netinvert.inversion.objectives import Activate, Caricature, Energy, Term
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import maximising_recipe
from netinvert.inversion.schedule import Recipe
from netinvert.io.assets import photographs
from netinvert.models.encoder import Encoder

CARICATURE_POWER = 4.0


def maximise(
    encoder: Encoder,
    objective: Term,
    preset: str | Recipe = "default",
    prior: str | None = None,
    start: Tensor | None = None,
    seed: int | Sequence[int] = 0,
) -> Result:
    """Find images that make an objective small: Activate (negated), Caricature, PoseTowards, one of your own.

    One image a seed. An Activate is measured in units of the largest response to the package's photographs
    (``in_units_of_photographs``), so that presets and weights mean the same for every unit; not so by
    ``raw`` recipes. ``start`` (N or 1, C, H, W). Raises ConfigError, CodeError, ImageError, NetworkError.
    """
    if isinstance(preset, Recipe):
        if prior is not None:
            raise ConfigError("a Recipe brings its priors; give prior= with a preset's name only")
        how = preset
    else:
        how = maximising_recipe(preset, encoder, prior)
    run = Run(seed=(seed,) if isinstance(seed, int) else tuple(seed))
    return prepare_maximising(encoder, objective, how, start, run).run(run)


def prepare_maximising(
    encoder: Encoder, objective: Term, how: Recipe, start: Tensor | None, run: Run
) -> Inversion:
    """Make a maximisation ready; one image for each of the run's seeds."""
    seeds = [run.seed] if isinstance(run.seed, int) else list(run.seed)
    if start is not None:
        start = start_images(encoder, start, len(seeds))
    if how.raw and not isinstance(objective, Activate):
        raise ConfigError(
            f"the steps of '{how.name}' are made for activations, not for '{objective.name}'; use another "
            "preset"
        )
    if isinstance(objective, Activate):
        objective = replace(objective, direction=_checked(encoder, objective.direction, len(seeds)))
        if not how.raw:
            objective = in_units_of_photographs(encoder, objective)
    return Inversion(
        how.canvas(seeds, start),
        Energy(((how.data_weight, objective), *how.priors)),
        encoder,
        how.stages,
    )


def caricature(
    encoder: Encoder,
    image: Tensor,
    preset: str | Recipe = "default",
    power: float = CARICATURE_POWER,
    from_image: bool = True,
    seed: int = 0,
) -> Result:
    """Exaggerate what a layer sees in images (N, C, H, W) (Mahendran & Vedaldi 2016; Olah et al. 2017).

    Starts from the image, as the first do, or from noise, as the second. ``power`` as in Caricature.
    """
    how = preset if isinstance(preset, Recipe) else maximising_recipe(preset, encoder, None)
    images = encoder.fit(image if image.ndim == 4 else image[None])
    with torch.no_grad():
        target = encoder(images)
    run = Run(seed=[seed] * len(images))
    start = images if from_image else None
    return prepare_maximising(encoder, Caricature(target, power), how, start, run).run(run)


def in_units_of_photographs(encoder: Encoder, objective: Activate) -> Activate:
    """The same direction, scaled so that the photograph which responds most has 1.

    Where none responds (dead units, images of other channels), by the direction's response to noise, or not.
    """
    with torch.no_grad():
        codes = encoder(_images(encoder))
    responses = torch.einsum("nd,rd->nr", objective.direction.flatten(1), codes.flatten(1))
    largest = responses.amax(1)
    spread = responses.std(1)
    scale = torch.where(largest > 0, largest, torch.where(spread > 0, spread, torch.ones_like(largest)))
    shape = (-1, *[1] * (objective.direction.ndim - 1))
    return replace(objective, direction=objective.direction / scale.view(shape))


def _checked(encoder: Encoder, direction: Tensor, count: int) -> Tensor:
    direction = encoder.check_code(direction)
    if direction.shape[0] not in (1, count):
        raise ConfigError(f"{direction.shape[0]} directions for {count} seeds; give one seed for each")
    return direction


def _images(encoder: Encoder) -> Tensor:
    channels = encoder.preprocessing.channels
    if channels == 3:
        return photographs(encoder.size)[1].to(encoder.device, encoder.dtype)
    source = torch.Generator().manual_seed(0)
    noise = torch.rand(8, channels, *encoder.size, generator=source, dtype=torch.float32)
    return noise.to(encoder.device, encoder.dtype)
