"""Resuming a stopped run: saving the state of a loop."""

from __future__ import annotations

import time
from pathlib import Path

from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.files import load_tensors, save_tensors


class Checkpoint:
    """A file with the state of one run, known by its fingerprint; written whole or not at all."""

    def __init__(self, path: Path, seconds: float, fingerprint: str) -> None:
        self.path = path
        self.seconds = seconds
        self.fingerprint = fingerprint
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor] | None:
        """The state, None if there is no file; ConfigError if the file belongs to another run."""
        if not self.path.exists():
            return None
        state, metadata = load_tensors(self.path)
        if metadata.get("fingerprint") != self.fingerprint:
            raise ConfigError(
                f"{self.path} is the checkpoint of a run with another code, network, seed or settings; "
                "delete it, or name another checkpoint"
            )
        return state

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self.seconds

    def save(self, state: dict[str, Tensor]) -> None:
        """Write the state."""
        save_tensors(self.path, state, {"fingerprint": self.fingerprint})
        self._saved = time.monotonic()
