"""``netinvert views evaluate``: views that a generator did not learn, against the truth and against what the
known views give without a network (Dosovitskiy et al. 2015, section 5.2); a cell a chair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import (
    FOREIGN,
    JUDGE,
    RIGHT,
    LearnedViews,
    PoseReader,
    network_reader,
)
from netinvert.evaluation.report import Column, Estimate, Heading, ImageGrid, Panel, Plot, Series, code
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.views import ViewsEvaluate
from netinvert.experiments.evaluations import BATCH, evaluated
from netinvert.experiments.runs import publish, run_facts, workers_of
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.generator import Generator, load_generator, read_generator
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.cameras import rotation_from_angles
from netinvert.scenes.dataset_config import RING
from netinvert.training.decoder.train import milliseconds
from netinvert.training.views.train import view_errors
from netinvert.views.truth import (
    RING_AZIMUTH,
    RING_ELEVATION,
    Truth,
    interpolated,
    nearest_view,
    on_paper,
)

DRAWN, LINEAR, NEAREST, MEAN = "drawn", "linear interpolation", "nearest known view", "mean chair"
METHODS = (DRAWN, LINEAR, NEAREST, MEAN)
MEASURES = (
    Column("L1 on the chair", digits=3, key="l1_on_object", best="min", about="over the chair's own pixels"),
    Column("SSIM", digits=3, key="ssim", best="max"),
    Column("mask", digits=3, key="mask_iou", best="max", about="intersection over union with the true mask"),
)
SHOWN = 6
PAPER_COLOUR = tuple(value / 255 for value in PAPER)
"""Behind what readers see, who learned on it."""


@dataclass(frozen=True)
class RingWork:
    """Renders the views of objects again, by their numbers in a generator."""

    generator: str

    def open(self) -> Callable[[int, Piece], Cell]:
        """The plan is in the generator's file."""
        truth = Truth.of(load_generator(self.generator))
        return lambda who, piece: Cell({"planes": truth.ring(who)}, {"distance": truth.distance(who)})


def generator_facts(generator: Generator) -> dict[str, str]:
    """Which it is, for manifests and ``run_facts``."""
    return {"name": generator.name, "sha256": weights_sha256(generator.module)}


def pose_readers(kept: Cells, learned: int) -> list[PoseReader]:
    """The held-out network, the one by other people, and HOG, whose views are a cell."""
    return [network_reader(JUDGE), network_reader(FOREIGN), LearnedViews.kept(kept, learned).readers()[0]]


def evaluate_views(config: ViewsEvaluate, tell: Tell) -> Outcome:
    """Render, draw, compare; leave table, plot, images and report.

    Raises:
        NetworkError: no such generator.
        ConfigError: it knows all views, or its file does not tell what it learned.
        MissingExtraError: without the extra scenes.
    """
    name = Path(config.generator).name
    command = f"netinvert views evaluate --generator {name} --chairs {config.chairs} --seed {config.seed}"
    file = config.generator if config.card else None
    return evaluated(config, partial(_evaluate_views, config, tell), read_generator, file, command)


