"""Which loader reads what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Format:
    """``read`` is for files with the ending ``suffixes`` that ``holds`` accepts."""

    suffixes: tuple[str, ...]
    read: Callable[[Path], Annotations]
    holds: Callable[[Path], bool] = Path.is_file

    def files(self, path: Path) -> list[Path]:
        """The files of this format at a path or below it, in order."""
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        return [each for each in files if each.suffix.lower() in self.suffixes and self.holds(each)]


def _begins_with_d(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"d "


FORMATS: Mapping[str, Format] = {
    "colmap": Format((".txt",), read_colmap, lambda path: path.name == "images.txt"),
    "nerf": Format((".json",), read_nerf, lambda path: path.name.startswith("transforms")),
    "objectron": Format((".pbdata",), read_objectron),
    "pascal3d": Format((".mat",), read_pascal3d),
    "render-for-cnn": Format(
        (".png", ".jpg", ".jpeg"),
        lambda path: Annotations((read_render_for_cnn(path),)),
        lambda path: is_render_for_cnn(path.name),
    ),
    "street-view": Format((".txt",), lambda path: Annotations((read_street_view(path),)), _begins_with_d),
}


def format_of(path: Path) -> str:
    """The format of the annotations in a file or folder. Raises AnnotationError: none is known."""
    if not path.exists():
        raise reject(path, "does not exist")
    for name, each in FORMATS.items():
        if each.files(path):
            return name
    raise reject(path, f"holds no annotations of a known format: {', '.join(FORMATS)}")


def load_annotations(path: str | Path, kind: str | None = None) -> Annotations:
    """All annotations in a file or folder; ``kind`` is one of FORMATS, told from the files if None.

    Raises AnnotationError: nothing to read, or a broken file, which is named; ConfigError: an unknown kind;
    MissingExtraError: the format needs a library that is not installed.
    """
    place = Path(path)
    if kind is not None and kind not in FORMATS:
        raise ConfigError(f"no format {kind!r}: there are {', '.join(FORMATS)}")
    chosen = FORMATS[kind or format_of(place)]
    found = chosen.files(place)
    if not found:
        raise reject(place, f"holds no files of the format {kind}")
    return Annotations.joined([chosen.read(each) for each in found])
