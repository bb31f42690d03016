"""What ``netinvert encode`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Device, OfLayer, Output

SUFFIXES = (".safetensors", ".npy")


@dataclass(frozen=True, kw_only=True)
class Encode(OfLayer, Output, Device):
    """Write the codes of images to a file, (N, …), which 'netinvert invert' takes."""

    command: ClassVar[str] = "encode"

    input: Annotated[str, replace(pieces.INPUT, help="An image, a folder of images, or a quoted glob.")]
    out: Annotated[Path, replace(pieces.OUT, help="The file to write.", metavar="FILE.safetensors|FILE.npy")]
    overwrite: Annotated[bool, Option("Replace the file.", identity=False)] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.out.suffix.lower() not in SUFFIXES:
            raise ConfigError(
                f"{self.out}: codes are written as .safetensors or .npy; name such a file with --out"
            )
