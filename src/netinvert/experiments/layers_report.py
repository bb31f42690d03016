"""What the layer-by-layer protocol shows: tables in Markdown, a contact sheet, and every figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from PIL import Image

from netinvert.evaluation.contact_sheet import Cell as Picture
from netinvert.evaluation.contact_sheet import Row, contact_sheet
from netinvert.experiments.inversions import mean_and_deviation
from netinvert.experiments.layers import PROTOCOLS, Cell, LayerTable
from netinvert.io.manifest import versions

ERRORS = {
    "cvpr15": "‖Φ - Φ0‖² over the mean squared distance of all pairs of codes, per cent",
    "ijcv16": "‖Φ - Φ0‖ / ‖Φ0‖, per cent",
    "cvpr16": "‖Φ - Φ0‖ over the mean distance of distinct pairs of codes, per cent",
}


@dataclass(frozen=True)
class Quantity:
    """A table: one value a photograph from each cell, times ``scale``, with so many ``digits``.

    ``summary`` gives what the cell shows of them first, and second.
    """

    title: str
    values: Callable[[Cell, int], list[float | None]]
    scale: float = 1.0
    digits: int = 1
    best: Callable[[Sequence[float]], float] | None = min
    summary: Callable[[Sequence[float | None]], tuple[float, float] | None] = mean_and_deviation
    between: str = " ± "


def _measured(name: str) -> Callable[[Cell, int], list[float | None]]:
    return lambda cell, count: _of_photographs(cell.outcome.measured.get(name, []), count)


def _all(name: str) -> Callable[[Cell, int], list[float | None]]:
    return lambda cell, count: cell.outcome.measured.get(name, [])


def _median_and_largest(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Not the mean: one chair read back to front would outweigh all others."""
    known = [value for value in values if value is not None]
    return (statistics.median(known), max(known)) if known and len(known) == len(values) else None


def _spread(name: str) -> Callable[[Cell, int], list[float | None]]:
    return lambda cell, count: list((cell.spread or {}).get(name, []))


def _same_class(cell: Cell, count: int) -> list[float | None]:
    return _of_photographs([float(same) for same in cell.same_class or ()], count)


QUANTITIES = (
    *(Quantity(f"Code error `{name}`: {what}", _measured(name), 100) for name, what in ERRORS.items()),
    Quantity("Same first class as the original, per cent of the inversions", _same_class, 100, 0, max),
    Quantity(
        "Naturalness: intersection of the histograms of gradients' directions, per cent",
        _measured("naturalness"),
        100,
        1,
        max,
    ),
    Quantity("The same by strength and direction (ours), per cent", _measured("gradients"), 100, 1, max),
    Quantity("SSIM with the original", _measured("ssim"), 1, 3, max),
    *(
        Quantity(
            f"Pose, degrees from the original's, as {reader} reads it: median (largest) of all inversions",
            _all(name),
            summary=_median_and_largest,
            between=" (",
        )
        for name, reader in (("pose", "the network itself"), ("judged", "its judge"))
    ),
    Quantity(
        "Spread: root mean square difference of two inversions of one code, per cent of the range",
        _spread("distance"),
        100,
        1,
        None,
    ),
    Quantity("Spread: SSIM of two inversions of one code", _spread("ssim"), 1, 3, None),
)


def markdown(table: LayerTable, command: str) -> str:
    """Layers × values, mean ± standard deviation over photographs; the best of the regularised in bold."""
    settings, cells = table.settings, table.cells
    steps = sorted({cell.steps for cell in cells})
    count, restarts = len(table.names), settings.restarts
    seconds = sum(cell.outcome.cpu_seconds for cell in cells)
    lines = [
        f"# {table.network}, layer by layer: protocol `{settings.protocol}`",
        "",
        f"Made by `{command}`:",
        f"{count} photographs ({', '.join(table.names)}), {restarts} inversion{'s' * (restarts > 1)} a code, "
        f"{' or '.join(map(str, steps))} steps, {seconds:.0f} CPU seconds "
        f"in all. Mean ± standard deviation (n - 1) over photographs, each of which counts with the mean of "
        f"its inversions; the best of a row among those with a regulariser is bold. The pairs of `cvpr15` "
        f"and `cvpr16` are those of {table.reference}.",
    ]
    first = PROTOCOLS[settings.protocol].error
    for quantity in sorted(QUANTITIES, key=lambda one: f"`{first}`" not in one.title):
        if any(_known(quantity.values(cell, count)) for cell in cells):
            lines += ["", f"## {quantity.title}", "", *_rows(table, quantity)]
    remarks = [
        f"- {cell.layer}, {cell.label}: "
        + (
            cell.outcome.failure
            or f"{cell.outcome.diverged} of {len(cell.outcome.measured['ijcv16'])} inversions diverged"
        )
        for cell in cells
        if cell.outcome.failure or cell.outcome.diverged
    ]
    if remarks:
        lines += ["", "## What went wrong", "", *remarks]
    return "\n".join(lines) + "\n"


