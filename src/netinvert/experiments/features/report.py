"""What ``netinvert study features`` tells: the answer first, then what was registered, then the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Estimate, Series, code, counted, listed, number, percent
from netinvert.experiments.features import registration as named
from netinvert.experiments.features.changes import ChangedScene
from netinvert.experiments.features.tables import (
    MARGIN,
    TIMES,
    WHOLES,
    Studied,
    as_times,
    background_table,
    conflict_table,
    octant_table,
    part_followed,
    part_pairs,
    part_table,
    reader_tables,
    registered_table,
    whole_table,
)
from netinvert.experiments.registered import DRAWS, ENOUGH, FEATURES, status

ACROSS = 8
"""Pictures a row."""
OWN, OTHERS = "#0072b2", "#888888"
HOW = (
    "A value of an object is the mean of its two backgrounds; a ratio is that of geometric means of the "
    "geodesic error, errors below 1° counting as 1°. Intervals are 95 %, of the bootstrap over objects, "
    f"each with its own control. Of fewer than {ENOUGH} objects nothing is claimed. Turned about are "
    "readings that take front and back for one another (azimuth 150° or more off). An object of which a part "
    "has more pixels than all else has no control for that part, and is left out there."
)


def features_report(
    studied: Studied, scenes: Sequence[ChangedScene], backgrounds: Sequence[Tensor]
) -> report.Report:
    """The whole page; ``scenes`` and ``backgrounds`` are those of the object that is shown."""
    missing = _not_measured(studied)
    plan = FEATURES
    planned = f"{counted(plan.chairs, 'chair')} of the seed {plan.seed}, {code(plan.networks[0])}"
    seed = studied.config.seed if studied.config.objects == "chairs" else None
    seen = f"{counted(studied.count, 'object')} with a front ({studied.asked} asked for), a view each"
    lead = f"{features_answer(studied)}\n\n{seen}, before paper and photographs. "
    lead += status(studied.registered, planned, seed)
    return report.Report.of(
        "Which features of an image carry an object's orientation",
        lead,
        _plot(studied),
        "## Each change, on one object",
        _sheet(scenes, backgrounds),
        "## What was registered",
        f"These tests, of {code(studied.network)}, are primary: they were written down before the test seed "
        f"was opened. p is two-sided, of {DRAWS:,} draws of the bootstrap, and adjusted after "
        "Holm for all of them. All below is exploratory, and not corrected for how much there is.",
        registered_table(studied),
        report.Prose(HOW, quiet=True),
        missing,
        "## Parts, against as many pixels elsewhere" if studied.parts else None,
        part_table(studied),
        "## Whose azimuth wins",
        conflict_table(studied),
        "## The whole image changed, against the unchanged",
        whole_table(studied),
        "## Other networks, HOG, and no knowledge at all",
        reader_tables(studied),
        report.Details(
            "By background and by the side that is seen", [background_table(studied), octant_table(studied)]
        ),
    )


# -- the answer in words -----------------------------------------------------------------------------------


def features_answer(studied: Studied) -> str:
    """What was found, in two sentences."""
    return f"{_of_parts(studied)} {_of_the_rest(studied)}"


def _in_words(found: Estimate) -> str:
    return f"{number(found.value, 2)} times ({number(found.low, 2)} to {number(found.high, 2)})"


def _of_parts(studied: Studied) -> str:
    found = {}
    for part in studied.parts:
        one = studied.effects(named.removed(part), named.control(named.covered(part)))[0]
        if one is not None:
            found[part] = as_times(one.found)
    if not found:
        return f"What parts carry was not measured: fewer than {ENOUGH} objects show the same one."
    first, *rest = sorted(found, key=lambda part: -found[part].value)
    sure = [f"its {part}" for part in (first, *rest) if (found[part].low or 0) > 1]
    who, noun = code(studied.network), studied.noun
    if sure:
        said = f"{who} reads the orientation of {noun} above all from {listed(sure)}"
    elif all((one.high or math.inf) <= MARGIN for one in found.values()):
        most = percent(MARGIN - 1)
        said = f"{who} is thrown off by no part of {noun} by more than {most} above as many pixels elsewhere"
    else:
        said = f"Of no part of {noun} is it shown that {who} is thrown off more without it"
    others = [f"without its {part} {_in_words(found[part])}" for part in rest]
    return (
        f"{said}: without its {first} the error is {_in_words(found[first])} that "
        f"with as many pixels covered elsewhere{', ' * bool(others)}{listed(others)}."
    )


def _of_the_rest(studied: Studied) -> str:
    medians = {}
    for change in (named.UNCHANGED, named.SILHOUETTE, named.INTERIOR):
        found = studied.median(change)
        if found is None:
            return f"Nothing is claimed of {counted(studied.count, 'object')}: {ENOUGH} are needed."
        medians[change] = number(found.value, 1)
    alone = (
        f"The silhouette alone leaves it a median error of {medians[named.SILHOUETTE]}°, the interior alone "
        f"{medians[named.INTERIOR]}°, the whole {medians[named.UNCHANGED]}°"
    )
    follows = [(part, part_followed(studied, part, 180)) for part in studied.parts]
    known = [(part, one) for part, one in follows if one and min(one["over"].low, one["gain"].low) > 0]
    if not known:
        return f"{alone}."
    part, row = max(known, key=lambda one: one[1]["over"].value)
    return (
        f"{alone}; turned round by itself, the {part} takes the azimuth with it in "
        f"{percent(row['share'].value)} of readings ({percent(row['floor'].value)} where it is not turned), "
        f"being {percent(row['area'])} of the object's pixels."
    )


def _not_measured(studied: Studied) -> str | None:
    """What could not be, by name."""
    counts = {part: studied.showing(part) for part in (*named.PARTS, *studied.parts)}
    said = [f"{part} (in sight of {counted(n, 'object')})" for part, n in counts.items() if n < ENOUGH]
    return f"Not measured, for {ENOUGH} objects are needed: {listed(said)}." if said else None


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
                    ends = as_times(one.found)
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
