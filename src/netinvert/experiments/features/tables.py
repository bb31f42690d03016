"""The tables of ``netinvert study features``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import RIGHT
from netinvert.evaluation.report import Column, Estimate, percent
from netinvert.evaluation.statistics import Significance, estimate
from netinvert.experiments.configs.studies import StudyFeatures
from netinvert.experiments.features import registration as named
from netinvert.experiments.features.changes import filtered
from netinvert.experiments.features.measures import OCTANTS, FeatureReadings, Scale
from netinvert.experiments.features.registration import HYPOTHESES, Hypothesis
from netinvert.experiments.registered import (
    ALPHA,
    DRAWS,
    ENOUGH,
    FEATURES,
    TOO_FEW,
    enough_tested,
    hypotheses_table,
)

MARGIN = 1.15
"""A ratio of errors whose interval lies within 1 / MARGIN to MARGIN counts as no difference."""
WHOLES = (
    named.SILHOUETTE,
    named.INTERIOR,
    named.EDGES,
    named.UNTEXTURED,
    named.UNSHADED,
    named.RELIT,
    named.NO_SHADOW,
    named.MIRRORED,
    *(filtered(keeps, cutoff) for keeps in ("low", "high") for cutoff in named.CUTOFFS),
)
TIMES = "error, times the control's"


@dataclass(frozen=True, eq=False)
class Studied:
    """What was read, by the ``network`` that is told of first and others; ``blind`` is the reader with random
    weights; ``asked`` objects, of which those without a front were left out."""

    readings: FeatureReadings
    network: str
    blind: int
    config: StudyFeatures
    asked: int

    @property
    def count(self) -> int:
        """Objects that were read."""
        return len(self.readings.names)

    @property
    def noun(self) -> str:
        """What the objects are, with an article."""
        return "a chair" if self.config.objects == "chairs" else "an object"

    @property
    def parts(self) -> list[str]:
        """The parts that some objects show: those of the registration, then others that ENOUGH show."""
        ending = named.covered("")
        own = [one.removesuffix(ending) for one in self.readings.changes if one.endswith(ending)]
        known = [one for one in named.PARTS if one in own]
        return known + [one for one in own if one not in known and self.showing(one) >= ENOUGH]

    def showing(self, part: str) -> int:
        """How many objects have a part in sight."""
        return int(self.readings.touched(named.covered(part)).isfinite().sum())

    def median(self, change: str, reader: int = 0) -> Estimate | None:
        """The median error in degrees; None of fewer than ENOUGH objects."""
        error = self.readings.measured(change, "degrees")[..., reader]
        groups = torch.arange(self.count)[:, None].expand_as(error)
        known = error.isfinite()
        if known.any(1).sum() < ENOUGH:
            return None
        return estimate(error[known], groups[known], "median")

    @property
    def registered(self) -> bool:
        """Whether this is the test that was registered."""
        asked = (self.network, self.config.objects, self.asked, self.config.seed)
        plan = FEATURES
        return asked == (plan.networks[0], plan.objects, plan.chairs, plan.seed)

    def effects(self, change: str, control: str, scale: Scale = "ratio") -> list[Significance | None]:
        """By reader."""
        return enough_tested(self.readings.effects(change, control, scale).nanmean(1), DRAWS)


def as_times(found: Estimate) -> Estimate:
    """A difference of logarithms as a ratio."""
    low, high = (None if one is None else math.exp(one) for one in (found.low, found.high))
    return Estimate(math.exp(found.value), low, high)


def registered_table(studied: Studied) -> report.Table:
    """The hypotheses, their tests, and what became of them."""

    def told(asked: Hypothesis, found: Estimate, p: float) -> dict[str, Any]:
        figure = "points" if asked.measure == "follows" else "times"
        found = found if figure == "points" else as_times(found)
        return {figure: found, "verdict": _verdict(asked, found, p)}

    about = (
        "of readings that follow the part, less its share of pixels or, if they are more, those that do so "
    )
    figures = [
        Column("times", digits=2, about="error after the change over that after the control"),
        Column("share", percent=True, key="points", about=f"{about}where it is not turned"),
    ]
    tests = {one: studied.readings.tested(one, studied.blind) for one in HYPOTHESES}
    return hypotheses_table(tests, told, figures, "objects")


def _verdict(asked: Hypothesis, found: Estimate, p: float) -> str:
    above = found.value > (0.0 if asked.measure == "follows" else 1.0)
    if p < ALPHA and (asked.expected or (asked.not_above and not above)):
        return "holds" if above == (asked.expected > 0) else "refuted: the other way"
    low, high = found.low or 0.0, found.high or math.inf
    small = asked.measure == "ratio" and low >= 1 / MARGIN and high <= MARGIN
    if p < ALPHA:
        return f"differs, by less than {percent(MARGIN - 1)}" if small else "refuted"
    if small:
        return f"no difference beyond {percent(MARGIN - 1)}"
    return "not shown" if asked.expected else "no difference shown"


EFFECTS = (
    Column("objects", key="count"),
    Column(TIMES, digits=2, key="times"),
    Column("more", "°", digits=1, key="degrees"),
    Column("more turned about", percent=True, key="flips"),
)


def _effect(studied: Studied, change: str, control: str) -> dict[str, Any]:
    """Of the first reader, by the keys of EFFECTS."""
    ratio, degrees, flips = (
        studied.effects(change, control, scale)[0] for scale in ("ratio", "degrees", "flips")
    )
    row: dict[str, Any] = {"change": change, "times": TOO_FEW}
    if ratio is not None:
        row |= {"times": as_times(ratio.found), "count": ratio.count}
        row |= {key: one.found for key, one in (("degrees", degrees), ("flips", flips)) if one is not None}
    return row


def part_pairs(part: str) -> list[tuple[str, str]]:
    """Changes of a part, each with its control."""
    hidden = named.control(named.covered(part))
    painted = named.repainted(part)
    return [(named.removed(part), hidden), (named.covered(part), hidden), (painted, named.control(painted))]


def part_table(studied: Studied) -> report.Table | None:
    """The first reader's changes of parts, beside their controls; None without parts."""
    rows = []
    for change, control in (pair for part in studied.parts for pair in part_pairs(part)):
        own, other = (studied.readings.touched(one) for one in (change, control))
        both = own.isfinite() & other.isfinite()
        row = _effect(studied, change, control)
        row |= {"own": own[both].mean().item(), "elsewhere": other[both].mean().item()}
        for key, one in (("untouched", change), ("control", control)):
            test = studied.effects(one, named.NO_SHADOW)[0]
            row[key] = None if test is None else as_times(test.found)
        rows.append(row)
    columns: list[Column | str] = [
        "change",
        Column(
            "of the pixels", percent=True, digits=1, key="own", about="of the object's, that the part has"
        ),
        Column("control", percent=True, digits=1, key="elsewhere", about="of the object's pixels, elsewhere"),
        *EFFECTS,
        Column("times the untouched", digits=2, key="untouched", about="against the object without a shadow"),
        Column("control, times the untouched", digits=2, key="control"),
    ]
    return report.Table.of(rows, columns, name="parts") if rows else None


