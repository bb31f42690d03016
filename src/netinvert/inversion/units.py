"""Directions in a code: what to look for more of. All (1, *code_shape), for one sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.models.encoder import Encoder


def channel(encoder: Encoder, index: int) -> Tensor:
    """The mean of a channel over all its positions: of maps (C, H, W), tokens (T, C), or one of (D,)."""
    shape = _shape(encoder)
    axis = channel_axis(shape)
    _check(index, shape[axis], "channel", encoder)
    direction = _zeros(encoder)
    places = direction.select(axis + 1, index)
    places.fill_(1 / places[0].numel())
    return direction


def neuron(encoder: Encoder, index: int, place: Sequence[int] | None = None) -> Tensor:
    """One neuron of a channel: at ``place`` (row, column), or (token,); in the middle where none is given."""
    shape = _shape(encoder)
    axis = channel_axis(shape)
    _check(index, shape[axis], "channel", encoder)
    room = [length for dimension, length in enumerate(shape) if dimension != axis]
    where = [length // 2 for length in room] if place is None else list(place)
    if len(where) != len(room):
        raise ConfigError(f"a place in codes of shape {shape} has {len(room)} numbers, got {len(where)}")
    for number, length in zip(where, room, strict=True):
        _check(number, length, "place", encoder)
    direction = _zeros(encoder)
    direction.select(axis + 1, index)[(0, *where)] = 1.0
    return direction


def space_mask(encoder: Encoder, rows: slice, columns: slice) -> Tensor:
    """Ones in a rectangle of a feature map (C, H, W), zeros elsewhere."""
    _map_shape(encoder)
    mask = _zeros(encoder)
    mask[..., rows, columns] = 1
    return _some(mask, encoder)


def centre_mask(encoder: Encoder, side: int) -> Tensor:
    """The middle ``side`` × ``side`` positions (the 5 × 5 of Mahendran & Vedaldi 2015, figure 8)."""
    shape = _map_shape(encoder)
    if not 1 <= side <= min(shape[1:]):
        raise ConfigError(f"layer '{encoder.layer}' has maps of {shape[1:]}; choose a side of up to that")
    start = [(length - side) // 2 for length in shape[1:]]
    return space_mask(encoder, *(slice(first, first + side) for first in start))


def channel_mask(encoder: Encoder, channels: slice) -> Tensor:
    """Ones in some channels (one of AlexNet's two streams, say), zeros elsewhere."""
    mask = _zeros(encoder)
    mask.movedim(channel_axis(encoder.code_shape) + 1, 0)[channels] = 1
    return _some(mask, encoder)


def parse_mask(encoder: Encoder, text: str) -> Tensor:
    """``centre=5``, ``channels=0:48`` or ``rows=2:7,columns=0:5``, as Python slices. Raises ConfigError."""
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    try:
        if set(parts) == {"centre"}:
            return centre_mask(encoder, int(parts["centre"]))
        if set(parts) == {"channels"}:
            return channel_mask(encoder, _slice(parts["channels"]))
        if parts and set(parts) <= {"rows", "columns"}:
            return space_mask(encoder, _slice(parts.get("rows", ":")), _slice(parts.get("columns", ":")))
    except ValueError:
        pass
    raise ConfigError(
        f"'{text}' is not a mask; write centre=SIDE, channels=FROM:TO or rows=FROM:TO,columns=FROM:TO"
    )


def _slice(text: str) -> slice:
    first, colon, last = text.partition(":")
    if not colon:
        raise ValueError(text)
    return slice(int(first) if first else None, int(last) if last else None)


def channel_axis(shape: Sequence[int]) -> int:
    """Where the channels of a code are: first in maps (C, H, W), last in tokens (T, C) and vectors (D,)."""
    return 0 if len(shape) == 3 else len(shape) - 1


def _map_shape(encoder: Encoder) -> tuple[int, ...]:
    if len(encoder.code_shape) != 3:
        raise ConfigError(f"codes of shape {encoder.code_shape} have no rows and columns to choose from")
    return encoder.code_shape


def _shape(encoder: Encoder) -> tuple[int, ...]:
    shapes = encoder.code_shape
    if isinstance(shapes, dict):
        raise ConfigError(
            f"a unit is of one layer, not of {', '.join(shapes)}; use an encoder of one of them"
        )
    return shapes


def _zeros(encoder: Encoder) -> Tensor:
    return torch.zeros(1, *encoder.code_shape, dtype=encoder.dtype, device=encoder.device)


def _some(mask: Tensor, encoder: Encoder) -> Tensor:
    if not bool(mask.any()):
        raise ConfigError(f"the mask leaves nothing of layer '{encoder.layer}', {encoder.code_shape}")
    return mask


def _check(index: int, length: int, what: str, encoder: Encoder) -> None:
    if not 0 <= index < length:
        raise ConfigError(
            f"layer '{encoder.layer}' of {encoder.network.name} has {what}s 0 to {length - 1}, got {index}"
        )
