"""Which numbers of a code a decoder uses: codes changed in known ways (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from netinvert.experiments.codes.edits import binarised, dropped, noisy, top_only, without_top
from netinvert.experiments.codes.findings import Findings, Line, Value, grid
from netinvert.experiments.codes.subjects import Subject

Edit = Callable[[Subject, Sequence[int]], Tensor]
"""From a subject and one seed a chair to its codes, changed."""
FEW = 5
"""The largest numbers that the paper keeps or leaves out."""
SHARE = 0.1
ON_SHEET = 3


def _tenth(subject: Subject) -> int:
    return max(1, round(SHARE * subject.codes[0].numel()))


def _noise(share: float) -> Edit:
    return lambda subject, seeds: noisy(subject.codes, subject.statistics.std, share, seeds)


EDITS: Mapping[str, Edit] = {
    "as it is": lambda subject, seeds: subject.codes,
    "signs alone": lambda subject, seeds: binarised(subject.codes),
    "half left out": lambda subject, seeds: dropped(subject.codes, 0.5, seeds),
    f"largest {FEW}": lambda subject, seeds: top_only(subject.codes, FEW),
    "largest 10 %": lambda subject, seeds: top_only(subject.codes, _tenth(subject)),
    f"without largest {FEW}": lambda subject, seeds: without_top(subject.codes, FEW),
    "without largest 10 %": lambda subject, seeds: without_top(subject.codes, _tenth(subject)),
    "noise ¼ σ": _noise(0.25),
    "noise ½ σ": _noise(0.5),
    "noise 1 σ": _noise(1.0),
}
COLUMNS = {
    "decoder": "",
    "code": "what was done to it; 10 % are of all its numbers, σ is of a unit (vectors) or channel (maps)",
    "changed": "distance of the changed code from the true one, over the mean distance of two chairs' codes",
    "image error": "distance of what is decoded from the original, over the mean distance of two originals "
    "(Dosovitskiy & Brox 2016)",
    "on the chair": "the same in the chair's pixels alone, over that of the other originals there",
    "ratio": "image error over that of the code as it is",
    "moved": "distance of what is decoded from what is decoded of the code as it is, by the same measure",
    "mask": "mean overlap (intersection over union) of the decoded mask with the true one",
    "code error": "distance of the picture's own code from the true one, as for `changed`",
    "pose": "median angle in degrees between the chair's true pose and that which the judge reads",
    "within 30°": "share of such angles",
    "turned": "median angle between the poses read from it and from what is decoded of the code as it is",
    "projected": "as `on the chair`, where the changed code is first brought into the ranges seen in codes",
    "principal": "as `on the chair`, where it is first put on the principal directions of codes",
}


def perturbed(subjects: Sequence[Subject], seed: int) -> Findings:
    """Every edit of the codes of every chair, decoded, also after a projection; a grid of some chairs."""
    rows: list[dict[str, Value]] = []
    lines: list[Line] = []
    for subject in subjects:
        made: list[Tensor] = []
        seeds = range(seed, seed + len(subject.codes))
        for name, edit in EDITS.items():
            changed = edit(subject, seeds)
            made.append(subject.decode(changed))
            rows.append({"decoder": subject.name, "code": name, **_figures(subject, changed, made[-1])})
        lines += [
            Line(subject.name if k == 0 else "", [subject.originals[k], *(images[k] for images in made)])
            for k in range(min(ON_SHEET, len(subject.codes)))
        ]
    title = "Codes changed, then decoded"
    notes = (f"{len(subjects[0].codes)} chairs that neither network nor decoder has seen.",)
    return Findings(title, notes, COLUMNS, rows, grid(lines, ["original", *EDITS], title))


def _figures(subject: Subject, codes: Tensor, images: Tensor) -> dict[str, Value]:
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
