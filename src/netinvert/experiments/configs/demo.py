"""What ``netinvert demo`` is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Output, Processes, Seed


@dataclass(frozen=True, kw_only=True)
class Demo(Seed, Output, Processes):
    """Invert codes of 3-D pose networks at several layers and leave a page to look at (some minutes).

    A part with a photograph needs the extra imagenet, and is left out where that is not installed.
    """

    command: ClassVar[str] = "demo"

    out: Annotated[Path, pieces.OUT] = Path("out/demo")
    steps: Annotated[
        int,
        Option(
            "Evaluations of the network a code; three times as many for codes of fully connected layers.",
            min=1,
        ),
    ] = 200
