"""The tables of ``netinvert study agree``: witnesses two by two, and each part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Estimate
from netinvert.evaluation.statistics import Significance, estimate, holm
from netinvert.experiments.agree.registration import AGREE_HYPOTHESES, AgreeHypothesis, Held, Kind
from netinvert.experiments.agree.witnesses import (
    NAMES,
    OPTIMISED,
    OWN,
    RANDOM,
    Arm,
    PartAgreement,
    Witnesses,
    part_agreement,
)
from netinvert.experiments.configs.studies import StudyAgree
from netinvert.experiments.features.registration import PARTS
from netinvert.experiments.registered import AGREE, ALPHA, DRAWS, ENOUGH, TOO_FEW, hypotheses_table

MARGIN = 0.2
"""A correlation whose interval lies within MARGIN of 0 counts as none."""
HELD: tuple[Held, ...] = ("", "size", "kind")
NECESSITY, RECOVERY, ATTRIBUTION = "necessity", "recovery", "attribution"
PAPER, PHOTOGRAPHS = "necessity before paper", "before photographs"
LEGIBILITY = "overlap in the original"
"""Beside the witnesses: how far necessity agrees with itself, and how well the reader of parts, which knows
nothing of the network, sees each in the original."""


@dataclass(frozen=True)
class Pair:
    """Two witnesses: ``arm`` and ``kind`` are those of the recovery, if it is one of them; ``weights`` those
    of the attribution."""

    first: str
    second: str
    arm: Arm | None = None
    kind: Kind = "parts"
    weights: str = OWN


@dataclass(frozen=True, eq=False)
class AgreeStudy:
    """What the witnesses say of chairs, ``network`` being the one that is asked."""

    config: StudyAgree
    network: str
    witnesses: Witnesses

    @property
    def layers(self) -> list[str]:
        """In the order asked for."""
        return list(dict.fromkeys(one.layer for one in self.witnesses.arms))

    @property
    def registered(self) -> bool:
        """Whether this is the test that was registered."""
        plan, own = AGREE, self.config
        names = ("preset", "steps", "method", "samples", "chairs", "seed")
        same = all(getattr(plan, name) == getattr(own, name) for name in names)
        return same and (self.network, tuple(self.layers), own.weights) == (plan.network, plan.layers, None)

    def said(self, pair: Pair, who: str) -> Tensor:
        """What a witness of a pair says (N, P)."""
        own = self.witnesses
        if pair.arm is not None and who == RECOVERY:
            return own.recovery(pair.arm, pair.kind)
        if who in (PAPER, PHOTOGRAPHS):
            return own.needed[:, int(who == PHOTOGRAPHS)]
        if who == LEGIBILITY:
            return own.ceiling()
        return own.necessity if who == NECESSITY else own.attributed(pair.weights)

    def pairs(self) -> Iterator[Pair]:
        """All that are compared. Random weights show what any network would: their images and attributions
        are held against what the network with its own weights needs."""
        yield Pair(PAPER, PHOTOGRAPHS)
        yield Pair(NECESSITY, LEGIBILITY)
        for weights in (OWN, RANDOM):
            yield Pair(NECESSITY, ATTRIBUTION, weights=weights)
        for first in (NECESSITY, ATTRIBUTION):
            for arm in self.witnesses.arms:
                yield from (Pair(first, RECOVERY, arm, kind, arm.weights) for kind in NAMES)

    @cached_property
    def found(self) -> dict[tuple[Pair, Held], PartAgreement | None]:
        """Every comparison."""
        return {
            (pair, held): part_agreement(
                self.said(pair, pair.first),
                self.said(pair, pair.second),
                self.witnesses.size,
                held,
                DRAWS,
            )
            for pair in self.pairs()
            for held in HELD
        }

    @cached_property
    def adjusted(self) -> dict[tuple[Pair, Held], float]:
        """The p of all of them, after Holm."""
        known = {key: one.p for key, one in self.found.items() if one is not None}
        return dict(zip(known, holm(list(known.values())), strict=True))

    def sure(self, pair: Pair, held: Held) -> bool:
        """Whether a correlation is there, whatever its sign: of what was registered, in the registered test,
        after Holm for that alone; of all else for all that are compared."""
        ps = {**self.adjusted, **(self.primary if self.registered else {})}
        return ps.get((pair, held), 1.0) < ALPHA

    @cached_property
    def primary(self) -> dict[tuple[Pair, Held], float]:
        """The p of the hypotheses, after Holm for these."""
        keys = [(_asked(one), one.held) for one in AGREE_HYPOTHESES]
        known = {key: one.p for key in keys if (one := self.found.get(key)) is not None}
        return dict(zip(known, holm(list(known.values())), strict=True))

    # -- tables --------------------------------------------------------------------------------------------

    def registered_table(self) -> report.Table:
        """The hypotheses, their tests, and what became of them."""

        def told(asked: AgreeHypothesis, found: Estimate, p: float) -> dict[str, Any]:
            return {"rho": found, "verdict": _verdict(asked, found, p)}

        tests: dict[AgreeHypothesis, Significance | None] = dict.fromkeys(AGREE_HYPOTHESES)
        for asked in tests:
            found = self.found.get((_asked(asked), asked.held))
            if found is not None:
                tests[asked] = Significance(found.found, found.p, int(found.chairs.sum()))
        lacking = [one for one in tests if one.layer and one.layer not in self.layers]
        unasked = dict.fromkeys(lacking, "not asked: no such layer here")
        return hypotheses_table(tests, told, [Column("ρ", digits=2, key="rho")], unasked=unasked)

    def agreements(self) -> report.Table:
        """A row a pair of witnesses."""
        rows: list[dict[str, Any]] = []
        floors: list[int] = []
        for pair in self.pairs():
            row: dict[str, Any] = {"witnesses": f"{pair.first}, {pair.second}"}
            row |= {"arm": "" if pair.arm is None else f"{pair.arm.layer}, {pair.arm.how}"}
            row |= {"by": pair.kind if pair.arm is not None else "", "weights": pair.weights}
            for held in HELD:
                one = self.found[pair, held]
                row[f"rho {held}"] = TOO_FEW if one is None else one.found
                row[f"p {held}"] = self.adjusted.get((pair, held))
            one, floor = self.found[pair, "size"], self.found.get((blind_pair(pair), "size"))
            if one is not None and floor is not None and pair.weights == OWN:
                row["gain"] = one.above(floor)
            if pair.weights == RANDOM or pair.second == LEGIBILITY:
                floors.append(len(rows))
            rows.append(row)
        columns: list[Column | str] = [
            "witnesses",
            Column("of", key="arm"),
            Column("by", about="recovery by a reader of parts, or by pixels"),
            Column(
                "weights",
                about="of the network that was inverted and attributed; necessity is always that of its own",
            ),
            Column("ρ", digits=2, key="rho "),
            Column(
                "p",
                digits=4,
                key="p ",
                about="of parts ordered at random within chairs; after Holm, of all tests of this table",
            ),
            Column("ρ, size fixed", digits=2, key="rho size"),
            Column("p, size fixed", digits=4, key="p size"),
            Column(
                "ρ, kind fixed",
                digits=2,
                key="rho kind",
                about="less what all backs, all legs, all seats "
                "and all arms have in common: does it follow from chair to chair?",
            ),
            Column("p, kind fixed", digits=4, key="p kind"),
            Column(
                "more than random",
                digits=2,
                key="gain",
                about="than with random weights, size fixed, in the same draws of chairs",
            ),
        ]
        return report.Table.of(rows, columns, name="agreement", baselines=floors)

    def part_means(self) -> report.Table:
        """A row a witness, a column a part: means over the chairs that show it."""
        own = self.witnesses
        rows: list[tuple[str, Tensor]] = [
            ("share of the chair's pixels", own.size),
            ("necessity: log ratio of errors", own.necessity),
            (f"attribution over its share, {self.config.method}", own.attributed()),
            ("attribution over its share, random weights", own.attributed(RANDOM)),
            ("overlap in the original", own.ceiling()),
        ]
        for arm in own.arms:
            for kind, name in NAMES.items():
                each, others = own.figures[arm, kind]
                rows.append((f"{arm.name}: {name}", each))
                rows.append((f"{arm.name}: {name}, others' images", others))
                more = "overlap above others'" if kind == "parts" else "log of times nearer than others'"
                rows.append((f"{arm.name}: {more}", own.recovery(arm, kind)))
        cells = [(name, *(_mean(values[:, place]) for place in range(len(PARTS)))) for name, values in rows]
        return report.Table(["witness", *(Column(one, digits=2) for one in PARTS)], cells, name="parts")

    def code_errors(self) -> report.Table:
        """Of each arm: what is not matched says nothing."""
        rows = [(arm.name, _mean(self.witnesses.code[:, k])) for k, arm in enumerate(self.witnesses.arms)]
        return report.Table(["images", Column("code error", digits=3)], rows, name="codes")


def _asked(one: AgreeHypothesis) -> Pair:
    return Pair(NECESSITY, RECOVERY, Arm(one.layer), one.by) if one.layer else Pair(NECESSITY, ATTRIBUTION)


def blind_pair(pair: Pair) -> Pair:
    """The same with random weights."""
    arm = None if pair.arm is None else Arm(pair.arm.layer, OPTIMISED, RANDOM)
    return Pair(pair.first, pair.second, arm, pair.kind, RANDOM)


def _verdict(asked: AgreeHypothesis, found: Estimate, p: float) -> str:
    assert found.low is not None
    assert found.high is not None
    if p < ALPHA:
        if asked.expected:
            return "holds" if found.value > 0 else "refuted: the other way"
        return "refuted"
    if max(-found.low, found.high) < MARGIN:
        return f"none beyond ±{MARGIN}"
    return "not shown" if asked.expected else "none shown"


def _mean(values: Tensor) -> Estimate | str:
    """Over chairs; of fewer than ENOUGH nothing."""
    known = values[values.isfinite()]
    return estimate(known) if len(known) >= ENOUGH else TOO_FEW
