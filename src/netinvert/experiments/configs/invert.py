"""What ``netinvert invert`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Compute, OfLayer, Output, Seed

DECODER = "decoder"
"""The canvas that is a decoder's input."""


@dataclass(frozen=True, kw_only=True)
class Invert(OfLayer, Seed, Output, Compute):
    """Find images with these codes. A stopped run is resumed by the same command."""

    command: ClassVar[str] = "invert"

    input: Annotated[str, replace(pieces.INPUT, kept="tensors.safetensors", identity=False)]
    preset: Annotated[
        str,
        replace(
            pieces.PRESET,
            help="default, quick, coarse-to-fine, robust, fourier-adam, shallow, or the papers' cvpr15, "
            "cvpr15-shallow and ijcv16.",
            choices="netinvert.inversion.presets.by_name:PRESETS",
        ),
    ] = "default"
    prior: Annotated[str | None, pieces.PRIOR] = None
    data_weight: Annotated[
        float | None,
        Option("Of the squared code error, against the priors.", above=0, default="the preset's own"),
    ] = None
    canvas: Annotated[
        str | None,
        Option(
            "fourier, pixels, phase, deep-prior, or decoder: the input of --decoder.",
            metavar="NAME",
            default="the preset's own",
            choices="netinvert.experiments.configs.invert:canvases",
        ),
    ] = None
    mask: Annotated[
        str | None,
        Option(
            "The part of the code to match: centre=SIDE, channels=A:B or rows=A:B,columns=A:B.",
            metavar="PART",
            default="all",
        ),
    ] = None
    steps: Annotated[int | None, pieces.STEPS] = None
    restarts: Annotated[int, pieces.RESTARTS] = 1
    diverse: Annotated[
        float | None,
        Option("With --restarts: images that differ, by this weight (0.1, say).", min=0, metavar="WEIGHT"),
    ] = None
    start: Annotated[
        Path | None,
        Option(
            "An image to start from instead of noise.",
            metavar="IMAGE",
            identity=False,
            kept="tensors.safetensors",
        ),
    ] = None
    decoder: Annotated[
        str | None,
        Option(
            "A decoder of this layer, whose images to start from.",
            short="D",
            metavar="NAME|FILE",
            identity=False,
        ),
    ] = None
    reference: Annotated[
        Path | None,
        Option(
            "A folder of images to compare with: how far their codes are from the given one, and from each "
            "other, as two of the papers scale their errors.",
            metavar="DIR",
            default="netinvert's photographs",
            identity=False,
        ),
    ] = None

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.canvas == DECODER and self.decoder is None:
            raise ConfigError("which decoder is the canvas? Give --decoder NAME too")
        if self.decoder is not None and (self.start is not None or self.diverse is not None):
            raise ConfigError("--decoder gives the images to start from; leave out --start and --diverse")
        if self.diverse is not None and self.start is not None:
            raise ConfigError("--diverse starts from noise; leave out --start")
        if self.diverse is not None and self.restarts < 2:
            raise ConfigError("--diverse needs several images of a code: give --restarts 2 or more")
        if self.seed > 2**63 - self.restarts:
            raise ConfigError(f"--seed is at most 2**63 - --restarts, got {self.seed}")


def canvases() -> tuple[str, ...]:
    """The names that --canvas takes."""
    from netinvert.inversion.canvases import CANVASES

    return (*CANVASES, DECODER)
