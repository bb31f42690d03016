"""What ``netinvert study perturb|interpolate|random|iterate`` are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Output, Processes, Seed


@dataclass(frozen=True, kw_only=True)
class CodeStudy(Seed, Output, Processes):
    """Decoders, and the held-out chairs whose codes they get."""

    decoders: Annotated[tuple[str, ...], pieces.DECODERS]
    chairs: Annotated[int, replace(pieces.CHAIRS, help="How many held-out chairs.", min=2)] = 100
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of what is random.")] = 404


@dataclass(frozen=True, kw_only=True)
class StatisticsStudy(CodeStudy):
    """With statistics of codes."""

    data: Annotated[
        Path | None,
        Option(
            "A dataset of 'netinvert scenes render', for the statistics of codes.",
            metavar="DIR",
            default="300 other chairs",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class StudyPerturb(StatisticsStudy):
    """Change codes (signs alone, half left out, the largest numbers, noise), decode them, and compare."""

    command: ClassVar[str] = "study perturb"


@dataclass(frozen=True, kw_only=True)
class StudyRandom(StatisticsStudy):
    """Decode codes drawn at random, number by number or all together, and compare with chairs' own codes."""

    command: ClassVar[str] = "study random"


@dataclass(frozen=True, kw_only=True)
class StudyInterpolate(CodeStudy):
    """Decode codes between those of two chairs, and see how evenly the pose turns."""

    command: ClassVar[str] = "study interpolate"


@dataclass(frozen=True, kw_only=True)
class StudyIterate(CodeStudy):
    """Encode and decode images again and again, and see what stays."""

    command: ClassVar[str] = "study iterate"

    rounds: Annotated[int, Option("How often to encode and decode.", min=1)] = 8
