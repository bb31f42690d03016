"""What every loader gives: images with their cameras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from netinvert.errors import NetinvertError
from netinvert.scenes.cameras import Camera, CameraError
from netinvert.scenes.objects import Value


class AnnotationError(NetinvertError):
    """A file of annotations that cannot be read."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """One object in one image.

    ``image`` is the image's file, as far as the annotations tell; ``camera`` sees the object in the
    PASCAL3D+ frame (z up, front towards -y) unless the loader says otherwise. ``calibrated`` is false
    where the file does not tell the intrinsics: then only the rotation, and the position up to scale, mean
    anything. ``box`` is (left, top, right, bottom) in pixels. ``details`` is what else the file says.
    """

    image: Path
    camera: Camera
    category: str = ""
    identity: str = ""
    box: tuple[float, float, float, float] | None = None
    calibrated: bool = True
    details: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Annotations:
    """The annotations of a file or folder, and how many were left out, by reason."""

    found: tuple[Annotation, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def joined(cls, several: list[Annotations]) -> Annotations:
        """Those of several files as one."""
        skipped: Counter[str] = Counter()
        for each in several:
            skipped.update(each.skipped)
        return cls(tuple(one for each in several for one in each.found), skipped)


def reject(path: Path, why: str) -> AnnotationError:
    """The error about a file that is not what it should be."""
    return AnnotationError(f"{path}: {why}")


@contextmanager
def reading(path: Path, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Raise ``errors``, and CameraError, as AnnotationError that tells ``what`` is wrong with a file."""
    expected: tuple[type[Exception], ...] = (CameraError, *errors)
    try:
        yield
    except expected as error:
        raise reject(path, f"{what} ({error})") from error


def numbers(path: Path, texts: list[str], line: int) -> list[float]:
    """Numbers of a line of text. Raises AnnotationError: something that is no number, or NaN."""
    with reading(path, f"line {line} should hold numbers", ValueError):
        values = [float(text) for text in texts]
    if not all(abs(value) < float("inf") for value in values):
        raise reject(path, f"line {line} has NaN or infinite numbers")
    return values


def text_of(path: Path) -> str:
    """A text file. Raises AnnotationError: it cannot be read as text."""
    with reading(path, "cannot be read as text", OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")


def image_size(path: Path, image: Path, since: str = "") -> tuple[int, int]:
    """Width and height of the ``image`` of the annotations at ``path``; ``since`` says why it is looked at.

    Raises AnnotationError: it cannot be opened.
    """
    with (
        reading(path, f"{since}the image {image.name} cannot be opened", OSError, UnidentifiedImageError),
        Image.open(image) as opened,
    ):
        return opened.size
