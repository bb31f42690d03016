"""What every loader gives: images with their cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from netinvert.errors import NetinvertError
from netinvert.scenes.cameras import Camera

Value = str | int | float | bool
Item = TypeVar("Item")


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
        skipped: dict[str, int] = {}
        for each in several:
            for reason, count in each.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
        return cls(tuple(one for each in several for one in each.found), skipped)


def reject(path: Path, why: str) -> AnnotationError:
    """The error about a file that is not what it should be."""
    return AnnotationError(f"{path}: {why}")


def numbers(path: Path, texts: list[str], line: int) -> list[float]:
    """Numbers of a line of text.

    Raises:
        AnnotationError: something that is no number, or NaN.
    """
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise reject(path, f"line {line} should hold numbers ({error})") from error
    if not all(abs(value) < float("inf") for value in values):
        raise reject(path, f"line {line} has NaN or infinite numbers")
    return values


def text_of(path: Path) -> str:
    """A text file.

    Raises:
        AnnotationError: it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise reject(path, f"cannot be read as text ({error})") from error
