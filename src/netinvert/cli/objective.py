"""What ``netinvert maximise`` is asked for, from options to terms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from netinvert.errors import ConfigError
from netinvert.evaluation.save_results import unique_stems
from netinvert.inversion.objectives import Activate, PoseTowards, Term
from netinvert.inversion.units import channel, channel_axis, neuron
from netinvert.io.files import read_code
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobilenets import class_names
from netinvert.scenes.rotations import rotation_from_angles


@dataclass(frozen=True)
class Wish:
    """One image that is wanted: its file's name, and what it is to be."""

    name: str
    objective: Term


@dataclass(frozen=True)
class Wishes:
    """The options, of which exactly one kind is given. ``place`` goes with channels: one neuron of each."""

    channels: tuple[int, ...] = ()
    place: str | None = None
    classes: tuple[str, ...] = ()
    direction: str | None = None
    azimuths: tuple[float, ...] = ()
    elevation: float = 20.0

    def __post_init__(self) -> None:
        kinds = (self.channels, self.classes, self.direction, self.azimuths)
        if sum(bool(kind) for kind in kinds) != 1:
            raise ConfigError("say what to look for: one of --channel, --class, --direction or --azimuth")
        if not all(math.isfinite(angle) for angle in (*self.azimuths, self.elevation)):
            raise ConfigError("--azimuth and --elevation are angles in degrees, finite numbers")
        if self.place is not None and not self.channels:
            raise ConfigError("--at says where in the map of a --channel; give a channel too")

    def of(self, encoder: Encoder) -> list[Wish]:
        """What they mean for this encoder. Raises ConfigError, CodeError."""
        wishes = self._of(encoder)
        names = [wish.name for wish in wishes]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"{twice[0]} is asked for twice; use --images for several images of it")
        return wishes

    def _of(self, encoder: Encoder) -> list[Wish]:
        if self.classes:
            return [_class(encoder, text) for text in self.classes]
        if self.direction is not None:
            return _directions(encoder, Path(self.direction))
        if self.azimuths:
            return [_pose(encoder, azimuth, self.elevation) for azimuth in self.azimuths]
        if self.place is None:
            return [Wish(f"channel-{k}", Activate(channel(encoder, k))) for k in self.channels]
        place = None if self.place == "centre" else _numbers(self.place)
        return [Wish(f"neuron-{k}", Activate(neuron(encoder, k, place))) for k in self.channels]


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--at takes 'centre' or whole numbers, ROW,COLUMN, got '{text}'") from None


def _class(encoder: Encoder, text: str) -> Wish:
    count = encoder.code_shape[channel_axis(encoder.code_shape)]
    if text.isdecimal():
        return Wish(f"class-{text}", Activate(channel(encoder, int(text))))
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
    return Wish(names[found[0]].replace(" ", "-").replace("/", "-"), Activate(channel(encoder, found[0])))


def _directions(encoder: Encoder, path: Path) -> list[Wish]:
    codes = encoder.check_code(read_code(path).to(encoder.device))
    stems = [path.stem] if len(codes) == 1 else [f"{path.stem}-{k + 1}" for k in range(len(codes))]
    names = unique_stems([path.with_name(f"{stem}.code") for stem in stems])
    return [Wish(name, Activate(row[None])) for name, row in zip(names, codes, strict=True)]


def _pose(encoder: Encoder, azimuth: float, elevation: float) -> Wish:
    error = encoder.network.pose_error
    if error is None:
        raise ConfigError(f"{encoder.network.name} does not read rotations; try posenet or posenet-judge")
    if encoder.layer not in (encoder.network.layers[-1], "output"):
        raise ConfigError(f"a pose is said by the network's output; use --layer {encoder.network.layers[-1]}")
    angles = (torch.tensor([value], dtype=encoder.dtype) for value in (azimuth, elevation, 0.0))
    rotation = rotation_from_angles(*angles).to(encoder.device)
    return Wish(f"azimuth-{azimuth:g}", PoseTowards(rotation, error))
