"""``netinvert explain parts``: explanations of a pose against the parts whose removal moves it; ten chairs
are a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.report import Column, code, counted, listed, number
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.configs.explain import ExplainParts
from netinvert.experiments.explain.saliency import asked_methods
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import publish, run_facts, workers_of
from netinvert.explain.part_truth import (
    PartViews,
    mass_in,
    names_the_most,
    part_plan,
    part_views,
    rank_agreement,
)
from netinvert.explain.pictures import coloured
from netinvert.explain.sanity import EDGES, all_random, edge_map, explaining
from netinvert.explain.targets import Target, parse_target, pose_kinds
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.network import Network

CHUNK = 10
TRUTH = "pose:geodesic"
BASELINES = ("uniform", EDGES, "change of the image", "part painted over")
"""Rows that know nothing of the network: the parts' areas, edges, how much the image itself changes without a
part; and as a ceiling what the network says when the part's pixels, and no others, get the paper's colour."""
COLUMNS = (
    Column("target"),
    Column("method"),
    Column(
        "agreement",
        digits=2,
        about="rank correlation, over the parts of a chair, of how much of the map a pixel of the part has, "
        "with how far the pose that is read turns without that part",
    ),
    Column("in all", digits=2, about="the same of how much the part has in all its pixels"),
    Column("most", percent=True, about="how often the part with the most in all turns the pose most"),
    Column("random weights", digits=2, about="the agreement of maps of the network with random weights"),
    Column("gain", digits=2, about="by how much the agreement is above that, chair by chair"),
    Column("other chair", digits=2, about="the agreement of what lies where another chair has its parts"),
    Column("on the chair", percent=True, about="how much of the map lies on the chair"),
)
SCORES = tuple(one.name for one in COLUMNS[2:])


@dataclass(frozen=True)
class PartsWork:
    """The scores (R, N) of rows, target after target and then BASELINES, for some chairs, from the first
    one's number on; how far each part of theirs turns the pose that is read, and the first chair's maps."""

    config: ExplainParts
    methods: tuple[str, ...]

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads the networks."""
        config = self.config
        own = open_network(config, config.device)
        truth, side = parse_target(own, TRUTH), max(own.preprocessing.size)
        random = all_random(own, truth.encoder.size, 0)
        plan = part_plan(config.chairs, side, config.seed)
        pairs = [(parse_target(own, one), parse_target(random, one)) for one in asked_poses(config, own)]

        def make(start: int, piece: Piece) -> Cell:
            piece.tell(0.0, "rendering")
            views = part_views(plan, range(start, min(start + CHUNK, config.chairs)))
            if views is None:
                return Cell({}, {})
            parts = PartScores.of(views, truth)
            shown = [parts.images[0]]
            rows = []
            for place, (target, dummy) in enumerate(pairs):
                for name in self.methods:
                    piece.tell(place / len(pairs), f"{target.name}, {name}")
                    explains = explaining(name, config.samples, config.seed)
                    maps, floor = (
                        explains(one, parts.images, one.fixed(parts.images)) for one in (target, dummy)
                    )
                    rows.append(parts.scores(maps, floor))
                    shown.append(coloured(maps[:1])[0])
            rows += parts.baselines(edge_map(truth, parts.images, parts.images))
            scores = {name: torch.stack([row[name] for row in rows]) for name in SCORES}
            turned = {
                name: parts.moves[parts.views.seen[:, place], place].tolist()
                for place, name in enumerate(views.names)
            }
            return Cell({**scores, "shown": torch.stack(shown).cpu()}, turned)

        return make


def asked_poses(config: ExplainParts, network: Network) -> tuple[str, ...]:
    """The targets; all kinds of poses if none are named. Raises ConfigError: the network reads no poses."""
    kinds = pose_kinds(network)
    if not kinds:
        raise ConfigError(f"{network.name} tells no pose with a gradient: try posenet")
    others = [one for one in config.targets if one.partition(":")[0] != "pose"]
    if others:
        raise ConfigError(
            f"parts are taken away to see how the pose turns, and {others[0]} is no pose: give pose or "
            f"{', '.join(f'pose:{kind}' for kind in kinds)}"
        )
    return config.targets or tuple(f"pose:{kind}" for kind in kinds)


