"""Directions and masks in a code, (1, *code_shape), and objectives from text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import Activate, PoseTowards, Term
from netinvert.io.codes import read_code
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobile import class_names
from netinvert.scenes.cameras import rotation_from_angles


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
    if not isinstance(side, Integral) or not 1 <= side <= min(shape[1:]):
        raise ConfigError(f"layer '{encoder.layer}' has maps of {shape[1:]}; choose a side of up to that")
    start = [(length - side) // 2 for length in shape[1:]]
    return space_mask(encoder, *(slice(first, first + side) for first in start))


def channel_mask(encoder: Encoder, channels: slice) -> Tensor:
    """Ones in some channels (one of AlexNet's two streams, say), zeros elsewhere."""
    mask = _zeros(encoder)
    mask.movedim(channel_axis(_shape(encoder)) + 1, 0)[channels] = 1
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
    if len(_shape(encoder)) != 3:
        raise ConfigError(f"codes of shape {encoder.code_shape} have no rows and columns to choose from")
    return encoder.code_shape


def _shape(encoder: Encoder) -> tuple[int, ...]:
    shapes = encoder.code_shape
    if isinstance(shapes, dict):
        raise ConfigError(
            f"a unit is of one layer, not of {', '.join(shapes)}; use an encoder of one of them"
        )
    if not shapes:
        raise ConfigError(f"layer '{encoder.layer}' gives one number an image, which has no channels")
    return shapes


def _zeros(encoder: Encoder) -> Tensor:
    return torch.zeros(1, *encoder.code_shape, dtype=encoder.dtype, device=encoder.device)


def _some(mask: Tensor, encoder: Encoder) -> Tensor:
    if not bool(mask.any()):
        raise ConfigError(f"the mask leaves nothing of layer '{encoder.layer}', {encoder.code_shape}")
    return mask


def _check(index: int, length: int, what: str, encoder: Encoder) -> None:
    if not isinstance(index, Integral) or not 0 <= index < length:
        raise ConfigError(
            f"layer '{encoder.layer}' of {encoder.network.name} has {what}s 0 to {length - 1}, got {index}"
        )


ELEVATION = 20.0
FORMS = "channel:K, neuron:K, neuron:K@ROW,COLUMN, class:NAME, azimuth:DEGREES[@ELEVATION], code:FILE"


def parse_objective(encoder: Encoder, text: str | Term) -> Term:
    """What the text asks for: the mean of a channel, a neuron (in the middle, or at a place), a class by name
    or number, a pose in degrees, a direction from a file. What is no text stays as it is.

    Raises ConfigError, CodeError.
    """
    if not isinstance(text, str):
        return text
    kind, _, rest = text.partition(":")
    what, _, place = rest.partition("@")
    try:
        if kind == "channel" and not place:
            return Activate(channel(encoder, int(what)))
        if kind == "neuron":
            where = tuple(int(part) for part in place.split(",")) if place else None
            return Activate(neuron(encoder, int(what), where))
        if kind == "class" and what and not place:
            return Activate(channel(encoder, class_index(encoder, what)))
        if kind == "azimuth":
            return pose_objective(encoder, float(what), float(place) if place else ELEVATION)
        if kind == "code" and rest:
            return Activate(encoder.check_code(read_code(rest).to(encoder.device)))
    except ValueError:
        pass
    raise ConfigError(f"'{text}' is not an objective; write one of {FORMS}")


def class_index(encoder: Encoder, text: str) -> int:
    """The ImageNet class of this number or name, or of whose name it is a part. Raises ConfigError."""
    if text.isdecimal():
        return int(text)
    count = _shape(encoder)[channel_axis(encoder.code_shape)]
    if count != 1000:
        raise ConfigError(
            f"layer '{encoder.layer}' has {count} channels, not the 1000 ImageNet classes whose names are "
            "known; give the class by its number"
        )
    names = class_names()
    found = [k for k, name in enumerate(names) if text.casefold() == name.casefold()]
    found = found or [k for k, name in enumerate(names) if text.casefold() in name.casefold()]
    if len(found) != 1:
        some = ", ".join(f"{names[k]} ({k})" for k in found[:6])
        raise ConfigError(f"'{text}' names {some or 'no class'}; name one, or give its number")
    return found[0]


def pose_objective(encoder: Encoder, azimuth: float, elevation: float = ELEVATION) -> PoseTowards:
    """The image that most says this pose, in degrees. Raises ConfigError."""
    error = encoder.network.pose_error
    if not (math.isfinite(azimuth) and math.isfinite(elevation)):
        raise ConfigError(f"azimuth and elevation are angles in degrees, got {azimuth} and {elevation}")
    if error is None:
        raise ConfigError(f"{encoder.network.name} does not read rotations; try posenet or posenet-judge")
    if encoder.layer not in (encoder.network.layers[-1], "output"):
        raise ConfigError(
            f"a pose is said by the network's output; use --layer {encoder.network.layers[-1]}, in Python "
            f"Encoder(network, {encoder.network.layers[-1]!r})"
        )
    angles = (torch.tensor([value], dtype=encoder.dtype) for value in (azimuth, elevation, 0.0))
    return PoseTowards(rotation_from_angles(*angles).to(encoder.device), error)
