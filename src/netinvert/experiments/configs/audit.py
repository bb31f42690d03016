"""What ``netinvert audit`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import OfLayer, OnNetwork


@dataclass(frozen=True, kw_only=True)
class Audit(OfLayer, OnNetwork):
    """What do stored codes show? Reconstruct, re-identify, and probe for attributes, against chance.

    A stopped audit is resumed by the same command.
    """

    command: ClassVar[str] = "audit"

    codes: Annotated[
        Path,
        Option("Stored codes (N, …): .npy, .safetensors or .pt.", positional=True, metavar="CODES"),
    ]
    decoder: Annotated[
        str | None,
        Option(
            "A decoder of this layer.", short="D", metavar="NAME|FILE", default="a shipped one, if one fits"
        ),
    ] = None
    images: Annotated[
        str | None,
        replace(
            pieces.IMAGES, help="The originals, one a code, to measure against: a folder or a quoted glob."
        ),
    ] = None
    attributes: Annotated[
        Path | None,
        Option(
            "Attributes to probe for: a column each with its name in the first line, a row a code in their "
            "order, or with a column 'name' that says whose it is.",
            metavar="FILE.csv",
        ),
    ] = None
    groups: Annotated[
        str | None,
        Option(
            "A column of --attributes: codes that share a value (a photograph, a person) stay in one fold.",
            metavar="COLUMN",
        ),
    ] = None
    judge_network: Annotated[
        str | None,
        Option("Another network, to read the reconstructions; needs --images.", metavar="NAME"),
    ] = None
    judge_layer: Annotated[str | None, Option("Its layer.", metavar="NAME")] = None
    preset: Annotated[
        str,
        replace(
            pieces.PRESET,
            help="As of 'netinvert invert'.",
            choices="netinvert.inversion.presets.by_name:PRESETS",
        ),
    ] = "default"
    steps: Annotated[int | None, pieces.STEPS] = None
    sample: Annotated[
        int, Option("Of more codes than these, so many drawn by the seed are reconstructed.", min=2)
    ] = 64
    shuffles: Annotated[int, Option("Of the labels, for the chance level of probes.", min=20)] = 200
    seed: Annotated[
        int, replace(pieces.SEED, help="Of the noise to start from, the sample and the shuffles.")
    ] = 0

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if (self.judge_network is None) != (self.judge_layer is None):
            raise ConfigError("a judge is a network and a layer: give --judge-network and --judge-layer")
        if self.judge_network is not None and self.images is None:
            raise ConfigError("a judge reads the originals too: give --images as well")
        if self.groups is not None and self.attributes is None:
            raise ConfigError("--groups names a column of --attributes: give that file as well")