@dataclass(frozen=True, eq=False)
class PartScores:
    """Chairs as the network sees them, and how far, in degrees, the pose that it reads turns without each of
    their parts, (N, P), and where that part is ``painted`` over."""

    views: PartViews
    images: Tensor
    moves: Tensor
    painted: Tensor

    @classmethod
    def of(cls, views: PartViews, truth: Target) -> PartScores:
        """By a target TRUTH, whose encoder has the size of the views."""
        encoder, count = truth.encoder, len(views.names)
        images = views.images.to(encoder.device, encoder.dtype)
        paper = images[:, None, :, :1, :1]
        over = torch.where(views.masks[:, :, None].to(images.device), paper, images[:, None])
        fixed = truth.fixed(images).repeat_interleave(count, 0)
        with torch.no_grad():
            turns = [-truth(one.flatten(0, 1).to(images), fixed) for one in (views.without, over)]
        return cls(views, images, *(one.view(-1, count).double().cpu() for one in turns))

    @property
    def area(self) -> Tensor:
        """Pixels of each part, (N, P)."""
        return self.views.masks.flatten(2).sum(2).double()

    def scores(self, maps: Tensor, floor: Tensor) -> dict[str, Tensor]:
        """Of maps (N, H, W), and of those of a network with random weights: SCORES, (N,) each."""
        maps, masks = maps.detach().double().cpu(), self.views.masks
        mass = mass_in(maps, masks)
        found = self._of_mass(mass, self.area)
        found["random weights"] = self._of_mass(mass_in(floor.detach().cpu(), masks), self.area)["agreement"]
        found["gain"] = found["agreement"] - found["random weights"]
        there = self.views.seen & self.views.seen.roll(1, 0)
        other = mass_in(maps, masks.roll(1, 0)) / self.area.roll(1, 0).clamp_min(1)
        alone = torch.full_like(found["gain"], torch.nan)
        found["other chair"] = rank_agreement(other, self.moves, there) if len(maps) > 1 else alone
        whole = maps.abs().sum((1, 2)).clamp_min(torch.finfo(maps.dtype).tiny)
        found["on the chair"] = mass.sum(1) / whole
        return found

    def baselines(self, edges: Tensor) -> list[dict[str, Tensor]]:
        """The scores of BASELINES, with edges (N, H, W); what has no sense for them is NaN."""
        changes = (self.views.without - self.views.images[:, None]).abs().sum((2, 3, 4)).double()
        found, own_edges = [], mass_in(edges.cpu(), self.views.masks)
        for mass in (self.area, own_edges, changes, self.painted):
            own = self._of_mass(mass, torch.ones_like(mass) if mass is self.painted else self.area)
            found.append({name: own.get(name, torch.full_like(own["most"], torch.nan)) for name in SCORES})
        return found

    def _of_mass(self, mass: Tensor, area: Tensor) -> dict[str, Tensor]:
        seen = self.views.seen
        return {
            "agreement": rank_agreement(mass / area.clamp_min(1), self.moves, seen),
            "in all": rank_agreement(mass, self.moves, seen),
            "most": names_the_most(mass, self.moves, seen),
        }


def run_parts(config: ExplainParts, tell: Tell) -> Outcome:
    """Render, explain, compare. Raises NetinvertError before long work; ConfigError: no chair has parts
    enough in sight."""
    network = open_network(config, config.device, tell)
    targets = [parse_target(network, one) for one in asked_poses(config, network)]
    methods = asked_methods(config, targets, tell)
    known = {"weights_sha256": weights_sha256(network.module), "methods": methods}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        starts = range(0, config.chairs, CHUNK)
        cells = run_cells(run, PartsWork(config, methods), starts, workers_of(config), "tens of chairs")
        full = [cell for cell in cells if cell.tensors]
        if not full:
            raise ConfigError(
                "none of these chairs has a front and three parts in sight: render more --chairs"
            )
        scores = {name: torch.cat([cell.tensors[name] for cell in full], 1) for name in SCORES}
        names = [(one.name, method) for one in targets for method in methods]
        names += [("", name) for name in BASELINES]
        rows = [
            {"target": target, "method": method, **{name: _figure(scores[name][place]) for name in SCORES}}
            for place, (target, method) in enumerate(names)
        ]
        floors = range(len(rows) - len(BASELINES), len(rows))
        table = report.Table.of(rows, COLUMNS, name="parts", baselines=list(floors))
        count = scores["most"].shape[1]
        page = report.Report.of(
            f"Do explanations of a pose fall on what it comes from, in {network.name}?",
            f"{counted(count, 'chair')} with a front were rendered whole and without each part in sight; "
            f"{code(network.name)} read the pose of each image. Without a part it turns by a median of "
            f"{_turns(full)}. Intervals are of 95 % over chairs.",
            table,
            "## Some of the maps",
            _maps(full[:4], targets, methods),
        )
        return publish(run, config, page, {**known, "chairs": count}, table.text())


def _figure(values: Tensor) -> report.Estimate | None:
    values = values[values.isfinite()]
    return estimate(values) if len(values) else None


def _turns(cells: Sequence[Cell]) -> str:
    """The median by part, in words."""
    by_part: dict[str, list[float]] = {}
    for cell in cells:
        for name, values in cell.facts.items():
            by_part.setdefault(name, []).extend(values)
    medians = {name: estimate(torch.tensor(values), statistic="median") for name, values in by_part.items()}
    ordered = sorted(medians, key=lambda name: -medians[name].value)
    return listed([f"{number(medians[name].value, 1)}° ({name})" for name in ordered])


def _maps(cells: Sequence[Cell], targets: Sequence[Target], methods: Sequence[str]) -> report.ImageGrid:
    """A row for each target of the first chair of some cells."""
    rows = []
    for cell in cells:
        image, *maps = cell.tensors["shown"]
        for place, target in enumerate(targets):
            own = maps[place * len(methods) : (place + 1) * len(methods)]
            rows.append(report.GridRow(target.name, [report.Tile(one) for one in (image, *own)]))
    return report.ImageGrid(rows, ("image", *methods), size=128, name="maps")
