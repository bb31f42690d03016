"""What ``netinvert study features`` tells: the answer first, then what was registered, then the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import RIGHT
from netinvert.evaluation.report import Column, Estimate, Series, code, counted, listed, number, percent
from netinvert.evaluation.statistics import Tested, holm
from netinvert.experiments.configs.features import StudyFeatures
from netinvert.experiments.features import registration as named
from netinvert.experiments.features.changes import ChangedScene, filtered
from netinvert.experiments.features.measures import ENOUGH, OCTANTS, FeatureReadings, Scale, enough_tested
from netinvert.experiments.features.registration import REGISTRATION, Hypothesis
from netinvert.scenes.seeds import trained_on

MARGIN = 1.15
"""A ratio of errors whose interval lies within 1 / MARGIN to MARGIN counts as no difference."""
LEVEL = 0.05
ACROSS = 8
"""Pictures a row."""
OWN, OTHERS = "#0072b2", "#888888"
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
HOW = (
    "A value of an object is the mean of its two backgrounds; a ratio is that of geometric means of the "
    "geodesic error, errors below 1° counting as 1°. Intervals are 95 %, of the bootstrap over objects, "
    f"each with its own control. Of fewer than {ENOUGH} objects nothing is claimed. Turned about are "
    "readings that take front and back for one another (azimuth 150° or more off). An object of which a part "
    "has more pixels than all else has no control for that part, and is left out there."
)


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
        """The parts that are in sight of some object: those of the registration, then others."""
        ending = named.removed("")
        own = [one.removesuffix(ending) for one in self.readings.changes if one.endswith(ending)]
        own = [one for one in own if one != named.NO_SHADOW.removesuffix(ending)]
        return sorted(own, key=lambda one: (*named.PARTS, one).index(one))

    @property
    def registered(self) -> bool:
        """Whether this is the test that was registered."""
        asked = (self.network, self.config.objects, self.asked, self.config.seed)
        plan = REGISTRATION
        return asked == (plan.subject, plan.objects, plan.chairs, plan.seed)

    def effects(self, change: str, control: str, scale: Scale = "ratio") -> list[Tested | None]:
        """By reader."""
        return enough_tested(self.readings.effects(change, control, scale).nanmean(1), REGISTRATION.draws)

    def by_object(self) -> report.Table:
        """A row an object, background and change."""
        rows = self.readings.rows()
        return report.Table.of(rows, list(dict.fromkeys(key for row in rows for key in row)))


def features_report(
    studied: Studied, scenes: Sequence[ChangedScene], backgrounds: Sequence[Tensor]
) -> report.Report:
    """The whole page; ``scenes`` and ``backgrounds`` are those of the object that is shown."""
    missing = _not_measured(studied)
    status = (
        "This is the registered test."
        if studied.registered
        else f"This is a trial, not the registered test ({counted(REGISTRATION.chairs, 'chair')} of the seed "
        f"{REGISTRATION.seed}, {code(REGISTRATION.subject)})."
    )
    if studied.config.objects == "chairs" and trained_on(studied.config.seed):
        status += f" Networks of netinvert may have seen chairs of seed {studied.config.seed}: no fair test."
    seen = f"{counted(studied.count, 'object')} with a front ({studied.asked} asked for), a view each"
    lead = f"{_of_parts(studied)} {_of_the_rest(studied)}\n\n{seen}, before paper and photographs. {status}"
    return report.Report.of(
        "Which features of an image carry an object's orientation",
        lead,
        _plot(studied),
        "## Each change, on one object",
        _sheet(scenes, backgrounds),
        "## What was registered",
        f"These tests, of {code(studied.network)}, are primary: they were written down before the test seed "
        f"was opened. p is two-sided, of {REGISTRATION.draws:,} draws of the bootstrap, and adjusted after "
        "Holm for all of them. All below is exploratory, and not corrected for how much there is.",
        registered_table(studied),
        report.Prose(HOW, quiet=True),
        missing,
        "## Parts, against as many pixels elsewhere" if studied.parts else None,
        _part_table(studied),
        "## Whose azimuth wins",
        _conflicts(studied),
        "## The whole image changed, against the unchanged",
        _whole_table(studied),
        "## Other networks, HOG, and no knowledge at all",
        _readers(studied),
        report.Details(
            "By background and by the side that is seen", [_by_background(studied), _octants(studied)]
        ),
    )


# -- the answer in words -----------------------------------------------------------------------------------


def _times(found: Estimate) -> Estimate:
    low, high = (None if one is None else math.exp(one) for one in (found.low, found.high))
    return Estimate(math.exp(found.value), low, high)


def _in_words(found: Estimate) -> str:
    return f"{number(found.value, 2)} times ({number(found.low, 2)} to {number(found.high, 2)})"


def _of_parts(studied: Studied) -> str:
    found = {}
    for part in studied.parts:
        one = studied.effects(named.removed(part), named.control(named.covered(part)))[0]
        if one is not None:
            found[part] = _times(one.found)
    if not found:
        return f"What parts carry was not measured: fewer than {ENOUGH} objects show the same one."
    first, *rest = sorted(found, key=lambda part: -found[part].value)
    sure = [f"its {part}" for part in (first, *rest) if (found[part].low or 0) > 1]
    who, noun = code(studied.network), studied.noun
    read = f"reads the orientation of {noun} above all from {listed(sure)}"
    alone = f"is thrown off by no part of {noun} more than by as many pixels elsewhere"
    others = [f"without its {part} {_in_words(found[part])}" for part in rest]
    return (
        f"{who} {read if sure else alone}: without its {first} the error is {_in_words(found[first])} that "
        f"with as many pixels covered elsewhere{', ' * bool(others)}{listed(others)}."
    )


def _of_the_rest(studied: Studied) -> str:
    medians = {}
    for change in (named.UNCHANGED, named.SILHOUETTE, named.INTERIOR):
        values = studied.readings.measured(change, "degrees")[..., 0].flatten()
        medians[change] = number(values.nanmedian().item(), 1)
    alone = (
        f"The silhouette alone leaves it a median error of {medians[named.SILHOUETTE]}°, the interior alone "
        f"{medians[named.INTERIOR]}°, the whole {medians[named.UNCHANGED]}°"
    )
    follows = [(part, _followed(studied, part, 180)) for part in studied.parts]
    known = [(part, one) for part, one in follows if one is not None]
    if not known:
        return f"{alone}."
    part, row = max(known, key=lambda one: one[1]["over"].value)
    return (
        f"{alone}; turned round by itself, the {part} takes the azimuth with it in "
        f"{percent(row['share'].value)} of readings, being {percent(row['area'])} of the object's pixels."
    )


def _not_measured(studied: Studied) -> str | None:
    """What could not be, by name."""
    said = []
    for part in dict.fromkeys((*named.PARTS, *studied.parts)):
        count = int(studied.readings.touched(named.removed(part)).isfinite().sum())
        if count < ENOUGH:
            said.append(f"{part} ({counted(count, 'object')} with it in sight)")
    return f"Not measured, for {ENOUGH} objects are needed: {listed(said)}." if said else None


# -- tables ------------------------------------------------------------------------------------------------


def registered_table(studied: Studied) -> report.Table:
    """The hypotheses, their tests, and what became of them."""
    tests = [studied.readings.tested(one, studied.blind) for one in REGISTRATION.hypotheses]
    adjusted = iter(holm([one.p for one in tests if one is not None]))
    rows = []
    for asked, test in zip(REGISTRATION.hypotheses, tests, strict=True):
        row: dict[str, Any] = {"says": asked.says, "verdict": f"not enough: {ENOUGH} objects are needed"}
        if test is not None:
            p = next(adjusted)
            figure = "points" if asked.measure == "follows" else "times"
            found = test.found if figure == "points" else _times(test.found)
            row |= {figure: found, "p": test.p, "holm": p, "count": test.count}
            row["verdict"] = _verdict(asked, found, p)
        rows.append(row)
    columns: list[Column | str] = [
        Column("hypothesis", key="says"),
        Column("times", digits=2, about="error after the change over that after the control"),
        Column(
            "share",
            percent=True,
            key="points",
            about="of readings that follow the part, less its share of pixels",
        ),
        Column("objects", key="count"),
        Column("p", digits=4),
        Column("p, Holm", digits=4, key="holm"),
        "verdict",
    ]
    return report.Table.of(rows, columns, name="registered")


def _verdict(asked: Hypothesis, found: Estimate, p: float) -> str:
    middle = 0.0 if asked.measure == "follows" else 1.0
    if p < LEVEL:
        if asked.expected == 0:
            return "refuted"
        return "holds" if (found.value > middle) == (asked.expected > 0) else "refuted: the other way"
    low, high = found.low or 0.0, found.high or math.inf
    if asked.measure == "ratio" and low >= 1 / MARGIN and high <= MARGIN:
        return f"no difference beyond {MARGIN - 1:.0%}"
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
    row: dict[str, Any] = {"change": change, "times": "not enough"}
    if ratio is not None:
        row |= {"times": _times(ratio.found), "count": ratio.count}
        row |= {key: one.found for key, one in (("degrees", degrees), ("flips", flips)) if one is not None}
    return row


def part_pairs(part: str) -> list[tuple[str, str]]:
    """Changes of a part, each with its control."""
    hidden = named.control(named.covered(part))
    painted = named.recoloured(part)
    return [(named.removed(part), hidden), (named.covered(part), hidden), (painted, named.control(painted))]


def _part_table(studied: Studied) -> report.Table | None:
    rows = []
    for change, control in (pair for part in studied.parts for pair in part_pairs(part)):
        own, other = (studied.readings.touched(one) for one in (change, control))
        both = own.isfinite() & other.isfinite()
        row = _effect(studied, change, control)
        row |= {"own": own[both].mean().item(), "elsewhere": other[both].mean().item()}
        for key, one in (("untouched", change), ("control", control)):
            test = studied.effects(one, named.NO_SHADOW)[0]
            row[key] = None if test is None else _times(test.found)
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


def _whole_table(studied: Studied) -> report.Table:
    rows = []
    for change in (named.UNCHANGED, *WHOLES):
        values = studied.readings.measured(change, "degrees")[..., 0].flatten()
        rows.append(_effect(studied, change, named.UNCHANGED) | {"median": values.nanmedian().item()})
    columns: list[Column | str] = ["change", Column("median error", "°", digits=1, key="median"), *EFFECTS]
    rows[0] = {key: rows[0][key] for key in ("change", "median")}
    return report.Table.of(rows, columns, baselines=[0], name="wholes")


def _followed(studied: Studied, part: str, degrees: int, reader: int = 0) -> dict[str, Any] | None:
    """Whose azimuth a reader takes where a part is turned alone; None if too few have it."""
    change, readings = named.turned(part, degrees), studied.readings
    if readings.at(change) < 0:
        return None
    share, floor = readings.follows(change), readings.follows(change, named.NO_SHADOW)
    columns = [one[..., reader].nanmean(1) for one in (share, floor, readings.over_area(change))]
    tests = enough_tested(torch.stack(columns, 1), REGISTRATION.draws)
    found = [one.found for one in tests if one is not None]
    if len(found) < len(columns):
        return None
    area = readings.share[:, readings.at(change)].nanmean().item()
    return dict(zip(("share", "floor", "over"), found, strict=True)) | {"area": area, "part": change}


def _conflicts(studied: Studied) -> report.Part:
    rows = []
    for part in studied.parts:
        for degrees in named.TURNS:
            for reader, name in enumerate(studied.readings.readers):
                row = _followed(studied, part, degrees, reader)
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
    ]
    return [
        "One part stands as if the object were turned, all others do not. If each pixel had one vote, a part "
        "would win as often as it has pixels; what reads nothing follows it as often as where none "
        "is turned.",
        report.Table.of(rows, columns, name="conflicts"),
    ]


def _readers(studied: Studied) -> report.Part:
    readings = studied.readings
    pairs = [pair for part in studied.parts for pair in part_pairs(part)[::2]]
    pairs += [(change, named.UNCHANGED) for change in WHOLES]
    rows: list[dict[str, Any]] = []
    for change, against in pairs:
        found = studied.effects(change, against)
        values = {
            name: "not enough" if one is None else _times(one.found)
            for name, one in zip(readings.readers, found, strict=True)
        }
        rows.append({"change": change, **values})
    plain = []
    for reader, name in enumerate(readings.readers):
        error = readings.measured(named.UNCHANGED, "degrees")[..., reader].flatten()
        turned = readings.measured(named.UNCHANGED, "flips")[..., reader].nanmean().item()
        known = error[error.isfinite()]
        row = {"reader": name, "views": len(known), "median": error.nanmedian().item(), "turned": turned}
        rows_of = {"within": (known < RIGHT).float().mean().item() if len(known) else None}
        plain.append(row | rows_of)
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
    floors = [k for k in range(len(readings.readers)) if k >= studied.blind]
    return [
        "How they read the unchanged images, and by how many times each change multiplies their error, "
        "against its control. Random weights read nothing: what changes them is the floor.",
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
        tests = enough_tested(torch.stack(columns, 1), REGISTRATION.draws)
        values = {
            key: "not enough" if one is None else _times(one.found)
            for key, one in zip(groups, tests, strict=True)
        }
        rows.append({"change": change, **values})
    return report.Table.of(rows, ["change", *(Column(key, digits=2) for key in groups)], name=name)


def _by_background(studied: Studied) -> report.Table:
    every = torch.eye(len(named.BACKGROUNDS), dtype=torch.bool)
    groups = {name: every[k].expand(studied.count, -1) for k, name in enumerate(named.BACKGROUNDS)}
    return _split(studied, groups, "backgrounds")


def _octants(studied: Studied) -> report.Table:
    octant = studied.readings.octants()
    both = len(named.BACKGROUNDS)
    groups = {name: (octant == k)[:, None].expand(-1, both) for k, name in enumerate(OCTANTS)}
    return _split(studied, groups, "octants")


# -- pictures ----------------------------------------------------------------------------------------------


def _plot(studied: Studied) -> report.Plot | None:
    """Ratios with intervals: of the first reader in colour, of the others grey."""
    panels = []
    groups = {
        "a part, against as many pixels elsewhere": [
            p for part in studied.parts for p in part_pairs(part)[::2]
        ],
        "the whole image, against the unchanged": [(change, named.UNCHANGED) for change in WHOLES],
    }
    for title, pairs in groups.items():
        found = {change: studied.effects(change, against) for change, against in pairs}
        names = [change for change, each in found.items() if each[0] is not None]
        if not names:
            continue
        series: list[Series] = []
        for change in names:
            for reader, one in reversed([*enumerate(found[change])]):
                if one is not None and reader in (0, studied.blind):
                    ends = _times(one.found)
                    colour, width = (OWN, 2.0) if reader == 0 else (OTHERS, 1.0)
                    series.append(Series("", [change] * 2, [ends.low, ends.high], colour=colour, width=width))
        for reader in (studied.blind, 0):
            values = [
                None if (one := found[name][reader]) is None else math.exp(one.found.value) for name in names
            ]
            colour = OWN if reader == 0 else OTHERS
            label = studied.readings.readers[reader]
            series.append(Series(label, names, values, line="", marker="o", colour=colour))
        levels = {"no difference": 1.0}
        panels.append(report.Panel(series, title, y_label=TIMES, y_log=True, levels=levels))
    return report.Plot(panels, columns=1, name="features") if panels else None


def _sheet(scenes: Sequence[ChangedScene], backgrounds: Sequence[Tensor]) -> report.ImageGrid:
    rows = []
    for name, behind in zip(named.BACKGROUNDS, backgrounds, strict=True):
        tiles = [report.Tile(one.before(behind), (one.name,)) for one in scenes]
        rows += [
            report.GridRow(name, tiles[start : start + ACROSS]) for start in range(0, len(tiles), ACROSS)
        ]
    return report.ImageGrid(rows, size=128, name="sheet")
