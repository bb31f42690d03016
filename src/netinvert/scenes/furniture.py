"""Furniture that people modelled: libraries of Sweet Home 3D, zips of a catalogue, meshes and textures."""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

from netinvert.errors import MissingExtraError
from netinvert.io.files import SMALL, guarded, inside, refusing, write_atomic
from netinvert.io.folders import make_directory
from netinvert.scenes.objects import MeshError, Object3D

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

CATALOGUE = "PluginFurnitureCatalog.properties"
LARGEST = 1 << 28
"""Bytes that a model and its textures may have unpacked: the largest of Debian's 820 has a tenth."""
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""From y up and the front towards +z, the catalogue's frame, to z up and the front towards -y."""
PLAIN = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Furniture:
    """A model of a library, as its catalogue tells of it: ``model`` is the mesh's place in the zip,
    ``rotation`` (row after row) brings it to y up and the front towards +z, ``size`` is width, depth and
    height in cm."""

    library: Path
    name: str
    tags: str
    model: str
    creator: str
    licence: str
    size: tuple[float, float, float]
    rotation: tuple[float, ...] = PLAIN

    @property
    def credit(self) -> dict[str, str]:
        """Whose it is."""
        facts = {"library": self.library.name, "model": self.model, "name": self.name}
        return facts | {"creator": self.creator, "licence": self.licence}

    def read(self) -> Object3D:
        """The model in the PASCAL3D+ frame; what :attr:`credit` says is among its parameters. Raises
        MeshError, MissingExtraError."""
        from netinvert.scenes.mesh_files import MeshOptions, read_object

        damaged = refusing(self.library, MeshError, remedy="fetch the library again")
        with tempfile.TemporaryDirectory() as folder, damaged:
            try:
                mesh = self._unpack(Path(folder))
                thing = read_object(mesh, MeshOptions("y"))
            except MeshError as error:  # which names a place that nobody will find
                said = str(error).replace(f"{folder}{os.sep}", "").replace(folder, "it")
                raise MeshError(said) from error
        turned = _turned(thing, UPRIGHT @ np.reshape(self.rotation, (3, 3)) @ UPRIGHT.T)
        stretched = _stretched(turned, np.array(self.size)).normalised()
        told = {name: value for name, value in thing.parameters.items() if name not in ("file", "up")}
        parameters = {**told, **self.credit}
        name = f"{self.name} ({mesh.stem})"
        symmetry = 0 if has_word(self.name, FRONTLESS) else thing.symmetry
        return replace(stretched, name=name, category="furniture", parameters=parameters, symmetry=symmetry)

    def _unpack(self, folder: Path) -> Path:
        """Write the model and what lies beside it into a folder; gives the mesh's path."""
        beside = "".join(self.model.rpartition("/")[:2])
        with zipfile.ZipFile(self.library) as archive:
            parts = [
                one
                for one in archive.infolist()
                # Beside a model that is in no folder lie the folders of all others.
                if one.filename.startswith(beside)
                and not one.is_dir()
                and (beside or "/" not in one.filename)
            ]
            total = sum(one.file_size for one in parts)
            if total > LARGEST:
                raise MeshError(
                    f"{self.library}: {self.model} takes {total / 1e6:,.0f} MB unpacked, more than "
                    f"{LARGEST / 1e6:,.0f}: give a library of smaller models"
                )
            for one in parts:
                path = inside(folder, one.filename, MeshError)
                make_directory(path.parent)
                write_atomic(path, archive.read(one))
        return inside(folder, self.model, MeshError)


def _turned(thing: Object3D, turn: np.ndarray) -> Object3D:
    vertices, normals = thing.vertices @ turn.T, thing.normals @ turn.T
    return replace(thing, vertices=vertices.astype(np.float32), normals=normals.astype(np.float32))


def _stretched(thing: Object3D, size: np.ndarray) -> Object3D:
    """To the proportions of (x, y, z); flat sides stay flat."""
    extent = np.ptp(thing.vertices, axis=0)
    scale = np.where(extent > 0, size / np.where(extent > 0, extent, 1), 1) / size.max()
    normals = thing.normals / scale
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    vertices = (thing.vertices * scale).astype(np.float32)
    return replace(thing, vertices=vertices, normals=normals.astype(np.float32))


SEATS = ("chair", "stool", "pouf", "ottoman", "bench")
"""Words for furniture that one person sits on, and for what stands beside it."""
FRONTLESS = ("stool", "pouf", "ottoman", "bench")
NOT_ALONE = ("table", "desk", "set")
"""Words of models that show more than a seat."""


def has_word(name: str, words: Collection[str]) -> bool:
    """Whether a word of a model's name ends in one of these, singular or plural, whatever the case.

    >>> has_word("Bar stools", FRONTLESS), has_word("Armchair", FRONTLESS)
    (True, False)
    """
    ending = rf"(?:{'|'.join(map(re.escape, words))})s?(?!\w)"
    return re.search(ending, name, re.IGNORECASE) is not None


