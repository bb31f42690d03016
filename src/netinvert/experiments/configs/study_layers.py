"""What ``netinvert study layers`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import OfLayers, OnNetwork

CHAIRS = "chairs"
"""As --images: the unseen chairs of the demo."""


@dataclass(frozen=True, kw_only=True)
class StudyLayers(OfLayers, OnNetwork):
    """Invert layer by layer as Mahendran & Vedaldi did, with each value of the weight between accuracy and
    naturalness; leave the papers' tables for any network.
    """

    command: ClassVar[str] = "study layers"

    layers: Annotated[tuple[str, ...], replace(pieces.LAYERS, default="all that are worth inverting")] = ()
    images: Annotated[
        str | None,
        Option(
            "A folder of images, a quoted glob, or 'chairs': the unseen ones of the demo.",
            metavar="DIR|chairs",
            default="netinvert's photographs",
        ),
    ] = None
    count: Annotated[int | None, Option("Only the first so many images.", min=1, default="all")] = None
    protocol: Annotated[
        str,
        Option(
            "cvpr15 (λ of the total variation), ijcv16 (C of the code error), or default: the weight of our "
            "default's prior.",
            metavar="NAME",
            choices=("cvpr15", "ijcv16", "default"),
        ),
    ] = "ijcv16"
    values: Annotated[
        tuple[str, ...],
        Option(
            "Of that weight; 'none' is no regulariser.",
            metavar="NUMBER|none",
            default="the paper's, and none",
        ),
    ] = ()
    restarts: Annotated[int, pieces.RESTARTS] = 1
    steps: Annotated[int | None, replace(pieces.STEPS, default="the protocol's own")] = None
    classes: Annotated[
        str | None,
        Option("Whether the network's outputs are classes.", choices=("yes", "no"), default="found out"),
    ] = None
    show: Annotated[int, Option("Which image the contact sheet shows, from 1.", min=1)] = 1

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        for text in self.values:
            if text != "none" and not _positive(text):
                raise ConfigError(f"--values are numbers above 0, or none, got {text}")


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
