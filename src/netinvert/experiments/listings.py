"""What networks there are, and what layers a network has, as tables for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from netinvert.evaluation.report import Column, Table, by
from netinvert.experiments.configs.images import Layers, Networks
from netinvert.experiments.inputs import preprocessing_of
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.models.decoder import SHIPPED
from netinvert.models.generator import SHIPPED_GENERATORS
from netinvert.models.layers import architecture, list_layers, suggested_layers
from netinvert.models.network import PreprocessingWarning
from netinvert.models.registry import NetworkCard, list_networks, load_network

WIDTH = 80
TASK_WIDTH = 27
LONG = 20
"""From so many layers on, those worth inverting are listed once more, with their heads."""


def list_layers_of(config: Layers, tell: Tell) -> Outcome:
    """A network's layers. Raises NetworkError, MissingExtraError."""
    form = preprocessing_of(config)
    asked = config.network, config.weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreprocessingWarning)
        network = architecture(asked[0], form) if asked[1] is None else load_network(*asked, form)
    if network.assumed:
        tell(f"note: {network.assumption}")
    found = list_layers(network, everything=config.everything)
    suggested = suggested_layers(network, found)
    right = [Column(name, align="right") for name in ("code", "stride", "field")]
    columns: list[Column | str] = ["name", "type", *right, Column("", key="suggested")]
    mark = dict.fromkeys(suggested, "*")
    rows = [
        (one.name, one.type, by(one.code_shape), one.stride, one.receptive_field, mark.get(one.name, ""))
        for one in found
    ]
    table = Table(columns, rows)
    text = fitted(table)
    if len(rows) > LONG:
        text += "\n\nworth inverting\n" + fitted(replace(table, rows=[row for row in rows if row[-1]]))
    else:
        text += "\n\n* worth inverting"
    text += "\nstride and field (what a number of the code sees) in pixels"
    facts = {
        **network.facts(),
        "size": list(network.preprocessing.size),
        "suggested": suggested,
        "layers": found,
    }
    return Outcome(facts, text)


def list_all_networks(config: Networks, tell: Tell) -> Outcome:
    """All networks and families."""
    cards = list_networks()
    known, families = ([card for card in cards if (":" in card.name) == some] for some in (False, True))
    parts = [
        _described(
            known,
            ["network", "what it is", "input", "parameters", "extra"],
            lambda card: (
                by(card.size) if card.size else None,
                f"{card.parameters / 1e6:.1f} M" if card.parameters else None,
                _extra(card),
            ),
        ),
        _described(families, ["family", "what it is", "extra"], lambda card: (_extra(card),)),
        "worth inverting, early to late\n" + _grouped(known, lambda card: " ".join(card.layers)),
        "licences\n" + _grouped(cards, lambda card: card.licence),
        "decoders, and the layers whose codes they decode\n"
        + "\n".join(f"  {name}: {layer} of {network}" for name, (network, layer) in SHIPPED.items()),
        f"generators, which draw objects ('netinvert views')\n  {', '.join(SHIPPED_GENERATORS)}",
        "'netinvert layers NETWORK' lists all layers",
    ]
    if missing := sorted({str(card.extra) for card in cards if not card.installed}):
        parts.append(f"✗ not installed: pip install 'netinvert[{','.join(missing)}]'")
    facts = {
        "networks": [{**asdict(card), "installed": card.installed} for card in cards],
        "decoders": [
            {"name": name, "network": network, "layer": layer} for name, (network, layer) in SHIPPED.items()
        ],
        "generators": list(SHIPPED_GENERATORS),
    }
    return Outcome(facts, "\n\n".join(parts))


def fitted(table: Table, width: int = WIDTH) -> str:
    """The table's text; of one that is too wide, each row's first cell gets a line of its own."""
    if all(len(line) <= width for line in table.text().splitlines()):
        return table.text()
    rest = Table(table.columns[1:], [row[1:] for row in table.rows]).text().splitlines()
    firsts = [table.heads[0].label, *(str(row[0]) for row in table.rows)]
    pairs = zip(firsts, rest, strict=True)
    return "\n".join(f"{first}\n    {line}" if first else f"    {line}" for first, line in pairs)


def _described(
    cards: Sequence[NetworkCard], heads: Sequence[str], more: Callable[[NetworkCard], tuple[str | None, ...]]
) -> str:
    """A row a card, what it is on several lines if need be."""
    rows: list[tuple[str | None, ...]] = []
    for card in cards:
        first, *others = textwrap.wrap(card.task, TASK_WIDTH)
        cells = more(card)
        rows.append((card.name, first, *cells))
        rows += [("", line, *[""] * len(cells)) for line in others]
    return fitted(Table(heads, rows))


def _extra(card: NetworkCard) -> str | None:
    return None if card.extra is None else card.extra + " ✗" * (not card.installed)


def _grouped(cards: Sequence[NetworkCard], fact: Callable[[NetworkCard], str]) -> str:
    """The cards that share a fact, and the fact."""
    groups: dict[str, list[str]] = {}
    for card in cards:
        if fact(card):
            groups.setdefault(fact(card), []).append(card.name)
    lines = [f"{', '.join(names)}: {text}" for text, names in groups.items()]
    return "\n".join(
        textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        for line in lines
    )