def _evaluate_views(config: ViewsEvaluate, tell: Tell) -> Outcome:
    generator = load_generator(config.generator)
    truth = Truth.of(generator)
    held_out = torch.tensor(truth.held_out)
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(config.seed))
    chairs: list[int] = sorted(held_out[order[: config.chairs]].tolist())
    known = {"generator": generator_facts(generator), "plan": truth.plan.to_json()}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        rings = run_cells(run, RingWork(config.generator), chairs, workers_of(config), "chairs")
        kept = Cells(run)
        readers = pose_readers(kept, config.learned)
        total = torch.zeros(rings[0].tensors["planes"].shape)
        for ring in rings:
            total += ring.tensors["planes"].float() / 255
        found: list[Mapping[str, Tensor]] = []
        rows: dict[str, list[Tensor]] = {}
        for who, ring in zip(chairs, rings, strict=True):
            subject = HeldOut(generator, truth, who, ring.tensors["planes"], total, len(chairs))
            found.append(kept.keep(["measured", who], partial(_measured, subject, readers)).tensors)
            if len(rows) < SHOWN:
                rows[f"chair {who}"] = subject.shown()
        every = {name: torch.cat([one[name] for one in found]) for name in found[0]}
        groups = torch.cat([torch.full((len(one["view"]),), k) for k, one in enumerate(found)])
        table, poses = errors_table(METHODS, every, groups), _poses(every, groups, readers)
        figures = _figures(generator, table, poses)
        less = figures["below_linear_interpolation"]
        sheet = ImageGrid.of(rows, ["true", *METHODS], "A view of each that it did not know")
        page = report.Report(
            f"The generator {generator.name}",
            [
                *(Heading("Figures"), table, poses),
                report.Prose(
                    "Intervals are of the bootstrap over chairs. The mean chair is that of the other chairs "
                    "of this table. The pose is read before paper, and its error is against the view asked "
                    f"for; {FOREIGN} and HOG are asked only where they read the true view within {RIGHT:g}°. "
                    f"One view takes {figures['ms_one']:.1f} ms, and {figures[f'ms_of_{BATCH}']:.1f} ms each "
                    f"in batches of {BATCH}.",
                    quiet=True,
                ),
                *(_plot(every), Heading("Images"), replace(sheet, name="sheet", size=128)),
            ],
            f"{code(generator.name)} draws {len(groups):,} views of {len(chairs)} chairs that it knows from "
            f"other sides: L1 over the chair's pixels {figures['l1_on_object']:.3f}, "
            f"{100 * abs(less):.0f} % {'below' if less > 0 else 'above'} linear interpolation of the known "
            f"views next to them, SSIM {figures['ssim']:.3f}.",
        )
        entries = {**known, "chairs": chairs, "figures": figures, "rows": table.plain()["rows"]}
        return publish(run, config, page, entries, f"{table.text()}\n\n{poses.text()}")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """An object and its true views, and the sum of those of ``count`` objects."""

    generator: Generator
    truth: Truth
    who: int
    ring: Tensor
    total: Tensor
    count: int

    @property
    def views(self) -> list[int]:
        """Those that the generator does not know."""
        found: list[int] = (~self.truth.known[self.who]).nonzero().flatten().tolist()
        return found

    def made(self, views: Sequence[int]) -> dict[str, Tensor]:
        """What each method makes of views, (V, 4, H, W) in [0, 1]."""
        known, at = self.truth.known[self.who], list(views)
        return {
            DRAWN: self.generator.layers(self.who, RING_AZIMUTH[at], RING_ELEVATION[at]),
            LINEAR: torch.stack([interpolated(self.ring, known, view) for view in at]),
            NEAREST: torch.stack([nearest_view(self.ring, known, view) for view in at]),
            MEAN: (self.total[at] - self.ring[at].float() / 255) / max(self.count - 1, 1),
        }

    def shown(self) -> list[Tensor]:
        """The true image of one view, and those of the methods."""
        view = self.views[self.who % len(self.views) :][:1]
        return [on_paper(one)[0] for one in (self.ring[view].float() / 255, *self.made(view).values())]


def _measured(subject: HeldOut, readers: Sequence[PoseReader]) -> Cell:
    """All figures of an object's views, (V,) each."""
    views = subject.views
    true, made = subject.ring[views].float() / 255, subject.made(views)
    found = {"view": torch.tensor(views)}
    for method, planes in made.items():
        found |= {f"{method}: {name}": values for name, values in view_errors(planes, true).items()}
    azimuth, elevation = RING_AZIMUTH[views], RING_ELEVATION[views]
    rotation = rotation_from_angles(azimuth, elevation, torch.zeros(len(views)))
    symmetry = torch.full((len(views),), subject.truth.thing(subject.who).symmetry)
    for reader in readers:
        for name, planes in (("true", true), (DRAWN, made[DRAWN])):
            images = on_paper(planes, PAPER_COLOUR)
            found[f"{name} by {reader.name}"] = reader.errors(images, rotation, symmetry)
    return Cell(found)


