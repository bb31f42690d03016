"""A self-contained HTML page of figures: no script, no other files, readable on a phone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from torch import Tensor

from netinvert.io.images import png_bytes

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --quiet: #6b6b70; --line: #e2e2e6; --paper: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf0; --quiet: #a0a0a8; --line: #3a3a40; --paper: #161618 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.2rem; max-width: 68rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0 .6rem }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .2rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .1rem }
p { max-width: 46rem; margin: .5rem 0 }
.quiet { color: var(--quiet); font-size: .9rem }
.grid { display: grid; gap: .8rem; grid-template-columns: repeat(4, minmax(0, 1fr)); margin: .6rem 0 1rem }
@media (max-width: 40rem) { .grid { grid-template-columns: repeat(2, minmax(0, 1fr)) } }
figure { margin: 0 }
figure img { width: 100%; height: auto; display: block; border-radius: 4px; background: #8884 }
figcaption { font-size: .82rem; line-height: 1.4; margin-top: .3rem; font-variant-numeric: tabular-nums }
figcaption b { display: block }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: .6rem 0 }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--quiet); font-weight: 600 }
th.word, td.word { text-align: left }
th:first-child, td:first-child { padding-left: 0 }
code { font-size: .92em }
"""


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture (1, C, H, W) or (C, H, W) with a heading and lines of text below it."""

    image: Tensor
    heading: str
    lines: tuple[str, ...] = ()


def figures(items: Sequence[Figure]) -> str:
    """Metrics side by side: four in a row, two on a phone."""
    return '<div class="grid">' + "".join(_figure(item) for item in items) + "</div>"


def _figure(item: Figure) -> str:
    data = base64.b64encode(png_bytes(item.image)).decode()
    height, width = item.image.shape[-2:]
    lines = "<br>".join(escape(line) for line in item.lines)
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(item.heading)}"><figcaption><b>{escape(item.heading)}</b>{lines}</figcaption></figure>'
    )


def paragraph(text: str, quiet: bool = False) -> str:
    """A paragraph of plain text; `like this` becomes code."""
    parts = escape(text).split("`")
    body = "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
    return f'<p class="quiet">{body}</p>' if quiet else f"<p>{body}</p>"


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; columns of figures are set flush right, columns of words flush left."""
    figure = [all(row[index][:1].isdigit() for row in rows) for index in range(len(columns))]

    def line(cells: Sequence[str], tag: str) -> str:
        parts = (
            f"<{tag}{'' if right else ' class=word'}>{escape(cell)}</{tag}>"
            for cell, right in zip(cells, figure, strict=True)
        )
        return f"<tr>{''.join(parts)}</tr>"

    head = line(columns, "th")
    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def page(title: str, parts: Sequence[str]) -> str:
    """The whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        + "".join(parts)
        + "</body></html>\n"
    )
