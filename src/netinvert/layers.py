"""What layers a network has: their codes' shapes, strides and receptive fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.encoder import Encoder
from netinvert.networks.network import Network
from netinvert.tap import INPUT, tensors_of
from netinvert.tracing import observed

MOST_SHIFTS = 32
"""The largest stride whose receptive field is found exactly."""


@dataclass(frozen=True)
class LayerInfo:
    """A layer as :class:`Encoder` takes it. ``stride`` and ``receptive_field`` in pixels, None for codes
    without space; a receptive field that covers the whole image is given as the image's height."""

    name: str
    type: str
    code_shape: tuple[int, ...]
    stride: int | None
    receptive_field: int | None


@torch.no_grad()
def list_layers(network: Network) -> list[LayerInfo]:
    """Every module that runs on an image, in the order in which they finish.

    Modules that give several tensors appear once a tensor, ``name[item]``; those that run several times
    once a call, ``name:call``. Raises NetworkError for a network that no image can pass.
    """
    encoder = Encoder(network, INPUT)
    module, size = encoder.module, encoder.size
    height = size[0]
    seen: list[tuple[str, str, Tensor]] = []

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        outputs = {"": output} if isinstance(output, Tensor) else tensors_of(output)
        for key, tensor in outputs.items():
            seen.append((f"{name or 'output'}{f'[{key}]' if key else ''}", type(part).__name__, tensor))

    # A row of NaN reaches just those units that depend on it. Over s neighbouring rows, s the stride, a
    # layer's units are reached as often as its receptive field is high.
    shifts = min(MOST_SHIFTS, height)
    top = (height - shifts) // 2
    images = torch.rand(1, encoder.preprocessing.channels, *size, dtype=encoder.dtype, device=encoder.device)
    marked = images.repeat(shifts, 1, 1, 1)
    for index in range(shifts):
        marked[index, :, top + index, :] = torch.nan
    with observed(module, observe):
        module(encoder.network_input(marked))
    counts: dict[str, int] = {}
    for name, _, _ in seen:
        counts[name] = counts.get(name, 0) + 1
    called: dict[str, int] = {}
    found = []
    for name, kind, tensor in seen:
        call = called[name] = called.get(name, -1) + 1
        full = name if counts[name] == 1 else _with_call(name, call)
        stride, field = _extent(tensor, shifts, height)
        found.append(LayerInfo(full, kind, tuple(tensor.shape[1:]), stride, field))
    return found


def _with_call(name: str, call: int) -> str:
    base, bracket, item = name.partition("[")
    return f"{base}:{call}{bracket}{item}"


def _extent(code: Tensor, shifts: int, height: int) -> tuple[int | None, int | None]:
    """Stride and receptive field of a feature map (shifts, C, h, w) marked row by row."""
    if code.ndim != 4 or code.shape[-2] < 2:
        return None, None
    stride = max(1, round(height / code.shape[-2]))
    reached = torch.isnan(code).any(dim=1).any(dim=2)  # (shifts, h)
    if bool(reached.all()):
        return stride, height
    period = min(stride, shifts)
    rows = reached[: shifts - shifts % period].sum().item()
    return stride, min(height, math.ceil(rows * period / (shifts - shifts % period)))
