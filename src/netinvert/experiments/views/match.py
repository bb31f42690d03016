"""``netinvert views match``: correspondences of two chairs by optical flow along their morph, against those
that are known; a cell a pair."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Heading, ImageGrid, Panel, Plot, Series, Tile, code
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.views import ViewsMatch
from netinvert.experiments.runs import publish, run_facts, workers_of
from netinvert.experiments.views.evaluate import generator_facts
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.images import to_pil
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.generator import load_generator
from netinvert.scenes.dataset_config import RING
from netinvert.views.matching import boxes_aligned, exact_matches, flow_between, followed, optical_flow
from netinvert.views.mixtures import line_between
from netinvert.views.truth import Truth, on_paper

CHAINED, DIRECT, BOXES, STILL = "along the morph", "direct", "bounding boxes", "no motion"
METHODS = (CHAINED, DIRECT, BOXES, STILL)
LEAST = 100
"""Places that a pair shares; others are left out."""
TRIES = 50
SHOWN, DOTS, ZOOM = 5, 24, 3


@dataclass(frozen=True)
class MatchWork:
    """Matches pairs, by their numbers."""

    config: ViewsMatch

    def open(self) -> Callable[[int, Piece], Cell]:
        """Load the generator."""
        config = self.config
        generator, flow = load_generator(config.generator), optical_flow(config.flow)
        truth = Truth.of(generator)

        def make(number: int, piece: Piece) -> Cell:
            (first, second, view), points, targets = _pair(truth, config.seed, number)
            ends = generator.embedded([first, second])
            line = line_between(ends[0], ends[1], config.steps)
            drawn = on_paper(generator.layers(line, *RING[view]))
            rings = torch.stack([truth.view(who, view) for who in (first, second)]).float() / 255
            true = on_paper(rings)
            found = {
                CHAINED: followed(points, flow_between(drawn, flow)),
                DIRECT: followed(points, flow_between(true, flow)),
                BOXES: boxes_aligned(points, rings[:, 3]),
                STILL: points,
            }
            tensors = {"points": points, "exact": targets, "true": true, **found}
            return Cell(tensors, {"first": first, "second": second, "view": view})

        return make


def _pair(truth: Truth, seed: int, number: int) -> tuple[tuple[int, int, int], Tensor, Tensor]:
    """Two objects and a view, and the places that they share. Raises ConfigError: there are hardly any."""
    rng = np.random.default_rng([seed, number])
    for _ in range(TRIES):
        first, second = (int(one) for one in rng.choice(len(truth.identities), 2, replace=False))
        view = int(rng.integers(len(RING)))
        things = truth.thing(first), truth.thing(second)
        cameras = truth.camera(things[0], view), truth.camera(things[1], view)
        points, targets = exact_matches(*things, cameras)
        if len(points) >= min(LEAST, truth.plan.size):
            return (first, second, view), points, targets
    raise ConfigError("the objects hardly share a part that is seen in both: give a generator of chairs")


def match_objects(config: ViewsMatch, tell: Tell) -> Outcome:
    """Match; leave table, plot, images and report.

    Raises:
        NetworkError: no such generator.
        ConfigError: its file does not tell what it learned, or it has a single object.
        MissingExtraError: without the extra views.
    """
    optical_flow(config.flow)
    generator = load_generator(config.generator)
    if len(Truth.of(generator).identities) < 2:
        raise ConfigError(f"{generator.name} has a single object: pairs are of two")
    known = {"generator": generator_facts(generator)}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        cells = run_cells(run, MatchWork(config), range(config.pairs), workers_of(config), "pairs")
        errors = {name: torch.stack([_error(one.tensors, name) for one in cells]) for name in METHODS}
        table = _table(errors)
        value = {str(row[0]): row[1].value for row in table.rows if isinstance(row[1], report.Estimate)}
        count = sum(len(cell.tensors["points"]) for cell in cells)
        side = cells[0].tensors["true"].shape[-1]
        page = report.Report(
            "Correspondences by a morph",
            [
                *(Heading("Figures"), table, _plot(errors)),
                report.Prose(
                    "Exact are the places of the same part at the same share of its bounding box, where both "
                    f"chairs show them: {count:,} of {config.pairs} pairs. Direct is flow between the two "
                    "true images; bounding boxes, the one laid on the other. A pair's error is the mean over "
                    "its places; intervals are of the bootstrap over pairs.",
                    quiet=True,
                ),
                *(Heading("Pairs"), _sheet([cells[k] for k in range(min(SHOWN, len(cells)))])),
            ],
            f"Flow along a morph of {code(generator.name)} in {config.steps} steps finds the places of one "
            f"chair in another with an error of {value[CHAINED]:.1f} pixels of {side}, "
            f"direct flow with {value[DIRECT]:.1f}, and no motion at all with {value[STILL]:.1f}.",
        )
        rows = [{**cell.facts, **{k: v[j].item() for k, v in errors.items()}} for j, cell in enumerate(cells)]
        entries = {**known, "rows": table.plain()["rows"], "pairs": rows}
        return publish(run, config, page, entries, table.text())


def _error(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """The mean endpoint error of a pair, in pixels."""
    off: Tensor = torch.linalg.vector_norm(tensors[name] - tensors["exact"], dim=1)
    return off.mean()


def _table(errors: Mapping[str, Tensor]) -> report.Table:
    still = errors[STILL]
    far = still > still.median()
    halves = {"near": ~far, "far": far}
    columns = [
        Column("flow", key="method"),
        Column("error", "px", digits=2, best="min", about="mean endpoint error"),
        *(
            Column(
                f"of the {name} half",
                "px",
                digits=2,
                key=name,
                about=f"pairs that move {how} than the median",
            )
            for name, how in (("near", "no more"), ("far", "more"))
        ),
        Column("more than along the morph", "px", digits=2, key="more", about="paired, with its interval"),
    ]
    rows: list[list[report.Value]] = []
    for name, values in errors.items():
        parts = [estimate(values[half]) if half.any() else None for half in halves.values()]
        more = None if name == CHAINED else difference(values, errors[CHAINED])
        rows.append([name, estimate(values), *parts, more])
    return report.Table(columns, rows, baselines=range(1, len(rows)), name="figures")


def _plot(errors: Mapping[str, Tensor]) -> Plot:
    """Each pair's error, by how far its places are apart."""
    still, order = errors[STILL], errors[STILL].argsort()
    series = [
        Series(name, still[order], values[order], line="-" if name == STILL else "", marker="o")
        for name, values in errors.items()
    ]
    panel = Panel(series, x_label="exact motion (px)", y_label="endpoint error (px)")
    return Plot([panel], name="errors")


