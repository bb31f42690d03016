"""What ``netinvert maximise`` and ``caricature`` were asked, and the jobs that do it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinvert.cli.drawing import Drawing, DrawingJob
from netinvert.cli.inputs import is_code_file, read_inputs, sources_of
from netinvert.cli.job import read_start
from netinvert.cli.loading import load_encoder
from netinvert.cli.objective import Wishes
from netinvert.errors import ConfigError, ImageError
from netinvert.inversion.objectives import Caricature
from netinvert.inversion.presets.by_name import MAXIMISING, maximising_recipe
from netinvert.inversion.prior_spec import parse_prior
from netinvert.inversion.schedule import Recipe
from netinvert.models.encoder import Encoder


@dataclass(frozen=True)
class MaximiseSettings:
    """The options of ``netinvert maximise``, checked as far as they can be without the network."""

    network: str
    layer: str
    wishes: Wishes
    preset: str = "default"
    prior: str | None = None
    steps: int | None = None
    images: int = 1
    seed: int = 0
    start: str | None = None
    weights: str | None = None
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        _check(self)
        if self.images < 1:
            raise ConfigError(f"--images is at least 1, got {self.images}")


@dataclass(frozen=True)
class CaricatureSettings:
    """The options of ``netinvert caricature``, checked as far as they can be without the network."""

    input: str
    network: str
    layer: str
    power: float = 4.0
    preset: str = "default"
    prior: str | None = None
    steps: int | None = None
    from_noise: bool = False
    seed: int = 0
    weights: str | None = None
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        _check(self)
        if not 0 <= self.power <= 100:
            raise ConfigError(f"--power is a number from 0 to 100, got {self.power}")
        if is_code_file(self.input):
            raise ImageError(f"{self.input} holds a code; a caricature is drawn of an image")


def maximising_job(settings: MaximiseSettings) -> DrawingJob:
    """Everything read and checked. Raises NetinvertError."""
    encoder = load_encoder(settings.network, settings.layer, settings.weights, settings.device)
    start = None if settings.start is None else read_start(settings.start, encoder)
    seeds = tuple(range(settings.seed, settings.seed + settings.images))
    drawings = [
        Drawing(wish.name, wish.objective, seeds, start=None if start is None else start.image)
        for wish in settings.wishes.of(encoder)
    ]
    command = {"command": "maximise", **dataclasses.asdict(settings)}
    direction = settings.wishes.direction
    sources = () if direction is None else sources_of([Path(direction)])
    sources += () if start is None else (start.source,)
    return DrawingJob(encoder, _recipe(settings, encoder), drawings, command, sources)


def caricature_job(settings: CaricatureSettings) -> DrawingJob:
    """Everything read and checked. Raises NetinvertError."""
    encoder = load_encoder(settings.network, settings.layer, settings.weights, settings.device)
    inputs = read_inputs(settings.input, encoder)
    assert inputs.originals is not None
    drawings = [
        Drawing(
            stem,
            Caricature(inputs.codes[k : k + 1], settings.power),
            (settings.seed,),
            original=inputs.originals[k : k + 1],
            start=None if settings.from_noise else inputs.originals[k : k + 1],
        )
        for k, stem in enumerate(inputs.stems)
    ]
    command = {"command": "caricature", **dataclasses.asdict(settings)}
    return DrawingJob(encoder, _recipe(settings, encoder), drawings, command, inputs.sources)


def drawing_command(manifest: Mapping[str, Any]) -> str | None:
    """``maximise`` or ``caricature``, if the manifest is of one of them."""
    command = manifest.get("command")
    name = command.get("command") if isinstance(command, Mapping) else None
    return name if name in ("maximise", "caricature") else None


def drawing_job_of(manifest: Mapping[str, Any]) -> DrawingJob:
    """The same job again. Raises NetinvertError."""
    given = {key: value for key, value in manifest["command"].items() if key != "command"}
    try:
        if drawing_command(manifest) == "caricature":
            return caricature_job(CaricatureSettings(**given))
        lists = ("channels", "classes", "azimuths")
        asked = given.pop("wishes")
        wishes: dict[str, Any] = {key: tuple(each) if key in lists else each for key, each in asked.items()}
        return maximising_job(MaximiseSettings(wishes=Wishes(**wishes), **given))
    except (TypeError, KeyError, AttributeError):
        raise ConfigError("the manifest's command has other options than this version's; mend it") from None


def _recipe(settings: MaximiseSettings | CaricatureSettings, encoder: Encoder) -> Recipe:
    how = maximising_recipe(settings.preset, encoder, settings.prior)
    return how if settings.steps is None else how.with_steps(settings.steps)


def _check(settings: MaximiseSettings | CaricatureSettings) -> None:
    if settings.preset not in MAXIMISING:
        raise ConfigError(f"there is no preset '{settings.preset}'; choose from {', '.join(MAXIMISING)}")
    if settings.prior is not None:
        parse_prior(settings.prior)
    for name, value in (("steps", settings.steps), ("threads", settings.threads)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is at least 1, got {value}")
    images = settings.images if isinstance(settings, MaximiseSettings) else 1
    if not 0 <= settings.seed <= 2**63 - images:
        raise ConfigError(f"a seed is a whole number from 0 to 2**63 - 1, got {settings.seed}")
