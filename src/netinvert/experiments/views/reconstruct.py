"""``netinvert views reconstruct``: a first 3-D shape from one image, by the ring of new views that a
generator draws of it; a cell an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Heading, ImageGrid, Prose
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.configs.views import ViewsReconstruct
from netinvert.experiments.runs import decoder_facts, file_part, publish, run_facts, workers_of
from netinvert.experiments.views.evaluate import generator_facts
from netinvert.experiments.views.novel import novel_problem, unseen, unseen_cells, unseen_object
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import load_decoder
from netinvert.models.generator import load_generator
from netinvert.scenes.cameras import Camera
from netinvert.scenes.dataset_config import RING
from netinvert.training.views.turntables import AZIMUTHS
from netinvert.views.hull import (
    INSIDE,
    ViewSet,
    as_obj,
    chamfer,
    fused_depths,
    overlap,
    solid,
    surface,
    surface_points,
    visual_hull,
)
from netinvert.views.novel import FITTED, LINEAR, MEAN, METHODS, NEAREST, SAME, TRUE, NovelViews

SOURCES = (TRUE, *METHODS, NEAREST, MEAN, SAME)
MESHES = (TRUE, LINEAR, FITTED)
HULL, FUSED = "hull", "depths"
SHOWN = 6


@dataclass(frozen=True)
class RingKey:
    """A cell: rings of views of all objects."""

    ring_by: str


@dataclass(frozen=True)
class RingsWork:
    """The rings that one source of views gives."""

    config: ViewsReconstruct
    run: RunDir

    def open(self) -> Callable[[RingKey, Piece], Cell]:
        """The problem is made once a process."""
        problem = cache(partial(novel_problem, self.config, self.run))
        return lambda key, piece: Cell({"planes": problem().ring(key.ring_by)})


@dataclass(frozen=True)
class ShapeKey:
    """A cell: the shapes of an object."""

    shaped: int


@dataclass(frozen=True)
class ShapeWork:
    """Shapes of one object, by all sources of views."""

    config: ViewsReconstruct
    run: RunDir

    def open(self) -> Callable[[ShapeKey, Piece], Cell]:
        """Rings and the cameras' distances are in the run, read once a process."""
        unseen_objects = unseen_cells(self.config, self.run)
        rings = cache(lambda: [one.tensors["planes"] for one in rings_of(self.config, self.run)])

        def make(key: ShapeKey, piece: Piece) -> Cell:
            who = key.shaped
            plan, source = unseen(self.config)
            thing = unseen_object(plan, source, who)
            truth = solid(thing.vertices, thing.faces, self.config.resolution)
            points = surface_points(thing.vertices, thing.faces)
            distance = float(unseen_objects[who].facts["distance"])
            cameras = tuple(
                Camera.orbit(*angles, 0.0, distance, plan.fov, plan.size) for angles in RING[:AZIMUTHS]
            )
            facts: dict[str, float] = {}
            shapes: dict[str, Tensor] = {}
            for place, name in enumerate(SOURCES):
                piece.tell(place / len(SOURCES), name)
                views = ViewSet(rings()[place][who].float() / 255, cameras)
                hull = visual_hull(views, self.config.resolution)
                fused = fused_depths(views, hull)
                halves = [visual_hull(views.some(slice(k, None, 2)), self.config.resolution) for k in (0, 1)]
                facts[f"{name}: consistency"] = overlap(*(one > INSIDE for one in halves))
                for kind, values, level in ((HULL, hull, INSIDE), (FUSED, -fused, 0.0)):
                    facts[f"{name}, {kind}: iou"] = overlap(values > level, truth)
                    made = surface_points(*surface(values, level))
                    facts[f"{name}, {kind}: chamfer"] = chamfer(made, points)
                shapes[name] = -fused.half()
            return Cell(shapes, facts)

        return make


def rings_of(config: ViewsReconstruct, run: RunDir) -> Sequence[Cell]:
    """The rings of SOURCES, kept in the run."""
    work, keys = RingsWork(config, run), [RingKey(name) for name in SOURCES]
    return run_cells(run, work, keys, workers_of(config), "ways to a new view")


