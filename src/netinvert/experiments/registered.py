"""The tests that were planned before their seeds were opened: their options, which ``study all`` carries out,
and what is kept to where they are told. A run with these options is the registered test, any other a trial.
(What ``study features``, ``agree`` and ``surgery`` ask is in their modules ``registration``.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Estimate
from netinvert.evaluation.statistics import Significance, holm, means_and_tests
from netinvert.experiments.configs.studies import (
    StudyAgree,
    StudyAttributes,
    StudyFeatures,
    StudyMethods,
    StudyPriors,
    StudySurgery,
)
from netinvert.io.config import Config
from netinvert.scenes.seeds import (
    TEST,
    TEST_AGREE,
    TEST_FEATURES,
    TEST_PRIORS,
    TEST_SURGERY,
    trained_on,
)

FEATURES = StudyFeatures(
    networks=(
        "posenet",
        "posenet-only",
        "posenet-match",
        "posenet-plain",
        "posenet-judge",
        "objectron-chair",
    ),
    chairs=300,
    seed=TEST_FEATURES,
    out=Path("out/features"),
)
PRIORS = StudyPriors(
    network="posenet",
    layers=("relu5", "relu7", "fc8"),
    priors=("tv-isotropic", "tv-anisotropic", "tv-quadratic", "tv-huber", "second-order", "none"),
    prior_weights=(0.01, 0.03, 0.1, 0.3, 1.0),
    canvases=("fourier",),
    preset="quick",
    steps=100,
    count=60,
    bank=300,
    restarts=1,
    learned=1500,
    seed=TEST_PRIORS,
    batch=20,
    out=Path("out/priors"),
)
"""Primary is what ``objectron-chair`` reads, at the code error of isotropic total variation; expected is that
no prior differs from it by 5 points, at any layer. (Planned with two canvases, two restarts and the default
preset, which takes a GPU or a day: a run of that was stopped at its first layer, before anything of it was
looked at.)"""
AGREE = StudyAgree(
    network="posenet",
    layers=("relu5", "relu7", "fc8"),
    preset="default",
    steps=100,
    method="integrated",
    samples=8,
    chairs=150,
    seed=TEST_AGREE,
    out=Path("out/agree"),
)
SURGERY = StudySurgery(
    decoders=("posenet-fc7", "posenet-fc6"),
    chairs=100,
    others=2000,
    steps=0,
    learned=1500,
    seed=TEST_SURGERY,
    out=Path("out/surgery"),
)
ATTRIBUTES = StudyAttributes(
    network="posenet",
    decoders=("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose"),
    chairs=200,
    seed=TEST,
    out=Path("out/attributes"),
)
"""Primary is what training adds, against random weights, at each layer; expected is that it adds azimuth and
elevation and takes away hue at the last."""
METHODS = StudyMethods(
    decoders=("posenet-fc7", "posenet-fc6"),
    chairs=200,
    bank=12_000,
    control=True,
    seed=TEST,
    out=Path("out/methods"),
)
"""Primary is the error on the chair of the decoded images over that of the best floor, at each layer: at most
0.8 is expected. (The same chairs were shown for ``ATTRIBUTES``; nothing was chosen on them.)"""
WHERE = ("device", "batch")
"""Options that say where a run is made: its figures differ by less than their intervals."""


def registered(config: Config, plan: Config) -> bool:
    """Whether a run is the test that was planned."""
    asked, planned = ({k: v for k, v in one.identity().items() if k not in WHERE} for one in (config, plan))
    return asked == planned


# -- how they are told -------------------------------------------------------------------------------------

ENOUGH = 20
"""Objects: of fewer nothing is claimed."""
TOO_FEW = "not enough"
ALPHA = 0.05
DRAWS = 10_000
"""Of the bootstrap over objects, or permutations, of a test."""


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


def status(planned: bool, plan: str, seed: int | None) -> str:
    """In words, whether a run is the test that was registered, the ``plan``; and whether its chairs, those of
    a ``seed``, are a fair test."""
    said = "the registered test." if planned else f"a trial, not the registered test ({plan})."
    if seed is None or not trained_on(seed):
        return f"This is {said}"
    return f"This is {said} Networks of netinvert may have seen chairs of seed {seed}: no fair test."


def enough_tested(values: Tensor, draws: int) -> list[Significance | None]:
    """``means_and_tests`` of columns (N, M); None for those with fewer than ENOUGH values."""
    known = values.isfinite().sum(0) >= ENOUGH
    tests = iter(means_and_tests(values[:, known], draws) if known.any() else ())
    return [next(tests) if one else None for one in known.tolist()]
