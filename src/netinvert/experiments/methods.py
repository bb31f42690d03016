"""Optimise, decode, or both: the errors of every method by layer (Dosovitskiy & Brox 2016, table 3).

Image errors and code errors are distances over the mean distance of two different test pictures; the pose is
read by a network that took no part.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import judge_of
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.experiments.held_out_chairs import FreshChairs
from netinvert.inversion.canvases import decoded_start, on_decoder
from netinvert.inversion.codes import code_error
from netinvert.inversion.invert import prepare
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.schedule import Recipe
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.evaluation import image_figures, in_chunks

SHARES = (3, 6, 12)
"""Decode-then-optimise is given this fraction of the steps of plain optimisation."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class MethodFigures:
    """How a method does on the codes of one layer; means but for the poses, which are medians in degrees of
    what the judge and the network itself read. ``code_error_own`` is over the code's own norm."""

    layer: str
    method: str
    image_error: float
    code_error: float
    code_error_own: float
    ssim: float
    judge: float
    own: float
    seconds: float


@dataclass(frozen=True, eq=False)
class LayerStudy:
    """The figures of all methods on one layer, and the pictures (N, 3, H, W) by method."""

    layer: str
    figures: tuple[MethodFigures, ...]
    pictures: dict[str, Tensor]

    def of(self, method: str) -> MethodFigures:
        """The figures of one method."""
        return next(one for one in self.figures if one.method == method)


def study_layer(
    decoder: Decoder,
    encoder: Encoder,
    chairs: FreshChairs,
    autoencoder: tuple[Encoder, Decoder] | None = None,
    steps: int | None = None,
    tell: Tell = print,
) -> LayerStudy:
    """Every method on the codes of the chairs. ``steps`` of plain optimisation, the default preset's if None.

    Raises CodeError where encoder and decoder do not belong together, ConfigError for fewer than two chairs.
    """
    if len(chairs.images) < 2:
        raise ConfigError("errors over the distance of pairs need two chairs or more")
    decoder.check_encoder(encoder)
    code = in_chunks(encoder, chairs.images)
    how = recipe("default", encoder)
    how = how if steps is None else how.with_steps(steps)
    study = _Study(encoder, chairs, tell)
    study.run("optimise", lambda: _optimised(encoder, code, how))
    study.run("decode", lambda: decoder(code))
    start = decoded_start(decoder, encoder, code)
    for share in SHARES:
        some = how.with_steps(max(len(how.stages), how.steps // share))
        study.run(f"decode, then optimise 1/{share}", partial(_optimised, encoder, code, some, start))
    study.run("decoder as prior", lambda: _optimised(encoder, code, on_decoder(how, decoder, encoder, code)))
    if autoencoder is not None:
        theirs, decodes = autoencoder
        study.encoder = theirs  # its code error is in its own codes
        study.run("autoencoder", lambda: decodes(theirs(chairs.images)))
    return LayerStudy(encoder.layer, tuple(study.figures), study.pictures)


class _Study:
    """Runs methods on one layer and keeps score."""

    def __init__(self, encoder: Encoder, chairs: FreshChairs, tell: Tell) -> None:
        self.encoder, self.chairs, self.tell = encoder, chairs, tell
        self.reader = encoder
        self.figures: list[MethodFigures] = []
        self.pictures: dict[str, Tensor] = {}

    def run(self, method: str, make: Callable[[], Tensor]) -> None:
        began = time.perf_counter()
        made = make()
        seconds = (time.perf_counter() - began) / len(made)
        target = in_chunks(self.encoder, self.chairs.images)
        again = in_chunks(self.encoder, made)
        pixels = image_figures(made, self.chairs.images)
        judge = judge_of(self.reader)
        own, judged = (
            self.chairs.pose_errors(reader, made).median().item() if reader else float("nan")
            for reader in (self.reader, judge)
        )
        found = MethodFigures(
            layer=self.encoder.layer,
            method=method,
            image_error=pixels["image_error"],
            code_error=error_cvpr16(again, target, target).mean().item(),
            code_error_own=code_error(again, target).mean().item(),
            ssim=pixels["ssim"],
            judge=judged,
            own=own,
            seconds=seconds,
        )
        self.figures.append(found)
        self.pictures[method] = made
        self.tell(
            f"{found.layer} {method}: image error {found.image_error:.3f}, code error "
            f"{found.code_error:.3f}, judge {found.judge:.1f}°, {1000 * seconds:.1f} ms an image"
        )


def _optimised(encoder: Encoder, code: Tensor, how: Recipe, start: Tensor | None = None) -> Tensor:
    run = Run(seed=list(range(len(code))))
    return prepare(encoder, code, how, start).run(run).image
