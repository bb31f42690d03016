"""Where a dataset's objects come from: a category, a mesh file, or a folder of meshes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netinvert.errors import ConfigError
from netinvert.scenes.catalogue import CATEGORIES, make_object
from netinvert.scenes.objects import Object3D


@dataclass(frozen=True)
class ObjectSource:
    """``make`` gives the object of a seed and a place in the dataset; ``count`` is how many there are, None
    without end."""

    make: Callable[[int, int], Object3D]
    count: int | None = None


def object_source(objects: str) -> ObjectSource:
    """A category's objects follow from the seed; those of a folder are its meshes in the order of names.

    Raises:
        ConfigError: neither a category nor a path.
        MeshError: a folder without meshes.
    """
    if objects in CATEGORIES:
        return ObjectSource(partial(_made, objects))
    path = Path(objects)
    if not path.exists():
        raise ConfigError(
            f"no objects {objects!r}: give a category ({', '.join(CATEGORIES)}), a mesh file or a folder"
        )
    from netinvert.scenes.mesh_files import list_objects  # noqa: PLC0415  (needs trimesh)

    paths = list_objects(path) if path.is_dir() else [path]
    return ObjectSource(partial(_read, paths), len(paths))


def _made(category: str, seed: int, _place: int) -> Object3D:
    return make_object(category, seed)


def _read(paths: list[Path], _seed: int, place: int) -> Object3D:
    from netinvert.scenes.mesh_files import read_object  # noqa: PLC0415  (needs trimesh)

    return read_object(paths[place % len(paths)])
