"""What ``netinvert study surgery`` tells: the answer first, then the pictures, what was registered, and all
figures."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import JUDGE, RIGHT
from netinvert.evaluation.report import Estimate, code, counted, number, percent
from netinvert.experiments.registered import DRAWS, ENOUGH, SURGERY, TOO_FEW, status
from netinvert.experiments.surgery.measures import (
    ANSWERED,
    DECODE,
    KEPT,
    MEAN_CODE,
    OPTIMISE,
    ORIGINAL,
    REMOVED,
    SWAPPED,
    UNTOUCHED,
    SurgeryKey,
)
from netinvert.experiments.surgery.registration import Edit
from netinvert.experiments.surgery.subspaces import (
    ERASED,
    PRINCIPAL,
    RANDOM,
    ROTATION_HEAD,
    control_of,
)
from netinvert.experiments.surgery.tables import (
    WHOLE,
    Operated,
    code_table,
    image_tables,
    random_table,
    registered_edits,
    swap_table,
)

SHOWN = 8
"""Chairs on the sheets."""


def surgery_report(operated: Operated) -> report.Report:
    """The whole page."""
    plan, config = SURGERY, operated.config
    planned = f"{counted(plan.chairs, 'chair')} of the seed {plan.seed}, {counted(plan.others, 'other view')}"
    parts: list[report.Part] = []
    for name in config.decoders:
        parts += [f"## {code(name)}: the code", code_table(operated, name), random_table(operated, name)]
        parts += [f"## {code(name)}: images", *image_tables(operated, name)]
    return report.Report.of(
        "Which part of a code carries the pose",
        f"{surgery_answer(operated)}\n\n{counted(operated.count, 'chair')} with a front "
        f"({config.chairs} asked for, seed {config.seed}). "
        f"{status(operated.registered, planned, config.seed)}",
        [
            [f"## {code(name)}: the pose of one chair in the code of another", _swap_sheet(operated, name)]
            for name in config.decoders
        ],
        [swap_table(operated, name) for name in config.decoders],
        [
            [f"## {code(name)}: removed, and kept alone", _edit_sheets(operated, name)]
            for name in config.decoders
        ],
        "## What was registered",
        f"These tests, of decoded images, were written down before the test seed was opened. p is two-sided, "
        f"of {DRAWS:,} draws of the bootstrap over chairs, and adjusted after Holm for all of them. All "
        "else on this page is exploratory, and not corrected for how much there is.",
        registered_edits(operated),
        report.Prose(_how(operated), quiet=True),
        *parts,
    )


def _how(operated: Operated) -> str:
    asked = (
        f" {report.listed([code(one) for one in operated.limited])} are asked only about chairs whose "
        "original they read within 30°."
        if operated.limited
        else ""
    )
    return (
        "Intervals are 95 %, of the bootstrap over chairs; differences are paired. Errors of poses are "
        "geodesic, in degrees; of readers the median is shown, differences are of means. Of fewer than "
        f"{ENOUGH} chairs nothing is claimed.{asked} To remove a part is to put that of the mean code of "
        "other chairs in its place; what is kept alone is put into the mean code. So a part removed is all "
        "the rest kept alone. Probes are fitted on other chairs than those that the parts were found on. "
        f"The pose is at chance where only the mean code is left (“{MEAN_CODE}”)."
    )


# -- the answer in words -----------------------------------------------------------------------------------


def surgery_answer(operated: Operated) -> str:
    """What was found, decoder by decoder."""
    return "\n\n".join(dict.fromkeys(_answer(operated, name) for name in operated.config.decoders))


def _degrees(found: Estimate | None) -> str:
    return TOO_FEW if found is None else f"{number(found.value, 0)}°"


def _answer(operated: Operated, name: str) -> str:
    """What the first of ANSWERED carries, by the judge and by images decoded."""
    part, facts = ANSWERED[0], operated.facts[name, False]
    control, size = control_of(part, RANDOM), operated.sizes[name, False][part]

    def judged(edit: Edit) -> Tensor | None:
        return operated.values(name, DECODE, edit, JUDGE)

    def read(edit: Edit) -> str:
        return _degrees(operated.figure(judged(edit), "median"))

    def right(edit: Edit) -> str:
        found = operated.within(name, DECODE, edit)
        return TOO_FEW if found is None else percent(found.value)

    def mean(edit: Edit, measure: str) -> str:
        found = operated.figure(operated.values(name, DECODE, edit, measure))
        return TOO_FEW if found is None else number(found.value, 2)

    if operated.figure(judged(WHOLE)) is None:
        return f"Nothing is claimed of {counted(operated.count, 'chair')}: {ENOUGH} are needed."
    without, alone = ((edit, part) for edit in (REMOVED, KEPT))
    more, less = (operated.apart(judged((edit, part)), judged((edit, control))) for edit in (REMOVED, KEPT))
    sure = more is not None and less is not None and (more.low or 0) > 0 > (less.high or 0)
    who = f"{size} of the {facts['numbers']} dimensions of the code"
    return (
        f"{code(name)}: {who} carry the pose. "
        if sure
        else f"{code(name)}: it is not shown that {who} carry the pose more than random ones. "
    ) + (
        f"Without them {code(JUDGE)} reads the decoded image {read(without)} off, {right(without)} "
        f"within {RIGHT:g}° (chance: {read((MEAN_CODE, ''))}, {right((MEAN_CODE, ''))}); with them alone "
        f"{read(alone)}, from the whole code {read(WHOLE)}; without as many random ones "
        f"{read((REMOVED, control))}, with those alone {read((KEPT, control))}. They have "
        f"{percent(facts['shares'][part])} of the code's variance. Without them the error on the chair goes "
        f"from {mean(WHOLE, 'on_chair')} to {mean(without, 'on_chair')} and that of its colour from "
        f"{mean(WHOLE, 'colour')} to {mean(without, 'colour')}; with them alone the image is "
        f"{mean(alone, 'on_chair')} from the chair and {mean(alone, 'on_mean')} from the mean chair in its "
        "pose."
    )


# -- pictures ----------------------------------------------------------------------------------------------


def _image(operated: Operated, key: SurgeryKey, k: int) -> Tensor | None:
    cell = operated.cells.get(key)
    return None if cell is None else cell.tensors["images"][k]


def _swap_sheet(operated: Operated, name: str) -> report.ImageGrid:
    """Rows chairs; the donor of the part, the chair whose code has the rest, and what comes of both."""
    patients, part = operated.patients, ANSWERED[0]
    edits = {
        part: (DECODE, part),
        ROTATION_HEAD: (DECODE, ROTATION_HEAD),
        f"random, as many as {part}": (DECODE, control_of(part, RANDOM)),
        f"{part}, optimised": (OPTIMISE, part),
    }
    keys = {title: SurgeryKey(name, way, SWAPPED, one) for title, (way, one) in edits.items()}
    shown = {title: key for title, key in keys.items() if key in operated.cells}
    rows: dict[str, list[Tensor | None]] = {}
    for k in range(min(SHOWN, operated.count)):
        first = [patients.chairs.images[patients.donors[k]], patients.chairs.images[k]]
        rows[f"chair {k + 1}"] = [*first, *(_image(operated, key, k) for key in shown.values())]
    columns = ["pose from", "all else from", *shown]
    return report.ImageGrid.of(rows, columns, size=128, name=f"{name}-swaps")


def _edit_sheets(operated: Operated, name: str) -> list[report.Part]:
    found = list[report.ImageGrid]()
    for part in (*ANSWERED, ERASED):
        for way in (DECODE, OPTIMISE):
            keys = {UNTOUCHED: SurgeryKey(name, way, UNTOUCHED)}
            for one in (part, control_of(part, RANDOM), control_of(part, PRINCIPAL)):
                title = "the part" if one == part else one.partition(",")[0]
                keys |= {f"{title} {edit}": SurgeryKey(name, way, edit, one) for edit in (REMOVED, KEPT)}
            keys = {title: key for title, key in keys.items() if key in operated.cells}
            if len(keys) < 3:
                continue
            rows = {
                f"chair {k + 1}": [
                    operated.patients.chairs.images[k],
                    *(_image(operated, key, k) for key in keys.values()),
                ]
                for k in range(min(SHOWN, operated.count))
            }
            title = f"{part} ({operated.sizes[name, False][part]} dimensions), {way}d"
            grid = report.ImageGrid.of(rows, [ORIGINAL, *keys], title)
            found.append(replace(grid, size=128, name=f"{name}-{part}-{way}"))
    first, *rest = found
    return [first, report.Details("Other parts, and by optimisation", rest)]
