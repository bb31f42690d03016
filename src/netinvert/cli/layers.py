"""``netinvert layers``."""

from __future__ import annotations

from typing import Annotated

import typer

from netinvert.cli.console import by, show_json, show_table


def layers(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="A name from 'netinvert networks'.")],
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List a network's layers: their codes' shapes, strides and receptive fields in pixels."""
    from netinvert.models.layers import architecture, list_layers
    from netinvert.models.registry import load_network

    loaded = load_network(network, weights) if weights else architecture(network)
    found = list_layers(loaded)
    if as_json:
        size = list(loaded.preprocessing.size)
        show_json({"network": loaded.name, "size": size, "suggested": loaded.layers, "layers": found})
        return
    rows = [
        (
            layer.name,
            layer.type,
            by(layer.code_shape),
            _or_dash(layer.stride),
            _or_dash(layer.receptive_field),
            "*" if layer.name in loaded.layers else "",
        )
        for layer in found
    ]
    show_table(("name", "type", "code", "stride", "receptive field", ""), rows)
    if loaded.layers:
        typer.echo("\n* worth inverting")


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)
