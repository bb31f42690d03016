"""Which loader reads what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from netinvert.errors import ConfigError
from netinvert.scenes.annotations.annotation import Annotations, reject
from netinvert.scenes.annotations.objectron import read_objectron
from netinvert.scenes.annotations.reconstructions import read_colmap, read_nerf
from netinvert.scenes.annotations.viewpoints import (
    is_render_for_cnn,
    read_pascal3d,
    read_render_for_cnn,
    read_street_view,
)


def _colmap_files(path: Path) -> list[Path]:
    return [path] if (path / "images.txt").is_file() and (path / "cameras.txt").is_file() else []


def _files(path: Path, *endings: str) -> list[Path]:
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return [each for each in files if each.suffix.lower() in endings]


def _renders(path: Path) -> list[Path]:
    return [each for each in _files(path, ".png", ".jpg", ".jpeg") if is_render_for_cnn(each.name)]


def _street_views(path: Path) -> list[Path]:
    found = []
    for each in _files(path, ".txt"):
        with each.open("rb") as file:
            if file.read(2) == b"d ":
                found.append(each)
    return found


def _transforms(path: Path) -> list[Path]:
    return [each for each in _files(path, ".json") if path.is_file() or each.name.startswith("transforms")]


FORMATS: dict[str, tuple[Callable[[Path], list[Path]], Callable[[Path], Annotations]]] = {
    "colmap": (_colmap_files, read_colmap),
    "nerf": (_transforms, read_nerf),
    "objectron": (lambda path: _files(path, ".pbdata"), read_objectron),
    "pascal3d": (lambda path: _files(path, ".mat"), read_pascal3d),
    "render-for-cnn": (_renders, lambda path: Annotations((read_render_for_cnn(path),))),
    "street-view": (_street_views, lambda path: Annotations((read_street_view(path),))),
}
"""For each format: which files under a path are of it, and how one is read."""


def format_of(path: Path) -> str:
    """The format of the annotations in a file or folder.

    Raises:
        AnnotationError: none is known.
    """
    if not path.exists():
        raise reject(path, "does not exist")
    for name, (files, _) in FORMATS.items():
        if files(path):
            return name
    raise reject(path, f"holds no annotations of a known format: {', '.join(FORMATS)}")


def load_annotations(path: str | Path, kind: str | None = None) -> Annotations:
    """All annotations in a file or folder; ``kind`` is one of FORMATS, told from the files if None.

    Raises:
        AnnotationError: nothing to read, or a broken file, which is named.
        ConfigError: an unknown kind.
        MissingExtraError: the format needs a library that is not installed.
    """
    place = Path(path)
    if kind is not None and kind not in FORMATS:
        raise ConfigError(f"no format {kind!r}: there are {', '.join(FORMATS)}")
    files, read = FORMATS[kind or format_of(place)]
    found = files(place)
    if not found:
        raise reject(place, f"holds no files of the format {kind}")
    return Annotations.joined([read(each) for each in found])
