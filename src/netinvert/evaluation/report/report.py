"""A report: blocks under a title, as HTML, Markdown, data and pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from netinvert.errors import ConfigError
from netinvert.evaluation.report.blocks import Block, Code, Details, Heading, Points, Prose, walk
from netinvert.evaluation.report.grid import ImageGrid
from netinvert.evaluation.report.html import render
from netinvert.evaluation.report.plot import Plot
from netinvert.evaluation.report.table import Table
from netinvert.evaluation.report.words import in_markdown, paragraphs
from netinvert.io.files import plain_json, write_atomic

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
