"""Activation maximisation and caricatures: images that make a unit, a class or a whole code respond most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.codes import AnyEncoder, one_layer
from netinvert.inversion.history import EarlyStopping, StepInfo
from netinvert.inversion.invert import Inversion, adapted, own_recipe, start_images
from netinvert.inversion.objective_spec import parse_objective
from netinvert.inversion.objectives import Activate, Caricature, Energy, Term, Terms, parts_of, term_name
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import maximising_recipe
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import MakeCanvas, Recipe
from netinvert.io.assets import photographs
from netinvert.io.images import ImageLike, as_images

CARICATURE_POWER = 4.0


def maximise(  # noqa: PLR0913  # the words that users need, all by keyword
    encoder: AnyEncoder,
    objective: Terms,
    *,
    preset: str | Recipe = "default",
    prior: Terms | None = None,
    canvas: str | Canvas | MakeCanvas | None = None,
    steps: int | None = None,
    start: ImageLike | None = None,
    stop: EarlyStopping | None = None,
    callback: Callable[[StepInfo], object] | None = None,
    checkpoint: str | Path | None = None,
    seed: int | Sequence[int] = 0,
    progress: bool = False,
) -> Result:
    """Find images to which a unit, a class or a direction in the code responds most; one image a seed.

    ``objective``: text (``"channel:130"``, ``"neuron:130"``, ``"neuron:130@3,4"``, ``"class:flamingo"``,
    ``"azimuth:90"``, ``"code:FILE"``), an objective such as Activate (negated: what is small is good),
    Caricature or PoseTowards, a function (image, code) -> (N,), (weight, either), or a list of these. The
    other words are those of :func:`netinvert.invert`, with presets in MAXIMISING.

    An Activate is measured in units of the largest response to the package's photographs, so that presets and
    weights mean the same for every unit; not so by ``unnormalised`` recipes. Raises ConfigError, CodeError,
    ImageError, NetworkError.

    >>> from netinvert import Encoder, Preprocessing
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh()).eval()
    >>> encoder = Encoder(network, "output", Preprocessing(size=(16, 16)))
    >>> maximise(encoder, "channel:2", steps=10, seed=(0, 1)).image.shape
    torch.Size([2, 3, 16, 16])
    """
    how = (
        own_recipe(preset, prior) if isinstance(preset, Recipe) else maximising_recipe(preset, encoder, prior)
    )
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    ready = prepare_maximising(encoder, objective, adapted(how, canvas, steps), start, len(seeds))
    return ready.run(Run(seeds, stop or EarlyStopping(), callback, checkpoint, progress=progress))


def prepare_maximising(
    encoder: AnyEncoder, objective: Terms, how: Recipe, start: ImageLike | None = None, count: int = 1
) -> Inversion:
    """Make a maximisation ready: ``count`` images, one for each seed of the run."""
    if start is not None:
        start = start_images(encoder, start, count)
    terms = []
    for weight, part in parts_of(objective):
        term = _scaled(encoder, parse_objective(encoder, part), how, count)
        terms.append((how.data_weight * (1.0 if weight is None else weight), term))
    return Inversion(encoder, how, Energy((*terms, *how.priors)), count, start)


def _scaled(encoder: AnyEncoder, term: Term, how: Recipe, count: int) -> Term:
    if isinstance(term, Activate):
        direction = one_layer(encoder.check_code(term.direction), "a direction")
        if direction.shape[0] not in (1, count):
            raise ConfigError(f"{direction.shape[0]} directions for {count} seeds; give one seed for each")
        term = replace(term, direction=direction)
        return term if how.unnormalised else in_units_of_photographs(encoder, term)
    if how.unnormalised:
        raise ConfigError(
            f"the steps of '{how.name}' are made for activations, not for '{term_name(term)}'; use another "
            "preset"
        )
    return term


def caricature(
    encoder: AnyEncoder,
    image: ImageLike,
    *,
    preset: str | Recipe = "default",
    power: float = CARICATURE_POWER,
    from_image: bool = True,
    seed: int = 0,
) -> Result:
    """Exaggerate what a layer sees in images (N, C, H, W), or in a file's (Mahendran & Vedaldi 2016; Olah et
    al. 2017).

    Starts from the image, as the first do, or from noise, as the second. ``power`` as in Caricature. Raises
    CodeError, ImageError, NetworkError.
    """
    how = preset if isinstance(preset, Recipe) else maximising_recipe(preset, encoder, None)
    if not isinstance(image, Tensor):
        image = as_images(image, encoder.preprocessing.channels).to(encoder.device, encoder.dtype)
    images = encoder.fit(image if image.ndim == 4 else image[None])
    with torch.no_grad():
        target = one_layer(encoder(images), "a caricature")
    ready = prepare_maximising(
        encoder, Caricature(target, power), how, images if from_image else None, len(images)
    )
    return ready.run(Run(seed=seed))


def in_units_of_photographs(encoder: AnyEncoder, objective: Activate) -> Activate:
    """The same direction, scaled so that the photograph which responds most has 1.

    Where none responds (dead units, images of other channels), by the direction's response to noise, or not.
    """
    with torch.no_grad():
        codes = one_layer(encoder(_images(encoder)), "an activation")
    responses = torch.einsum("nd,rd->nr", objective.direction.flatten(1), codes.flatten(1))
    largest = responses.amax(1)
    spread = responses.std(1)
    scale = torch.where(largest > 0, largest, torch.where(spread > 0, spread, torch.ones_like(largest)))
    shape = (-1, *[1] * (objective.direction.ndim - 1))
    return replace(objective, direction=objective.direction / scale.view(shape))


def _images(encoder: AnyEncoder) -> Tensor:
    channels = encoder.preprocessing.channels
    if channels == 3:
        return photographs(encoder.size)[1].to(encoder.device, encoder.dtype)
    source = torch.Generator().manual_seed(0)
    noise = torch.rand(8, channels, *encoder.size, generator=source, dtype=torch.float32)
    return noise.to(encoder.device, encoder.dtype)
