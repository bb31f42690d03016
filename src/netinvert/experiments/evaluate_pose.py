"""``netinvert pose evaluate``: how well a network reads the poses of chairs that it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.evaluations import PoseEvaluate
from netinvert.experiments.runs import publish, run_facts
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.network import weights_sha256
from netinvert.models.registry import load_network
from netinvert.models.zoo.pose import read_pose_network
from netinvert.scenes.cameras import angles_from_rotation, symmetric_geodesic_degrees
from netinvert.training.card import add_test_figures
from netinvert.training.pose.evaluation import (
    TRAINED_SEEDS,
    TestViews,
    evaluation_plan,
    fresh_views,
    full_evaluation,
    read_rotations,
)

SHOWN = 48
"""Views in the report, from the best read to the worst."""


def evaluate_pose(config: PoseEvaluate, tell: Tell) -> Outcome:
    """Render, read, compare; leave table, images and report in ``config.out``.

    Raises:
        NetworkError: no such network.
        ConfigError: it reads no poses.
        MissingExtraError: without the extra scenes, or mitsuba for path tracing.
    """
    network = load_network(config.network, config.weights)
    plan = evaluation_plan(network, config.chairs, config.views, config.seed)
    trained = config.seed in TRAINED_SEEDS and config.network.startswith("posenet")
    warning = f"posenet and posenet-judge have seen chairs of the seeds {TRAINED_SEEDS}: this is no fair test"
    if trained:
        tell(warning)
    known = {"weights_sha256": weights_sha256(network.module), "plan": plan.to_json()}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        views = fresh_views(plan, config.path_traced)
        figures = full_evaluation(network, views, config.weights)
        lead = (
            f"{report.code(config.network)} read {report.counted(figures['views'], 'view')} of "
            f"{report.counted(figures['identities'], 'chair')} of seed {config.seed}"
            f"{', path traced by Mitsuba' * config.path_traced}: the median geodesic error is "
            f"{report.number(figures['median_geodesic_deg'], 1)}°, {report.percent(figures['acc_30'])} are "
            f"within 30°.{f' But {warning}.' * trained}"
        )
        page = report.Report(
            f"How well {network.name} reads poses",
            _blocks(figures, views, read_rotations(network, views.images)),
            lead,
        )
        outcome = publish(run, config, page, {**known, "figures": figures}, _table(figures).text())
    if config.card and config.weights is not None:
        how = (
            f"--network {config.network} --chairs {config.chairs} --views {config.views} --seed {config.seed}"
        )
        how += " --path-traced" * config.path_traced
        path = Path(config.weights)
        add_test_figures(path, read_pose_network(path), f"netinvert pose evaluate {how}", figures)
    return outcome


def _table(figures: Mapping[str, Any]) -> report.Table:
    rows = [(name, value) for name, value in figures.items() if isinstance(value, int | float)]
    return report.Table(["figure", Column("value")], rows, name="figures")


def _blocks(figures: Mapping[str, Any], views: TestViews, predicted: Tensor) -> list[report.Block]:
    error, others = (
        symmetric_geodesic_degrees(read, views.rotation, views.symmetry)
        for read in (predicted, predicted.roll(1, 0))
    )
    floor = f"Readings of other views are {report.number(others.median().item(), 1)}° off in the median."
    groups = [
        {"group": group, "which": key, **values}
        for group, members in figures["groups"].items()
        for key, values in members.items()
    ]
    median = Column("median error", "°", digits=1, key="median_geodesic_deg")
    columns: list[Column | str] = [
        "group",
        "which",
        "views",
        median,
        Column("within 30°", percent=True, key="acc_30"),
    ]
    order = error.argsort()
    chosen = order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).long()]
    true, read = (angles_from_rotation(each)[0] for each in (views.rotation, predicted))
    tiles = [
        report.Tile(views.images[k], (f"{true[k]:.0f}° read {read[k]:.0f}°", f"error {error[k]:.0f}°"))
        for k in chosen.tolist()
    ]
    sheet = report.ImageGrid.flow(tiles, across=8, title="azimuth, azimuth read, and geodesic error")
    return [
        report.Heading("Figures"),
        report.Prose(floor, quiet=True),
        _table(figures),
        report.Heading("By elevation and kind of chair"),
        replace(report.Table.of(groups, columns), name="groups"),
        report.Heading("From the best read to the worst"),
        replace(sheet, size=128, name="sheet"),
    ]