def reconstruct(config: ViewsReconstruct, tell: Tell) -> Outcome:
    """Render, draw rings, make shapes, compare; leave table, meshes, images and a row an object.

    Raises:
        NetworkError, CodeError: a generator or decoder that cannot be loaded.
        ConfigError, MeshError: no such objects, or a generator that does not tell what it learned.
        MissingExtraError: without the extra views.
    """
    generator, decoder = load_generator(config.generator), load_decoder(config.decoder)
    known = {"generator": generator_facts(generator), "decoders": decoder_facts([decoder])}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        problem = novel_problem(config, run)
        rings_of(config, run)
        keys = [ShapeKey(who) for who in range(len(problem.start))]
        cells = run_cells(run, ShapeWork(config, run), keys, workers_of(config), "objects")
        found = {name: torch.tensor([one.facts[name] for one in cells]).double() for name in cells[0].facts}
        table = _table(found)
        each = report.Table.of({"object": k, **cell.facts} for k, cell in enumerate(cells))
        write_atomic(run.path("objects.csv"), each.csv().encode())
        for k, cell in zip(range(SHOWN), cells, strict=False):
            for name in MESHES:
                mesh = surface(cell.tensors[name].float(), 0.0)
                write_atomic(run.path(f"{k}-{file_part(name)}.obj"), as_obj(*mesh))
        true, turned, drawn = (float(found[f"{name}, {FUSED}: iou"].mean()) for name in MESHES)
        lead = (
            f"From one image each of {len(cells)} unseen objects: the shape of its turned code's images "
            f"overlaps the true one by {turned:.2f} (intersection over union), that of a generator's by "
            f"{drawn:.2f}, that of the true views by {true:.2f}."
        )
        page = report.Report("Shapes from one image", _blocks(problem, cells, table), lead)
        return publish(run, config, page, {**known, "rows": table.plain()["rows"]}, table.text())


def _table(found: Mapping[str, Tensor]) -> report.Table:
    rows: list[dict[str, Any]] = []
    for name in SOURCES:
        row: dict[str, Any] = {"views": name, "consistency": estimate(found[f"{name}: consistency"])}
        for kind in (HULL, FUSED):
            for figure in ("iou", "chamfer"):
                values = found[f"{name}, {kind}: {figure}"]
                values = values[values.isfinite()]
                row[f"{kind} {figure}"] = estimate(values) if len(values) else None
        rows.append(row)
    about = "intersection over union of hulls from every other view"
    columns = [
        Column("views"),
        *(Column(f"{kind}: IoU", digits=2, key=f"{kind} iou") for kind in (HULL, FUSED)),
        *(Column(f"{kind}: Chamfer", digits=4, key=f"{kind} chamfer") for kind in (HULL, FUSED)),
        Column("self-consistency", digits=2, key="consistency", about=about),
    ]
    floors = [place for place, name in enumerate(SOURCES) if name not in METHODS]
    return report.Table.of(rows, columns, baselines=floors, name="figures")


def _blocks(problem: NovelViews, cells: Sequence[Cell], table: report.Table) -> list[report.Block]:
    count = min(SHOWN, len(cells))
    rows = {}
    for k in range(count):
        sides = [cell_image(cells[k].tensors[name].float()) for name in SOURCES]
        rows[f"{k + 1}"] = [problem.sources[k], *sides]
    said = (
        "Shapes are made of 31 views in a cube of voxels. IoU is with the true solid, "
        "Chamfer the mean distance between the surfaces in diagonals of the object; intervals are of the "
        "bootstrap over objects. The pose of the given image, and the distance of the cameras, are known."
    )
    title = "Shapes as reliefs from the front and the side"
    grid = ImageGrid.of(rows, ["given", *SOURCES], title, 128, "shapes")
    return [
        *(Heading("Figures"), table, Prose(said, quiet=True), Heading("Shapes")),
        grid,
    ]


def cell_image(values: Tensor) -> Tensor:
    """A shape (R, R, R), positive inside, as a relief (3, R, 2 R) seen from the front (-y) and from the side
    (-x): lighter is nearer."""
    shown = []
    for axis in (1, 0):
        inside = values > 0
        first = inside.to(torch.uint8).argmax(axis)
        depth = torch.where(inside.any(axis), 1 - first / values.shape[0], torch.zeros(()))
        shown.append(depth.T.flip(0))
    return torch.cat(shown, 1).expand(3, -1, -1)
