"""What lies between the codes of two chairs, and how the pose changes on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.report import listed, number
from netinvert.experiments.codes.edits import between
from netinvert.experiments.codes.subject import CodeExperiment, CodeFindings, CodeSubject, FigureRow
from netinvert.experiments.configs.study_codes import StudyInterpolate
from netinvert.scenes.cameras import azimuth_difference

STEPS = 8
"""Of a path; it has one image more."""
SLACK = 3.0
"""Degrees by which a step may turn back: the pose estimator reads no better."""
BANDS = ((0, 60), (60, 120), (120, 181))
ON_SHEET = (110.0, 50.0)
"""Degrees between the azimuths of the chairs that are shown, or as near to that as any; all paths of the
first two, the straight one of the others."""
STRAIGHT, SPHERE, MIXED = "straight", "on the sphere", "images mixed"
COLUMNS = {
    "decoder": "",
    "path": "between codes: straight, or on the great circle between them (Shoemake 1985); or, to compare, "
    "between the two decoded images themselves",
    "ends apart": "how far the azimuths read from the two ends are from one another",
    "pairs": "how many; chairs with one front alone",
    "one way": f"share of the paths on which azimuth never turns back by more than {SLACK:.0f}°",
    "straightness": "median of the turn from end to end over all turns on the path together; 1 is straight",
    "largest step": f"median of the largest turn in one of {STEPS} steps over all turns on the path; "
    f"{1 / STEPS:.3f} is even",
    "midway": "median of how much of the turn is done halfway, 0.5 if even, by the azimuth read there",
    "code error": "distance, halfway, of the code on the path from that of the image made of it, over the "
    "mean distance of two chairs' codes",
    "contrast": "deviation of the pixels of the image halfway over that of the ends'; mixed ones are faint",
    "sure": "",
}


def _measure(subject: CodeSubject, config: StudyInterpolate) -> CodeFindings:
    """Paths between the codes of pairs of chairs, and images along some.

    Raises ConfigError where fewer than two chairs have one front alone.
    """
    rows: list[FigureRow] = []
    images: list[tuple[str, Tensor]] = []
    share = torch.linspace(0, 1, STEPS + 1)
    first, second = pairs(subject.chairs.symmetry, config.seed)
    azimuth = subject.chairs.azimuth
    gaps = azimuth_difference(azimuth[first], azimuth[second])
    shown = [int((gaps - wanted).abs().argmin()) for wanted in ON_SHEET]
    for path in (STRAIGHT, SPHERE, MIXED):
        codes = between(subject.codes[first], subject.codes[second], share, path == SPHERE)
        made = between(subject.decoded[first], subject.decoded[second], share)
        if path != MIXED:
            made = subject.decode(codes.flatten(0, 1)).view_as(made)
        rows += _rows(subject, path, made, codes)
        for k in shown[: None if path == STRAIGHT else 1]:
            ends = [subject.originals[chairs[k]][None] for chairs in (first, second)]
            images.append((f"{subject.name}: {path}", torch.cat([ends[0], made[k], ends[1]])))
    return CodeFindings(rows, images)


def pairs(symmetry: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Every chair with one front alone, and after it another: (P,) and (P,)."""
    chosen = (symmetry == 1).nonzero().squeeze(1)
    if len(chosen) < 2:
        raise ConfigError("paths between chairs need two with one front alone: give more chairs")
    mixed = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(seed))]
    return mixed, mixed.roll(-1)


def path_figures(turns: Tensor) -> dict[str, Tensor]:
    """Of the turns (P, K) of paths in degrees, (P,) each: ``one way``, ``straightness``, ``largest step`` and
    ``midway``, as in the table."""
    whole, total = turns.sum(1), turns.abs().sum(1).clamp_min(1e-6)
    forward = turns * whole.sign()[:, None]
    half = turns[:, : turns.shape[1] // 2].sum(1)
    return {
        "one way": (forward >= -SLACK).all(1).float(),
        "straightness": whole.abs() / total,
        "largest step": turns.abs().amax(1) / total,
        "midway": half / torch.where(whole.abs() < 1e-6, torch.ones_like(whole), whole),
    }


def _rows(subject: CodeSubject, path: str, images: Tensor, codes: Tensor) -> list[FigureRow]:
    """Figures by how far the ends are apart, of paths of images (P, K, 3, H, W) and codes (P, K, ...)."""
    azimuth = subject.poses(images.flatten(0, 1)).azimuth.view(images.shape[:2])
    figures = path_figures(torch.remainder(azimuth.diff(dim=1) + 180, 360) - 180)
    apart = azimuth_difference(azimuth[:, -1], azimuth[:, 0])
    halfway = images[:, STEPS // 2]
    again = subject.encode(halfway)
    measured = {
        "code error": subject.code_errors(again, codes[:, STEPS // 2]),
        "contrast": _deviation(halfway) / torch.stack([_deviation(images[:, k]) for k in (0, -1)]).mean(0),
        "sure": subject.sureness(halfway),
    }
    rows: list[FigureRow] = []
    for low, high in BANDS:
        band = (apart >= low) & (apart < high)
        if not bool(band.any()):
            continue
        row: dict[str, Any] = {
            "decoder": subject.name,
            "path": path,
            "ends apart": f"{low}° to {min(high, 180)}°",
            "pairs": int(band.sum()),
            "one way": figures["one way"][band].mean().item(),
        }
        for key in ("straightness", "largest step", "midway"):
            row[key] = figures[key][band].median().item()
        rows.append(row | {key: values[band].mean().item() for key, values in measured.items()})
    return rows


def _deviation(images: Tensor) -> Tensor:
    return images.flatten(2).std(2).mean(1)


def _sentence(rows: Sequence[FigureRow]) -> str:
    last = rows[-1]["ends apart"]
    each = [f"{number(row['straightness'], 2)} ({row['path']})" for row in rows if row["ends apart"] == last]
    return (
        f"where the ends are {last} apart, the straightness of the turn is {listed(each)}; 1 is straight on."
    )


INTERPOLATE = CodeExperiment(
    "Between the codes of two chairs",
    "Paths from one chair's code to another's, decoded, of",
    COLUMNS,
    _measure,
    _sentence,
    lambda config: ["one original", *(f"{k / STEPS:.0%}" for k in range(STEPS + 1)), "other original"],
    (MIXED,),
)
