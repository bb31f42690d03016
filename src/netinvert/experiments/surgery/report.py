"""What ``netinvert study surgery`` tells: the answer first, then the pictures, what was registered, and all
figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import JUDGE, RIGHT
from netinvert.evaluation.report import Column, Estimate, Value, code, counted, number, percent
from netinvert.evaluation.statistics import Significance, Statistic, difference, estimate, holm
from netinvert.experiments.configs.surgery import StudySurgery
from netinvert.experiments.features.measures import ENOUGH, enough_tested
from netinvert.experiments.surgery.measures import (
    ANSWERED,
    CODE,
    DECODE,
    DONOR,
    FROM_CODE,
    KEPT,
    MEAN_CODE,
    OPTIMISE,
    ORIGINAL,
    PLAIN,
    PROBE,
    REMOVED,
    SWAPPED,
    UNTOUCHED,
    Patients,
    SurgeryKey,
)
from netinvert.experiments.surgery.registration import REGISTRATION, Edit, Hypothesis
from netinvert.experiments.surgery.subspaces import (
    CARRIERS,
    ERASED,
    PRINCIPAL,
    RANDOM,
    ROTATION_HEAD,
    control_of,
)
from netinvert.io.cells import Cell
from netinvert.scenes.seeds import trained_on

SHOWN = 8
"""Chairs on the sheets."""
LEVEL = 0.05
TOO_FEW = "not enough"
WHOLE: Edit = (UNTOUCHED, "")
_FIGURES = (
    Column("on the chair", digits=2, key="on_chair", about="distance from the original, over that of others"),
    Column("to the mean chair", digits=2, key="on_mean", about="the same from the mean chair in that pose"),
    Column("SSIM", digits=2, key="ssim"),
    Column("SSIM to the mean chair", digits=2, key="ssim_mean"),
    Column("colour", digits=3, about="distance of the mean colour from the true one, in RGB of [0, 1]"),
)


@dataclass(frozen=True, eq=False)
class Operated:
    """What was measured: a cell a key. By decoder and whether weights are random: ``facts`` of the subspaces
    (the share of the variance that each has, R² of the rounds of probes) and their ``sizes``; the
    ``readers`` of poses, and those that are ``limited``."""

    config: StudySurgery
    cells: Mapping[SurgeryKey, Cell]
    facts: Mapping[tuple[str, bool], Mapping[str, Any]]
    sizes: Mapping[tuple[str, bool], Mapping[str, int]]
    readers: tuple[str, ...]
    limited: tuple[str, ...]
    patients: Patients

    @property
    def count(self) -> int:
        """Chairs with a front."""
        return len(self.patients.chairs.azimuth)

    @property
    def registered(self) -> bool:
        """Whether this is the test that was registered."""
        asked, plan = self.config, REGISTRATION
        own = (tuple(asked.decoders), asked.chairs, asked.others, asked.seed)
        return own == (plan.decoders, plan.chairs, plan.others, plan.seed)

    def values(self, decoder: str, method: str, edit: Edit, measure: str) -> Tensor | None:
        """Of each chair (N,); None if that was not measured."""
        cell = self.cells.get(SurgeryKey(decoder, method, *edit))
        return None if cell is None else cell.tensors.get(measure)

    def figure(self, values: Tensor | None, statistic: Statistic = "mean") -> Estimate | None:
        """With its interval, of the chairs that a reader was asked about; None of fewer than ENOUGH."""
        known = None if values is None else values[values.isfinite()]
        return None if known is None or len(known) < ENOUGH else estimate(known, None, statistic)

    def within(self, decoder: str, method: str, edit: Edit) -> Estimate | None:
        """The share that the judge reads right."""
        values = self.values(decoder, method, edit, JUDGE)
        return None if values is None else self.figure((values < RIGHT).double())

    def apart(self, values: Tensor | None, others: Tensor | None) -> Estimate | None:
        """By how much the mean is above that of others, paired; None of fewer than ENOUGH chairs."""
        if values is None or others is None:
            return None
        both = values.isfinite() & others.isfinite()
        return difference(values[both], others[both]) if both.sum() >= ENOUGH else None

    def tested(self, one: Hypothesis) -> Significance | None:
        """None where too few chairs say anything, or it was not measured."""
        values = self.values(one.decoder, DECODE, one.edit, one.measure)
        if one.control is None:
            others = self.values(one.decoder, DECODE, one.edit, f"{DONOR}{one.measure}")
        else:
            others = self.values(one.decoder, DECODE, one.control, one.measure)
        if values is None or others is None:
            return None
        return enough_tested((values - others)[:, None], REGISTRATION.draws)[0]

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """All that is measured of images."""
        return (*self.readers, *(column.key or column.name for column in _FIGURES))

    def by_chair(self) -> report.Table:
        """A row a chair, decoder, way, edit and part."""
        rows: list[dict[str, Any]] = []
        azimuth, donors = self.patients.chairs.azimuth, self.patients.donors
        for key, cell in self.cells.items():
            known = {"decoder": key.decoder + " (random weights)" * key.random, "way": key.method}
            known |= {"edit": key.edit, "part": key.subspace}
            measured = {name: each for name, each in cell.tensors.items() if name != "images"}
            for n in range(self.count):
                own: dict[str, Any] = {"chair": n + 1, "azimuth": round(float(azimuth[n]), 2), **known}
                if key.edit == SWAPPED:
                    own["donor"] = int(donors[n]) + 1
                rows.append(
                    own
                    | {
                        name: round(float(each[n]), 4)
                        for name, each in measured.items()
                        if each[n].isfinite()
                    }
                )
        return report.Table.of(rows, list(dict.fromkeys(key for row in rows for key in row)))


def surgery_report(operated: Operated) -> report.Report:
    """The whole page."""
    plan, config = REGISTRATION, operated.config
    status = (
        "This is the registered test."
        if operated.registered
        else f"This is a trial, not the registered test ({counted(plan.chairs, 'chair')} of the seed "
        f"{plan.seed}, {counted(plan.others, 'other view')})."
    )
    if trained_on(config.seed):
        status += f" Networks of netinvert may have seen chairs of seed {config.seed}: no fair test."
    answer = "\n\n".join(dict.fromkeys(_answer(operated, name) for name in config.decoders))
    parts: list[report.Part] = []
    for name in config.decoders:
        parts += [f"## {code(name)}: the code", _code_table(operated, name), _random_table(operated, name)]
        parts += [f"## {code(name)}: images", *_image_tables(operated, name)]
    return report.Report.of(
        "Which part of a code carries the pose",
        f"{answer}\n\n{counted(operated.count, 'chair')} with a front ({config.chairs} asked for, seed "
        f"{config.seed}). {status}",
        [
            [f"## {code(name)}: the pose of one chair in the code of another", _swap_sheet(operated, name)]
            for name in config.decoders
        ],
        [_swap_table(operated, name) for name in config.decoders],
        [
            [f"## {code(name)}: removed, and kept alone", _edit_sheets(operated, name)]
            for name in config.decoders
        ],
        "## What was registered",
        f"These tests, of decoded images, were written down before the test seed was opened. p is two-sided, "
        f"of {plan.draws:,} draws of the bootstrap over chairs, and adjusted after Holm for all of them. All "
        "else on this page is exploratory, and not corrected for how much there is.",
        registered_table(operated),
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


# -- tables ------------------------------------------------------------------------------------------------


def registered_table(operated: Operated) -> report.Table:
    """The hypotheses, their tests, and what became of them."""
    tests = [operated.tested(one) for one in REGISTRATION.hypotheses]
    adjusted = iter(holm([one.p for one in tests if one is not None]))
    rows = []
    for asked, test in zip(REGISTRATION.hypotheses, tests, strict=True):
        row: dict[str, Any] = {"says": asked.says, "verdict": f"{TOO_FEW}: {ENOUGH} chairs are needed"}
        if test is not None:
            p = next(adjusted)
            row |= {"apart": test.found, "p": test.p, "holm": p, "count": test.count}
            row["verdict"] = verdict(asked, test.found, p)
        rows.append(row)
    columns: list[Column | str] = [
        Column("hypothesis", key="says"),
        Column("difference", digits=2, key="apart", about="in degrees, or in RGB of [0, 1]"),
        Column("chairs", key="count"),
        Column("p", digits=4),
        Column("p, Holm", digits=4, key="holm"),
        "verdict",
    ]
    return report.Table.of(rows, columns, name="registered")


def verdict(asked: Hypothesis, found: Estimate, p: float) -> str:
    """Whether a hypothesis holds, by the difference found and its adjusted p."""
    low, high = found.low or 0.0, found.high or 0.0
    if asked.expected == 0:
        return "holds" if high <= asked.margin else "refuted" if low > asked.margin else "not shown"
    if p >= LEVEL:
        return "not shown"
    return "holds" if found.value * asked.expected > 0 else "refuted: the other way"


def _ordered(operated: Operated, key: tuple[str, bool]) -> list[str]:
    """Each carrier of a layer, and its controls behind it."""
    own = operated.sizes[key]
    known = [one for one in CARRIERS if one in own]
    return [
        name
        for one in known
        for name in (one, control_of(one, RANDOM), control_of(one, PRINCIPAL))
        if name in own
    ]


def _controls(names: Sequence[str]) -> list[int]:
    return [place for place, name in enumerate(names) if name not in CARRIERS]


def _code_rows(operated: Operated, key: tuple[str, bool], names: Sequence[str]) -> list[dict[str, Any]]:
    name, random = key
    facts, rows = operated.facts[key], []
    for part in names:
        row: dict[str, Any] = {"part": part or "the whole code"}
        if part:
            row |= {"size": operated.sizes[key][part], "share": facts["shares"][part]}
        for edit in (REMOVED, KEPT) if part else (UNTOUCHED,):
            measured = operated.cells[SurgeryKey(name, CODE, edit, part, random)].tensors
            for measure in (FROM_CODE, PROBE):
                row[f"{edit} {measure}"] = operated.figure(measured[measure], "median") or TOO_FEW
        rows.append(row)
    for measure in (FROM_CODE, PROBE):
        rows[0][f"{KEPT} {measure}"] = rows[0].pop(f"{UNTOUCHED} {measure}", None)
    return rows


def _code_columns(own: bool) -> list[Column | str]:
    found: list[Column | str] = [
        "part",
        Column("dimensions", key="size"),
        Column("of the variance", percent=True, key="share", about="of other chairs' codes"),
    ]
    about = {
        FROM_CODE: "median error of the pose that the network's own heads read",
        PROBE: "median error of the azimuth that a linear probe reads, fitted on other chairs' codes after "
        "the same",
    }
    for measure, said in about.items():
        if own or measure == PROBE:
            found += [
                Column(
                    f"{measure}, {edit}",
                    "°",
                    digits=0,
                    key=f"{edit} {measure}",
                    about=said * (edit == REMOVED),
                )
                for edit in (REMOVED, KEPT)
            ]
    return found


def _code_table(operated: Operated, name: str) -> report.Part:
    key = (name, False)
    names = ["", *_ordered(operated, key)]
    scores = operated.facts[key]["scores"]
    rounds = (
        f"Probes found the azimuth in {counted(len(scores), 'round')}; R² on held-out codes fell from "
        f"{number(scores[0], 2)} to {number(scores[-1], 2)}."
    )
    table = report.Table.of(
        _code_rows(operated, key, names),
        _code_columns(own=True),
        baselines=[0, *(_controls(names)[1:])],
        name=f"{name}-code",
    )
    return [rounds, table]


def _random_table(operated: Operated, name: str) -> report.Part:
    key = (name, True)
    names = ["", *(one for one in CARRIERS if one in operated.sizes[key])]
    table = report.Table.of(
        _code_rows(operated, key, names), _code_columns(own=False), baselines=[0], name=f"{name}-random"
    )
    return report.Details("The same of a network with random weights, whose heads read nothing", [table])


def _image_tables(operated: Operated, name: str) -> list[report.Part]:
    found: list[report.Part] = []
    for method in (DECODE, OPTIMISE):
        parts = _ordered(operated, (name, False))
        edits: list[Edit] = [(edit, "") for edit in PLAIN]
        edits += [(edit, part) for part in parts for edit in (REMOVED, KEPT)]
        rows = [
            _image_row(operated, name, method, edit)
            for edit in edits
            if SurgeryKey(name, method, *edit) in operated.cells
        ]
        if not rows:
            continue
        floors = [k for k, row in enumerate(rows) if row["part"] not in CARRIERS]
        columns: list[Column | str] = ["part", "edit"]
        columns += [Column(f"{JUDGE}: within {RIGHT:g}°", percent=True, key="within")]
        columns += [Column(one, "°", digits=0, key=one) for one in operated.readers]
        columns += [
            Column(f"{JUDGE}, more than the whole", "°", digits=0, key="more", about="difference of means"),
            Column(
                "more than random",
                "°",
                digits=0,
                key="more random",
                about="than after the same to a random part of that size",
            ),
            *_FIGURES,
        ]
        title = {DECODE: "decoded", OPTIMISE: f"optimised, {operated.config.steps} steps"}[method]
        found.append(report.Table.of(rows, columns, title, baselines=floors, name=f"{name}-{method}"))
    return found


def _image_row(operated: Operated, name: str, method: str, edit: Edit) -> dict[str, Any]:
    row: dict[str, Value] = {"part": edit[1] or "–", "edit": edit[0]}
    for measure in operated.measures:
        statistic: Statistic = "median" if measure in operated.readers else "mean"
        row[measure] = operated.figure(operated.values(name, method, edit, measure), statistic) or TOO_FEW
    own = operated.values(name, method, edit, JUDGE)
    row["within"] = operated.within(name, method, edit) or TOO_FEW
    row["more"] = operated.apart(own, operated.values(name, method, WHOLE, JUDGE)) if edit != WHOLE else None
    if edit[1] in CARRIERS:
        control = (edit[0], control_of(edit[1], RANDOM))
        row["more random"] = operated.apart(own, operated.values(name, method, control, JUDGE))
    return row


def _swap_table(operated: Operated, name: str) -> report.Table:
    """Whose pose the readers see after a swap, and whose colour."""
    rows = []
    for key in operated.cells:
        if key.edit != SWAPPED or key.decoder != name:
            continue
        row: dict[str, Any] = {"part": key.subspace, "way": key.method}
        row["size"] = operated.sizes[name, False][key.subspace]
        for measure in (*operated.readers, "colour"):
            own, donor = (
                operated.values(name, key.method, (SWAPPED, key.subspace), f"{how}{measure}")
                for how in ("", DONOR)
            )
            assert own is not None
            assert donor is not None
            nearer = (donor < own).double().masked_fill((donor - own).isnan(), torch.nan)
            row[measure] = operated.figure(nearer if measure != "colour" else 1 - nearer) or TOO_FEW
            if measure == JUDGE:
                row["error"] = operated.figure(donor, "median") or TOO_FEW
        rows.append(row)
    columns: list[Column | str] = ["part", Column("dimensions", key="size"), "way"]
    columns += [
        Column(f"{one}: the donor's pose", percent=True, key=one, about="nearer to it than to the other's")
        for one in operated.readers
    ]
    columns += [
        Column(f"{JUDGE}: error against the donor's", "°", digits=0, key="error"),
        Column("the other's colour", percent=True, key="colour", about="nearer to it than to the donor's"),
    ]
    floors = [k for k, row in enumerate(rows) if row["part"] not in CARRIERS]
    return report.Table.of(rows, columns, code(name), baselines=floors, name=f"{name}-swaps")


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
    return replace(report.ImageGrid.of(rows, columns), size=128, name=f"{name}-swaps")


def _edit_sheets(operated: Operated, name: str) -> list[report.Part]:
    found: list[report.Part] = []
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
    return [
        first,
        report.Details("Other parts, and by optimisation", [one for one in rest if not isinstance(one, str)]),
    ]