def whole_table(studied: Studied) -> report.Table:
    """The first reader's changes of the whole image."""
    rows = []
    for change in (named.UNCHANGED, *WHOLES):
        row = _effect(studied, change, named.UNCHANGED)
        rows.append(row | {"median": studied.median(change) or TOO_FEW})
    columns: list[Column | str] = ["change", Column("median error", "°", digits=1, key="median"), *EFFECTS]
    rows[0] = {key: rows[0][key] for key in ("change", "median")}
    return report.Table.of(rows, columns, baselines=[0], name="wholes")


def part_followed(studied: Studied, part: str, degrees: int, reader: int = 0) -> dict[str, Any] | None:
    """Whose azimuth a reader takes where a part is turned alone; None if too few have it."""
    change, readings = named.turned(part, degrees), studied.readings
    if readings.at(change) < 0:
        return None
    share, floor = readings.follows(change), readings.follows(change, named.NO_SHADOW)
    measured = (share, floor, readings.over_area(change), share - floor)
    columns = [one[..., reader].nanmean(1) for one in measured]
    tests = enough_tested(torch.stack(columns, 1), DRAWS)
    found = [one.found for one in tests if one is not None]
    if len(found) < len(columns):
        return None
    area = readings.share[:, readings.at(change)].nanmean().item()
    return dict(zip(("share", "floor", "over", "gain"), found, strict=True)) | {"area": area, "part": change}


