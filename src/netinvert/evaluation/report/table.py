"""Tables: columns that say how their values are shown, and rows of plain values."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, cast

from netinvert.errors import ConfigError

DASH = "–"  # for a value that is not known
_MARKUP = re.compile(
    r"(?P<ticks>(?<!`)`+)(?P<code>(?!`).+?(?<!`))(?P=ticks)(?!`)"
    r"|\*\*(?P<strong>\S(?:.*?\S)?)\*\*"
    r"|\[(?P<label>[^\[\]]+)\]\((?P<url>[^()\s]+)\)",
    re.DOTALL,
)
# Nothing that a browser would run: no other scheme, and without a scheme no colon at all.
_SAFE_URL = re.compile(r"(?:https?://|mailto:)[^\s<>\"]+|[\w#./~%?=&+-]+")

Piece = tuple[str, str, str]
"""A kind ("text", "code", "strong" or "link"), the words, and the address of a link."""


def pieces(text: str) -> list[Piece]:
    """Inline markup taken apart: `` `code` ``, ``**strong**`` and ``[words](address)``; all else is text.

    >>> pieces("layer `conv5` is **best**")
    [('text', 'layer ', ''), ('code', 'conv5', ''), ('text', ' is ', ''), ('strong', 'best', '')]
    >>> pieces("[no](javascript:link)")
    [('text', '[no](javascript:link)', '')]
    """
    found: list[Piece] = []
    last = 0
    for match in _MARKUP.finditer(text):
        url = match["url"] or ""
        if url and not _SAFE_URL.fullmatch(url):
            continue
        if match.start() > last:
            found.append(("text", text[last : match.start()], ""))
        last = match.end()
        if match["code"]:
            code = match["code"]
            padded = len(code) > 2 and code[0] == code[-1] == " "
            found.append(("code", code[1:-1] if padded else code, ""))
        else:
            found.append(("link", match["label"], url) if url else ("strong", match["strong"], ""))
    return found + [("text", text[last:], "")] * (last < len(text))


def code(text: str) -> str:
    """Any text, such as a name or a command, as inline code.

    >>> code("relu1"), code("a`b")
    ('`relu1`', '`` a`b ``')
    """
    words = " ".join(text.split()) or " "
    if "`" not in words:
        return f"`{words}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", words))))
    return f"{fence} {words} {fence}"


def paragraphs(text: str) -> list[str]:
    """Parted by empty lines."""
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def plain(text: str) -> str:
    """The words alone, without the markup and on one line."""
    return " ".join("".join(words for _, words, _ in pieces(text)).split())


def printable(text: str) -> str:
    """On one line, and without what steers a terminal or cannot be drawn or encoded.

    >>> printable("red\\x1b[31m\\n text")
    'red�[31m  text'
    """
    return re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", re.sub(r"\s", " ", text))


def in_markdown(text: str) -> str:
    """Prose for Markdown: the markup kept, everything that is not ours escaped."""
    found = ""
    for kind, words, url in pieces(" ".join(text.split())):
        shown = code(words) if kind == "code" else escaped(words)
        found += {"strong": f"**{shown}**", "link": f"[{shown}]({url})"}.get(kind, shown)
    # What would begin a heading or a list.
    return re.sub(r"^(?:(\d+)(?=[.)])|(?=[#>+-]))", r"\1\\", found)


def escaped(text: str) -> str:
    r"""Plain text for Markdown, on one line.

    >>> escaped("a|b *c* <d>")
    'a\\|b \\*c\\* &lt;d>'
    """
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", re.sub(r"\s+", " ", text)).replace("<", "&lt;")
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def number(value: float | None, digits: int | None = None) -> str:
    """A number; a dash for an unknown one. Without ``digits``, three after the point, or one from 10 on.

    >>> number(0.12345), number(12.345), number(3), number(-0.01, 1), number(None), number(float("nan"))
    ('0.123', '12.3', '3', '0.0', '–', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if digits is None:
        if isinstance(value, Integral):
            return str(int(value))
        digits = 1 if abs(value) >= 10 else 3
    text = f"{value:.{digits}f}"
    return text if float(text) else text.lstrip("-")  # no -0.00


def percent(share: float | None, digits: int | None = None) -> str:
    """A share as per cent; one digit after the point below 10 %.

    >>> percent(0.42), percent(0.042), percent(1 / 3, 1), percent(None)
    ('42 %', '4.2 %', '33.3 %', '–')
    """
    if share is None or not math.isfinite(share):
        return DASH
    if digits is None:
        digits = 1 if 0 < abs(share) < 0.1 else 0
    return f"{100 * share:.{digits}f} %"


def listed(names: Sequence[str], word: str = "and") -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], "or")
    ('a', 'a and b', 'a, b or c')
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things.

    >>> counted(1, "chair"), counted(3, "chair"), counted(2, "category", "categories")
    ('1 chair', '3 chairs', '2 categories')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def by(shape: Sequence[int]) -> str:
    """A shape.

    >>> by((3, 224, 224)), by(())
    ('3×224×224', '1')
    """
    return "×".join(map(str, shape)) or "1"


