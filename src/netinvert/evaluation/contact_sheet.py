"""Pictures of a run: the contact sheet and the loss curves, without a display or global state."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.images import to_pil

CELL = 224
"""The longer side of a picture on the sheet, in pixels."""
MOST_ROWS = 40
"""A sheet of more rows is hardly looked at, and too high for some viewers."""
_MARGIN, _GAP, _LINE = 24, 16, 19
_INK, _GREY, _FRAME = (28, 28, 30), (112, 112, 118), (226, 226, 230)

_Font = ImageFont.FreeTypeFont


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture (1 or no N, C, H, W), None for a blank one, and lines of text below it."""

    image: Tensor | None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """A sample: its name and its pictures, from left to right."""

    name: str
    cells: tuple[Cell, ...]


def contact_sheet(rows: Sequence[Row], columns: Sequence[str], title: str = "") -> Image.Image:
    """One row a sample under the headings ``columns``; the first MOST_ROWS rows."""
    if not rows:
        raise ConfigError("a contact sheet needs at least one row")
    shown = rows[:MOST_ROWS]
    font, bold = _font(12), _font(15)
    lines = max(len(cell.lines) for row in shown for cell in row.cells)
    picture_height = max(_cell_size(cell)[1] for row in shown for cell in row.cells)
    row_height = _LINE + 6 + picture_height + 6 + lines * _LINE + _GAP
    texts = [line for row in shown for cell in row.cells for line in cell.lines]
    width_of_cell = max([CELL, *(_width(font, line) for line in texts)])
    count = max([len(columns), *(len(row.cells) for row in shown)])
    top = _MARGIN + (30 if title else 0) + 26
    foot = _LINE + 8 if len(rows) > len(shown) else 0
    width = 2 * _MARGIN + count * width_of_cell + (count - 1) * _GAP
    width = max(width, 2 * _MARGIN + _width(bold, title))
    sheet = Image.new("RGB", (width, top + len(shown) * row_height + foot + 8), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 6), title, _INK, bold)
    for index, heading in enumerate(columns):
        draw.text((_MARGIN + index * (width_of_cell + _GAP), top - 26), heading, _GREY, font)
    for number, row in enumerate(shown):
        y = top + number * row_height
        draw.line((_MARGIN, y - 4, width - _MARGIN, y - 4), _FRAME)
        draw.text((_MARGIN, y), _shortened(row.name, font, width - 2 * _MARGIN), _INK, font)
        for index, cell in enumerate(row.cells):
            x = _MARGIN + index * (width_of_cell + _GAP)
            _draw_cell(sheet, cell, (x, y + _LINE + 6), picture_height, font)
    if foot:
        text = f"… and {len(rows) - len(shown)} more"
        draw.text((_MARGIN, top + len(shown) * row_height), text, _GREY, font)
    return sheet


def _draw_cell(sheet: Image.Image, cell: Cell, at: tuple[int, int], height: int, font: _Font) -> None:
    draw = ImageDraw.Draw(sheet)
    (x, y), size = at, _cell_size(cell)
    if cell.image is None:
        draw.rectangle((x, y, x + size[0] - 1, y + height - 1), (246, 246, 248), _FRAME)
        text = "no original"
        draw.text((x + (size[0] - _width(font, text)) // 2, y + height // 2 - 8), text, _GREY, font)
    else:
        picture = to_pil(cell.image).convert("RGB")
        # Small images grow by whole pixels, so that they look as they are.
        how = Image.Resampling.NEAREST if picture.width < size[0] else Image.Resampling.LANCZOS
        sheet.paste(picture if picture.size == size else picture.resize(size, how), (x, y))
    for index, line in enumerate(cell.lines):
        draw.text((x, y + height + 6 + index * _LINE), line, _INK if index == 0 else _GREY, font)


def _cell_size(cell: Cell) -> tuple[int, int]:
    """(width, height) on the sheet."""
    if cell.image is None:
        return CELL, CELL // 2
    width, height = to_pil(cell.image).size
    scale = CELL / max(width, height)
    if scale > 1:
        scale = math.floor(scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _font(size: int) -> _Font:
    from matplotlib import get_data_path

    # It comes with matplotlib and has the signs of most languages and of mathematics.
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _width(font: _Font, text: str) -> int:
    return math.ceil(font.getlength(text))


def _shortened(text: str, font: _Font, width: int) -> str:
    if _width(font, text) <= width:
        return text
    while text and _width(font, f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def png_of(image: Image.Image) -> bytes:
    """The picture as a PNG file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


TERM_LABELS = {"code": "code error, squared", "tv": "total variation", "alpha": "α-norm"}
_COLOURS = ("#1f6fb4", "#d1702a", "#3c8d40", "#8b5fb0", "#a0522d", "#666666")
_MOST_THIN_LINES = 50


def loss_curve(losses: Tensor, terms: Sequence[str]) -> bytes:
    """A PNG of weighted losses (steps, T, N) by step: the mean of each term, thin lines for the samples."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # A logarithm has no place for zeros.
    values = torch.where(losses > 0, losses, torch.nan).double().cpu()
    steps = torch.arange(1, values.shape[0] + 1).numpy()
    few = "o" if values.shape[0] < 3 else ""
    figure = Figure(figsize=(7.2, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, term in enumerate(terms):
        colour = _COLOURS[index % len(_COLOURS)]
        if values.shape[2] > 1:
            thin = values[:, index, :_MOST_THIN_LINES].numpy()
            axes.plot(steps, thin, color=colour, linewidth=0.6, alpha=0.3)
        mean = _mean_of_all(values[:, index]).numpy()
        axes.plot(
            steps, mean, color=colour, linewidth=2, marker=few or None, label=TERM_LABELS.get(term, term)
        )
    if bool(torch.isfinite(values).any()):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    axes.set_xlabel("step")
    axes.set_ylabel("weighted loss" + (", mean over samples" if values.shape[2] > 1 else ""))
    axes.grid(True, which="major", color="#e4e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _mean_of_all(values: Tensor) -> Tensor:
    """The mean over samples (steps, N) -> (steps,); a sample that has stopped counts with its last value."""
    held = values.clone()
    for step in range(1, held.shape[0]):
        held[step] = torch.where(torch.isnan(held[step]), held[step - 1], held[step])
    return held.nanmean(1)
