"""What is kept to wherever hypotheses are tested that were written down before their seed was opened: how
many objects a claim needs, the table of the tests, and in words whether a run is the one that was planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Estimate
from netinvert.evaluation.statistics import Significance, holm, means_and_tests
from netinvert.scenes.seeds import trained_on

ENOUGH = 20
"""Objects: of fewer nothing is claimed."""
TOO_FEW = "not enough"
ALPHA = 0.05


class Worded(Protocol):
    """A hypothesis, in words."""

    @property
    def says(self) -> str:
        """A sentence without its full stop."""


H = TypeVar("H", bound=Worded)


def hypotheses_table(
    tests: Mapping[H, Significance | None],
    told: Callable[[H, Estimate, float], dict[str, Any]],
    figures: Sequence[Column],
    objects: str = "chairs",
    unasked: Mapping[H, str] = {},
) -> report.Table:
    """A row a hypothesis: its test, and what became of it. ``told`` gives the cells under ``figures`` and the
    verdict, by what was found and p after Holm for all of the tests. None is a test of too few ``objects``,
    or what is said of it in ``unasked``."""
    adjusted = iter(holm([one.p for one in tests.values() if one is not None]))
    few = f"{TOO_FEW}: {ENOUGH} {objects} are needed"
    rows = []
    for asked, test in tests.items():
        row: dict[str, Any] = {"says": asked.says, "verdict": unasked.get(asked, few)}
        if test is not None:
            row |= {"p": test.p, "holm": next(adjusted), "count": test.count}
            row |= told(asked, test.found, row["holm"])
        rows.append(row)
    columns: list[Column | str] = [
        Column("hypothesis", key="says"),
        *figures,
        Column(objects, key="count"),
        Column("p", digits=4),
        Column("p, Holm", digits=4, key="holm"),
        "verdict",
    ]
    return report.Table.of(rows, columns, name="registered")


def status(registered: bool, plan: str, seed: int | None) -> str:
    """In words, whether a run is the test that was registered, the ``plan``; and whether its chairs, those of
    a ``seed``, are a fair test."""
    said = "the registered test." if registered else f"a trial, not the registered test ({plan})."
    if seed is None or not trained_on(seed):
        return f"This is {said}"
    return f"This is {said} Networks of netinvert may have seen chairs of seed {seed}: no fair test."


def enough_tested(values: Tensor, draws: int) -> list[Significance | None]:
    """``means_and_tests`` of columns (N, M); None for those with fewer than ENOUGH values."""
    known = values.isfinite().sum(0) >= ENOUGH
    tests = iter(means_and_tests(values[:, known], draws) if known.any() else ())
    return [next(tests) if one else None for one in known.tolist()]
