"""What lies between the codes of two chairs, and how the pose changes on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.experiments.codes.edits import between
from netinvert.experiments.codes.findings import Findings, Line, Value, grid
from netinvert.experiments.codes.subjects import Subject
from netinvert.scenes.rotations import azimuth_difference

STEPS = 8
"""Of a way; it has one picture more."""
SLACK = 3.0
"""Degrees by which a step may turn against the way: the judge reads no better."""
BANDS = ((0, 60), (60, 120), (120, 181))
ON_SHEET = (110.0, 50.0)
"""Degrees between the azimuths of the chairs that the grid shows, or as near to that as any; all ways of the
first two, the straight one of the others."""
WAYS = ("straight", "on the sphere", "pictures mixed")
COLUMNS = {
    "decoder": "",
    "way": "between codes: straight, or on the great circle between them (Shoemake 1985); or, to compare, "
    "between the two decoded pictures themselves",
    "ends apart": "how far the judge's azimuths of the two ends are from one another",
    "pairs": "how many; chairs with one front alone",
    "one way": f"share of the ways on which azimuth never turns back by more than {SLACK:.0f}°",
    "straightness": "median of the turn from end to end over all turns on the way together; 1 is straight on",
    "largest step": f"median of the largest turn in one of {STEPS} steps over all turns on the way; "
    f"{1 / STEPS:.3f} is even",
    "midway": "median of how much of the turn is done halfway, 0.5 if even, by the azimuth read there",
    "code error": "distance, halfway, of the code on the way from that of the picture made of it, over the "
    "mean distance of two chairs' codes",
    "contrast": "deviation of the pixels of the picture halfway over that of the ends'; mixed ones are faint",
    "sure": "how sure the judge is, halfway: the mean probability of the likeliest 45° of azimuth",
}


@dataclass(frozen=True, eq=False)
class Way:
    """P ways of K pictures: ``images`` (P, K, 3, H, W), ``azimuth`` (P, K) in degrees as the judge reads
    it, and the ``turns`` (P, K - 1) of its steps in [-180, 180)."""

    images: Tensor
    azimuth: Tensor

    @property
    def turns(self) -> Tensor:
        """Of every step."""
        return torch.remainder(self.azimuth.diff(dim=1) + 180, 360) - 180


def interpolated(subjects: Sequence[Subject], seed: int) -> Findings:
    """Ways between the codes of pairs of chairs, by every decoder, and a grid of some.

    Raises ConfigError where fewer than two chairs have one front alone.
    """
    rows: list[dict[str, Value]] = []
    lines: list[Line] = []
    share = torch.linspace(0, 1, STEPS + 1)
    for subject in subjects:
        first, second = pairs(subject.chairs.symmetry, seed)
        azimuth = subject.chairs.azimuth
        gaps = azimuth_difference(azimuth[first], azimuth[second])
        shown = [int((gaps - wanted).abs().argmin()) for wanted in ON_SHEET]
        for name in WAYS:
            codes = between(subject.codes[first], subject.codes[second], share, name == "on the sphere")
            mixed = between(subject.decoded[first], subject.decoded[second], share)
            images = mixed if name == "pictures mixed" else subject.decode(codes.flatten(0, 1)).view_as(mixed)
            way = Way(images, subject.poses(images.flatten(0, 1)).azimuth.view(images.shape[:2]))
            rows += _rows(subject, name, way, codes)
            lines += [
                Line(
                    f"{subject.name}: {name}" if k == shown[0] else "", _row(subject, way, k, (first, second))
                )
                for k in shown[: None if name == WAYS[0] else 1]
            ]
    title = "Between the codes of two chairs"
    notes = (
        "Ways from one unseen chair's code to another's, decoded; azimuths as `posenet-judge` reads them.",
    )
    headings = ["one original", *(f"{value:.0%}" for value in share.tolist()), "other original"]
    return Findings(title, notes, COLUMNS, rows, grid(lines, headings, title))


def pairs(symmetry: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Every chair with one front alone, and after it another: (P,) and (P,)."""
    chosen = (symmetry == 1).nonzero().squeeze(1)
    if len(chosen) < 2:
        raise ConfigError("ways between chairs need two with one front alone: give more chairs")
    mixed = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(seed))]
    return mixed, mixed.roll(-1)


def path_figures(turns: Tensor) -> dict[str, Tensor]:
    """Of the turns (P, K) of ways in degrees, (P,) each: ``one way``, ``straightness``, ``largest step`` and
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


def _rows(subject: Subject, name: str, way: Way, codes: Tensor) -> list[dict[str, Value]]:
    figures = path_figures(way.turns)
    ends = azimuth_difference(way.azimuth[:, -1], way.azimuth[:, 0])
    halfway = way.images[:, STEPS // 2]
    again = subject.encode(halfway)
    contrast = _deviation(halfway) / torch.stack([_deviation(way.images[:, k]) for k in (0, -1)]).mean(0)
    measured = {
        "code error": subject.code_errors(again, codes[:, STEPS // 2]),
        "contrast": contrast,
        "sure": subject.sureness(halfway),
    }
    rows: list[dict[str, Value]] = []
    for low, high in BANDS:
        band = (ends >= low) & (ends < high)
        if not bool(band.any()):
            continue
        row: dict[str, Value] = {
            "decoder": subject.name,
            "way": name,
            "ends apart": f"{low}° to {min(high, 180)}°",
        }
        row["pairs"] = int(band.sum())
        row["one way"] = figures["one way"][band].mean().item()
        for key in ("straightness", "largest step", "midway"):
            row[key] = figures[key][band].median().item()
        rows.append(row | {key: values[band].mean().item() for key, values in measured.items()})
    return rows


def _deviation(images: Tensor) -> Tensor:
    return images.flatten(2).std(2).mean(1)


def _row(subject: Subject, way: Way, k: int, ends: tuple[Tensor, Tensor]) -> list[Tensor]:
    one, other = (subject.originals[chairs[k]] for chairs in ends)
    return [one, *way.images[k], other]
