"""What ``netinvert decoder evaluate`` and ``netinvert pose evaluate`` are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Output, Seed, Threads


@dataclass(frozen=True, kw_only=True)
class DecoderEvaluate(Seed, Output, Threads):
    """Decode the codes of images that a decoder never saw, and compare."""

    command: ClassVar[str] = "decoder evaluate"

    decoder: Annotated[str, Option("A decoder's name or file.", positional=True, metavar="DECODER")]
    weights: Annotated[str | None, pieces.WEIGHTS] = None
    images: Annotated[
        Path | None,
        Option("A folder of test images.", metavar="DIR", default="rendered chairs"),
    ] = None
    chairs: Annotated[int, replace(pieces.CHAIRS, help="How many held-out chairs.", min=2)] = 200
    seed: Annotated[
        int,
        replace(pieces.SEED, help="Which chairs; the shipped decoders were trained on those of 0."),
    ] = 404
    card: Annotated[
        bool, Option("Also write the figures into the decoder's file and its card.", identity=False)
    ] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.card and not self.decoder.endswith(".safetensors"):
            raise ConfigError("--card writes into the decoder's file: give that, not a name")


@dataclass(frozen=True, kw_only=True)
class PoseEvaluate(Seed, Output, Threads):
    """Render held-out chairs and compare the poses that a network reads with the cameras'."""

    command: ClassVar[str] = "pose evaluate"

    network: Annotated[str, replace(pieces.NETWORK, help="A network that reads poses.")] = "posenet"
    weights: Annotated[str | None, pieces.WEIGHTS] = None
    chairs: Annotated[int, replace(pieces.CHAIRS, help="How many held-out chairs.")] = 200
    views: Annotated[int, Option("Views of each.", min=1)] = 10
    seed: Annotated[
        int, replace(pieces.SEED, help="Which chairs; the shipped networks were trained on 0 and 2.")
    ] = 1
    path_traced: Annotated[bool, Option("Render with Mitsuba, another renderer than the training's.")] = False
    card: Annotated[
        bool, Option("Also write the figures into --weights and the card beside it.", identity=False)
    ] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.card and self.weights is None:
            raise ConfigError("--card writes into the file of --weights: give that too")
