"""Writing a file of codes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from netinvert.cli.inputs import is_code_file, read_inputs
from netinvert.errors import ImageError, OutputError
from netinvert.evaluation.save_results import labels
from netinvert.io.files import save_tensors, write_atomic
from netinvert.models.encoder import Encoder


@dataclass(frozen=True)
class CodeFile:
    """Where the codes go."""

    path: Path
    overwrite: bool = False

    def check(self) -> None:
        """Raise OutputError for what can be known beforehand."""
        if self.path.suffix.lower() not in {".safetensors", ".npy"}:
            raise OutputError(f"{self.path}: codes are written as .safetensors or .npy; name such a file")
        if self.path.exists() and not self.overwrite:
            raise OutputError(f"{self.path} exists; choose another file or --overwrite")
        if not self.path.absolute().parent.is_dir():
            raise OutputError(f"cannot write {self.path}: its folder does not exist: create it first")


def write_codes(source: str, encoder: Encoder, file: CodeFile) -> tuple[list[str], list[int]]:
    """Encode the images and write them; their names and the shape of all codes."""
    if is_code_file(source):
        raise ImageError(f"{source} holds a code already; give an image, a folder or a glob of images")
    inputs = read_inputs(source, encoder)
    names = list(inputs.stems)
    if file.path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, inputs.codes.cpu().numpy())
        write_atomic(file.path, buffer.getvalue())
    else:
        save_tensors(file.path, {"code": inputs.codes}, labels(encoder, names))
    return names, list(inputs.codes.shape)
