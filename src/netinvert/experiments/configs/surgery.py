"""What the study of parts of codes is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Output, Processes, Seed, Trust
from netinvert.scenes.seeds import OPENED


@dataclass(frozen=True, kw_only=True)
class StudySurgery(Trust, Seed, Output, Processes):
    """Take the part of a code that carries the pose out, keep it alone, or put it into another chair's code;
    reconstruct what is left, and let networks that took no part read it.

    A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study surgery"

    decoders: Annotated[
        tuple[str, ...],
        replace(pieces.DECODERS, help="Decoders of vectors of pose networks, by name or file."),
    ]
    chairs: Annotated[int, replace(pieces.CHAIRS, min=3)] = 60
    others: Annotated[
        int,
        Option("Views of other chairs, on which the parts and the probes are fitted.", metavar="N", min=40),
    ] = 2000
    steps: Annotated[
        int, Option("Of optimisation by the preset quick; 0 leaves it out.", min=0, max=10**6)
    ] = 60
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of the random subspaces.")] = OPENED

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if len(set(self.decoders)) < len(self.decoders):
            raise ConfigError("--decoders names one twice: give each once")