@dataclass(frozen=True)
class Estimate:
    """A value with its interval (``low`` to ``high``), or with its ``spread`` (shown as ± spread)."""

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None


Value = str | float | Estimate | None
"""What a cell holds; with a column's own ``show``, anything else too."""


@dataclass(frozen=True)
class Column:
    """A column: its name, and how its values are shown.

    ``digits`` are those after the point. ``percent`` shows shares as per cent. ``about`` explains the column
    below the table. ``best`` says which of the numbers is marked. Numbers are flush right, others where
    ``align`` says so. ``show`` turns a value into text itself. ``key`` is its name in JSON and CSV.
    """

    name: str
    unit: str = ""
    digits: int | None = None
    percent: bool = False
    about: str = ""
    best: Literal["", "min", "max"] = ""
    align: Literal["", "right"] = ""
    show: Callable[[Any], str] | None = None
    key: str = ""

    @property
    def label(self) -> str:
        """The name with the unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def parts(self, value: Any) -> tuple[str, str]:  # noqa: ANN401
        """The value as text, and its interval or spread ("" for none).

        >>> Column("error", digits=2).parts(Estimate(0.5, 0.41, 0.62))
        ('0.50', '(0.41 to 0.62)')
        """
        if not isinstance(value, Estimate):
            return self._text(value), ""
        extra = ""
        if value.spread is not None:
            extra = f"± {self._text(value.spread)}"
        elif value.low is not None or value.high is not None:
            extra = f"({self._text(value.low)} to {self._text(value.high)})"
        return self._text(value.value), extra

    def words(self, value: Any) -> str:  # noqa: ANN401
        """The value and its interval or spread as one text."""
        return " ".join(filter(None, self.parts(value)))

    def _text(self, value: Any) -> str:  # noqa: ANN401
        if value is None:
            return DASH
        if self.show is not None:
            return self.show(value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, Real):
            as_text = percent if self.percent else number
            return as_text(cast(float, value), self.digits)
        return str(value)


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of values under columns; a column may be given by its name alone.

    The rows of ``baselines`` (by index; floors, ceilings, controls) are set apart, and are never the best.
    ``marked`` are further cells to mark, (row, column). With ``sortable``, a browser that runs scripts lets
    the rows be sorted. ``name`` is that of the files of a saved report. Raises ConfigError for a row of
    another length.

    >>> table = Table(["layer", Column("code error", digits=2, best="min")], [("conv1", 0.1), ("fc8", None)])
    >>> print(table.text())
    layer  code error
    conv1        0.10
    fc8             –
    """

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Value]]
    title: str = ""
    baselines: Collection[int] = ()
    marked: Collection[tuple[int, int]] = ()
    sortable: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        columns = tuple(Column(one) if isinstance(one, str) else one for one in self.columns)
        object.__setattr__(self, "columns", columns)
        for place, row in enumerate(self.rows):
            if len(row) != len(columns):
                raise ConfigError(
                    f"row {place} of a table has {len(row)} values for {len(columns)} columns: "
                    "give None for what is not known"
                )
        if len({_key(column) for column in columns}) < len(columns):
            raise ConfigError("two columns of a table have the same name: give one of them another key")

    @classmethod
    def of(
        cls,
        records: Iterable[object],
        columns: Sequence[Column | str] | None = None,
        title: str = "",
        **more: Any,  # noqa: ANN401
    ) -> Table:
        """From mappings or objects, such as dataclasses; what a record lacks is not known.

        Without ``columns`` there is one for each key of the mappings. ``more`` are further fields.
        """
        if columns is None:
            records = list(records)
            columns = list(dict.fromkeys(k for one in records if isinstance(one, Mapping) for k in one))
        keys = [_key(column) for column in columns]
        rows = [
            [one.get(key) if isinstance(one, Mapping) else getattr(one, key, None) for key in keys]
            for one in records
        ]
        return cls(columns, rows, title, **more)

    @property
    def heads(self) -> tuple[Column, ...]:
        """The columns."""
        return tuple(column for column in self.columns if isinstance(column, Column))

    def right(self, index: int) -> bool:
        """Whether a column is flush right."""
        values = [row[index] for row in self.rows if row[index] is not None]
        return self.heads[index].align == "right" or (bool(values) and all(map(_is_number, values)))

    def best(self) -> frozenset[tuple[int, int]]:
        """The cells to mark: the best of their columns, where several differ, and those ``marked``."""
        found = set(self.marked)
        for index, column in enumerate(self.heads):
            values = {k: _number(row[index]) for k, row in enumerate(self.rows) if k not in self.baselines}
            known = {k: value for k, value in values.items() if value is not None}
            if column.best and len(set(known.values())) > 1:
                top = min(known.values()) if column.best == "min" else max(known.values())
                found |= {(k, index) for k, value in known.items() if value == top}
        return frozenset(found)

    def texts(self) -> list[list[str]]:
        """All cells as text."""
        return [
            [column.words(value) for column, value in zip(self.heads, row, strict=True)] for row in self.rows
        ]

    def text(self) -> str:
        """For a terminal: columns as wide as they need to be, no line cut or wrapped."""
        from rich.cells import cell_len

        lines = [[column.label for column in self.heads], *self.texts()]
        lines = [list(map(printable, line)) for line in lines]
        widths = [max(cell_len(line[index]) for line in lines) for index in range(len(self.heads))]
        right = [self.right(index) for index in range(len(self.heads))]

        def padded(cell: str, index: int) -> str:
            space = " " * (widths[index] - cell_len(cell))
            return space + cell if right[index] else cell + space

        return "\n".join("  ".join(padded(cell, k) for k, cell in enumerate(line)).rstrip() for line in lines)

    def markdown(self) -> str:
        """The table, the best in bold, and what its columns are."""
        best = self.best()
        lines = [[escaped(column.label) for column in self.heads]]
        lines.append(["---:" if self.right(index) else "---" for index in range(len(self.heads))])
        for k, row in enumerate(self.texts()):
            cells = enumerate(map(escaped, row))
            lines.append([f"**{cell}**" if (k, index) in best else cell for index, cell in cells])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        meanings = [f"- {escaped(one.name)}: {in_markdown(one.about)}" for one in self.heads if one.about]
        head = [f"**{in_markdown(self.title)}**"] if self.title else []
        return "\n\n".join([*head, table, *(["\n".join(meanings)] if meanings else [])])

    def plain(self) -> dict[str, object]:
        """Everything, for JSON; rows by the columns' keys."""
        return {
            "title": self.title,
            "columns": [
                {"key": _key(one), "name": one.name, "unit": one.unit, "about": one.about}
                for one in self.heads
            ],
            "rows": [dict(zip(map(_key, self.heads), row, strict=True)) for row in self.rows],
        }

    def csv(self) -> str:
        """The values, not rounded; intervals and spreads in columns of their own."""
        columns: dict[str, list[object]] = {}
        for index, column in enumerate(self.heads):
            cells = [row[index] for row in self.rows]
            columns[_key(column)] = [cell.value if isinstance(cell, Estimate) else cell for cell in cells]
            for part in ("low", "high", "spread"):
                values = [getattr(cell, part) if isinstance(cell, Estimate) else None for cell in cells]
                if any(value is not None for value in values):
                    columns[f"{_key(column)} {part}"] = values
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *zip(*columns.values(), strict=True)])
        return text.getvalue()


def _key(column: Column | str) -> str:
    return column if isinstance(column, str) else column.key or column.name


def _is_number(value: object) -> bool:
    return isinstance(value, Estimate) or (isinstance(value, Real) and not isinstance(value, bool))


def _number(value: object) -> float | None:
    """What a cell counts by, None if it has no finite number."""
    if isinstance(value, Estimate):
        value = value.value
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def width_of(column: Column, values: Sequence[object]) -> float:
    """About how many pixels a column needs to be read well."""
    texts = [part for value in values for part in column.parts(value)]
    words = [word for text in texts for word in re.split(r"\s+|(?<=[./_\-])(?=\w)", text)]
    heads = re.split(r"\s+|(?<=-)", column.label)
    longest = max([len(text) for text in texts], default=0)
    return 7.5 * max([min(longest, 22), *(len(word) for word in (*words, *heads))]) + 20
