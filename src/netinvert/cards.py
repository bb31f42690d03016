"""What the cards of trained networks and decoders have in common."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from netinvert.scenes.plan import DatasetPlan


def data_command(plan: Mapping[str, Any]) -> str:
    """The command that renders the dataset of a plan (``DatasetPlan.to_json``)."""
    always = ("objects", "identities", "views", "size", "seed")
    usual = DatasetPlan().to_json()
    words = ["netinvert", "scenes", "render"]
    for name, value in DatasetPlan.from_json(plan).to_json().items():
        if name in always or value != usual[name]:
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def figures_table(title: str, figures: Mapping[str, float] | None) -> list[str]:
    """Lines of Markdown; none without figures."""
    if not figures:
        return []
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    return [f"{title}:", "", "| figure | value |", "| --- | --- |", *rows, ""]
