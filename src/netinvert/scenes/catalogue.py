"""Objects by category and seed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netinvert.errors import ConfigError
from netinvert.scenes.cars import car
from netinvert.scenes.chairs import chair
from netinvert.scenes.mugs import mug
from netinvert.scenes.objects import Object3D
from netinvert.scenes.tables import table

CATEGORIES: Mapping[str, Callable[[int], Object3D]] = {
    "chairs": chair,
    "cars": car,
    "mugs": mug,
    "tables": table,
}
IDENTITIES_A_SEED = 1_000_000


def make_object(category: str, seed: int) -> Object3D:
    """The object of a category and a seed, the same every time.

    Raises:
        ConfigError: no such category.
    """
    if category not in CATEGORIES:
        near = difflib.get_close_matches(category, CATEGORIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(CATEGORIES)}"
        raise ConfigError(f"no category {category!r}: {hint}")
    return CATEGORIES[category](seed)


def identity_seed(seed: int, index: int) -> int:
    """The object seed of identity ``index`` of a dataset of ``seed``; no two datasets share one."""
    if not 0 <= index < IDENTITIES_A_SEED:
        raise ConfigError(f"identity {index}: a dataset has identities 0 to {IDENTITIES_A_SEED - 1}")
    return seed * IDENTITIES_A_SEED + index


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
    from netinvert.scenes.mesh_files import list_objects

    paths = list_objects(path) if path.is_dir() else [path]
    return ObjectSource(partial(_read, paths), len(paths))


def _made(category: str, seed: int, _place: int) -> Object3D:
    return make_object(category, seed)


def _read(paths: list[Path], _seed: int, place: int) -> Object3D:
    from netinvert.scenes.mesh_files import read_object

    return read_object(paths[place % len(paths)])
