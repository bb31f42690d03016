"""``netinvert explain deconv``: units of a layer, sent down to pixels, the signals of an image being a cell;
and ``explain evolve``: units over the checkpoints of a training, each of which is a cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, code, counted, number
from netinvert.experiments.configs.explain import ExplainDeconv, ExplainEvolve
from netinvert.experiments.explain.saliency import AskedImages
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import images_known, publish, run_facts, workers_of
from netinvert.explain.deconvnet import around_grey, deconvnet, strongest
from netinvert.explain.top_patches import Basis, Tops, field_of_view, top_responses
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell, save_tensors
from netinvert.io.manifest import Outcome
from netinvert.io.pieces import OfNetwork
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder

STRONGEST = 5
COLUMNS = (
    Column("image"),
    Column("unit"),
    Column("value", digits=3, about="the largest of its map"),
    Column("row"),
    Column("column"),
)


@dataclass(frozen=True)
class DeconvWork:
    """Of an image by its number, the signals (K, C, H, W) of units, and where each is strongest."""

    config: ExplainDeconv
    images: AskedImages

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads network and images."""
        config = self.config
        encoder = Encoder(open_network(config, config.device), config.layer)
        images = self.images.read(encoder.network)
        basis = Basis.of_units(encoder)

        def make(at: int, piece: Piece) -> Cell:
            image = images[at : at + 1]
            with torch.no_grad():
                tops = Tops.of(basis.responses(encoder(image)), 0)
            units = config.channel or tops.values[:, 0].argsort(descending=True)[:STRONGEST].tolist()
            signals = [deconvnet(encoder, image, strongest(k), config.overlaps) for k in units]  # type: ignore[arg-type]
            facts = [
                {"unit": k, "value": tops.values[k, 0].item(), "row": row, "column": column}
                for k in units
                for row, column in tops.places[k].tolist()
            ]
            return Cell({"signals": torch.cat(signals).cpu(), "image": image[0].clone()}, facts)

        return make


def run_deconv(config: ExplainDeconv, tell: Tell) -> Outcome:
    """Leave the signals, their pictures and a page. Raises NetinvertError before long work."""
    encoder = Encoder(open_network(config, config.device, tell), config.layer)
    Basis.of_units(encoder, config.channel)  # refuses channels that are not there
    grey = torch.full((1, encoder.preprocessing.channels, *encoder.size), 0.5)
    deconvnet(encoder, grey, None, config.overlaps)  # type: ignore[arg-type]  # refuses what has no rule
    images = AskedImages.of(config.images, config.count, config.seed, tell)
    known = images_known(encoder, images.sources, images.names)
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        work = DeconvWork(config, images)
        cells = run_cells(run, work, range(len(images.names)), workers_of(config), "images")
        rows, lines, signals = [], [], []
        for name, cell in zip(images.names, cells, strict=True):
            signals.append(cell.tensors["signals"])
            shown = around_grey(cell.tensors["signals"])
            rows += [{"image": name, **one} for one in cell.facts]
            tiles = [
                report.Tile(picture, (f"unit {one['unit']}: {number(one['value'], 2)}",))
                for picture, one in zip(shown, cell.facts, strict=True)
            ]
            lines.append(report.GridRow(name, [report.Tile(cell.tensors["image"], ("image",)), *tiles]))
        save_tensors(run.path("signals.safetensors"), {"signals": torch.stack(signals)}, {})
        table = report.Table.of(rows, COLUMNS, name="units")
        shared = "is put there once" if config.overlaps == "place" else "is added up"
        lead = (
            f"Units of {code(config.layer)} of {code(encoder.network.name)}, each where it is strongest, "
            f"sent back down to the pixels of {counted(len(images.names), 'image')} (Zeiler & Fergus 2013): "
            "grey is nothing, each picture has its own scale. A maximum that several pooling windows share "
            f"{shared}."
        )
        grid = report.ImageGrid(lines, size=224, name="deconv")
        page = report.Report.of("What made units strong", lead, "## Units", grid, "## Figures", table)
        entries = {**known, "names": images.names, "inputs": images.sources, "units": rows}
        return publish(run, config, page, entries, table.text())


# -- over checkpoints ----------------------------------------------------------------------------------


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
