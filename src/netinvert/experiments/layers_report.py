"""What the layer-by-layer protocol shows: the papers' tables, a contact sheet, and what went wrong."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import baselines
from netinvert.evaluation.report import (
    Block,
    Column,
    Estimate,
    GridRow,
    Heading,
    ImageGrid,
    Points,
    Report,
    Table,
    Tile,
    Value,
    by,
    code,
    counted,
    listed,
    number,
)
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import StudyLayers
from netinvert.experiments.inputs import open_network
from netinvert.experiments.inversions import (
    Targets,
    Wanted,
    invert_all,
    mean_and_deviation,
)
from netinvert.experiments.layers import (
    PROTOCOLS,
    LayerTable,
    ProtocolCell,
    ProtocolChoice,
    class_encoder,
    reference_codes,
    study_images,
    values_of,
    with_comparisons,
    without_seconds,
)
from netinvert.experiments.look import codes_of, encoders_of
from netinvert.experiments.runs import network_facts, publish, run_facts
from netinvert.inversion.objectives import Match
from netinvert.io.files import write_json
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir

ERRORS = {
    "cvpr15": "‖Φ − Φ₀‖² over the mean squared distance of all pairs of codes, per cent",
    "ijcv16": "‖Φ − Φ₀‖ / ‖Φ₀‖, per cent",
    "cvpr16": "‖Φ − Φ₀‖ over the mean distance of distinct pairs of codes, per cent",
}
FLOORS = {"ijcv16": "code_error", "ssim": "ssim"}
"""What is known of images that nobody inverted, by our names and those of `Baseline`."""


@dataclass(frozen=True)
class Quantity:
    """A table: one value an image from each cell, times ``scale``, with so many ``digits``.

    ``best`` picks the one to mark. ``name`` is that of MEASURES, for the floors.
    """

    title: str
    about: str
    values: Callable[[ProtocolCell, int], list[float | None]]
    scale: float = 1.0
    digits: int = 1
    best: Callable[[Sequence[float]], float] | None = min
    median: bool = False
    name: str = ""

    def summary(self, cell: ProtocolCell, count: int) -> Estimate | str | None:
        """What the table shows of a cell: mean ± deviation over images, or median (largest): one chair read
        back to front would outweigh all others in a mean."""
        values = self.values(cell, count)
        found = mean_and_deviation(values)
        if found is None:
            return None
        if self.median:
            known = [value for value in values if value is not None]
            return f"{number(statistics.median(known), self.digits)} ({number(max(known), self.digits)})"
        return Estimate(found[0] * self.scale, spread=found[1] * self.scale)


def _measured(name: str) -> Callable[[ProtocolCell, int], list[float | None]]:
    return lambda cell, count: _of_images(cell.found.measured.get(name, []), count)


def _all(name: str) -> Callable[[ProtocolCell, int], list[float | None]]:
    return lambda cell, count: cell.found.measured.get(name, [])


def _spread(name: str) -> Callable[[ProtocolCell, int], list[float | None]]:
    return lambda cell, count: list((cell.spread or {}).get(name, []))


def _same_class(cell: ProtocolCell, count: int) -> list[float | None]:
    return _of_images([float(same) for same in cell.same_class or ()], count)


QUANTITIES = (
    *(
        Quantity(f"Code error {code(name)}", what, _measured(name), 100, name=name)
        for name, what in ERRORS.items()
    ),
    Quantity("Same first class", "as the original, per cent of the inversions", _same_class, 100, 0, max),
    Quantity(
        "Naturalness",
        "intersection of the histograms of gradients' directions, per cent",
        _measured("naturalness"),
        100,
        best=max,
        name="naturalness",
    ),
    Quantity(
        "Naturalness, ours",
        "the same by strength and direction, per cent",
        _measured("gradients"),
        100,
        best=max,
        name="gradients",
    ),
    Quantity("SSIM", "with the original", _measured("ssim"), 1, 3, max, name="ssim"),
    *(
        Quantity(
            f"Pose, as {reader} reads it",
            "degrees from the original's: median (largest) of all inversions",
            _all(name),
            best=None,
            median=True,
        )
        for name, reader in (("pose", "the network itself"), ("held_out_pose", "the held-out pose estimator"))
    ),
    Quantity(
        "Spread",
        "root mean square difference of two inversions of one code, per cent of the range",
        _spread("distance"),
        100,
        best=None,
    ),
    Quantity("Spread in SSIM", "SSIM of two inversions of one code", _spread("ssim"), 1, 3, None),
)


def layers_page(table: LayerTable) -> Report:
    """Layers × values, mean ± standard deviation over images; the best of the regularised is marked."""
    config, cells, count = table.config, table.cells, len(table.names)
    steps = sorted({cell.steps for cell in cells})
    seconds = sum(cell.found.cpu_seconds for cell in cells)
    lead = (
        f"{counted(count, 'image')} ({listed([code(name) for name in table.names])}), "
        f"{counted(config.restarts, 'inversion')} a code, {listed(list(map(str, steps)), 'or')} steps, "
        f"{seconds:.0f} CPU seconds in all. Mean ± standard deviation (n − 1) over images, each of which "
        "counts with the mean of its inversions; the best of a row among those with a regulariser is marked. "
        f"The pairs of `cvpr15` and `cvpr16` are those of {table.reference}. The last columns are the "
        "floors: what images score that nobody inverted."
    )
    blocks: list[Block] = []
    first = PROTOCOLS[config.protocol].error
    for quantity in sorted(QUANTITIES, key=lambda one: one.name != first):
        if any(quantity.summary(cell, count) is not None for cell in cells):
            blocks += [Heading(quantity.title), _table(table, quantity)]
    blocks += [Heading("Images"), layers_sheet(table, config.show - 1)]
    remarks = [
        f"{code(cell.layer)}, {cell.label}: "
        + (
            cell.found.failure
            or f"{cell.found.diverged} of {len(cell.found.measured['ijcv16'])} inversions diverged"
        )
        for cell in cells
        if cell.found.failure or cell.found.diverged
    ]
    if remarks:
        blocks += [Heading("What went wrong"), Points(remarks)]
    title = f"{table.network}, layer by layer: protocol {config.protocol}"
    return Report(title, blocks, lead)


def _table(table: LayerTable, quantity: Quantity) -> Table:
    count, choices = len(table.names), values_of(table.config)
    floors = [one.name for one in table.floors[table.layers[0]]] if quantity.name in FLOORS else []
    labels = [cell.label for cell in table.row(table.layers[0])]
    columns: list[Column | str] = ["layer", Column("code", show=by)]
    columns += [Column(label, digits=quantity.digits, align="right") for label in [*labels, *floors]]
    rows: list[Sequence[Value]] = []
    marked = set()
    for place, layer in enumerate(table.layers):
        cells = table.row(layer)
        found = [quantity.summary(cell, count) for cell in cells]
        pairs = zip(found, choices, strict=True)
        means = {k: one.value for k, (one, value) in enumerate(pairs) if isinstance(one, Estimate) and value}
        if quantity.best is not None and len(means) > 1:
            best = quantity.best(list(means.values()))
            marked |= {(place, 2 + k) for k, mean in means.items() if mean == best}
        lows = [getattr(one, FLOORS[quantity.name]) for one in table.floors[layer]] if floors else []
        shape: object = cells[0].code_shape
        rows.append([layer, shape, *found, *(None if low is None else low * quantity.scale for low in lows)])  # type: ignore[list-item]
    return Table(columns, rows, quantity.about, marked=marked)


def layers_sheet(table: LayerTable, image: int = 0) -> ImageGrid:
    """Rows layers, columns values: the first inversion of one image's codes."""
    at = image * table.config.restarts
    rows = []
    for layer in table.layers:
        cells = table.row(layer)
        tiles = [Tile(table.originals[image])]
        for cell in cells:
            shown = None if cell.found.images is None else cell.found.images[at]
            tiles.append(Tile(shown, () if shown is None else _captions(cell, at)))
        rows.append(GridRow(f"{layer}: {by(cells[0].code_shape)}", tiles))
    columns = ["original", *(cell.label for cell in table.row(table.layers[0]))]
    title = f"{table.network}, protocol {table.config.protocol}: {table.names[image]}"
    return ImageGrid(rows, columns, title, name="contact-sheet")


