"""A report: blocks with their data under a title, as HTML, Markdown, data and pictures."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from netinvert.errors import ConfigError
from netinvert.evaluation.report.grid import ImageGrid, Tile, encoded_image, missing, shown_size, sorted_by
from netinvert.evaluation.report.plot import Plot
from netinvert.evaluation.report.table import (
    Table,
    in_markdown,
    paragraphs,
    pieces,
    plain,
    width_of,
)
from netinvert.io.files import plain_json, write_atomic


@dataclass(frozen=True)
class Heading:
    """A heading; those of level 2 and 3 make the table of contents."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Prose:
    """Text with inline markup (``words``); an empty line begins a new paragraph. ``quiet`` is for notes."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Points:
    """A list of sentences, with inline markup."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """A command, or other text, to copy as it is."""

    text: str


@dataclass(frozen=True, eq=False)
class Details:
    """Blocks that are folded away under a line of text."""

    summary: str
    blocks: Sequence[Block]


Block = Heading | Prose | Points | Code | Table | ImageGrid | Plot | Details


def walk(blocks: Sequence[Block]) -> Iterator[Block]:
    """All blocks, those in Details too."""
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from walk(block.blocks)


# In pixels.
_STEP = 80  # tables and grids of images are laid out anew on windows narrower than a multiple of this
_STRIP = 128  # the height at which several images side by side are shown
_SMALL = 130  # of images that are shown no wider a phone has three side by side
_BIG = 1000  # longer images are opened at their own size, others as large as the window

View = dict[str, Any]


def render(title: str, lead: str, command: str, blocks: Sequence[Block], page: bool = True) -> str:
    """The whole page, or only what stands in it, for a notebook."""
    # In a notebook the parts of several reports must not be mixed up.
    stamp = hashlib.sha256(repr((title, lead, command, len(blocks))).encode()).hexdigest()[:8]
    prefix = "" if page else f"r{stamp}-"
    views = _Views(prefix)
    shown: View = {"title": title, "lead": lead, "command": command, "page": page}
    shown["blocks"] = [views.of(block) for block in blocks]
    return _template().render(
        **shown, contents=views.contents, fits=sorted(views.fits), live=page and views.live
    )


@cache
def _template() -> Template:
    text = (files("netinvert.evaluation.report") / "report.html.j2").read_text("utf-8")
    options: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(undefined=StrictUndefined, **options)
    environment.filters.update(inline=inline, paragraphs=paragraphs, plain=plain, whole_words=_whole_words)
    return environment.from_string(text)


def inline(text: str) -> Markup:
    """Inline markup as HTML.

    >>> inline("`a<b` is **best**")
    Markup('<code>a&lt;b</code> is <strong>best</strong>')
    """
    forms = {"text": "{}", "code": "<code>{}</code>", "strong": "<strong>{}</strong>"}
    found = Markup("")
    for kind, words, url in pieces(text):
        link = Markup('<a href="{}">{}</a>').format(url, words)
        shown = _whole_words(words) if kind == "code" else words
        found += link if kind == "link" else Markup(forms[kind]).format(shown)
    return found


def _whole_words(text: str) -> Markup:
    """Options such as --out are not broken after their hyphens."""
    parts = re.split(r"(\s+)", text)
    return Markup("").join(Markup("<span>{}</span>").format(one) if "-" in one else one for one in parts)


def _breakable(text: str) -> Markup:
    """Long words may be broken after points, slashes and the like."""
    return Markup("").join(
        Markup("<wbr>").join(re.split(r"(?<=[./_\-])(?=\w)", word)) if len(word) > 20 else escape(word)
        for word in re.split(r"(\s+)", text)
    )


def _url(media: str, content: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


@dataclass
class _Views:
    """What the template shows of each block; collects what concerns the whole page."""

    prefix: str
    contents: list[View] = field(default_factory=list)
    fits: set[int] = field(default_factory=set)
    live: bool = False
    count: int = 0

    def of(self, block: Block) -> View:
        """The view of a block."""
        view: View = {"kind": type(block).__name__, "block": block}
        match block:
            case Heading():
                view |= {"id": self._id("s"), "level": min(6, max(2, block.level))}
                self.contents.append(view)
            case Details():
                view["blocks"] = [self.of(each) for each in block.blocks]
            case Table():
                view |= self._table(block)
            case ImageGrid():
                view |= self._grid(block)
            case Plot():
                view |= {"wide": _url(*block.for_page()), "narrow": _url(*block.for_page(narrow=True))}
        return view

    def _id(self, stem: str) -> str:
        self.count += 1
        return f"{self.prefix}{stem}{self.count}"

    def _table(self, block: Table) -> View:
        heads, best = block.heads, block.best()
        right = [block.right(index) for index in range(len(heads))]
        rows: list[View] = []
        for k, row in enumerate(block.rows):
            parts = enumerate(column.parts(value) for column, value in zip(heads, row, strict=True))
            cells = [
                (escape(text) if right[j] else _breakable(text), extra, (k, j) in best)
                for j, (text, extra) in parts
            ]
            rows.append({"cells": cells, "baseline": k in block.baselines, "values": sorted_by(row)})
        columns = [{"label": one.label, "about": one.about, "right": right[j]} for j, one in enumerate(heads)]
        orders = [(one.label, -1 if right[j] and one.best != "min" else 1, j) for j, one in enumerate(heads)]
        width = sum(width_of(one, [row[j] for row in block.rows]) for j, one in enumerate(heads))
        bar = self._bar(orders, []) if block.sortable else None
        return {"columns": columns, "rows": rows, "fit": self._fit(width), "bar": bar}

    def _grid(self, block: ImageGrid) -> View:
        sort = [one.removeprefix("-") for one in block.sort]
        keys = list(dict.fromkeys([*sort, *block.filters]))
        rows: list[View] = []
        for row in block.rows:
            tiles = [self._tile(block, tile, index, keys) for index, tile in enumerate(row.tiles)]
            # With nothing between them, rows flow on.
            if rows and not block.columns and (keys or not row.name):
                rows[-1]["tiles"] += tiles
            else:
                rows.append({"name": row.name, "tiles": tiles})
        shown = max(tile["shown"] for row in rows for tile in row["tiles"])
        fit = self._fit(len(block.columns) * (min(shown, 100) + 12)) if block.columns else 0
        signs = [1 if one.startswith("-") else -1 for one in block.sort]
        orders = [(name, sign, keys.index(name)) for name, sign in zip(sort, signs, strict=True)]
        bar = self._bar(orders, [(one, keys.index(one)) for one in block.filters]) if keys else None
        count = _period(block.columns)  # pairs stay pairs
        self.live |= block.turns
        three = (count and count % 3 == 0) or (shown <= _SMALL and count not in (2, 4))
        return {"rows": rows, "fit": fit, "shown": shown, "bar": bar, "three": three}

    def _fit(self, width: float) -> int:
        """Below which width something is laid out anew."""
        fit = _STEP * max(4, math.ceil(width / _STEP))
        self.fits.add(fit)
        return fit

    def _bar(self, orders: Sequence[tuple[str, int, int]], filters: Sequence[tuple[str, int]]) -> View:
        """By what to sort (label, sign, place of the value), and to filter (label, place of the value)."""
        self.live = True
        return {"orders": json.dumps(orders), "filters": json.dumps(filters)}

    def _tile(self, grid: ImageGrid, tile: Tile, index: int, keys: Sequence[str]) -> View:
        column = grid.columns[index] if grid.columns else ""
        name, lines = tile.texts
        about = " ".join(text for text in (tile.name or column, *tile.lines) if text)
        view: View = {"id": self._id("i"), "column": column, "name": name, "lines": lines, "mark": tile.mark}
        view |= {"about": about or "image", "url": "", "missing": missing(grid, index), "shown": grid.size}
        view |= {"wide": False, "values": sorted_by([tile.values.get(key) for key in keys]) if keys else ""}
        picture = tile.picture()
        if picture is None:
            return view
        width, height = picture.size
        shown, wide = shown_size(picture.size, grid.size)[0], width > 1.6 * height
        if wide:
            shown = max(shown, min(width, round(_STRIP * width / height)))
        view |= {"width": width, "height": height, "shown": shown, "wide": wide}
        view |= {"crisp": 2 * width <= shown, "big": max(picture.size) > _BIG}
        return {**view, "url": _url(*encoded_image(picture, grid.quality, grid.longest))}


Kind = Literal["html", "md", "json", "csv", "png"]
Part: TypeAlias = "Block | str | Sequence[Part] | None"
_HTML: tuple[Kind, ...] = ("html",)


@dataclass(frozen=True, eq=False)
class Report:
    """What was found. ``lead`` is prose below the title, ``command`` what makes the report again.

    >>> report = Report("Layers", [Heading("Errors"), Table(["layer", "error"], [("conv1", 0.25)])], "Two.")
    >>> print(report.markdown())
    # Layers
    <BLANKLINE>
    Two.
    <BLANKLINE>
    ## Errors
    <BLANKLINE>
    | layer | error |
    | --- | ---: |
    | conv1 | 0.250 |
    <BLANKLINE>
    """

    title: str
    blocks: Sequence[Block]
    lead: str = ""
    command: str = ""

    @classmethod
    def of(cls, title: str, lead: str, *parts: Part) -> Report:
        """From blocks and texts: "## …" is a heading, other texts are prose; None is left out.

        >>> Report.of("Two", "", "## First", None, ["Words.", Points(["a"])])
        Report('Two': Heading, Prose, Points)
        """
        return cls(title, [*_blocks(parts)], lead)

    def html(self) -> str:
        """A page: one file, which needs neither other files nor scripts."""
        return render(self.title, self.lead, self.command, self.blocks)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return render(self.title, self.lead, self.command, self.blocks, page=False)

    def __repr__(self) -> str:
        kinds = ", ".join(type(block).__name__ for block in self.blocks)
        return f"Report({self.title!r}: {kinds})"

    def markdown(self) -> str:
        """The report in Markdown; its pictures are the files that ``save(…, ("png",))`` writes."""
        names = {id(block): name for name, block in self._named()}
        parts = [f"# {in_markdown(self.title)}", *map(in_markdown, paragraphs(self.lead))]
        parts += [part for block in self.blocks for part in _markdown(block, names)]
        if self.command:
            parts += ["Made by:", *_markdown(Code(self.command), names)]
        return "\n\n".join(parts) + "\n"

    def data(self) -> dict[str, object]:
        """The numbers of tables and plots, by name, for JSON."""
        parts = {name: block.plain() for name, block in self._named() if not isinstance(block, ImageGrid)}
        return {"title": self.title, "command": self.command, "data": parts}

    def files(self, kinds: Collection[Kind] = _HTML) -> dict[str, bytes]:
        """File names and bytes: report.html, report.md, report.json, and a CSV or PNG a table, grid or plot.

        The same report gives the same bytes. Raises ConfigError for an unknown kind.
        """
        if unknown := set(kinds) - {*get_args(Kind)}:
            raise ConfigError(f"a report is written as {get_args(Kind)}, not as {sorted(unknown)}")
        texts = {"html": self.html, "md": self.markdown, "json": self._json}
        found = {f"report.{kind}": _utf8(text()) for kind, text in texts.items() if kind in kinds}
        for name, block in self._named():
            if isinstance(block, Table) and "csv" in kinds:
                found[f"{name}.csv"] = _utf8(block.csv())
            elif isinstance(block, ImageGrid | Plot) and "png" in kinds:
                found[f"{name}.png"] = block.png()
        return found

    def save(
        self, where: str | Path | Callable[[str, bytes], object], kinds: Collection[Kind] = _HTML
    ) -> list[str]:
        """Write ``files`` into a folder, each whole or not at all, or hand them to a function (name, bytes).

        Gives their names. Raises OutputError.
        """
        files = self.files(kinds)
        for name, content in files.items():
            if callable(where):
                where(name, content)
            else:
                write_atomic(Path(where) / name, content)
        return list(files)

    def _json(self) -> str:
        return json.dumps(plain_json(self.data()), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _named(self) -> list[tuple[str, Table | ImageGrid | Plot]]:
        """Tables, grids and plots with the names of their files: their own, or table-1 and so on."""
        found: list[tuple[str, Table | ImageGrid | Plot]] = []
        used = {"report"}
        every = (block for block in walk(self.blocks) if isinstance(block, Table | ImageGrid | Plot))
        for block in every:
            kind = "table" if isinstance(block, Table) else "plot" if isinstance(block, Plot) else "grid"
            stem = re.sub(r"[^\w-]+", "-", block.name).strip("-")[:60]
            count = 1 + sum(isinstance(other, type(block)) for _, other in found)
            name, number = stem or f"{kind}-{count}", 1
            while name.casefold() in used:
                number += 1
                name = f"{stem or kind}-{number}"
            used.add(name.casefold())
            found.append((name, block))
        return found


def _blocks(parts: Sequence[Part]) -> Iterator[Block]:
    for part in parts:
        if isinstance(part, str):
            head = re.fullmatch("(##+) (.*)", part)
            yield Heading(head[2], len(head[1])) if head else Prose(part)
        elif isinstance(part, Sequence):
            yield from _blocks(part)
        elif part is not None:
            yield part


def _markdown(block: Block, names: dict[int, str]) -> list[str]:  # noqa: PLR0911  (one a kind of block)
    match block:
        case Heading(text, level):
            return [f"{'#' * level} {in_markdown(text)}"]
        case Prose(text):
            return [in_markdown(part) for part in paragraphs(text)]
        case Points(items):
            return ["\n".join(f"- {in_markdown(item)}" for item in items)]
        case Code(text):
            return ["\n".join(f"    {line}" for line in text.splitlines())]
        case Details(summary, blocks):
            inner = [part for each in blocks for part in _markdown(each, names)]
            return [f"**{in_markdown(summary)}**", *inner]
        case Table():
            return [block.markdown()]
        case ImageGrid() | Plot():
            about = block.about if isinstance(block, Plot) else block.title or "images"
            return [f"![{in_markdown(about)}]({names[id(block)]}.png)"]


def _utf8(text: str) -> bytes:
    """A file name that is not UTF-8 holds lone surrogates, which no file can hold."""
    return text.encode("utf-8", "backslashreplace")


def _period(names: Sequence[str]) -> int:
    """After how many the names come again; all of them where they don't."""
    count = len(names)
    return next((n for n in range(1, count) if [*names[:n]] * (count // n) == [*names]), count)
