"""What the study of surgery has measured, and the tables of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import JUDGE, RIGHT
from netinvert.evaluation.report import Column, Estimate, Value, code, counted, number
from netinvert.evaluation.statistics import Significance, Statistic, difference, estimate
from netinvert.experiments.configs.studies import StudySurgery
from netinvert.experiments.registered import (
    ALPHA,
    DRAWS,
    ENOUGH,
    SURGERY,
    TOO_FEW,
    enough_tested,
    hypotheses_table,
)
from netinvert.experiments.surgery.measures import (
    CODE,
    DECODE,
    DONOR,
    FROM_CODE,
    KEPT,
    OPTIMISE,
    PLAIN,
    PROBE,
    REMOVED,
    SWAPPED,
    UNTOUCHED,
    Patients,
    SurgeryKey,
)
from netinvert.experiments.surgery.registration import SURGERY_HYPOTHESES, Edit, SurgeryHypothesis
from netinvert.experiments.surgery.subspaces import (
    CARRIERS,
    PRINCIPAL,
    RANDOM,
    control_of,
)
from netinvert.io.cells import Cell

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
        asked, plan = self.config, SURGERY
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

    def tested(self, one: SurgeryHypothesis) -> Significance | None:
        """None where too few chairs say anything, or it was not measured."""
        values = self.values(one.decoder, DECODE, one.edit, one.measure)
        if one.control is None:
            others = self.values(one.decoder, DECODE, one.edit, f"{DONOR}{one.measure}")
        else:
            others = self.values(one.decoder, DECODE, one.control, one.measure)
        if values is None or others is None:
            return None
        return enough_tested((values - others)[:, None], DRAWS)[0]

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
        return report.Table.of(rows)


def registered_edits(operated: Operated) -> report.Table:
    """The hypotheses, their tests, and what became of them."""

    def told(asked: SurgeryHypothesis, found: Estimate, p: float) -> dict[str, Any]:
        return {"apart": found, "verdict": surgery_verdict(asked, found, p)}

    figure = Column("difference", digits=2, key="apart", about="in degrees, or in RGB of [0, 1]")
    return hypotheses_table({one: operated.tested(one) for one in SURGERY_HYPOTHESES}, told, [figure])


def surgery_verdict(asked: SurgeryHypothesis, found: Estimate, p: float) -> str:
    """Whether a hypothesis holds, by the difference found and its adjusted p."""
    low, high = found.low or 0.0, found.high or 0.0
    if asked.expected == 0:
        return "holds" if high <= asked.margin else "refuted" if low > asked.margin else "not shown"
    if p >= ALPHA:
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


def code_table(operated: Operated, name: str) -> report.Part:
    """Of the codes of a decoder's layer: what each part holds, and what is read with and without it."""
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
        baselines=[place for place, one in enumerate(names) if one not in CARRIERS],
        name=f"{name}-code",
    )
    return [rounds, table]


def random_table(operated: Operated, name: str) -> report.Part:
    """The same of random weights."""
    key = (name, True)
    names = ["", *(one for one in CARRIERS if one in operated.sizes[key])]
    table = report.Table.of(
        _code_rows(operated, key, names), _code_columns(own=False), baselines=[0], name=f"{name}-random"
    )
    return report.Details("The same of a network with random weights, whose heads read nothing", [table])


def image_tables(operated: Operated, name: str) -> list[report.Part]:
    """Of all images that a decoder, and optimisation, made of edited codes."""
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


def swap_table(operated: Operated, name: str) -> report.Table:
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
