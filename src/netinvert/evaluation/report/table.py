"""Tables: columns that say how their values are shown, and rows of plain values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast

from netinvert.errors import ConfigError
from netinvert.evaluation.report.words import DASH, escaped, in_markdown, number, percent, printable


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
        columns: Sequence[Column | str],
        title: str = "",
        **more: Any,  # noqa: ANN401
    ) -> Table:
        """From mappings or objects, such as dataclasses; what a record lacks is not known.

        ``more`` are further fields.
        """
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
            [
                " ".join(filter(None, column.parts(value)))
                for column, value in zip(self.heads, row, strict=True)
            ]
            for row in self.rows
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
