"""What ``netinvert scenes render`` and ``netinvert scenes show`` are asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Json, Output, Processes, Seed

OBJECTS = Option(
    "A category (chairs, cars, mugs, tables), a mesh file, or a folder of them.", metavar="NAME|PATH"
)
COUNT = Option("How many objects.", min=1, max=1_000_000)
VIEWS = Option("Views of each.", min=1)
PIXELS = Option("Of a side of the images.", min=8, max=4096)
CHAIRS62 = "chairs62"


@dataclass(frozen=True, kw_only=True)
class ScenesRender(Seed, Json, Processes):
    """Render a dataset of objects with known cameras, as WebDataset shards.

    The same command again takes up one that was stopped, and mends one that was damaged.
    """

    command: ClassVar[str] = "scenes render"

    out: Annotated[Path, pieces.OUT]
    objects: Annotated[str, OBJECTS] = "chairs"
    count: Annotated[int, COUNT] = 100
    views: Annotated[int, replace(VIEWS, help="Views of each; 62 means the protocol chairs62.")] = 20
    pixels: Annotated[int, PIXELS] = 64
    seed: Annotated[int, replace(pieces.SEED, help="Objects, cameras and lights follow from it.")] = 0
    protocol: Annotated[
        str | None,
        Option(
            "random, or chairs62: 31 azimuths at elevations 20 and 30.",
            choices=("random", CHAIRS62),
            metavar="NAME",
            default="random, but for 62 views",
        ),
    ] = None
    elevation: Annotated[
        tuple[float, float], Option("Lowest and highest, in degrees.", min=-90, max=90, metavar="LOW,HIGH")
    ] = (-5.0, 50.0)
    in_plane: Annotated[
        float, Option("Greatest in-plane rotation, in degrees.", min=0, max=180, metavar="DEGREES")
    ] = 15.0
    lights: Annotated[str, Option("random or studio.", choices=("random", "studio"), metavar="NAME")] = (
        "random"
    )
    background: Annotated[
        str,
        Option(
            "none (transparent), mixed, a kind (plain, gradient, noise, checks, blocks), or a folder of "
            "images.",
            metavar="NAME|DIR",
        ),
    ] = "none"
    occlusion: Annotated[
        float, Option("Greatest share of the image that something hides; below 1.", min=0, metavar="SHARE")
    ] = 0.0
    splits: Annotated[
        tuple[float, float, float],
        Option("Shares of the objects for training, validation and test.", min=0, metavar="A,B,C"),
    ] = (0.9, 0.05, 0.05)
    workers: Annotated[int, Option("Processes.", short="j", min=1, default="one a core", identity=False)] = (
        os.cpu_count() or 1
    )

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.protocol == CHAIRS62 and self.views != 62:
            raise ConfigError(f"--protocol {CHAIRS62} has 62 views, got {self.views}: give --views 62")
        if self.elevation[0] > self.elevation[1]:
            raise ConfigError(f"--elevation is LOW,HIGH, got {self.elevation[0]:g},{self.elevation[1]:g}")
        if abs(sum(self.splits) - 1) >= 1e-9:
            raise ConfigError(f"the three shares of --splits make 1, got {sum(self.splits):g}")
        if self.occlusion >= 1:
            raise ConfigError(f"--occlusion is below 1, got {self.occlusion:g}")


@dataclass(frozen=True, kw_only=True)
class ScenesShow(Seed, Output):
    """Show objects of a dataset, or freshly rendered ones: an object a row, a view a column."""

    command: ClassVar[str] = "scenes show"

    dataset: Annotated[
        Path | None, Option("A dataset of 'netinvert scenes render'.", positional=True, metavar="DIR")
    ] = None
    objects: Annotated[str, replace(OBJECTS, help=f"Without a dataset. {OBJECTS.help}")] = "chairs"
    count: Annotated[int, COUNT] = 10
    views: Annotated[int, VIEWS] = 6
    pixels: Annotated[int, replace(PIXELS, help="Of a side of what is rendered without a dataset.")] = 128
    seed: Annotated[int, replace(pieces.SEED, help="Of what is rendered without a dataset.")] = 0
    split: Annotated[
        str | None,
        Option(
            "Of a dataset.",
            choices=("train", "validation", "test"),
            metavar="NAME",
            default="validation, if there is any",
        ),
    ] = None
    parts: Annotated[bool, Option("Parts instead of colours.")] = False
