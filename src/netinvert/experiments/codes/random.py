"""What decoders make of random codes: drawn unit by unit (Dosovitskiy & Brox 2016), and all together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netinvert.evaluation.evaluate import read_poses
from netinvert.experiments.codes.findings import Findings, Line, Value, grid
from netinvert.experiments.codes.subjects import Subject
from netinvert.scenes.rotations import geodesic_degrees

ON_SHEET = 9
COLUMNS = {
    "decoder": "",
    "codes": "of unseen chairs; or drawn each number by itself from its unit's (channel's) histogram; or all "
    "numbers together, with the histograms and the covariances of their normal scores; or by itself, then "
    "put on the principal directions of codes",
    "norm": "mean norm of the codes over that of the chairs' codes",
    "to nearest": "median distance to the nearest code of another picture, over the mean distance of two "
    "chairs' codes",
    "code error": "distance between the code and that of the picture made of it, by the same measure",
    "nearest code": "share of pictures whose own code has, among all codes of the row, the one it was made "
    "of as its nearest",
    "own and judge": "median angle in degrees between the poses that the network itself and its judge read "
    "from the picture",
    "sure": "how sure the judge is: the mean probability of the likeliest 45° of azimuth",
    "spread": "mean distance of two pictures, over that of two originals",
}


def random_codes(subjects: Sequence[Subject], seed: int) -> Findings:
    """As many random codes of each kind as there are chairs, decoded, against the chairs' own codes."""
    rows: list[dict[str, Value]] = []
    lines: list[Line] = []
    for subject in subjects:
        for name, codes in _kinds(subject, seed).items():
            images = subject.decode(codes)
            rows.append({"decoder": subject.name, "codes": name, **_figures(subject, codes, images)})
            lines.append(Line(f"{subject.name}: {name}", list(images[:ON_SHEET])))
    title = "Random codes, decoded"
    few = min(len(subject.bank) for subject in subjects)
    notes = (f"{len(subjects[0].codes)} codes a row; statistics of {few} codes or more.",)
    return Findings(title, notes, COLUMNS, rows, grid(lines, [], title))


def _kinds(subject: Subject, seed: int) -> dict[str, Tensor]:
    count = len(subject.codes)
    alone = subject.statistics.sample(count, seed)
    return {
        "of chairs": subject.codes,
        "each number by itself": alone,
        "all together": subject.statistics.sample(count, seed, joint=True),
        "by itself, then projected": subject.statistics.project(alone, principal=True),
    }


def _figures(subject: Subject, codes: Tensor, images: Tensor) -> dict[str, Value]:
    again = subject.encode(images)
    distances = torch.cdist(again.flatten(1), codes.flatten(1))
    own = read_poses(subject.encoder, images)
    apart = None if own is None else geodesic_degrees(own.rotation, subject.poses(images).rotation).median()
    return {
        "norm": (_norms(codes).mean() / _norms(subject.codes).mean()).item(),
        "to nearest": (_nearest(codes, subject.bank).median() / subject.code_distance).item(),
        "code error": subject.code_errors(again, codes).mean().item(),
        "nearest code": (distances.argmin(1) == torch.arange(len(codes))).float().mean().item(),
        "own and judge": None if apart is None else apart.item(),
        "sure": subject.sureness(images).mean().item(),
        "spread": subject.spread(images),
    }


def _nearest(codes: Tensor, others: Tensor) -> Tensor:
    nearest: Tensor = torch.cdist(codes.flatten(1), others.flatten(1)).amin(1)
    return nearest


def _norms(codes: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(codes.flatten(1), dim=1)
    return norms