def read_seats(path: str | Path) -> tuple[Furniture, ...]:
    """The models of a library that a word of SEATS names, or the tag "chair", but for those whose name says
    that there is more to them (NOT_ALONE). A catalogue does not tell which of them look the same from several
    sides: those count as frontless whose name has a word of FRONTLESS. Raises as :func:`read_library`."""
    found = [
        one
        for one in read_library(path)
        if (has_word(one.name, SEATS) or has_word(one.tags, SEATS[:1])) and not has_word(one.name, NOT_ALONE)
    ]
    if not found:
        raise MeshError(f"{path}: none of its models is called a seat ({', '.join(SEATS)}): give --category")
    return tuple(found)


def read_library(path: str | Path, word: str = "") -> tuple[Furniture, ...]:
    """The models of a library (.sh3f), in the order of its catalogue, or of all libraries in a folder, in the
    order of their names; those only that have ``word``, if any, among their tags or at the end of a word of
    their name, in English and whatever the case: "chair" finds armchairs too, "table" nothing that is
    adjustable.

    Raises MissingExtraError: the extra scenes is not installed; MeshError: no such file, no library, a
    damaged one, or none of the models has the word."""
    files = sorted(Path(path).glob("*.sh3f")) if Path(path).is_dir() else [Path(path)]
    if not files:
        raise MeshError(f"{path} is a folder without furniture libraries: give one that has .sh3f files")
    found = [model for file in files for model in _catalogue(file)]
    ending = rf"{re.escape(word)}s?(?!\w)"
    named, tagged = (re.compile(text, re.IGNORECASE) for text in (ending, rf"(?<!\w){ending}"))
    chosen = [one for one in found if named.search(one.name) or tagged.search(one.tags)]
    if not chosen:
        known = sorted({tag for one in found for tag in re.split(r",\s*", one.tags) if tag})
        raise MeshError(
            f"{path}: none of its {len(found)} models has {word!r} in its name or tags: choose one of "
            f"{', '.join(known[:30]) or 'another library'}"
        )
    return tuple(chosen)


@guarded(MeshError, "fetch the library again")
def _catalogue(file: Path) -> list[Furniture]:
    """All models of a library."""
    try:
        import javaproperties
    except ImportError as error:
        raise MissingExtraError("reading furniture libraries", "scenes") from error
    if not file.is_file():
        raise MeshError(f"{file} does not exist or is no file: check the path")
    if not zipfile.is_zipfile(file):
        raise MeshError(f"{file} is no furniture library, which is a zip: give a .sh3f file")
    with zipfile.ZipFile(file) as archive:
        members = {one.filename: one.file_size for one in archive.infolist()}
        if CATALOGUE not in members:
            raise MeshError(f"{file} has no {CATALOGUE}, so it is no furniture library: give a .sh3f file")
        if members[CATALOGUE] > SMALL:
            raise MeshError(f"{file}: its catalogue has {members[CATALOGUE]:,} bytes: fetch it again")
        facts = javaproperties.load(io.BytesIO(archive.read(CATALOGUE)))
    return list(_models(file, facts, members.keys()))


def _models(file: Path, facts: Mapping[str, str], members: Collection[str]) -> Iterator[Furniture]:
    """What a catalogue lists. A model that is not in the zip is refused: it would lie elsewhere."""
    numbers = sorted(int(key[6:]) for key in facts if re.fullmatch(r"model#\d{1,7}", key))
    for number in numbers:

        def of(key: str, number: int = number) -> str:
            return facts.get(f"{key}#{number}", "").strip()

        model = unquote(of("model").lstrip("/"))
        if model not in members:
            raise MeshError(
                f"{file}: model {number} is {model!r}, which is not in it: fetch the library again"
            )
        yield Furniture(
            library=file,
            name=of("name") or f"model {number}",
            tags=of("tags"),
            model=model,
            creator=of("creator") or "unknown",
            licence=of("license") or facts.get("license", "unknown").strip(),
            size=_numbers(file, number, [of(key) for key in ("width", "depth", "height")]),
            rotation=_rotation(file, number, of("modelRotation")),
        )


def _numbers(file: Path, number: int, texts: list[str]) -> tuple[float, float, float]:
    width, depth, height = (float(text or "nan") for text in texts)
    if not all(1e-3 < one < 1e6 for one in (width, depth, height)):
        raise MeshError(
            f"{file}: the size of model {number} is {texts}, not three lengths: mend its catalogue"
        )
    return width, depth, height


def _rotation(file: Path, number: int, text: str) -> tuple[float, ...]:
    if not text:
        return PLAIN
    values = np.array([float(one) for one in text.split()])
    turn = values.reshape(3, 3) if values.size == 9 else np.zeros((3, 3))
    if not (np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0):
        raise MeshError(f"{file}: the rotation of model {number}, {text}, is none: mend its catalogue")
    return tuple(values.tolist())
