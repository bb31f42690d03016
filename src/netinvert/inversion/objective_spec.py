"""Objectives from text: ``channel:130``, ``neuron:130@3,4``, ``class:flamingo``, ``azimuth:90``, …"""

from __future__ import annotations

import math

import torch

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import Activate, PoseTowards, Term
from netinvert.inversion.units import channel, channel_axis, neuron
from netinvert.io.files import read_code
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobile import class_names
from netinvert.scenes.cameras import rotation_from_angles

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
    count = encoder.code_shape[channel_axis(encoder.code_shape)]
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
