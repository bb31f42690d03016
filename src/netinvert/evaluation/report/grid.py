"""Image grids: images in rows and columns with text below them, and the same as one picture."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.report.table import Estimate, plain, printable
from netinvert.io.images import COMPRESSION, as_images, to_pil

CELL = 224  # the longer side of an image as it is shown, in pixels
MOST_ROWS = 40  # a picture of more is hardly looked at, and too high for some viewers
_MARGIN, _GAP, _LINE = 24, 16, 19
_INK, _GREY, _FRAME = (28, 28, 30), (112, 112, 118), (226, 226, 230)
_BADGES = {"": "", "best": "★ ", "good": "◆ "}

Pixels = Tensor | NDArray[Any] | Image.Image
"""What `as_images` takes but paths; several (N, C, H, W) are shown side by side."""


@dataclass(frozen=True, eq=False)
class Tile:
    """An image, None for a missing one, its name, and lines of text below it.

    A ``mark`` sets it apart. ``values`` are what a browser may sort and filter by.
    """

    image: Pixels | None = field(repr=False)
    lines: Sequence[str] = ()
    name: str = ""
    mark: Literal["", "best", "good"] = ""
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, list[str]]:
        """The name and the lines; the first of them bears the sign of the mark."""
        badge, lines = _BADGES[self.mark], list(self.lines)
        if badge and lines and not self.name:
            return "", [badge + lines[0], *lines[1:]]
        return (badge + self.name).strip(), lines

    def picture(self) -> Image.Image | None:
        """The image as 8-bit RGB. Raises ImageError."""
        return None if self.image is None else as_rgb(self.image)


@dataclass(frozen=True, eq=False)
class GridRow:
    """Tiles from left to right, and what they have in common."""

    name: str
    tiles: Sequence[Tile]


@dataclass(frozen=True, eq=False)
class ImageGrid:
    """Rows of tiles under headings ``columns``. Without headings the tiles of a row flow, as many as fit.

    ``size`` is the longer side of an image as shown, in pixels. A page holds PNG images, or JPEG if
    ``quality`` is given, at most ``longest`` pixels long. ``sort`` says by which of the tiles' values a
    browser that runs scripts may sort them ("-roughness": the least first), ``filters`` by which it may leave
    out those that are, or are not, above zero. With ``turns``, such a browser shows one image at a time, by a
    slider or by dragging it, and others the first alone. Raises ConfigError for a grid without rows.

    >>> grid = ImageGrid.of({"cat": [torch.zeros(3, 8, 8), None]}, ["original", "inverted"], "Two images")
    >>> grid_image(grid).mode
    'RGB'
    """

    rows: Sequence[GridRow]
    columns: Sequence[str] = ()
    title: str = ""
    size: int = CELL
    quality: int | None = None
    longest: int | None = None
    sort: Sequence[str] = ()
    filters: Sequence[str] = ()
    turns: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if not any(row.tiles for row in self.rows):
            raise ConfigError("an image grid needs at least one row of images")
        most = max(len(row.tiles) for row in self.rows)
        if self.columns and most > len(self.columns):
            raise ConfigError(f"a row of an image grid has {most} images for {len(self.columns)} columns")
        if self.columns and (self.sort or self.filters or self.turns):
            raise ConfigError("images that are sorted or turned have no columns: name the tiles instead")

    @classmethod
    def of(
        cls,
        rows: Mapping[str, Sequence[Tile | Pixels | None]],
        columns: Sequence[str] = (),
        title: str = "",
        size: int = CELL,
        name: str = "",
    ) -> ImageGrid:
        """Rows by their names, of tiles or bare images."""
        made = [GridRow(row, [_tile(one) for one in images]) for row, images in rows.items()]
        return cls(made, columns, title, size, name=name)

    @classmethod
    def flow(cls, tiles: Sequence[Tile | Pixels | None], across: int = 6, title: str = "") -> ImageGrid:
        """Tiles in a row as long as the page is wide; as one picture, ``across`` a row."""
        every = [_tile(one) for one in tiles]
        starts = range(0, len(every), across)
        return cls([GridRow("", every[start : start + across]) for start in starts], (), title)

    def png(self) -> bytes:
        """``grid_image`` as a PNG file's bytes."""
        buffer = io.BytesIO()
        # Without ``optimize``, which takes ten times as long for 2 % of the bytes.
        grid_image(self).save(buffer, format="PNG", compress_level=COMPRESSION)
        return buffer.getvalue()


def _tile(one: Tile | Pixels | None) -> Tile:
    return one if isinstance(one, Tile) else Tile(one)


def as_rgb(image: Pixels) -> Image.Image:
    """Any image as 8-bit RGB, several side by side. Raises ImageError.

    >>> as_rgb(torch.zeros(2, 3, 4, 5)).size
    (10, 4)
    """
    if not isinstance(image, Tensor):
        image = as_images(image)
    if image.ndim == 4 and len(image) > 1:
        image = torch.cat(list(image), -1)
    return to_pil(image).convert("RGB")


