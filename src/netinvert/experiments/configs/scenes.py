"""What ``netinvert scenes render`` and ``netinvert scenes show`` are asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Json, Output, Processes, Seed
from netinvert.scenes.dataset_config import CHAIRS62, PROTOCOLS, SPLITS, DatasetConfig

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class ScenesRender(DatasetConfig, Json, Processes):
    """Render a dataset of objects with known cameras, as WebDataset shards.

    The same command again takes up one that was stopped, and mends one that was damaged.
    """

    command: ClassVar[str] = "scenes render"

    out: Annotated[Path, pieces.OUT]
    protocol: Annotated[
        str,
        Option(
            "random views, or chairs62: 31 azimuths at elevations of 20 and 30 degrees; auto is chairs62 for "
            "62 views.",
            choices=(AUTO, *PROTOCOLS),
            metavar="NAME",
        ),
    ] = AUTO
    workers: Annotated[int, Option("Processes.", short="j", min=1, default="one a core", identity=False)] = (
        os.cpu_count() or 1
    )

    def dataset(self) -> DatasetConfig:
        """What is to be rendered."""
        known = {field.name: getattr(self, field.name) for field in fields(DatasetConfig)}
        if self.protocol == AUTO:
            known["protocol"] = CHAIRS62 if self.views == 62 else PROTOCOLS[0]
        return DatasetConfig(**known)


@dataclass(frozen=True, kw_only=True)
class ScenesShow(Seed, Output):
    """Show objects of a dataset, or freshly rendered ones: an object a row, a view a column."""

    command: ClassVar[str] = "scenes show"

    dataset: Annotated[
        Path | None, Option("A dataset of 'netinvert scenes render'.", positional=True, metavar="DIR")
    ] = None
    objects: Annotated[
        str, Option("Without a dataset, a category (chairs, cars, mugs, tables), a mesh file, or a folder.")
    ] = "chairs"
    count: Annotated[int, Option("How many objects.", min=1)] = 10
    views: Annotated[int, Option("Views of each.", min=1)] = 6
    pixels: Annotated[
        int, Option("Pixels a side of what is rendered without a dataset.", min=8, max=4096)
    ] = 128
    seed: Annotated[int, replace(pieces.SEED, help="Of what is rendered without a dataset.")] = 0
    split: Annotated[
        str | None,
        Option(
            "Of a dataset.",
            choices=SPLITS,
            metavar="NAME",
            default="validation, if there is any",
        ),
    ] = None
    parts: Annotated[bool, Option("Parts instead of colours.")] = False
