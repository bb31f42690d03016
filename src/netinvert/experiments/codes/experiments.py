"""Experiments on codes with decoders (Dosovitskiy & Brox 2016): changed, between two, random, repeated.

Each measures one decoder: rows of figures and rows of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import read_poses
from netinvert.evaluation.report import Estimate, counted, listed, number
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.codes.statistics import between, binarised, dropped, noisy, top_only, without_top
from netinvert.experiments.configs.studies import StudyInterpolate, StudyIterate, StudyPerturb, StudyRandom
from netinvert.experiments.held_out_chairs import CodeSubject
from netinvert.scenes.cameras import azimuth_difference, geodesic_degrees

FigureRow: TypeAlias = Mapping[str, Any]
"""Figures, those over chairs or paths with intervals, and texts, by the keys of an experiment's columns."""
SHOWN = 3
"""Chairs on the sheets of changes and rounds."""


@dataclass(frozen=True, eq=False)
class CodeFindings:
    """What was found of one decoder: rows of the table, and rows of images (K, 3, H, W) with their names."""

    rows: Sequence[FigureRow]
    images: Sequence[tuple[str, Tensor]]


@dataclass(frozen=True, eq=False)
class CodeExperiment:
    """An experiment on codes. ``columns`` of its table, and what they are where ``study.ABOUT`` does not say
    it. ``measure`` takes a decoder with its chairs, and the config. ``sentence`` says what the rows of one
    decoder show. Rows whose value in the second column is among ``baselines`` are floors or ceilings.
    ``headings`` of the images; ``statistics``: whether it needs those of codes."""

    title: str
    lead: str
    columns: Mapping[str, str]
    measure: Callable[[CodeSubject, Any], CodeFindings]
    sentence: Callable[[Sequence[FigureRow]], str]
    headings: Callable[[Any], Sequence[str]]
    baselines: Sequence[object] = ()
    statistics: bool = False


def _chair_rows(subject: CodeSubject, made: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    """Of each of the first chairs a row of what was made of it, images of each batch of ``made``."""
    return [
        (f"{subject.name}, chair {k + 1}", torch.stack([images[k] for images in made]))
        for k in range(min(SHOWN, len(made[0])))
    ]


# -- codes changed in known ways -------------------------------------------------------------------------

Edit = Callable[[CodeSubject, Sequence[int]], Tensor]
"""From a subject and one seed a chair to its codes, changed."""
FEW, SHARE = 5, 0.1
"""The largest numbers that the paper keeps or leaves out, and the share that we do."""
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
    **{f"noise {sign} σ": _noise(share) for sign, share in zip("¼½1", (0.25, 0.5, 1.0), strict=True)},
    OTHER: lambda subject, seeds: subject.codes.roll(1, 0),
}


def _perturb(subject: CodeSubject, config: StudyPerturb) -> CodeFindings:
    """Every edit of the codes of every chair, decoded, also after a projection; images of some chairs."""
    about, none = {"decoder": subject.name}, Estimate(0.0)
    unchanged = {"ratio": 0.0, "image error": none, "on the chair": none, "code error": none}
    poses = subject.pose_figures(subject.originals)
    rows: list[FigureRow] = [about | {"code": ORIGINAL} | unchanged | poses]
    made = [subject.originals]
    as_it_is = subject.image_errors(subject.decoded, subject.originals).mean()
    for name, edit in EDITS.items():
        changed = edit(subject, range(config.seed, config.seed + len(subject.codes)))
        images = subject.decode(changed)
        made.append(images)
        projected, principal = (
            subject.decode(subject.statistics.project(changed, which)) for which in (False, True)
        )
        found = {
            "changed": estimate(subject.code_errors(changed, subject.codes)),
            "ratio": (subject.image_errors(images, subject.originals).mean() / as_it_is).item(),
            "mask": subject.overlap(changed),
            "projected": estimate(subject.chair_errors(projected)),
            "principal": estimate(subject.chair_errors(principal)),
        }
        rows.append(about | {"code": name} | found | subject.figures(images, subject.encode(images)))
    return CodeFindings(rows, _chair_rows(subject, made))


def _perturb_sentence(rows: Sequence[FigureRow]) -> str:
    error = {row["code"]: row["on the chair"].value for row in rows if row["code"] != ORIGINAL}
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
    {
        "decoder": "",
        "code": "what was done to it; 10 % are of all its numbers, σ is of a unit (vectors) or channel "
        "(maps)",
        "changed": "distance of the changed code from the true one, over the mean distance of two chairs' "
        "codes",
        **dict.fromkeys(("image error", "on the chair"), ""),
        "ratio": "image error over that of the code as it is",
        "moved": "distance from what is decoded of the code as it is, by the same measure as the image error",
        **dict.fromkeys(("mask", "code error", "pose", "within 30°"), ""),
        "turned": "median angle between the poses read from it and from what is decoded of the code as it is",
        "projected": "as `on the chair`, where the changed code is first brought into the ranges seen in "
        "codes",
        "principal": "as `on the chair`, where it is first put on the principal directions of codes",
    },
    _perturb,
    _perturb_sentence,
    lambda config: ["original", *EDITS],
    (ORIGINAL, UNCHANGED, OTHER),
    statistics=True,
)


