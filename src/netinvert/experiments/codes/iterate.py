"""What stays when a decoded image is encoded and decoded again and again (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from netinvert.evaluation.report import counted, number
from netinvert.experiments.codes.subject import (
    CodeExperiment,
    CodeFindings,
    CodeSubject,
    FigureRow,
    chair_rows,
)
from netinvert.experiments.configs.study_codes import StudyIterate

ON_SHEET = 3
COLUMNS = {
    "decoder": "",
    "round": "how often it was encoded and decoded; 0 is the original",
    "image error": "",
    "on the chair": "",
    "moved": "distance from the image of the first round, by the same measure as the image error",
    "step": "distance from the image of the round before",
    "mask": "",
    "code error": "",
    "pose": "",
    "within 30°": "",
    "turned": "median angle between the poses read from it and from the first image",
    "sure": "",
    "spread": "",
}


def _measure(subject: CodeSubject, config: StudyIterate) -> CodeFindings:
    """So many rounds of encoding and decoding, and images of some chairs, a column a round."""
    originals = subject.originals
    rows: list[dict[str, Any]] = [
        {
            "decoder": subject.name,
            "round": 0,
            **_figures(subject, originals, originals),
            "step": None,
            "code error": 0.0,
        }
    ]
    made, codes = [originals], subject.codes
    for round_number in range(1, config.rounds + 1):
        images = subject.decode(codes)
        again = subject.encode(images)
        found = _figures(subject, images, made[-1]) | {
            "mask": subject.overlap(codes),
            "code error": subject.code_errors(again, subject.codes).mean().item(),
        }
        rows.append({"decoder": subject.name, "round": round_number, **found})
        made.append(images)
        codes = again
    return CodeFindings(rows, chair_rows(subject, made, ON_SHEET))


def _figures(subject: CodeSubject, images: Tensor, before: Tensor) -> dict[str, float | None]:
    return {
        "image error": subject.image_errors(images, subject.originals).mean().item(),
        "on the chair": subject.chair_errors(images).mean().item(),
        "moved": subject.image_errors(images, subject.decoded).mean().item(),
        "step": subject.image_errors(images, before).mean().item(),
        **subject.pose_figures(images),
        "sure": subject.sureness(images).mean().item(),
        "spread": subject.spread(images),
    }


def _sentence(rows: Sequence[FigureRow]) -> str:
    original, first, last = rows[0], rows[1], rows[-1]
    return (
        f"from the first round to {counted(last['round'], 'round')} the error on the chair goes from "
        f"{number(first['on the chair'], 2)} to {number(last['on the chair'], 2)} and the pose error from "
        f"{number(first['pose'], 1)}° to {number(last['pose'], 1)}° (of the originals "
        f"{number(original['pose'], 1)}°)."
    )


ITERATE = CodeExperiment(
    "Encoded and decoded again and again",
    "What stays? The first codes are of",
    COLUMNS,
    _measure,
    _sentence,
    lambda config: ["original", *(f"round {number}" for number in range(1, config.rounds + 1))],
    (0,),
)
