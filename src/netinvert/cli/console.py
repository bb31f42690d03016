"""What commands say: notes on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a text that says how to go on."""


def note(text: str) -> None:
    """A line on stderr, with the program's name before it."""
    typer.echo(f"netinvert: {text}", err=True)


def show_json(value: object) -> None:
    """JSON on stdout; numbers that are not finite become null."""
    from netinvert.io.files import plain_json

    typer.echo(json.dumps(plain_json(value), indent=2, ensure_ascii=False))


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be: no line is cut or wrapped, so that it can be piped."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for an unknown one."""
    return "–" if value is None else f"{value:.{digits}f}"


def by(shape: Sequence[int]) -> str:
    """A shape as 3×224×224."""
    return "×".join(map(str, shape)) or "1"