def encoded_image(
    picture: Image.Image, quality: int | None = None, longest: int | None = None
) -> tuple[str, bytes]:
    """The media type and bytes of a picture for a page; see ``ImageGrid``."""
    if longest is not None and max(picture.size) > longest:
        picture = picture.copy()
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    png = {"compress_level": COMPRESSION}
    kind, options = ("png", png) if quality is None else ("jpeg", {"quality": quality})
    picture.save(buffer, format=kind, **options)
    return f"image/{kind}", buffer.getvalue()


def shown_size(size: tuple[int, int], longer: int = CELL) -> tuple[int, int]:
    """(width, height) at which a picture is shown: small ones grow by whole pixels.

    >>> shown_size((64, 64)), shown_size((500, 250))
    ((192, 192), (224, 112))
    """
    width, height = size
    scale = longer / max(width, height)
    if scale > 1:
        scale = math.floor(scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def sorted_by(row: Sequence[object]) -> str:
    """What a row of a table, or a tile, is sorted by, as JSON."""
    found: list[str | float | None] = []
    for cell in row:
        value = cell.value if isinstance(cell, Estimate) else cell
        if isinstance(value, Real):  # JSON has neither NaN nor infinity
            most = sys.float_info.max
            value = None if math.isnan(value) else min(max(float(value), -most), most)
        found.append(value if value is None or isinstance(value, float) else str(value))
    return json.dumps(found)


# -- one picture ---------------------------------------------------------------------------------------


def grid_image(grid: ImageGrid) -> Image.Image:
    """The grid as one picture: a row under its name, text below the images; the first MOST_ROWS rows."""
    shown = grid.rows[:MOST_ROWS]
    small, bold, title = _font(12), _font(15), printable(plain(grid.title))
    pictures = [[tile.picture() for tile in row.tiles] for row in shown]
    texts = [[_lines(tile) for tile in row.tiles] for row in shown]
    height = max(
        shown_size(one.size, grid.size)[1] if one else grid.size // 2 for row in pictures for one in row
    )
    row_height = _LINE + 6 + height + 6 + max(len(lines) for row in texts for lines in row) * _LINE + _GAP
    wide = max([grid.size, *(_width(small, line) for row in texts for lines in row for line in lines)])
    step = wide + _GAP
    heads = [_wrapped(heading, small, wide) for heading in grid.columns]
    head_lines = max([1, *map(len, heads)])
    count = max([len(grid.columns), *(len(row.tiles) for row in shown)])
    top = _MARGIN + (30 if grid.title else 0) + 26 + (head_lines - 1) * _LINE
    foot = _LINE + 8 if len(grid.rows) > len(shown) else 0
    width = max(2 * _MARGIN + count * step - _GAP, 2 * _MARGIN + _width(bold, title))
    sheet = Image.new("RGB", (width, top + len(shown) * row_height + foot + 8), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 6), title, _INK, bold)
    for index, lines in enumerate(heads):
        for number, line in enumerate(lines):
            at = _MARGIN + index * step, top - 26 - (len(lines) - 1 - number) * _LINE
            draw.text(at, line, _GREY, small)
    for number, row in enumerate(shown):
        y = top + number * row_height
        draw.line((_MARGIN, y - 4, width - _MARGIN, y - 4), _FRAME)
        draw.text((_MARGIN, y), _shortened(printable(row.name), small, width - 2 * _MARGIN), _INK, small)
        for index, (picture, lines) in enumerate(zip(pictures[number], texts[number], strict=True)):
            x, below = _MARGIN + index * step, y + _LINE + 6
            if picture is None:
                _draw_missing(draw, (x, below), (grid.size, height), missing(grid, index))
            else:
                sheet.paste(_resized(picture, shown_size(picture.size, grid.size)), (x, below))
            for place, line in enumerate(lines):
                colour = _GREY if place else _INK
                draw.text((x, below + height + 6 + place * _LINE), line, colour, small)
    if foot:
        text = f"… and {len(grid.rows) - len(shown)} more"
        draw.text((_MARGIN, top + len(shown) * row_height), text, _GREY, small)
    return sheet


def missing(grid: ImageGrid, index: int) -> str:
    """What stands in place of an image of a column that is not there."""
    return "no original" if grid.columns and grid.columns[index] == "original" else "none"


def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    # It comes with matplotlib and has the signs of most languages and of mathematics.
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _lines(tile: Tile) -> list[str]:
    name, lines = tile.texts
    return [printable(line) for line in (name, *lines) if line]


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    if picture.size == size:
        return picture
    grows = picture.width < size[0]
    return picture.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def _draw_missing(draw: ImageDraw.ImageDraw, at: tuple[int, int], size: tuple[int, int], text: str) -> None:
    (x, y), (width, height), small = at, size, _font(12)
    draw.rectangle((x, y, x + width - 1, y + height - 1), (246, 246, 248), _FRAME)
    draw.text((x + (width - _width(small, text)) // 2, y + height // 2 - 8), text, _GREY, small)


def _width(face: ImageFont.FreeTypeFont, text: str) -> int:
    return math.ceil(face.getlength(text))


def _shortened(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    if _width(face, text) <= width:
        return text
    while text and _width(face, f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _wrapped(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in printable(text).split():
        if lines and _width(face, f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return [_shortened(line, face, width) for line in lines]
