"""What an optimisation gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from netinvert.metrics import error_ijcv16

if TYPE_CHECKING:
    from netinvert.encoder import Encoder

GOING, CONVERGED, STOPPED, DIVERGED, NO_GRADIENT = range(5)
STATUS = ("all steps done", "converged", "stopped by rule", "diverged (NaN)", "no gradient")


@dataclass(frozen=True, eq=False)
class Result:
    """The best image found for each sample, and how it got there.

    ``image`` (N, C, H, W) as optimised (only a canvas without bounds leaves [0, 1]); ``code`` (N, ...) of
    that image; ``target`` (N, ...); ``losses`` (steps, T, N), one row a term of ``terms``, NaN where a
    sample had stopped; ``best_step`` (N,); ``status`` one text a sample.
    """

    image: Tensor
    code: Tensor
    target: Tensor | None
    losses: Tensor
    terms: tuple[str, ...]
    best_step: Tensor
    status: tuple[str, ...]
    seconds: float
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """How many evaluations of network and gradient were made."""
        return self.losses.shape[0]

    @property
    def error(self) -> Tensor:
        """‖Φ - Φ0‖ / ‖Φ0‖ of each sample, (N,): the normalised error of Mahendran & Vedaldi 2016."""
        if self.target is None:
            raise ValueError("this energy had no target code, so there is no code error")
        return error_ijcv16(self.code, self.target)

    def save(
        self,
        folder: str | Path,
        encoder: Encoder | None = None,
        original: Tensor | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write PNGs, float tensors, losses and ``manifest.json`` into a new folder; gives its path.

        With the ``encoder`` all errors are known, with the ``original`` (1 or N, C, h, w) the likeness too.
        Raises OutputError.
        """
        from netinvert.runs import save_result  # noqa: PLC0415  (that module needs this one)

        return save_result(self, folder, encoder, original, overwrite)