# -- codes between those of two chairs -------------------------------------------------------------------

STEPS = 8
"""Of a path; it has one image more."""
SLACK = 3.0
"""Degrees by which a step may turn back: the pose estimator reads no better."""
BANDS = ((0, 60), (60, 120), (120, 181))
ON_SHEET = (110.0, 50.0)
"""Degrees between the azimuths of the chairs that are shown, or as near to that as any; all paths of the
first two, the straight one of the others."""
STRAIGHT, SPHERE, MIXED = "straight", "on the sphere", "images mixed"


def _interpolate(subject: CodeSubject, config: StudyInterpolate) -> CodeFindings:
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
        rows += _path_rows(subject, path, made, codes)
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


def _path_rows(subject: CodeSubject, path: str, images: Tensor, codes: Tensor) -> list[FigureRow]:
    """Figures by how far the ends are apart, of paths of images (P, K, 3, H, W) and codes (P, K, ...)."""
    azimuth = subject.poses(images.flatten(0, 1)).azimuth.view(images.shape[:2])
    turns = path_figures(torch.remainder(azimuth.diff(dim=1) + 180, 360) - 180)
    apart = azimuth_difference(azimuth[:, -1], azimuth[:, 0])
    halfway = images[:, STEPS // 2]
    deviation = images.flatten(3).std(3).mean(2)
    means = {
        "one way": turns.pop("one way"),
        "code error": subject.code_errors(subject.encode(halfway), codes[:, STEPS // 2]),
        "contrast": deviation[:, STEPS // 2] / torch.stack([deviation[:, k] for k in (0, -1)]).mean(0),
        "sure": subject.sureness(halfway),
    }
    return [
        {
            "decoder": subject.name,
            "path": path,
            "ends apart": f"{low}° to {min(high, 180)}°",
            "pairs": int(band.sum()),
            **{key: estimate(values[band], statistic="median") for key, values in turns.items()},
            **{key: estimate(values[band]) for key, values in means.items()},
        }
        for low, high in BANDS
        if bool((band := (apart >= low) & (apart < high)).any())
    ]


def _interpolate_sentence(rows: Sequence[FigureRow]) -> str:
    last = rows[-1]["ends apart"]
    found = {row["path"]: row["straightness"].value for row in rows if row["ends apart"] == last}
    each = listed([f"{number(value, 2)} ({path})" for path, value in found.items()])
    return f"where the ends are {last} apart, the straightness of the turn is {each}; 1 is straight on."


INTERPOLATE = CodeExperiment(
    "Between the codes of two chairs",
    "Paths from one chair's code to another's, decoded, of",
    {
        "decoder": "",
        "path": "between codes: straight, or on the great circle between them (Shoemake 1985); or, to "
        "compare, between the two decoded images themselves",
        "ends apart": "how far the azimuths read from the two ends are from one another",
        "pairs": "how many; chairs with one front alone",
        "one way": f"share of the paths on which azimuth never turns back by more than {SLACK:.0f}°",
        "straightness": "median of the turn from end to end over all turns on the path together; 1 is "
        "straight",
        "largest step": f"median of the largest turn in one of {STEPS} steps over all turns on the path; "
        f"{1 / STEPS:.3f} is even",
        "midway": "median of how much of the turn is done halfway, 0.5 if even, by the azimuth read there",
        "code error": "distance, halfway, of the code on the path from that of the image made of it, over "
        "the mean distance of two chairs' codes",
        "contrast": "deviation of the pixels of the image halfway over that of the ends'; mixed ones are "
        "faint",
        "sure": "",
    },
    _interpolate,
    _interpolate_sentence,
    lambda config: ["one original", *(f"{k / STEPS:.0%}" for k in range(STEPS + 1)), "other original"],
    (MIXED,),
)


# -- random codes: drawn unit by unit, and all together --------------------------------------------------

OWN = "of chairs"


def _random(subject: CodeSubject, config: StudyRandom) -> CodeFindings:
    """As many random codes of each kind as there are chairs, decoded, against the chairs' own codes."""
    count, statistics = len(subject.codes), subject.statistics
    alone = statistics.sample(count, config.seed)
    kinds = {
        OWN: subject.codes,
        "each number by itself": alone,
        "all together": statistics.sample(count, config.seed, joint=True),
        "by itself, then projected": statistics.project(alone, principal=True),
    }
    rows, shown = list[FigureRow](), []
    apart_in_codes = torch.pdist(subject.codes.double().flatten(1)).mean()
    for name, codes in kinds.items():
        images = subject.decode(codes)
        again = subject.encode(images)
        distances = torch.cdist(again.flatten(1), codes.flatten(1))
        nearest = torch.cdist(codes.flatten(1), subject.bank.flatten(1)).amin(1)
        own = read_poses(subject.encoder, images)
        apart = None if own is None else geodesic_degrees(own.rotation, subject.poses(images).rotation)
        norms = [torch.linalg.vector_norm(each.flatten(1), dim=1).mean() for each in (codes, subject.codes)]
        found = {
            "norm": (norms[0] / norms[1]).item(),
            "to nearest": (nearest.median() / apart_in_codes).item(),
            "code error": estimate(subject.code_errors(again, codes)),
            "nearest code": estimate((distances.argmin(1) == torch.arange(count)).float()),
            "two readers": None if apart is None else estimate(apart, statistic="median"),
            "sure": estimate(subject.sureness(images)),
            "spread": subject.spread(images),
        }
        rows.append({"decoder": subject.name, "codes": name, **found})
        shown.append((f"{subject.name}: {name}", images[: SHOWN**2]))
    return CodeFindings(rows, shown)


def _random_sentence(rows: Sequence[FigureRow]) -> str:
    own, *drawn = rows
    each = [f"{number(row['sure'].value, 2)} ({row['codes']})" for row in drawn]
    return (
        f"the estimator is sure to {number(own['sure'].value, 2)} of the azimuth in images of the chairs' "
        f"own codes, and to {listed(each)} in those of random ones."
    )


RANDOM = CodeExperiment(
    "Random codes, decoded",
    "As many random codes of each kind as there are chairs:",
    {
        "decoder": "",
        "codes": "of held-out chairs; or drawn each number by itself from its unit's (channel's) histogram; "
        "or all numbers together, with the histograms and the covariances of their normal scores; or by "
        "itself, then put on the principal directions of codes",
        "norm": "mean norm of the codes over that of the chairs' codes",
        "to nearest": "median distance to the nearest code of another image, over the mean distance of two "
        "chairs' codes",
        "code error": "distance between the code and that of the image made of it, by the same measure",
        "nearest code": "share of images whose own code has, among all codes of the row, the one it was made "
        "of as its nearest",
        "two readers": "median angle between the poses that the network itself and the held-out estimator "
        "read",
        **dict.fromkeys(("sure", "spread"), ""),
    },
    _random,
    _random_sentence,
    lambda config: (),
    (OWN,),
    statistics=True,
)


# -- images encoded and decoded again and again ----------------------------------------------------------


def _iterate(subject: CodeSubject, config: StudyIterate) -> CodeFindings:
    """So many rounds of encoding and decoding, and images of some chairs, a column a round."""
    made, codes, rows = [subject.originals], subject.codes, list[FigureRow]()
    for round_number in range(config.rounds + 1):
        row: dict[str, Any] = {"decoder": subject.name, "round": round_number, "step": None}
        images = made[-1]
        if round_number:
            images = subject.decode(codes)
            row["step"] = estimate(subject.image_errors(images, made[-1]))
            row["mask"] = subject.overlap(codes)
            codes = subject.encode(images)
            made.append(images)
        more = {"sure": estimate(subject.sureness(images)), "spread": subject.spread(images)}
        rows.append(row | subject.figures(images, codes) | more)
    return CodeFindings(rows, _chair_rows(subject, made))


def _iterate_sentence(rows: Sequence[FigureRow]) -> str:
    original, first, last = rows[0], rows[1], rows[-1]
    return (
        f"from the first round to {counted(last['round'], 'round')} the error on the chair goes from "
        f"{number(first['on the chair'].value, 2)} to {number(last['on the chair'].value, 2)} and the pose "
        f"error from {number(first['pose'].value, 1)}° to {number(last['pose'].value, 1)}° (of the originals "
        f"{number(original['pose'].value, 1)}°)."
    )


ITERATE = CodeExperiment(
    "Encoded and decoded again and again",
    "What stays? The first codes are of",
    {
        "decoder": "",
        "round": "how often it was encoded and decoded; 0 is the original",
        **dict.fromkeys(("image error", "on the chair"), ""),
        "moved": "distance from the image of the first round, by the same measure as the image error",
        "step": "distance from the image of the round before",
        **dict.fromkeys(("mask", "code error", "pose", "within 30°"), ""),
        "turned": "median angle between the poses read from it and from the first image",
        **dict.fromkeys(("sure", "spread"), ""),
    },
    _iterate,
    _iterate_sentence,
    lambda config: ["original", *(f"round {number}" for number in range(1, config.rounds + 1))],
    (0,),
)
