"""Where the objects of a dataset come from: a category, mesh files, or a furniture library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinvert.errors import ConfigError
from netinvert.scenes.catalogue import CATEGORIES, make_object
from netinvert.scenes.objects import Object3D

if TYPE_CHECKING:
    from netinvert.scenes.furniture import Furniture


@dataclass(frozen=True)
class ObjectSource:
    """Where a dataset's objects come from: a ``category``, without end, or ``members``: mesh files, with the
    axis that points ``up`` in them, "auto" by their formats, or models of a furniture library."""

    category: str
    members: tuple[Path | Furniture, ...] = ()
    up: str = "auto"

    @property
    def count(self) -> int | None:
        """How many objects there are; None without end."""
        return len(self.members) or None

    @property
    def files(self) -> tuple[Path, ...]:
        """The mesh files, or the library, that the objects are read from."""
        return tuple(dict.fromkeys(one if isinstance(one, Path) else one.library for one in self.members))

    @property
    def guess(self) -> str | None:
        """What is guessed of mesh files, for the user."""
        from netinvert.scenes.mesh_files import guessed_up

        files = [one for one in self.members if isinstance(one, Path)]
        guesses = {path.suffix.lower(): guessed_up(path) for path in files} if self.up == "auto" else {}
        found = [f"{axis} in {suffix} files" for suffix, axis in sorted(guesses.items()) if axis]
        return f"taken to point up: {', '.join(found)}; --up says otherwise" if found else None

    @property
    def credits(self) -> list[dict[str, str]]:
        """Whose the models of a library are, in the order of their places."""
        from netinvert.scenes.furniture import Furniture

        return [one.credit for one in self.members if isinstance(one, Furniture)]

    def make(self, seed: int, place: int) -> Object3D:
        """The object of a seed; or that at a place in the dataset, after the last the first again."""
        if not self.members:
            return make_object(self.category, seed)
        member = self.members[place % len(self.members)]
        if not isinstance(member, Path):
            return member.read()
        from netinvert.scenes.mesh_files import MeshOptions, read_object

        up: Any = None if self.up == "auto" else self.up
        return read_object(member, MeshOptions(up))


LIBRARY = "sh3f:"


def object_source(objects: str, up: str = "auto", category: str | None = None) -> ObjectSource:
    """The objects of a category, of a mesh file, of the meshes in a folder in the order of their names, or of
    a furniture library, ``sh3f:FILE`` (those of a ``category``, see :func:`read_library`).

    Raises ConfigError: neither a category nor a path, or what goes with other objects; MeshError: a folder
    without meshes, a library that cannot be read."""
    library = objects.startswith(LIBRARY)
    if category is not None and not library:
        raise ConfigError(f"--category is of a furniture library: give --objects {LIBRARY}FILE with it")
    if category is not None and not category.strip():
        raise ConfigError("--category has no word: name one, or leave it out for all models")
    if library:
        from netinvert.scenes.furniture import read_library

        if objects == LIBRARY:
            raise ConfigError(f"--objects {LIBRARY} names no library: give {LIBRARY}FILE.sh3f")
        if up != "auto":
            raise ConfigError(f"the catalogue of {objects} says what is up: leave out --up")
        return ObjectSource("furniture", read_library(objects.removeprefix(LIBRARY), category or ""))
    if objects in CATEGORIES:
        return ObjectSource(objects)
    path = Path(objects)
    if not path.exists():
        raise ConfigError(
            f"no objects {objects!r}: give a category ({', '.join(CATEGORIES)}), a mesh file, a folder or "
            f"{LIBRARY}FILE"
        )
    if path.suffix.lower() == ".sh3f":
        raise ConfigError(f"{path} is a furniture library: give --objects {LIBRARY}{path}")
    from netinvert.scenes.mesh_files import list_objects

    return ObjectSource("mesh", tuple(list_objects(path)) if path.is_dir() else (path,), up)
