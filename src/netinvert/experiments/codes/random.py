"""What decoders make of random codes: drawn unit by unit (Dosovitskiy & Brox 2016), and all together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netinvert.evaluation.evaluate import read_poses
from netinvert.evaluation.report import listed, number
from netinvert.experiments.codes.subject import CodeExperiment, CodeFindings, CodeSubject, FigureRow
from netinvert.experiments.configs.study_codes import StudyRandom
from netinvert.scenes.cameras import geodesic_degrees

ON_SHEET = 9
OWN = "of chairs"
COLUMNS = {
    "decoder": "",
    "codes": "of held-out chairs; or drawn each number by itself from its unit's (channel's) histogram; or "
    "all numbers together, with the histograms and the covariances of their normal scores; or by itself, "
    "then put on the principal directions of codes",
    "norm": "mean norm of the codes over that of the chairs' codes",
    "to nearest": "median distance to the nearest code of another image, over the mean distance of two "
    "chairs' codes",
    "code error": "distance between the code and that of the image made of it, by the same measure",
    "nearest code": "share of images whose own code has, among all codes of the row, the one it was made of "
    "as its nearest",
    "two readers": "median angle between the poses that the network itself and the held-out estimator read",
    "sure": "",
    "spread": "",
}


def _measure(subject: CodeSubject, config: StudyRandom) -> CodeFindings:
    """As many random codes of each kind as there are chairs, decoded, against the chairs' own codes."""
    rows, images = [], []
    for name, codes in _kinds(subject, config.seed).items():
        made = subject.decode(codes)
        rows.append({"decoder": subject.name, "codes": name, **_figures(subject, codes, made)})
        images.append((f"{subject.name}: {name}", made[:ON_SHEET]))
    return CodeFindings(rows, images)


def _kinds(subject: CodeSubject, seed: int) -> dict[str, Tensor]:
    count = len(subject.codes)
    alone = subject.statistics.sample(count, seed)
    return {
        OWN: subject.codes,
        "each number by itself": alone,
        "all together": subject.statistics.sample(count, seed, joint=True),
        "by itself, then projected": subject.statistics.project(alone, principal=True),
    }


def _figures(subject: CodeSubject, codes: Tensor, images: Tensor) -> FigureRow:
    again = subject.encode(images)
    distances = torch.cdist(again.flatten(1), codes.flatten(1))
    nearest = torch.cdist(codes.flatten(1), subject.bank.flatten(1)).amin(1)
    own = read_poses(subject.encoder, images)
    apart = None if own is None else geodesic_degrees(own.rotation, subject.poses(images).rotation).median()
    norms = [torch.linalg.vector_norm(each.flatten(1), dim=1).mean() for each in (codes, subject.codes)]
    return {
        "norm": (norms[0] / norms[1]).item(),
        "to nearest": (nearest.median() / subject.code_distance).item(),
        "code error": subject.code_errors(again, codes).mean().item(),
        "nearest code": (distances.argmin(1) == torch.arange(len(codes))).float().mean().item(),
        "two readers": None if apart is None else apart.item(),
        "sure": subject.sureness(images).mean().item(),
        "spread": subject.spread(images),
    }


def _sentence(rows: Sequence[FigureRow]) -> str:
    own, *drawn = rows
    each = [f"{number(row['sure'], 2)} ({row['codes']})" for row in drawn]
    return (
        f"the estimator is sure to {number(own['sure'], 2)} of the azimuth in images of the chairs' own "
        f"codes, and to {listed(each)} in those of random ones."
    )


RANDOM = CodeExperiment(
    "Random codes, decoded",
    "As many random codes of each kind as there are chairs:",
    COLUMNS,
    _measure,
    _sentence,
    lambda config: (),
    (OWN,),
    statistics=True,
)
