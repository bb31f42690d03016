"""What ``netinvert rerun`` is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.io.config import Option
from netinvert.io.pieces import Output


@dataclass(frozen=True, kw_only=True)
class Rerun(Output):
    """Repeat a run from its manifest, and say whether every file came out the same to the last bit.

    Inputs are read again if they are as they were; otherwise what the run kept of them is used.
    """

    command: ClassVar[str] = "rerun"

    manifest: Annotated[
        Path, Option("The manifest.json of a run, or its folder.", positional=True, metavar="MANIFEST")
    ]
    trust: Annotated[
        bool, Option("Run code that the manifest names: networks of the kind module:FILE.py:FACTORY.")
    ] = False