def _sheet(cells: Sequence[Cell]) -> ImageGrid:
    """The first chair with dots, and the second with the same dots where each method finds them."""
    rows = {}
    for cell in cells:
        tensors, facts = cell.tensors, cell.facts
        points = tensors["points"]
        chosen = torch.linspace(0, len(points) - 1, DOTS).long()
        wheel = points[chosen, 0].argsort().argsort() / DOTS
        first, second = tensors["true"]
        tiles = [Tile(_dotted(first, points[chosen], wheel))]
        tiles += [Tile(_dotted(second, tensors[name][chosen], wheel)) for name in ("exact", *METHODS)]
        rows[f"{facts['first']} to {facts['second']}, view {facts['view']}"] = tiles
    return ImageGrid.of(rows, ["first", "exact", *METHODS], name="sheet", size=192)


def _dotted(image: Tensor, points: Tensor, wheel: Tensor) -> Image.Image:
    large = to_pil(image).resize([ZOOM * side for side in image.shape[:0:-1]], Image.Resampling.BICUBIC)
    draw, radius = ImageDraw.Draw(large), max(2.0, large.width / 64)
    for (x, y), hue in zip((ZOOM * points).tolist(), wheel.tolist(), strict=True):
        colour = tuple(round(255 * one) for one in colorsys.hsv_to_rgb(hue, 1, 0.9))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour, "white")
    return large