def _captions(cell: ProtocolCell, at: int) -> tuple[str, ...]:
    error, natural = (number(cell.found.measured[name][at], 2) for name in ("ijcv16", "naturalness"))
    same = "" if cell.same_class is None else ", same class" if cell.same_class[at] else ", other class"
    return (f"error {error}, naturalness {natural}{same}",)


def _of_images(values: Sequence[float | None], count: int) -> list[float | None]:
    """The means over the restarts of each of ``count`` images; None if one is unknown."""
    restarts = len(values) // count
    groups = (values[k * restarts : (k + 1) * restarts] for k in range(count)) if restarts else ()
    means = (mean_and_deviation(group) for group in groups)
    return [None if mean is None else mean[0] for mean in means]


def run_layers(config: StudyLayers, tell: Tell) -> Outcome:
    """Invert and measure everything, and leave the papers' tables.

    Raises NetinvertError before the first inversion if a layer, a code or a recipe is not possible.
    """

    network = open_network(config, config.device)
    names, images, sources = study_images(config, network)
    if config.show > len(names):
        raise ConfigError(f"--show is from 1 to {len(names)}, the number of images, got {config.show}")
    choices = [ProtocolChoice(config.protocol, value, config.steps) for value in values_of(config)]
    encoders, targets, reference = [], [], None
    for encoder in encoders_of(network, config.layers, tell):
        codes = codes_of(encoder, images, config.batch)
        Match(codes)  # refuses codes that cannot be matched
        for choice in choices:
            choice.recipe(encoder)
        reference = reference_codes(encoder, codes)
        encoders.append(encoder)
        targets.append(Targets.of(encoder, codes, images, reference))
    classes = class_encoder(network, config)
    rows = tuple(row for row in range(len(images)) for _ in range(config.restarts))
    seeds = tuple(range(config.seed, config.seed + config.restarts)) * len(images)
    wanted = [Wanted(one.layer, choice, rows, seeds) for one in encoders for choice in choices]
    facts = run_facts(config, {**network_facts(encoders[0]), "targets": targets})
    with RunDir(config.out, facts, config.overwrite) as folder:
        found = iter(invert_all(folder, config, targets, wanted, "cells"))
        cells = []
        for encoder in encoders:
            for choice in choices:
                cell = ProtocolCell(
                    encoder.layer, encoder.code_shape, choice.label, choice.recipe(encoder).steps, next(found)
                )
                cells.append(with_comparisons(cell, images, config.restarts, classes))
        low = {
            one.layer: baselines(
                target.codes.to(one.device), one, images, reference_codes(one, target.codes.to(one.device))
            )
            for one, target in zip(encoders, targets, strict=True)
        }
        name = "none" if reference is None else reference.name
        table = LayerTable(network.name, names, images, config, name, tuple(cells), low)
        kept = {
            "images": names,
            "reference": name,
            "cells": [without_seconds(cell.facts()) for cell in cells],
        }
        write_json(folder.path("layers.json"), kept)
        entries = {
            **network_facts(encoders[0]),
            "names": names,
            "reference": name,
            "inputs": sources,
            "floors": {layer: [asdict(one) for one in some] for layer, some in low.items()},
            "cells": [cell.facts() for cell in cells],
        }
        text = f"{counted(len(encoders), 'layer')}, {counted(len(choices), 'value')}"
        return publish(folder, config, layers_page(table), entries, text, ("html", "md", "png"))
