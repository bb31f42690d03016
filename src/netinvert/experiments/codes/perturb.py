"""Which numbers of a code a decoder uses: codes changed in known ways (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from netinvert.evaluation.report import number
from netinvert.experiments.codes.edits import binarised, dropped, noisy, top_only, without_top
from netinvert.experiments.codes.subject import (
    CodeExperiment,
    CodeFindings,
    CodeSubject,
    FigureRow,
    chair_rows,
)
from netinvert.experiments.configs.study_codes import StudyPerturb

Edit = Callable[[CodeSubject, Sequence[int]], Tensor]
"""From a subject and one seed a chair to its codes, changed."""
FEW = 5
"""The largest numbers that the paper keeps or leaves out."""
SHARE = 0.1
ON_SHEET = 3
ORIGINAL, UNCHANGED, OTHER = "the originals themselves", "as it is", "another chair's"


def _tenth(subject: CodeSubject) -> int:
    return max(1, round(SHARE * subject.codes[0].numel()))


def _noise(share: float) -> Edit:
    return lambda subject, seeds: noisy(subject.codes, subject.statistics.std, share, seeds)


EDITS: Mapping[str, Edit] = {
    UNCHANGED: lambda subject, seeds: subject.codes,
    "signs alone": lambda subject, seeds: binarised(subject.codes),
    "half left out": lambda subject, seeds: dropped(subject.codes, 0.5, seeds),
    f"largest {FEW}": lambda subject, seeds: top_only(subject.codes, FEW),
    "largest 10 %": lambda subject, seeds: top_only(subject.codes, _tenth(subject)),
    f"without largest {FEW}": lambda subject, seeds: without_top(subject.codes, FEW),
    "without largest 10 %": lambda subject, seeds: without_top(subject.codes, _tenth(subject)),
    "noise ¼ σ": _noise(0.25),
    "noise ½ σ": _noise(0.5),
    "noise 1 σ": _noise(1.0),
    OTHER: lambda subject, seeds: subject.codes.roll(1, 0),
}
COLUMNS = {
    "decoder": "",
    "code": "what was done to it; 10 % are of all its numbers, σ is of a unit (vectors) or channel (maps)",
    "changed": "distance of the changed code from the true one, over the mean distance of two chairs' codes",
    "image error": "",
    "on the chair": "",
    "ratio": "image error over that of the code as it is",
    "moved": "distance from what is decoded of the code as it is, by the same measure as the image error",
    "mask": "",
    "code error": "",
    "pose": "",
    "within 30°": "",
    "turned": "median angle between the poses read from it and from what is decoded of the code as it is",
    "projected": "as `on the chair`, where the changed code is first brought into the ranges seen in codes",
    "principal": "as `on the chair`, where it is first put on the principal directions of codes",
}


def _measure(subject: CodeSubject, config: StudyPerturb) -> CodeFindings:
    """Every edit of the codes of every chair, decoded, also after a projection; images of some chairs."""
    unchanged = {"image error": 0.0, "on the chair": 0.0, "ratio": 0.0, "code error": 0.0}
    about = {"decoder": subject.name}
    rows: list[dict[str, Any]] = [
        about | {"code": ORIGINAL} | unchanged | subject.pose_figures(subject.originals)
    ]
    made = [subject.originals]
    seeds = range(config.seed, config.seed + len(subject.codes))
    for name, edit in EDITS.items():
        changed = edit(subject, seeds)
        made.append(subject.decode(changed))
        rows.append(about | {"code": name, **_figures(subject, changed, made[-1])})
    return CodeFindings(rows, chair_rows(subject, made, ON_SHEET))


def _figures(subject: CodeSubject, codes: Tensor, images: Tensor) -> FigureRow:
    error = subject.image_errors(images, subject.originals).mean()
    projected, principal = (
        subject.decode(subject.statistics.project(codes, which)) for which in (False, True)
    )
    return {
        "changed": subject.code_errors(codes, subject.codes).mean().item(),
        "image error": error.item(),
        "on the chair": subject.chair_errors(images).mean().item(),
        "ratio": (error / subject.image_errors(subject.decoded, subject.originals).mean()).item(),
        "moved": subject.image_errors(images, subject.decoded).mean().item(),
        "mask": subject.overlap(codes),
        "code error": subject.code_errors(subject.encode(images), subject.codes).mean().item(),
        **subject.pose_figures(images),
        "projected": subject.chair_errors(projected).mean().item(),
        "principal": subject.chair_errors(principal).mean().item(),
    }


def _sentence(rows: Sequence[FigureRow]) -> str:
    error = {row["code"]: row["on the chair"] for row in rows if row["code"] != ORIGINAL}
    edits = [name for name in error if name not in (UNCHANGED, OTHER)]
    least, most = (choose(edits, key=lambda name: error[name]) for choose in (min, max))
    return (
        f"of the changes, “{least}” costs least on the chair (error {number(error[least], 2)}; the code as "
        f"it is {number(error[UNCHANGED], 2)}) and “{most}” most ({number(error[most], 2)}; another chair's "
        f"code {number(error[OTHER], 2)})."
    )


PERTURB = CodeExperiment(
    "Codes changed, then decoded",
    "Which numbers of a code does a decoder use? The codes are of",
    COLUMNS,
    _measure,
    _sentence,
    lambda config: ["original", *EDITS],
    (ORIGINAL, UNCHANGED, OTHER),
    statistics=True,
)
