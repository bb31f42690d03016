"""What ``netinvert maximise`` is asked for, from options to terms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from netinvert.errors import ConfigError
from netinvert.evaluation.save_results import unique_stems
from netinvert.inversion.objective_spec import class_index, pose_objective
from netinvert.inversion.objectives import Activate, Term
from netinvert.inversion.units import channel, neuron
from netinvert.io.files import read_code
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobilenets import class_names


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
            return [
                Wish(f"azimuth-{azimuth:g}", pose_objective(encoder, azimuth, self.elevation))
                for azimuth in self.azimuths
            ]
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
    index = class_index(encoder, text)
    name = f"class-{text}" if text.isdecimal() else class_names()[index].replace(" ", "-").replace("/", "-")
    return Wish(name, Activate(channel(encoder, index)))


def _directions(encoder: Encoder, path: Path) -> list[Wish]:
    codes = encoder.check_code(read_code(path).to(encoder.device))
    stems = [path.stem] if len(codes) == 1 else [f"{path.stem}-{k + 1}" for k in range(len(codes))]
    names = unique_stems([path.with_name(f"{stem}.code") for stem in stems])
    return [Wish(name, Activate(row[None])) for name, row in zip(names, codes, strict=True)]
