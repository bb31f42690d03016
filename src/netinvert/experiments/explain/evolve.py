"""``netinvert explain evolve``: units over the checkpoints of a training, each of which is a cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from netinvert.evaluation import report
from netinvert.evaluation.report import code, counted, number
from netinvert.experiments.configs.inside import ExplainEvolve
from netinvert.experiments.explain.saliency import AskedImages
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import images_known, publish, run_facts, workers_of
from netinvert.explain.deconvnet import around_grey, deconvnet
from netinvert.explain.top_patches import Basis, field_of_view, top_responses
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.io.pieces import OfNetwork
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder


def encoder_at(config: ExplainEvolve, checkpoint: str) -> Encoder:
    """The layer with the weights of a checkpoint. Raises NetworkError, LayerError."""
    form = {one.name: getattr(config, one.name) for one in dataclasses.fields(OfNetwork)}
    named = OfNetwork(**{**form, "weights": checkpoint})
    return Encoder(open_network(named, config.device), config.layer)


@dataclass(frozen=True)
class EvolveWork:
    """At a checkpoint, of each unit the patch it answers most and what of it is seen, (K, 2, C, h, w)."""

    config: ExplainEvolve
    images: AskedImages

    def open(self) -> Callable[[str, Piece], Cell]:
        """Loads the images."""
        config = self.config

        def make(checkpoint: str, piece: Piece) -> Cell:
            encoder = encoder_at(config, checkpoint)
            images = self.images.read(encoder.network).to(encoder.device)
            basis, field = Basis.of_units(encoder, config.channel), field_of_view(encoder)
            tops = top_responses(encoder, basis, torch.split(images, config.batch))
            pairs = []
            for unit, (at, (row, column)) in enumerate(
                zip(tops.images[:, 0].tolist(), tops.places[:, 0].tolist(), strict=True)
            ):
                signal = deconvnet(encoder, images[at : at + 1], basis.start(unit, row, column))
                both = (images[at], around_grey(signal)[0])
                pairs.append(torch.stack([field.crop(one, row, column) for one in both]))
            facts = [self.images.names[at] for at in tops.images[:, 0].tolist()]
            return Cell({"patches": torch.stack(pairs).cpu(), "values": tops.values[:, 0]}, facts)

        return make


def run_evolve(config: ExplainEvolve, tell: Tell) -> Outcome:
    """Leave a page of the units. Raises NetinvertError before long work."""
    encoders = [encoder_at(config, one) for one in config.checkpoints]
    Basis.of_units(encoders[0], config.channel)
    deconvnet(encoders[0], torch.full((1, encoders[0].preprocessing.channels, *encoders[0].size), 0.5))
    images = AskedImages.of(config.images, config.count, config.seed, tell)
    known = images_known(encoders[0], images.sources, images.names)
    known["checkpoints"] = [one.weights_sha256() for one in encoders]
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        cells = run_cells(
            run, EvolveWork(config, images), config.checkpoints, workers_of(config), "checkpoints"
        )
        lines = []
        for k, channel in enumerate(config.channel):
            tiles = [
                report.Tile(cell.tensors["patches"][k], (f"{number(cell.tensors['values'][k].item(), 2)}",))
                for cell in cells
            ]
            lines.append(report.GridRow(f"channel {channel}", tiles))
        grid = report.ImageGrid(lines, [Path(one).name for one in config.checkpoints], size=256, name="units")
        many = counted(len(config.checkpoints), "checkpoint")
        lead = (
            f"Units of {code(config.layer)} of {code(config.network)} at {many}: of "
            f"{counted(len(images.names), 'image')} the patch that each answers most, how strongly, and what "
            "of it the deconvnet finds. A leap is another image that has become the strongest."
        )
        page = report.Report.of("How units came to be", lead, "## Units", grid)
        rows = [
            {"checkpoint": one, "values": cell.tensors["values"].tolist(), "images": cell.facts}
            for one, cell in zip(config.checkpoints, cells, strict=True)
        ]
        entries = {**known, "names": images.names, "inputs": images.sources, "units": rows}
        return publish(run, config, page, entries, counted(len(lines), "unit"), ("html", "png"))