def sheet(table: LayerTable, photograph: int = 0) -> Image.Image:
    """Rows layers, columns values: the first inversion of one photograph's codes."""
    settings = table.settings
    labels = [settings.label(value) for value in settings.values]
    at = photograph * settings.restarts
    rows = []
    for layer in table.layers:
        pictures = [Picture(table.originals[photograph])]
        for cell in table.row(layer):
            image = None if cell.outcome.images is None else cell.outcome.images[at]
            pictures.append(Picture(image, () if image is None else (_caption(cell, at),)))
        shape = "×".join(map(str, table.row(layer)[0].code_shape))
        rows.append(Row(f"{layer}: {shape}", tuple(pictures)))
    title = f"{table.network}, protocol {settings.protocol}: {table.names[photograph]}"
    return contact_sheet(rows, ["original", *labels], title)


def record(table: LayerTable, command: str) -> dict[str, object]:
    """Every figure, ready for JSON."""
    return {
        "command": command,
        "network": table.network,
        "photographs": table.names,
        "settings": asdict(table.settings),
        "reference": table.reference,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "cells": [_plain(cell) for cell in table.cells],
    }


def _plain(cell: Cell) -> dict[str, object]:
    found = {name: value for name, value in vars(cell.outcome).items() if name != "images"}
    return {**{name: value for name, value in vars(cell).items() if name != "outcome"}, **found}


def _caption(cell: Cell, at: int) -> str:
    error, natural = (cell.outcome.measured[name][at] for name in ("ijcv16", "naturalness"))
    same = "" if cell.same_class is None else ", same class" if cell.same_class[at] else ", other class"
    return f"error {error:.2f}, naturalness {natural:.2f}{same}"


def _rows(table: LayerTable, quantity: Quantity) -> list[str]:
    settings = table.settings
    labels = [settings.label(value) for value in settings.values]
    lines = ["| layer | code | " + " | ".join(labels) + " |", "| --- | --- |" + " --- |" * len(labels)]
    for layer in table.layers:
        cells = table.row(layer)
        found = [quantity.summary(quantity.values(cell, len(table.names))) for cell in cells]
        pairs = zip(found, settings.values, strict=True)
        means = [one[0] for one, value in pairs if one is not None and value is not None]
        best = quantity.best(means) if quantity.best is not None and len(means) > 1 else None
        texts = [
            _text(one, quantity, value is not None and one is not None and one[0] == best)
            for one, value in zip(found, settings.values, strict=True)
        ]
        shape = "×".join(map(str, cells[0].code_shape))
        lines.append(f"| {layer} | {shape} | " + " | ".join(texts) + " |")
    return lines


def _text(found: tuple[float, float] | None, quantity: Quantity, bold: bool) -> str:
    if found is None:
        return "–"
    first, second = (f"{value * quantity.scale:.{quantity.digits}f}" for value in found)
    close = ")" if "(" in quantity.between else ""
    return (f"**{first}**" if bold else first) + quantity.between + second + close


def _of_photographs(values: Sequence[float | None], count: int) -> list[float | None]:
    """The means over the restarts of each of ``count`` photographs; None if one is unknown."""
    restarts = len(values) // count
    groups = (values[k * restarts : (k + 1) * restarts] for k in range(count)) if restarts else ()
    means = (mean_and_deviation(group) for group in groups)
    return [None if mean is None else mean[0] for mean in means]


def _known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)
