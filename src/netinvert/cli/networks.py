"""``netinvert networks``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from netinvert.cli.console import by, show_json, show_table


def networks(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the networks that come with netinvert, and the families it can load."""
    from netinvert.models.registry import list_networks

    cards = list_networks()
    if as_json:
        show_json([{**asdict(card), "installed": card.installed} for card in cards])
        return
    rows = [
        (
            card.name,
            card.task,
            by(card.size) if card.size else "–",
            f"{card.parameters / 1e6:.1f} M" if card.parameters else "–",
            card.licence,
            (f"netinvert[{card.extra}]" + ("" if card.installed else ", missing")) if card.extra else "–",
            " ".join(card.layers) or "–",
        )
        for card in cards
    ]
    headings = ("name", "what it is", "input", "parameters", "licence", "needs", "layers worth inverting")
    show_table(headings, rows)
