"""What an experiment on codes found: a table, a grid of pictures, and the words to both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.contact_sheet import png_of
from netinvert.io.files import write_atomic, write_json
from netinvert.io.images import to_pil

CELL, GAP, MARGIN, LINE = 128, 4, 16, 16
LABEL = 150
"""Pixels of the column of the rows' names."""
INK, GREY = (28, 28, 30), (112, 112, 118)

Value = str | int | float | None


@dataclass(frozen=True, eq=False)
class Line:
    """A row of the grid: its name, and pictures (C, H, W) in [0, 1], None for none."""

    name: str
    pictures: Sequence[Tensor | None]


@dataclass(frozen=True, eq=False)
class Findings:
    """``columns``: what each key of the ``rows`` is, in the order of the table; ``notes``: what was done."""

    title: str
    notes: tuple[str, ...]
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Value]]
    sheet: Image.Image

    def save(self, folder: Path, record: Mapping[str, object]) -> None:
        """Write pictures.png, table.md and table.json. Raises OutputError."""
        write_atomic(folder / "pictures.png", png_of(self.sheet))
        write_atomic(folder / "table.md", self.markdown(str(record["command"])).encode())
        write_json(folder / "table.json", {**record, **self.plain()})

    def plain(self) -> dict[str, object]:
        """Everything but the picture, for JSON."""
        return {"title": self.title, "columns": dict(self.columns), "rows": [dict(row) for row in self.rows]}

    def markdown(self, command: str) -> str:
        """The table, with what its columns are."""
        head = [f"# {self.title}", "", f"Made by `{command}`.", *self.notes, ""]
        meanings = [f"- `{name}`: {what}" for name, what in self.columns.items() if what]
        return "\n".join([*head, self.table(), "", *meanings, ""])

    def table(self) -> str:
        """The rows alone, in Markdown."""
        names = list(self.columns)
        lines = [names, ["---"] * len(names)]
        lines += [[_text(row.get(name)) for name in names] for row in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grid(lines: Sequence[Line], columns: Sequence[str], title: str) -> Image.Image:
    """Pictures without gaps for text between them: names on the left, ``columns`` above."""
    if not lines:
        raise ConfigError("a grid needs at least one row of pictures")
    small, bold = _font(11), _font(14)
    headings = [_wrapped(text, CELL) for text in columns]
    names = [_wrapped(line.name, LABEL - 10) for line in lines]
    top = MARGIN + 28 + LINE * max((len(heading) for heading in headings), default=0) + 6
    count = max([len(columns), *(len(line.pictures) for line in lines)])
    size = (2 * MARGIN + LABEL + count * (CELL + GAP), top + len(lines) * (CELL + GAP) + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 4), title, INK, bold)
    for index, heading in enumerate(headings):
        for row, text in enumerate(heading):
            at = MARGIN + LABEL + index * (CELL + GAP), top - LINE * (len(heading) - row) - 4
            draw.text(at, text, GREY, small)
    for number, (line, name) in enumerate(zip(lines, names, strict=True)):
        y = top + number * (CELL + GAP)
        for row, text in enumerate(name):
            draw.text((MARGIN, y + 4 + row * LINE), text, INK, small)
        for index, picture in enumerate(line.pictures):
            if picture is not None:
                image = to_pil(picture).convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC)
                sheet.paste(image, (MARGIN + LABEL + index * (CELL + GAP), y))
    return sheet


def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _wrapped(text: str, width: int) -> list[str]:
    font = _font(11)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and math.ceil(font.getlength(longer)) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _text(value: Value) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
    return str(value)
