"""Objects by category and seed, or from mesh files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from netinvert.errors import ConfigError
from netinvert.scenes.cars import car
from netinvert.scenes.chairs import make_chair
from netinvert.scenes.mugs import mug
from netinvert.scenes.objects import Object3D
from netinvert.scenes.tables import table

CATEGORIES: Mapping[str, Callable[[int], Object3D]] = {
    "chairs": make_chair,
    "cars": car,
    "mugs": mug,
    "tables": table,
}
"""What makes the object of a seed, for each category."""


def make_object(category: str, seed: int) -> Object3D:
    """The object of a category and a seed, the same every time.

    Raises ConfigError: no such category. Example:; >>> make_object("chairs", 7).parts; ('seat', 'back',
    'legs', 'arms').
    """
    if category not in CATEGORIES:
        near = difflib.get_close_matches(category, CATEGORIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(CATEGORIES)}"
        raise ConfigError(f"no category {category!r}: {hint}")
    return CATEGORIES[category](seed)


@dataclass(frozen=True)
class ObjectSource:
    """Where a dataset's objects come from: a ``category``, without end, or the mesh files ``paths``."""

    category: str
    paths: tuple[Path, ...] = ()

    @property
    def count(self) -> int | None:
        """How many objects there are; None without end."""
        return len(self.paths) or None

    def make(self, seed: int, place: int) -> Object3D:
        """The object of a seed; or the mesh at a place in the dataset, after the last the first again."""
        if not self.paths:
            return make_object(self.category, seed)
        from netinvert.scenes.mesh_files import read_object

        return read_object(self.paths[place % len(self.paths)])


def object_source(objects: str) -> ObjectSource:
    """The objects of a category, of a mesh file, or of the meshes in a folder in the order of their names.

    Raises ConfigError: neither a category nor a path; MeshError: a folder without meshes.
    """
    if objects in CATEGORIES:
        return ObjectSource(objects)
    path = Path(objects)
    if not path.exists():
        raise ConfigError(
            f"no objects {objects!r}: give a category ({', '.join(CATEGORIES)}), a mesh file or a folder"
        )
    from netinvert.scenes.mesh_files import list_objects

    return ObjectSource("mesh", tuple(list_objects(path)) if path.is_dir() else (path,))
