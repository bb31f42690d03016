"""``netinvert explain sanity``: each saliency method against checks that it should pass, a cell each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, code, counted
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.configs.explain import ExplainSanity
from netinvert.experiments.explain.saliency import AskedImages, asked_methods, asked_targets
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import publish, run_facts, workers_of
from netinvert.explain.sanity import FLOORS, Explains, deleted, explaining, randomised, shifted
from netinvert.explain.targets import Target
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.checkpoints import weights_sha256

CHUNK = 16
LIKE = ("last layer", "upper half", "all layers", "shift")
COLUMNS = (
    Column("target"),
    Column("method"),
    Column("last layer", digits=2),
    Column("upper half", digits=2),
    Column(
        "all layers",
        digits=2,
        about="rank correlation of the map with that of the network when so many layers are random (Adebayo "
        "et al. 2018): 1 is a map that does not depend on them",
    ),
    Column(
        "shift",
        digits=2,
        about="the same where images and network are shifted so that answers stay: 1 is right",
    ),
    Column(
        "deletion",
        digits=2,
        about="how much of the answer is left as what the map names is greyed: low is right",
    ),
    Column(
        "insertion", digits=2, about="how much of it is there as what the map names is put in: high is right"
    ),
)


@dataclass(frozen=True)
class SanityWork:
    """The checks, (N,) each, of a target by its number and a row by its name."""

    config: ExplainSanity
    images: AskedImages

    def open(self) -> Callable[[tuple[int, str], Piece], Cell]:
        """Loads network and images."""
        network = open_network(self.config, self.config.device)
        targets, images = asked_targets(self.config, network), self.images.read(network)

        def make(key: tuple[int, str], piece: Piece) -> Cell:
            target, explains = targets[key[0]], explaining(key[1], self.config.samples, self.config.seed)
            parts = []
            for start in range(0, len(images), CHUNK):
                piece.tell(start / len(images), f"{target.name}, {key[1]}")
                part = images[start : start + CHUNK].to(target.encoder.device, target.encoder.dtype)
                parts.append(_checks(target, part, explains, self.config.seed))
            return Cell({name: torch.cat([one[name] for one in parts]).cpu() for name in parts[0]})

        return make


def _checks(target: Target, images: Tensor, explains: Explains, seed: int) -> dict[str, Tensor]:
    found = randomised(target, images, explains, seed)
    found["shift"] = shifted(target, images, explains)
    maps = explains(target, images, target.fixed(images))
    for name in ("deletion", "insertion"):
        found[name], found[f"{name} way"] = deleted(target, images, maps, insert=name == "insertion")
    return {name: value.detach() for name, value in found.items()}


def run_sanity(config: ExplainSanity, tell: Tell) -> Outcome:
    """Check the methods, and leave a table. Raises NetinvertError before long work."""
    network = open_network(config, config.device, tell)
    targets = asked_targets(config, network)
    methods = asked_methods(config, targets, tell)
    images = AskedImages.of(config.images, config.count, config.seed, tell)
    known = {"weights_sha256": weights_sha256(network.module), "methods": methods, "inputs": images.sources}
    keys = [(number, name) for number in range(len(targets)) for name in (*methods, *FLOORS)]
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        cells = run_cells(run, SanityWork(config, images), keys, workers_of(config), "methods")
        rows = [
            {"target": targets[number].name, "method": name, **_figures(cell.tensors)}
            for (number, name), cell in zip(keys, cells, strict=True)
        ]
        floors = [place for place, row in enumerate(rows) if row["method"] in FLOORS]
        table = report.Table.of(rows, COLUMNS, name="sanity", baselines=floors)
        lead = (
            f"Saliencies of {code(network.name)} for {counted(len(images.names), 'image')}, each method "
            "against checks. A map that stays as it is when the network's weights are random shows the "
            "image, not the network: edges do so by their nature. Intervals are of 95 % over images."
        )
        page = report.Report.of("Which saliencies can be believed", lead, table)
        return publish(run, config, page, {**known, "names": images.names}, table.text())


def _figures(found: Mapping[str, Tensor]) -> dict[str, report.Estimate]:
    figures = {name: estimate(found[name]) for name in LIKE}
    for name in ("deletion", "insertion"):
        figures[name] = estimate(found[name], weights=found[f"{name} way"])
    return figures
