"""What ``netinvert look`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import OfLayers, OnNetwork


@dataclass(frozen=True, kw_only=True)
class Look(OfLayers, OnNetwork):
    """See what each layer of a network keeps of an image: its code inverted, layer by layer, on one page.

    A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "look"

    images: Annotated[
        str, Option("An image, a folder of images, or a quoted glob.", positional=True, metavar="IMAGE")
    ]
    layers: Annotated[tuple[str, ...], replace(pieces.LAYERS, default="all that are worth inverting")] = ()
    preset: Annotated[
        str,
        replace(
            pieces.PRESET,
            help="As of 'netinvert invert'.",
            choices="netinvert.inversion.presets.by_name:PRESETS",
        ),
    ] = "quick"
    prior: Annotated[str | None, pieces.PRIOR] = None
    steps: Annotated[int | None, pieces.STEPS] = None
