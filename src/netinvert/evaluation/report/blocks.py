"""What a report is made of: its blocks, each with its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netinvert.evaluation.report.grid import ImageGrid
from netinvert.evaluation.report.plot import Plot
from netinvert.evaluation.report.table import Table


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
