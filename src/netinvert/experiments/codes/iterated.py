"""What stays when a decoded picture is encoded and decoded again and again (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from netinvert.experiments.codes.findings import Findings, Line, Value, grid
from netinvert.experiments.codes.subjects import Subject

ROUNDS = 8
ON_SHEET = 3
COLUMNS = {
    "decoder": "",
    "round": "how often it was encoded and decoded",
    "image error": "distance from the original, over the mean distance of two originals",
    "on the chair": "the same in the chair's pixels alone, over that of the other originals there",
    "moved": "distance from the picture of the first round, by the same measure",
    "step": "distance from the picture of the round before",
    "mask": "mean overlap (intersection over union) of the decoded mask with the true one",
    "code error": "distance of the picture's own code from the true one, over the mean distance of two",
    "pose": "median angle in degrees between the chair's true pose and that which the judge reads",
    "within 30°": "share of such angles",
    "turned": "median angle between the poses that the judge reads from it and from the first picture",
    "sure": "how sure the judge is: the mean probability of the likeliest 45° of azimuth",
    "spread": "mean distance of two chairs' pictures, over that of the originals",
}


def iterated(subjects: Sequence[Subject], rounds: int = ROUNDS) -> Findings:
    """So many rounds of encoding and decoding, and a grid of some chairs, a column a round."""
    rows: list[dict[str, Value]] = []
    lines: list[Line] = []
    for subject in subjects:
        made: list[Tensor] = []
        codes, before = subject.codes, subject.originals
        for number in range(1, rounds + 1):
            images = subject.decode(codes)
            again = subject.encode(images)
            found = _figures(subject, images, before) | {
                "mask": subject.overlap(codes),
                "code error": subject.code_errors(again, subject.codes).mean().item(),
            }
            rows.append({"decoder": subject.name, "round": number, **found})
            made.append(images)
            codes, before = again, images
        lines += [
            Line(subject.name if k == 0 else "", [subject.originals[k], *(images[k] for images in made)])
            for k in range(min(ON_SHEET, len(subject.codes)))
        ]
    title = "Encoded and decoded again and again"
    notes = (f"{len(subjects[0].codes)} chairs that neither network nor decoder has seen.",)
    headings = ["original", *(f"round {number}" for number in range(1, rounds + 1))]
    return Findings(title, notes, COLUMNS, rows, grid(lines, headings, title))


def _figures(subject: Subject, images: Tensor, before: Tensor) -> dict[str, Value]:
    return {
        "image error": subject.image_errors(images, subject.originals).mean().item(),
        "on the chair": subject.chair_errors(images).mean().item(),
        "moved": subject.image_errors(images, subject.decoded).mean().item(),
        "step": subject.image_errors(images, before).mean().item(),
        **subject.pose_figures(images),
        "sure": subject.sureness(images).mean().item(),
        "spread": subject.spread(images),
    }
