"""From a code to images: the calls that most users need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from netinvert.errors import ConfigError, ImageError
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.canvases import decoded_start, on_decoder, with_canvas
from netinvert.inversion.codes import AnyEncoder, Code, count_of, map_code, one_layer
from netinvert.inversion.history import EarlyStopping, StepInfo
from netinvert.inversion.objective_spec import parse_objective
from netinvert.inversion.objectives import Energy, Match, Term, Terms, parts_of
from netinvert.inversion.optimize import Run, optimize
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import MakeCanvas, Recipe
from netinvert.io.files import read_code
from netinvert.io.images import ImageLike, as_images
from netinvert.models.decoder import Decoder

CodeLike = Code | str | Path | npt.NDArray[Any]
MATCH = "match"


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
    start: Tensor | None = None
    target: Code | None = None

    def canvas(self, run: Run | None = None) -> Canvas:
        """The canvas that a run begins at."""
        canvas = self.recipe.canvas(self.encoder, (run or Run()).seeds(self.count), self.start)
        if not isinstance(canvas, Canvas):
            raise ConfigError(f"the canvas makes a {type(canvas).__name__}, which is no netinvert.Canvas")
        made = {parameter.shape[:1].numel() for parameter in canvas.optimised()[:1]}
        if made - {self.count}:
            raise ConfigError(f"the canvas makes {made.pop()} images, but {self.count} are wanted")
        return canvas

    def run(self, run: Run | None = None) -> Result:
        """Do it."""
        run = run or Run()
        result = optimize(self.canvas(run), self.energy, self.encoder, self.recipe.stages, run)
        return dataclasses.replace(result, target=self.target)


def prepare(encoder: AnyEncoder, code: CodeLike, how: Recipe, start: ImageLike | None = None) -> Inversion:
    """Check a code (N, *code_shape) or (*code_shape) and make its inversion by the recipe ready.

    ``start`` (N or 1, C, H, W): images to start from instead of noise. Raises CodeError, ImageError,
    ConfigError.
    """
    target = read_codes(encoder, code)
    count = count_of(target)
    if start is not None:
        start = start_images(encoder, start, count)
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
    return encoder.fit(images.detach().to(encoder.device, encoder.dtype)).expand(count, -1, -1, -1)


def adapted(how: Recipe, canvas: str | Canvas | MakeCanvas | None, steps: int | None) -> Recipe:
    """The recipe on another canvas and with other steps, where they are not None. Raises ConfigError."""
    how = how if canvas is None else with_canvas(how, canvas)
    return how if steps is None else how.with_steps(steps)


def own_recipe(preset: Recipe, prior: Terms | None) -> Recipe:
    """The recipe. Raises ConfigError if priors are given beside it."""
    if prior is not None:
        raise ConfigError("a Recipe brings its priors; give prior= with a preset's name only")
    return preset


def invert(  # noqa: PLR0913  # the words that users need, all by keyword
    encoder: AnyEncoder,
    code: CodeLike,
    *,
    preset: str | Recipe = "default",
    prior: Terms | None = None,
    canvas: str | Canvas | MakeCanvas | Decoder | None = None,
    objective: Terms = MATCH,
    steps: int | None = None,
    start: ImageLike | Decoder | None = None,
    stop: EarlyStopping | None = None,
    callback: Callable[[StepInfo], object] | None = None,
    checkpoint: str | Path | None = None,
    seed: int | Sequence[int] = 0,
    progress: bool = False,
) -> Result:
    """Find images whose codes match (Mahendran & Vedaldi 2015; by default with quicker means).

    ``code`` (N, *code_shape) or (*code_shape), a dict of them by layer, or a file. In words, all by keyword:

    - ``preset``: a name in PRESETS, or a Recipe.
    - ``prior``: names in PRIORS (``"tv-huber=0.5+second-order"``), functions (image, code) -> (N,),
      (weight, either), or a list of these; in place of the preset's own.
    - ``canvas``: a name in CANVASES, a Canvas, what makes one, or a Decoder, whose input is optimised then.
    - ``objective``: what is made small, as ``prior``; ``"match"`` is the match with the code.
    - ``steps``: evaluations of network and gradient, shared among the preset's stages.
    - ``start``: images (N or 1, C, H, W), a file, or a Decoder, whose images of the codes they are then.
    - ``stop``, ``callback`` (sees a StepInfo, stops by True), ``checkpoint`` (a file to go on from), ``seed``
      (one, or one a code): as :class:`Run` has them. ``progress`` shows how far it is.

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
    how = own_recipe(preset, prior) if isinstance(preset, Recipe) else recipe(preset, encoder, prior)
    how = adapted(how, None if isinstance(canvas, Decoder) else canvas, steps)
    if isinstance(canvas, Decoder):
        how = on_decoder(how, canvas, encoder, one_layer(target, "a decoder"))
    if isinstance(start, Decoder):
        start = decoded_start(start, encoder, one_layer(target, "a decoder"))
    ready = prepare(encoder, target, how, start)
    if objective != MATCH:
        match, parts = ready.energy.terms[0][1], parts_of(objective)
        terms = [match if part == MATCH else parse_objective(encoder, part) for _, part in parts]
        weights = [how.data_weight * (1.0 if weight is None else weight) for weight, _ in parts]
        energy = Energy((*zip(weights, terms, strict=True), *how.priors))
        ready = dataclasses.replace(ready, energy=energy)
    run = Run(seed, stop or EarlyStopping(), callback, checkpoint, progress=progress)
    return ready.run(run)
