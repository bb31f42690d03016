"""``netinvert explain deconv``: units of a layer, sent down to pixels; the signals of an image are a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, code, counted, number
from netinvert.experiments.configs.inside import ExplainDeconv
from netinvert.experiments.explain.saliency import AskedImages
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import images_known, publish, run_facts, workers_of
from netinvert.explain.deconvnet import around_grey, deconvnet, strongest
from netinvert.explain.top_patches import Basis, Tops
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell, save_tensors
from netinvert.io.manifest import Outcome
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
        table = replace(report.Table.of(rows, COLUMNS), name="units")
        shared = "is put there once" if config.overlaps == "place" else "is added up"
        lead = (
            f"Units of {code(config.layer)} of {code(encoder.network.name)}, each where it is strongest, "
            f"sent back down to the pixels of {counted(len(images.names), 'image')} (Zeiler & Fergus 2013): "
            "grey is nothing, each picture has its own scale. A maximum that several pooling windows share "
            f"{shared}."
        )
        grid = replace(report.ImageGrid(lines, size=224), name="deconv")
        page = report.Report.of("What made units strong", lead, "## Units", grid, "## Figures", table)
        entries = {**known, "names": images.names, "inputs": images.sources, "units": rows}
        return publish(run, config, page, entries, table.text())
