"""What ``netinvert maximise`` and ``netinvert caricature`` are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Config, Option
from netinvert.io.pieces import Compute, OfLayer, Output, Seed, Unit

PRESET = replace(
    pieces.PRESET,
    help="default, maco, or the papers' simonyan13, ijcv16, deepvis-1 to deepvis-4.",
    choices="netinvert.inversion.presets.by_name:MAXIMISING",
)


@dataclass(frozen=True, kw_only=True)
class Maximising(Config):
    """How an objective is made large."""

    preset: Annotated[str, PRESET] = "default"
    prior: Annotated[str | None, pieces.PRIOR] = None
    steps: Annotated[int | None, pieces.STEPS] = None


@dataclass(frozen=True, kw_only=True)
class Maximise(OfLayer, Unit, Maximising, Seed, Output, Compute):
    """Find the images to which a unit, channel, class, direction or pose output responds most."""

    command: ClassVar[str] = "maximise"

    restarts: Annotated[int, pieces.RESTARTS] = 1
    start: Annotated[
        Path | None,
        Option(
            "An image to start from instead of noise.",
            metavar="IMAGE",
            identity=False,
            kept="tensors.safetensors",
        ),
    ] = None

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.seed > 2**63 - self.restarts:
            raise ConfigError(f"--seed is at most 2**63 - --restarts, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class CaricatureConfig(OfLayer, Maximising, Seed, Output, Compute):
    """Exaggerate what a layer sees in images."""

    command: ClassVar[str] = "caricature"

    input: Annotated[
        str,
        replace(
            pieces.INPUT,
            help="An image, a folder of images, or a quoted glob.",
            identity=False,
        ),
    ]
    power: Annotated[
        float, Option("Of the cosine with the image's code: how much nothing else may grow.", min=0, max=100)
    ] = 4.0
    from_noise: Annotated[bool, Option("Start from noise, not from the image.")] = False
    seed: Annotated[int, replace(pieces.SEED, help="Of noise and jitter.")] = 0
