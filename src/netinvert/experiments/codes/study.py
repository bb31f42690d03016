"""``netinvert study perturb|interpolate|random|iterate``: one experiment on the codes of several decoders, a
cell a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.experiments.codes.experiments import (
    INTERPOLATE,
    ITERATE,
    PERTURB,
    RANDOM,
    CodeExperiment,
    FigureRow,
)
from netinvert.experiments.configs.studies import CodeStudy
from netinvert.experiments.held_out_chairs import CodeSubject, FreshChairs, fresh_chairs
from netinvert.experiments.runs import decoder_facts, publish, run_facts, workers_of
from netinvert.io.cells import Cell, Kept, Piece
from netinvert.io.files import Tell, plain_json
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network
from netinvert.scenes.dataset_reader import shard_paths
from netinvert.scenes.seeds import STATISTICS
from netinvert.training.decoder.images import SceneImages, described
from netinvert.training.decoder.train import in_chunks

EXPERIMENTS: Mapping[str, CodeExperiment] = {
    "study perturb": PERTURB,
    "study interpolate": INTERPOLATE,
    "study random": RANDOM,
    "study iterate": ITERATE,
}
"""By command."""
ABOUT = {
    "image error": "distance from the original, over the mean distance of two originals",
    "on the chair": "the same in the chair's pixels alone, over that of the other originals there",
    "mask": "mean overlap (intersection over union) of the decoded mask with the true one",
    "code error": "distance of the image's own code from the true one, over the mean distance of two codes",
    "pose": "median angle between the chair's true pose and that which is read",
    "within 30°": "share of such angles",
    "sure": "how sure the pose estimator is: the mean probability to it that it is right within 30°",
    "spread": "mean distance of two images, over that of two originals",
}
"""What columns are that several experiments have."""
DEGREES, SHARES = {"pose", "turned", "two readers"}, {"within 30°", "one way", "nearest code"}
COUNTS = {"round", "pairs"}
ESTIMATOR = "posenet-judge"
FEW, MANY = 300, 3000
"""Codes for statistics: of chairs rendered for them, of images of a dataset."""


@dataclass(frozen=True)
class CodeWork:
    """Measures a decoder, by its name."""

    config: CodeStudy

    def open(self) -> Callable[[str, Piece], Cell]:
        """Load the pose estimator; chairs are rendered once for each size of images."""
        config, experiment = self.config, EXPERIMENTS[self.config.command]
        network = load_network(ESTIMATOR)
        estimator = Encoder(network, network.layers[-1])
        data: Path | None = getattr(config, "data", None)

        @cache
        def chairs(side: int) -> FreshChairs:
            return fresh_chairs(config.chairs, config.seed, side)

        @cache
        def others(side: int) -> Tensor:
            if not experiment.statistics:
                return chairs(side).images
            if data is not None:
                return SceneImages.of(data, config.seed).batch(0, MANY).images
            return fresh_chairs(FEW, config.seed + STATISTICS, side).images

        def make(name: str, piece: Piece) -> Cell:
            decoder = load_decoder(name, config.trust)
            encoder, side = decoder.encoder(), max(decoder.size)
            piece.tell(0.1, f"{name}: chairs")
            with torch.no_grad():
                bank = in_chunks(encoder, others(side))
            subject = CodeSubject(decoder, encoder, estimator, chairs(side), bank)
            piece.tell(0.3, f"{name}: decoding")
            found = experiment.measure(subject, config)
            names = [title for title, _ in found.images]
            tensors = {f"{number:04}": images for number, (_, images) in enumerate(found.images)}
            return Cell(tensors, {"rows": plain_json(found.rows), "names": names})

        return make


def study_codes(config: CodeStudy, tell: Tell) -> Outcome:
    """Run the experiment that the config's command names, and leave table, images and report.

    Raises:
        NetworkError, CodeError: a decoder whose network cannot be loaded or has other codes.
        DatasetError: a dataset that is missing or damaged.
        MissingExtraError: without the extra scenes.
    """
    experiment = EXPERIMENTS[config.command]
    names = tuple(dict.fromkeys(config.decoders))
    decoders = [load_decoder(name, config.trust) for name in names]
    for decoder in decoders:
        decoder.encoder()
    data: Path | None = getattr(config, "data", None)
    if data is not None:
        shard_paths(data, "train")
    known = {"decoders": decoder_facts(decoders), "data": None if data is None else described(str(data))}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        cells = run_cells(run, CodeWork(config), names, workers_of(config), "decoders")
        kept = [_rows(cell) for cell in cells]
        tables = [_table(experiment, found, last=found is kept[-1]) for found in kept]
        text = "\n\n".join(f"{table.title}\n{table.text()}" for table in tables)
        rows = [row for found in kept for row in found]
        page = _report(experiment, config, cells, tables)
        return publish(run, config, page, {**known, "rows": rows}, text)


def _rows(cell: Cell) -> list[FigureRow]:
    """The rows of a cell, whose intervals have been in JSON."""
    return [
        {name: report.Estimate(**value) if isinstance(value, dict) else value for name, value in row.items()}
        for row in cell.facts["rows"]
    ]


def _report(
    experiment: CodeExperiment, config: CodeStudy, cells: Kept[Cell], tables: Sequence[report.Table]
) -> report.Report:
    sentences = [
        f"{report.code(found[0]['decoder'])}: {experiment.sentence(found)}" for found in map(_rows, cells)
    ]
    lines = [
        report.GridRow(name, [report.Tile(image) for image in cell.tensors[f"{number:04}"]])
        for cell in cells
        for number, name in enumerate(cell.facts["names"])
    ]
    blocks: list[report.Block] = [
        report.Heading("What was found"),
        report.Points(sentences),
        report.Heading("All figures"),
        *tables,
        report.Heading("Images"),
        report.ImageGrid(lines, experiment.headings(config), experiment.title, size=128, name="sheet"),
    ]
    chairs = report.counted(config.chairs, "chair")
    lead = (
        f"{experiment.lead} {chairs} that neither network nor decoder has seen (seed {config.seed}). Poses "
        f"are read by {report.code(ESTIMATOR)}. Intervals (95 %) are of the bootstrap over chairs, or paths."
    )
    return report.Report(experiment.title, blocks, lead)


def _table(experiment: CodeExperiment, rows: Sequence[FigureRow], last: bool) -> report.Table:
    """Of one decoder; the last explains the columns."""
    columns = []
    for name, about in list(experiment.columns.items())[1:]:
        share = name in SHARES
        digits = None if share else 0 if name in COUNTS else 1 if name in DEGREES else 2
        shown = (about or ABOUT.get(name, "")) * last
        columns.append(report.Column(name, "°" * (name in DEGREES), digits, percent=share, about=shown))
    floors = [index for index, row in enumerate(rows) if row[columns[0].name] in experiment.baselines]
    decoder = rows[0]["decoder"]
    return report.Table.of(rows, columns, decoder, name=decoder.split()[0], baselines=floors)
