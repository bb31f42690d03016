"""Contact sheets of objects: one object a row, one view a column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netinvert.evaluation.contact_sheet import Cell, Row, contact_sheet, png_of
from netinvert.io.files import write_atomic
from netinvert.scenes.backgrounds import composite
from netinvert.scenes.catalogue import object_source
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import DatasetError, read_shard, shard_paths
from netinvert.scenes.lights import STUDIO
from netinvert.scenes.objects import Object3D
from netinvert.scenes.render import Renderer

PAPER = (232, 232, 234)
PART_COLOURS = np.array(
    [
        (232, 232, 234),
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (213, 94, 0),
        (204, 121, 167),
        (0, 114, 178),
    ],
    np.uint8,
)
"""Nothing, then parts in order, again from the second after the last (Okabe & Ito)."""


def dataset_sheet(
    folder: Path, split: str | None, identities: int, views: int, out: Path, parts: bool = False
) -> None:
    """Write the first objects and views of a dataset's split; of one that there is if None.

    Raises:
        DatasetError: no such dataset or split, or a damaged shard.
    """
    rows: dict[int, tuple[str, list[Cell]]] = {}
    for path in shard_paths(folder, split):
        for sample in read_shard(path):
            record = sample["json"]
            if record["identity"] not in rows and len(rows) == identities:
                break
            name = f"{record['category']}, identity {record['identity']} (seed {record['seed']})"
            cells = rows.setdefault(record["identity"], (name, []))[1]
            if len(cells) < views:
                picture = coloured_parts(sample["parts"]) if parts else _on_paper(sample)
                angles = [record[angle] for angle in ("azimuth", "elevation", "in_plane")]
                cells.append(Cell(_tensor(picture), (_angles(*angles),)))
        if len(rows) == identities:
            break
    if not rows:
        raise DatasetError(f"{folder} has no sample to show: render it again")
    sheet = contact_sheet(
        [Row(name, tuple(cells)) for name, cells in rows.values()], [""] * views, str(folder)
    )
    write_atomic(out, png_of(sheet))


def fresh_sheet(plan: DatasetConfig, out: Path, parts: bool = False) -> None:
    """Write the objects of a plan from all around, in studio light, on plain paper."""
    source = object_source(plan.objects)
    rows = []
    for identity in range(min(plan.identities, source.count or plan.identities)):
        thing = source.make(plan.object_seed(identity), identity)
        renderer, cells = Renderer(thing), []
        for view in range(plan.views):
            camera = plan.camera_at(thing.vertices, (30 + 360 / plan.views * view) % 360, 20)
            rendering = renderer.image(camera, STUDIO)
            picture = coloured_parts(rendering.parts) if parts else _composed(rendering.rgba)
            cells.append(
                Cell(_tensor(picture), (_angles(camera.azimuth, camera.elevation, camera.in_plane),))
            )
        rows.append(Row(describe(thing), tuple(cells)))
    write_atomic(out, png_of(contact_sheet(rows, [""] * plan.views, plan.objects)))


def describe(thing: Object3D) -> str:
    """A line on an object: its name, what it is made of, its symmetry."""
    kinds = ", ".join(f"{k} {v}" for k, v in thing.parameters.items() if isinstance(v, str) and v != "none")
    turns = {1: "", 0: "any turn"}.get(thing.symmetry, f"{thing.symmetry} turns")
    return ", ".join(text for text in (thing.name, kinds, f"symmetry: {turns}" if turns else "") if text)


def _angles(azimuth: float, elevation: float, in_plane: float) -> str:
    text = f"{azimuth:.0f}°, {elevation:.0f}°"
    return text if abs(in_plane) < 0.5 else f"{text}, in-plane {in_plane:.0f}°"


def _on_paper(sample: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return _composed(sample["rgba"]) if "rgba" in sample else sample["rgb"]


def _composed(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return composite(rgba, np.broadcast_to(np.array(PAPER, np.uint8), (*rgba.shape[:2], 3)))


def coloured_parts(parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of part ids (H, W)."""
    index = np.where(parts > 0, 1 + (parts.astype(int) - 1) % (len(PART_COLOURS) - 1), 0)
    return np.asarray(PART_COLOURS[index])


def _tensor(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255