def errors_table(methods: Sequence[str], every: Mapping[str, Tensor], groups: Tensor) -> report.Table:
    """Of values "METHOD: MEASURE" (N,), a row a method; the first is what is evaluated."""
    more = Column("L1 above the first", digits=3, key="more", about="paired, with its interval")
    first = every[f"{methods[0]}: l1_on_object"]
    rows: list[list[Any]] = []
    for method in methods:
        found = {one.key: every[f"{method}: {one.key}"] for one in MEASURES}
        rows.append([method, *(estimate(values, groups) for values in found.values())])
        rows[-1].append(difference(found["l1_on_object"], first, groups) if len(rows) > 1 else None)
    columns = [Column("images", key="method"), *MEASURES, more]
    return report.Table(columns, rows, baselines=range(1, len(rows)), name="figures")


def _poses(every: Mapping[str, Tensor], groups: Tensor, readers: Sequence[PoseReader]) -> report.Table:
    rows: list[list[Any]] = []
    for reader in readers:
        true, drawn = (every[f"{name} by {reader.name}"] for name in ("true", DRAWN))
        asked = true < RIGHT if reader.limited else torch.ones(len(true), dtype=torch.bool)
        if not asked.any():
            rows.append([reader.name, 0, None, None, None])
            continue
        medians = [estimate(one[asked], groups[asked], "median") for one in (drawn, true)]
        within = estimate((drawn[asked] < RIGHT).double(), groups[asked])
        rows.append([reader.name, int(asked.sum()), *medians, within])
    columns = [
        *(Column("reader"), Column("views")),
        Column("pose drawn", "°", digits=1, key="drawn", about="median error"),
        Column("pose of the truth", "°", digits=1, key="true"),
        Column(f"within {RIGHT:g}°", percent=True),
    ]
    return report.Table(columns, rows, name="poses")


def _figures(generator: Generator, table: report.Table, poses: report.Table) -> dict[str, float]:
    """Plain numbers, for the manifest and the card."""

    def value(cell: Any) -> float:  # noqa: ANN401
        return float(cell.value if isinstance(cell, Estimate) else "nan")

    keys = [one.key for one in MEASURES]
    found = {key: value(cell) for key, cell in zip(keys, table.rows[0][1:], strict=False)}
    for row in table.rows[1:]:
        found[f"l1_of_{str(row[0]).replace(' ', '_')}"] = value(row[1])
    found["below_linear_interpolation"] = 1 - found["l1_on_object"] / found["l1_of_linear_interpolation"]
    for row in poses.rows:
        of = str(row[0]).partition(",")[0].lower().replace("-", "_")
        found |= {f"pose_{of}_deg": value(row[2]), f"pose_{of}_of_truth_deg": value(row[3])}
    draw = partial(generator, azimuth=45.0)
    first = generator.embedded([0])
    times = {name: milliseconds(draw, first, count) for name, count in (("one", 1), (f"of_{BATCH}", BATCH))}
    return found | {f"ms_{name}": one for name, one in times.items()}


def _plot(every: Mapping[str, Tensor]) -> Plot:
    """The mean error at each azimuth."""
    azimuths = sorted({RING[view][0] for view in every["view"].tolist()})
    at = RING_AZIMUTH[every["view"]]
    series = []
    for name in METHODS:
        errors = every[f"{name}: l1_on_object"]
        means = [errors[(at - one).abs() < 1].mean().item() for one in azimuths]
        series.append(Series(name, azimuths, means))
    return Plot([Panel(series, x_label="azimuth (°)", y_label="L1 on the chair")], name="azimuths")
