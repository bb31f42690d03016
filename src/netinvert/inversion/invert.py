"""From a code to images, or to what a unit responds to most: the calls that most users need."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from netinvert.errors import ConfigError, ImageError
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.canvases import decoded_start, on_decoder, shipped_decoder, with_canvas
from netinvert.inversion.correct import STEPS, correct
from netinvert.inversion.objectives import (
    Activate,
    AnyEncoder,
    Caricature,
    Code,
    Energy,
    Match,
    PairwiseDiversity,
    Term,
    Terms,
    count_of,
    map_code,
    one_layer,
    parts_of,
    term_name,
)
from netinvert.inversion.optimize import Run, optimize
from netinvert.inversion.presets.by_name import maximising_recipe, recipe, usual_preset
from netinvert.inversion.presets.fitting import in_units_of_photographs
from netinvert.inversion.result import EarlyStopping, Result, StepInfo
from netinvert.inversion.schedule import MakeCanvas, Recipe
from netinvert.inversion.units import parse_objective
from netinvert.io.codes import read_code
from netinvert.io.images import ImageLike, as_images
from netinvert.models.decoder import Decoder
from netinvert.models.precision import BFLOAT16, FLOAT32
from netinvert.models.private_copy import as_usable, plain_torch

CodeLike = Code | str | Path | npt.NDArray[Any]
MATCH, OPTIMISE, CORRECT = "match", "optimise", "correct"


@dataclass(frozen=True, eq=False)
class Inversion:
    """An inversion made ready, a value: every run of it begins anew, from the seeds of that run.

    The ``energy`` of ``count`` images is minimised; ``start`` (count, C, H, W) is where they begin, if not at
    noise, and ``target`` the codes that the result is held against, if any.
    """

    encoder: AnyEncoder
    recipe: Recipe
    energy: Energy
    count: int
    start: Tensor | None = field(default=None, repr=False)
    target: Code | None = field(default=None, repr=False)

    def canvas(self, run: Run | None = None) -> Canvas:
        """The canvas that a run begins at."""
        canvas = self.recipe.canvas(self.encoder, (run or Run()).seeds(self.count), self.start)
        if not isinstance(canvas, Canvas):
            raise ConfigError(f"the canvas makes a {type(canvas).__name__}, which is no netinvert.Canvas")
        made = {parameter.shape[:1].numel() for parameter in canvas.optimised()[:1]}
        if made - {self.count}:
            raise ConfigError(f"the canvas makes {made.pop()} images, but {self.count} are wanted")
        return canvas

    @plain_torch()
    def run(self, run: Run | None = None) -> Result:
        """Do it."""
        run = run or Run()
        if run.stop.below == -math.inf:
            run = replace(run, stop=replace(run.stop, below=self.recipe.below))
        result = optimize(self.canvas(run), self.energy, self.encoder, self.recipe.stages, run)
        return dataclasses.replace(result, target=self.target)


@plain_torch()
def prepare(
    encoder: AnyEncoder, code: CodeLike, how: Recipe | str = "default", start: ImageLike | None = None
) -> Inversion:
    """Check a code (N, *code_shape) or (*code_shape) and make its inversion by a recipe or preset ready.

    ``start`` (N or 1, C, H, W): images to start from instead of noise. Raises CodeError, ImageError,
    ConfigError.
    """
    target = read_codes(encoder, code)
    count = count_of(target)
    how = how if isinstance(how, Recipe) else recipe(how, encoder)
    if start is not None:
        start = start_images(encoder, start, count)
    elif how.start is not None:
        start = how.start(encoder, target)
    match: Term = Match(target, how.mask)
    energy = Energy(((how.data_weight, match), *how.priors))
    return Inversion(encoder, how, energy, count, start, target)


def read_codes(encoder: AnyEncoder, code: CodeLike) -> Code:
    """Codes (N, *code_shape), of a file too, checked, where the network is. Raises CodeError."""
    if isinstance(code, str | Path):
        code = read_code(code)
    tensors = map_code(torch.as_tensor, code if isinstance(code, dict) else torch.as_tensor(code))
    checked: Code = encoder.check_code(tensors)
    return checked


def start_images(encoder: AnyEncoder, start: ImageLike, count: int) -> Tensor:
    """Images (N or 1, C, h, w), or a file, as ``count`` start images. Raises ImageError, ConfigError."""
    channels = encoder.preprocessing.channels
    # What is a tensor already keeps its precision.
    images = start if isinstance(start, Tensor) else as_images(start, channels)
    as_images(images)
    images = images if images.ndim == 4 else images[None]
    if images.shape[1] != channels:
        raise ImageError(
            f"this network's images have {channels} channels, got a start image of {tuple(images.shape)}"
        )
    if images.shape[0] not in (1, count):
        raise ConfigError(f"{images.shape[0]} start images for {count} codes; give one, or one each")
    return encoder.fit(as_usable(images.detach()).to(encoder.device, encoder.dtype)).expand(count, -1, -1, -1)


def adapted(how: Recipe, canvas: str | Canvas | MakeCanvas | None, steps: int | None) -> Recipe:
    """The recipe on another canvas and with other steps, where they are not None. Raises ConfigError."""
    how = how if canvas is None else with_canvas(how, canvas)
    return how if steps is None else how.with_steps(steps)


def in_precision(how: Recipe, encoder: AnyEncoder, name: str) -> Recipe:
    """The recipe with the network in a precision of PRECISIONS for all but its last steps. Raises
    ConfigError, NetworkError."""
    return how.in_bfloat16() if name != FLOAT32 and encoder.precision_of(name) == BFLOAT16 else how


def own_recipe(preset: Recipe, prior: Terms | None) -> Recipe:
    """The recipe. Raises ConfigError if priors are given beside it."""
    if prior is not None:
        raise ConfigError("a Recipe brings its priors; give prior= with a preset's name only")
    return preset


@plain_torch()
def invert(  # noqa: PLR0913  # the words that users need, all by keyword
    encoder: AnyEncoder,
    code: CodeLike,
    *,
    method: str = OPTIMISE,
    preset: str | Recipe | None = None,
    prior: Terms | None = None,
    canvas: str | Canvas | MakeCanvas | Decoder | None = None,
    objective: Terms = MATCH,
    data_weight: float | None = None,
    steps: int | None = None,
    start: ImageLike | None = None,
    decoder: Decoder | None = None,
    stop: EarlyStopping | None = None,
    callback: Callable[[StepInfo], object] | None = None,
    checkpoint: str | Path | None = None,
    precision: str = FLOAT32,
    seed: int | Sequence[int] = 0,
    progress: bool = False,
) -> Result:
    """Find images whose codes match (Mahendran & Vedaldi 2015; by default with quicker means).

    Where a decoder of the layer is given or ships, its images are where it begins, and a few steps are made
    (the preset ``decoded``), unless a preset, prior, canvas, start or several seeds ask for something else.

    ``code`` (N, *code_shape) or (*code_shape), a dict of them by layer, or a file. In words, all by keyword:

    - ``method``: ``"optimise"``, or ``"correct"``: by a decoder alone, without gradients, as
      :func:`netinvert.correct` does it; of the other words only ``steps``, ``decoder`` and ``progress`` go
      with it.
    - ``preset``: a name in PRESETS, or a Recipe; ``decoded`` where there is a decoder, else
      ``default``, which a seed other than 0 asks for too: it begins with noise.
    - ``prior``: names in PRIORS (``"tv-huber=0.5+second-order"``), functions (image, code) -> (N,),
      (weight, either), or a list of these; in place of the preset's own.
    - ``canvas``: a name in CANVASES, a Canvas, what makes one, or a Decoder, whose input is optimised then.
    - ``objective``: what is made small, as ``prior``; ``"match"`` is the match with the code.
    - ``data_weight``: of the squared code error against the priors, in place of the preset's own (C of
      ``ijcv16``: 1, 20, 100 or 300 in the paper).
    - ``steps``: evaluations of network and gradient, shared among the preset's stages.
    - ``start``: images (N or 1, C, H, W), or a file. ``decoder``: whose images of the codes they are then.
    - ``stop``, ``callback`` (sees a StepInfo, stops by True), ``checkpoint`` (a file to go on from), ``seed``
      (one, or one a code): as :class:`Run` has them. ``progress`` shows how far it is.
    - ``precision``: ``"bfloat16"``, of the network in the first steps, halves their time on processors that
      have instructions for it; ``"auto"`` is that where it pays (:meth:`Encoder.precision_of`).

    Raises CodeError, ConfigError, ImageError, NetworkError.

    >>> from netinvert import Encoder, Preprocessing
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh()).eval()
    >>> encoder = Encoder(network, "output", Preprocessing(size=(16, 16)))
    >>> code = encoder(torch.rand(1, 3, 16, 16))
    >>> result = invert(encoder, code, prior="tv-huber=0.1", steps=20)
    >>> result.image.shape, result.steps
    (torch.Size([1, 3, 16, 16]), 20)
    """
    target = read_codes(encoder, code)
    if method not in (OPTIMISE, CORRECT):
        raise ConfigError(f"the method is '{OPTIMISE}' or '{CORRECT}', got {method!r}")
    said = objective != MATCH or _given(prior, canvas, data_weight, start)
    if method == CORRECT:
        if said or _given(preset, stop, callback, checkpoint) or precision != FLOAT32:
            raise ConfigError(
                f"the method '{CORRECT}' takes steps, a decoder and progress; leave out what else you gave, "
                f"or use '{OPTIMISE}'"
            )
        wanted, decoder = one_layer(target, "a decoder"), decoder or shipped_decoder(encoder)
        return correct(encoder, wanted, decoder, steps=STEPS if steps is None else steps, progress=progress)
    if decoder is not None and start is not None:
        raise ConfigError("a decoder gives the images to start from: leave out start or decoder")
    if preset is None:
        preset, decoder = usual_preset(encoder, decoder, said or seed != 0)
    how = own_recipe(preset, prior) if isinstance(preset, Recipe) else recipe(preset, encoder, prior)
    how = adapted(how, None if isinstance(canvas, Decoder) else canvas, steps)
    how = how if data_weight is None else replace(how, data_weight=data_weight)
    if isinstance(canvas, Decoder):
        how = on_decoder(how, canvas, encoder, one_layer(target, "a decoder"))
    if decoder is not None:
        start = decoded_start(decoder, encoder, one_layer(target, "a decoder"))
    ready = prepare(encoder, target, in_precision(how, encoder, precision), start)
    if objective != MATCH:
        match, parts = ready.energy.terms[0][1], parts_of(objective)
        terms = [match if part == MATCH else parse_objective(encoder, part) for _, part in parts]
        weights = [how.data_weight * (1.0 if weight is None else weight) for weight, _ in parts]
        energy = Energy((*zip(weights, terms, strict=True), *how.priors))
        ready = dataclasses.replace(ready, energy=energy)
    run = Run(seed, stop or EarlyStopping(), callback, checkpoint, progress=progress)
    return ready.run(run)


def _given(*words: object) -> bool:
    return any(word is not None for word in words)


CARICATURE_POWER = 4.0


@plain_torch()
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
    precision: str = FLOAT32,
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
    how = in_precision(adapted(how, canvas, steps), encoder, precision)
    ready = prepare_maximising(encoder, objective, how, start, len(seeds))
    return ready.run(Run(seeds, stop or EarlyStopping(), callback, checkpoint, progress=progress))


@plain_torch()
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


@plain_torch()
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


PRESET = "fourier-adam"
WEIGHT = 0.1
"""Of the images' likeness beside the squared code error."""


@plain_torch()
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
