"""From a code to images: the calls that most users need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError, ImageError
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.history import Result
from netinvert.inversion.objectives import Energy, Match
from netinvert.inversion.optimize import Run, optimize
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.schedule import Recipe, Stage
from netinvert.io.images import check_images
from netinvert.models.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Inversion:
    """An inversion made ready: everything :func:`netinvert.optimize` takes but how to run it."""

    canvas: Canvas
    energy: Energy
    encoder: Encoder
    stages: tuple[Stage, ...]

    def run(self, run: Run) -> Result:
        """Do it."""
        return optimize(self.canvas, self.energy, self.encoder, self.stages, run)


def prepare(
    encoder: Encoder, code: Tensor, how: Recipe, start: Tensor | None = None, run: Run | None = None
) -> Inversion:
    """Check a code (N, *code_shape) or (*code_shape) and make its inversion by the recipe ready.

    ``start`` (N or 1, C, H, W): images to start from instead of noise. Raises CodeError, ImageError,
    ConfigError.
    """
    target = encoder.check_code(code)
    count = target.shape[0]
    if start is not None:
        start = start_images(encoder, start, count)
    canvas = how.canvas((run or Run()).seeds(count), start)
    terms = ((how.data_weight, Match(target, how.mask)), *how.priors)
    return Inversion(canvas, Energy(terms), encoder, how.stages)


def start_images(encoder: Encoder, start: Tensor, count: int) -> Tensor:
    """Images (N or 1, C, h, w) as ``count`` start images of the encoder's. Raises ImageError, ConfigError."""
    check_images(start)
    images = start if start.ndim == 4 else start[None]
    if images.shape[1] != encoder.preprocessing.channels:
        raise ImageError(
            f"this network's images have {encoder.preprocessing.channels} channels, got a start image of "
            f"{tuple(images.shape)}"
        )
    if images.shape[0] not in (1, count):
        raise ConfigError(f"{images.shape[0]} start images for {count} codes; give one, or one each")
    return encoder.fit(images.detach().to(encoder.device, encoder.dtype)).expand(count, -1, -1, -1)


def invert(
    encoder: Encoder,
    code: Tensor,
    preset: str | Recipe = "default",
    prior: str | None = None,
    start: Tensor | None = None,
    seed: int = 0,
) -> Result:
    """Find images whose codes match (Mahendran & Vedaldi 2015; by default with quicker means).

    ``code`` (N, *code_shape) or (*code_shape). ``preset`` a name in PRESETS, or a Recipe of your own;
    ``prior`` one of PRIORS, with ``=weight`` if wished. For callbacks, checkpoints or stop rules:
    ``prepare(encoder, code, recipe).run(Run(…))``. Raises CodeError, ConfigError, NetworkError.
    """
    if isinstance(preset, Recipe):
        if prior is not None:
            raise ConfigError("a Recipe brings its priors; give prior= with a preset's name only")
        how = preset
    else:
        how = recipe(preset, encoder, prior)
    run = Run(seed=seed)
    return prepare(encoder, torch.as_tensor(code), how, start, run).run(run)