def conflict_table(studied: Studied) -> report.Part:
    """Every reader's azimuths where one part is turned."""
    rows = []
    for part in studied.parts:
        for degrees in named.TURNS:
            for reader, name in enumerate(studied.readings.readers):
                row = part_followed(studied, part, degrees, reader)
                rows += [] if row is None else [row | {"reader": name}]
    if not rows:
        return "Not measured: no part is in sight of enough objects."
    columns: list[Column | str] = [
        "part",
        "reader",
        Column("follow it", percent=True, key="share", about="readings nearer to the part's azimuth"),
        Column("its pixels", percent=True, key="area", about="its share of the object's, the baseline"),
        Column("more than that", percent=True, key="over"),
        Column("unturned", percent=True, key="floor", about="the same readings of the object as it is"),
        Column("more than unturned", percent=True, key="gain"),
    ]
    return [
        "One part stands as if the object were turned, all others do not. If each pixel had one vote, a part "
        "would win as often as it has pixels; what reads nothing follows it as often as where none "
        "is turned.",
        report.Table.of(rows, columns, name="conflicts"),
    ]


def reader_tables(studied: Studied) -> report.Part:
    """What all readers make of the unchanged images, and of the changes."""
    readings = studied.readings
    pairs = [pair for part in studied.parts for pair in part_pairs(part)[::2]]
    pairs += [(change, named.UNCHANGED) for change in WHOLES]
    rows: list[dict[str, Any]] = []
    for change, against in pairs:
        found = studied.effects(change, against)
        values = {
            name: TOO_FEW if one is None else as_times(one.found)
            for name, one in zip(readings.readers, found, strict=True)
        }
        rows.append({"change": change, **values})
    plain: list[dict[str, Any]] = []
    error, flips = (readings.measured(named.UNCHANGED, scale) for scale in ("degrees", "flips"))
    right = (error < RIGHT).float().masked_fill(error.isnan(), torch.nan)
    shares = [enough_tested(one.nanmean(1), DRAWS) for one in (right, flips)]
    for reader, name in enumerate(readings.readers):
        row: dict[str, Any] = {"reader": name, "median": studied.median(named.UNCHANGED, reader) or TOO_FEW}
        within, turned = (None if (one := share[reader]) is None else one.found for share in shares)
        row |= {"views": int(error[..., reader].isfinite().sum())}
        plain.append(row | {"within": within, "turned": turned})
    unchanged: list[Column | str] = [
        "reader",
        Column(
            "views",
            about="those that it is asked about; foreign ones only where they read the original right",
        ),
        Column("median error", "°", digits=1, key="median"),
        Column("within 30°", percent=True, key="within"),
        Column("turned about", percent=True, key="turned"),
    ]
    ratios: list[Column | str] = ["change", *(Column(name, digits=2) for name in readings.readers)]
    floors = (studied.blind, len(readings.readers) - 1)
    return [
        "How they read the unchanged images, and by how many times each change multiplies their error, "
        "against its control. Random weights read nothing: what changes them is the floor. Readers that are "
        "asked only where they read the unchanged image right look worse after any change of the whole, for "
        "they were chosen by it; of a part and its control both are chosen alike.",
        report.Table.of(plain, unchanged, baselines=floors, name="readers"),
        report.Table.of(rows, ratios, name="by-reader"),
    ]


def _split(studied: Studied, groups: Mapping[str, Tensor], name: str) -> report.Table:
    """The first reader's ratios in groups of objects and backgrounds, (N, B) bool each."""
    pairs = [part_pairs(part)[0] for part in studied.parts]
    pairs += [(change, named.UNCHANGED) for change in WHOLES[:8]]
    rows: list[dict[str, Any]] = []
    for change, against in pairs:
        effect = studied.readings.effects(change, against, "ratio")[..., 0]
        columns = [effect.masked_fill(~own, torch.nan).nanmean(1) for own in groups.values()]
        tests = enough_tested(torch.stack(columns, 1), DRAWS)
        values = {
            key: TOO_FEW if one is None else as_times(one.found)
            for key, one in zip(groups, tests, strict=True)
        }
        rows.append({"change": change, **values})
    return report.Table.of(rows, ["change", *(Column(key, digits=2) for key in groups)], name=name)


def background_table(studied: Studied) -> report.Table:
    """The first reader's ratios before each background."""
    every = torch.eye(len(named.BACKGROUNDS), dtype=torch.bool)
    groups = {name: every[k].expand(studied.count, -1) for k, name in enumerate(named.BACKGROUNDS)}
    return _split(studied, groups, "backgrounds")


def octant_table(studied: Studied) -> report.Table:
    """The first reader's ratios by the side that the camera sees."""
    octant = studied.readings.octants()
    both = len(named.BACKGROUNDS)
    groups = {name: (octant == k)[:, None].expand(-1, both) for k, name in enumerate(OCTANTS)}
    return _split(studied, groups, "octants")
