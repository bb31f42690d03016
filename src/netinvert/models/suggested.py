"""Which layers of a network are worth inverting, where nobody has said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from torch import nn

from netinvert.models.layers import LayerInfo
from netinvert.models.network import Network

ACTIVATIONS = set(nn.modules.activation.__all__) - {"MultiheadAttention"}
FEWEST_BLOCKS = 3
MOST = 6
"""About how many layers, besides the output, are suggested."""


def suggested_layers(network: Network, layers: Sequence[LayerInfo]) -> tuple[str, ...]:
    """The layers that are worth inverting, early to late: those that the network names itself, otherwise some
    outputs of its blocks (or of its activations and poolings, where it has no blocks) at every stride, the
    pooled code and the output.

    >>> from netinvert.models.layers import architecture, list_layers
    >>> network = architecture("posenet")
    >>> suggested_layers(network, list_layers(network))[-2:]
    ('relu7', 'fc8')
    """
    if network.layers or not layers:
        return network.layers
    names = [layer.name for layer in layers]
    blocks = [layer.name for layer in layers if _is_block(layer, names)]
    # Of blocks within blocks the outer ones; an outer one ends after those inside it.
    blocks = [name for name in blocks if not any(name.startswith(f"{other}.") for other in blocks)]
    if len(blocks) < FEWEST_BLOCKS:
        blocks = []
    candidates = [
        layer
        for layer in layers[:-1]
        if layer.name in blocks
        or (
            not any(layer.name.startswith(f"{block}.") for block in blocks)
            and ("Pool" in layer.type or (layer.type in ACTIVATIONS and not blocks))
            and (not blocks or layer.stride is None)
        )
    ]
    groups = [list(group) for _, group in groupby(candidates, key=lambda layer: layer.stride)]
    some = max(1, MOST // max(len(groups), 1))
    chosen = [layer.name for group in groups for layer in _spread(group, some)]
    return (*chosen, names[-1])


def _is_block(layer: LayerInfo, names: Sequence[str]) -> bool:
    """Whether it is one of several numbered modules, each with modules inside."""
    return bool(re.search(r"(^|\.)\d+$", layer.name)) and any(
        name.startswith(f"{layer.name}.") for name in names
    )


def _spread(group: Sequence[LayerInfo], count: int) -> list[LayerInfo]:
    """So many of a group at equal distances; the last is always among them."""
    count = min(count, len(group))
    return [group[len(group) * (k + 1) // count - 1] for k in range(count)]
