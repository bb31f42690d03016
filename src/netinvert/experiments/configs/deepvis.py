"""What ``netinvert deepvis`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Device, OfLayer, Output, Processes, Seed


@dataclass(frozen=True, kw_only=True)
class Deepvis(OfLayer, Seed, Output, Processes, Device):
    """Search the regularisers of Yosinski et al. 2015 at random, and leave a page to look through.

    Every setting is kept when it is done: a stopped search is resumed by the same command.
    """

    command: ClassVar[str] = "deepvis"

    channel: Annotated[
        tuple[int, ...],
        Option(
            "Channels to make images for, one or more; of maps, their neurons in the middle.",
            short="c",
            also=("channels",),
            min=0,
        ),
    ]
    draws: Annotated[int, Option("Random settings of the four regularisers.", min=0)] = 300
    steps: Annotated[int, Option("Steps of each draw.", min=1)] = 200
    published_steps: Annotated[
        int | None, Option("Steps of the paper's four sets.", min=1, default="their own 500 to 1000")
    ] = None
    factor: Annotated[
        float,
        Option(
            "Also run the paper's sets with so many times their learning rates; 1 leaves it out.", above=0
        ),
    ] = 30.0
    pixels: Annotated[
        int | None, Option("Side of the images.", min=16, metavar="PIXELS", default="the network's")
    ] = None
    seed: Annotated[int, replace(pieces.SEED, help="Of the settings and of the noise to start from.")] = 0
