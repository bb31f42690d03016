"""What the study of studies is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Output, Processes


@dataclass(frozen=True, kw_only=True)
class StudyAll(Output, Processes):
    """Answer which features of an image tell an object's orientation, whether inversions show them, and which
    prior makes the most interpretable images: all studies, and one page of what they found.

    Each study is a run of its own, in a folder beside OUT (OUT-features, …), as its own command makes it:
    what is there is not made again, and a stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study all"

    network: Annotated[str, pieces.NETWORK] = "posenet"
    studies: Annotated[
        tuple[str, ...],
        Option(
            "Only these.",
            also=("study",),
            metavar="NAME",
            default="all",
            choices="netinvert.experiments.whole:STUDIES",
        ),
    ] = ()
    quick: Annotated[
        bool, Option("A smaller one, in some ten minutes of two cores, on chairs that were seen before.")
    ] = False
