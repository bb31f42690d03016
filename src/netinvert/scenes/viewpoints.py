"""Images with their cameras, as every loader gives them; the viewpoints of single objects in PASCAL3D+ and
ObjectNet3D (Xiang et al. 2014, 2016), RenderForCNN and Street View."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from netinvert.errors import NetinvertError
from netinvert.io.files import guarded, inside, refusing
from netinvert.scenes.cameras import Camera, rotation_from_angles, turn_about
from netinvert.scenes.matlab import read_mat
from netinvert.scenes.objects import Value


class AnnotationError(NetinvertError):
    """A file of annotations that cannot be read."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """One object in one image.

    ``image`` is the image's file, as far as the annotations tell; ``camera`` sees the object in the PASCAL3D+
    frame (z up, front towards -y) unless the loader says otherwise. ``calibrated`` is false where the file
    does not tell the intrinsics: then only the rotation, and the position up to scale, mean anything. ``box``
    is (left, top, right, bottom) in pixels. ``details`` is what else the file says."""

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


def reading(path: Path, what: str) -> AbstractContextManager[None]:
    """Whatever goes wrong becomes an AnnotationError that tells ``what`` is wrong with a file."""
    return refusing(path, AnnotationError, what, "mend it, or get it again")


def numbers(path: Path, texts: list[str], line: int) -> list[float]:
    """Numbers of a line of text. Raises AnnotationError: something that is no number, or NaN."""
    with reading(path, f"line {line} should hold numbers"):
        values = [float(text) for text in texts]
    if not all(abs(value) < float("inf") for value in values):
        raise reject(path, f"line {line} has NaN or infinite numbers")
    return values


def text_of(path: Path) -> str:
    """A text file. Raises AnnotationError: it cannot be read as text."""
    with reading(path, "cannot be read as text"):
        return path.read_text(encoding="utf-8")


def image_size(path: Path, image: Path, since: str = "") -> tuple[int, int]:
    """Width and height of the ``image`` of the annotations at ``path``; ``since`` says why it is looked at.
    Raises AnnotationError: it cannot be opened."""
    with (
        reading(path, f"{since}the image {image.name} cannot be opened"),
        Image.open(image) as opened,
    ):
        return opened.size


COARSE = "only a coarse viewpoint (distance 0)"
UNSEEN = "no viewpoint"
FLAGS = ("truncated", "occluded", "difficult")


@guarded(AnnotationError)
def read_pascal3d(path: Path) -> Annotations:
    """The objects of one .mat file.

    The camera is the devkit's: C = d (cos e sin a, -cos e cos a, sin e), focal length viewport × focal in
    pixels, principal point (px, py), the image then turned by theta. MATLAB's first pixel has its centre at
    1, ours at 0.5. Raises AnnotationError: no such file, or no record of PASCAL3D+ in it."""
    record = _record(path)
    objects = np.atleast_1d(getattr(record, "objects", np.array([])))
    found, skipped = [], {COARSE: 0, UNSEEN: 0}
    size = _image_size(path, record)
    image = inside(path.parent, str(getattr(record, "filename", path.stem)), AnnotationError)
    for index, thing in enumerate(objects):
        viewpoint: Any = getattr(thing, "viewpoint", None)
        if not hasattr(viewpoint, "distance"):
            skipped[UNSEEN] += 1
        elif not float(viewpoint.distance) > 0:
            skipped[COARSE] += 1
        else:
            found.append(_annotation(path, image, thing, size, index))
    return Annotations(tuple(found), {reason: count for reason, count in skipped.items() if count})


def _record(path: Path) -> Any:  # noqa: ANN401  (a struct has the fields that it has)
    with reading(path, "is no readable .mat file"):
        try:
            content = read_mat(path.read_bytes())
        except NotImplementedError as error:
            raise reject(path, "is a MATLAB 7.3 file: save it again in MATLAB with -v7") from error
    if "record" not in content:
        raise reject(path, "has no variable 'record', so it is no annotation of PASCAL3D+ or ObjectNet3D")
    return content["record"]


def _image_size(path: Path, record: Any) -> tuple[int, int]:  # noqa: ANN401
    # VOC's record tells size in .size, that of ObjectNet3D and of the ImageNet part in .imgsize
    size: Any = getattr(record, "size", None)
    if hasattr(size, "width"):
        return int(size.width), int(size.height)
    wide = np.atleast_1d(getattr(record, "imgsize", np.array([])))
    if len(wide) < 2:
        raise reject(path, "does not tell the image's size (record.size or record.imgsize)")
    return int(wide[0]), int(wide[1])


def _annotation(path: Path, image: Path, thing: Any, size: tuple[int, int], index: int) -> Annotation:  # noqa: ANN401
    view = thing.viewpoint
    what = f"object {index} has no usable viewpoint"
    with reading(path, what):
        azimuth, elevation, theta, distance, focal, px, py = (
            float(getattr(view, name))
            for name in ("azimuth", "elevation", "theta", "distance", "focal", "px", "py")
        )
        scale = focal * float(getattr(view, "viewport", 3000))
        rotation = rotation_from_angles(azimuth, elevation, theta)
        intrinsics = np.array([[scale, 0, px - 0.5], [0, scale, py - 0.5], [0, 0, 1.0]])
        camera = Camera(rotation, distance * rotation[2], intrinsics, size)
        box = np.atleast_1d(getattr(thing, "bbox", np.array([]))).astype(float)
    told = [name for name in FLAGS if np.ndim(getattr(thing, name, [0, 0])) == 0]
    details: dict[str, Value] = {name: bool(getattr(thing, name)) for name in told}
    if hasattr(thing, "cad_index"):
        details["cad_index"] = int(thing.cad_index)
    whole = (float(box[0] - 1), float(box[1] - 1), float(box[2]), float(box[3])) if len(box) == 4 else None
    category = str(getattr(thing, "class", getattr(thing, "cls", "")))
    return Annotation(image, camera, category, f"{path.stem}-{index}", whole, True, details)


NAME = re.compile(
    r"^(?P<category>[^_]+)_(?P<identity>.+)_a(?P<a>-?\d+)_e(?P<e>-?\d+)_t(?P<t>-?\d+)_d(?P<d>-?\d+)\.(png|jpe?g)$",
    re.IGNORECASE,
)
BLENDER_FOV = 49.13  # degrees, of Blender's default camera, before the images were cropped


@guarded(AnnotationError)
def read_render_for_cnn(path: Path, negate_tilt: bool = True) -> Annotation:
    """What the name of one image tells, such as ``03001627_1a6f_a010_e007_t016_d002.png``.

    The images of the published package carry the tilt with the wrong sign (their README): -16 degrees here.
    Those that the repository's later scripts render carry the right one: ``negate_tilt=False``. The distance
    is rounded and the images were cropped, so the camera is not calibrated. Raises AnnotationError: another
    kind of name, or an image that cannot be opened."""
    match = NAME.match(path.name)
    if match is None:
        raise reject(path, "is not named as in RenderForCNN: <synset>_<model>_a010_e007_t016_d002.png")
    azimuth, elevation, tilt, distance = (float(match[name]) for name in "aetd")
    size = image_size(path, path)
    camera = Camera.orbit(
        azimuth, elevation, -tilt if negate_tilt else tilt, max(distance, 1.0), BLENDER_FOV, max(size)
    )
    return Annotation(path, camera.resized(*size), match["category"], match["identity"], calibrated=False)


def is_render_for_cnn(name: str) -> bool:
    """Whether a file is named as in RenderForCNN."""
    return NAME.match(name) is not None


SIDE = 640  # pixels
FOV = 90.0  # degrees, the street view service's own choice; the files do not tell
EQUATOR, FLATTENING = 6378137.0, 1 / 298.257223563  # WGS84, metres
COLUMNS = 17


@guarded(AnnotationError)
def read_street_view(path: Path) -> Annotation:
    """What one text file tells: the camera about the target point, in metres.

    The target is the origin, z is up, and the facade's normal points to -y, so that azimuth 0 sees the facade
    from the front; where it is horizontal ground or sky, -y is south. The field of view is not told, so the
    camera is not calibrated. Images of one target share their ``identity``. Raises AnnotationError: no line
    "d" of seventeen numbers."""
    lines = text_of(path).splitlines()
    place = next((k for k, line in enumerate(lines) if line.split()[:1] == ["d"]), None)
    if place is None:
        raise reject(path, "has no line that begins with d, so it is no annotation of 3-D Street View")
    values = numbers(path, lines[place].split()[1:], place + 1)
    if len(values) != COLUMNS:
        raise reject(path, f"line {place + 1} has {len(values)} numbers after d, not {COLUMNS}")
    target, normal, stand = (np.array(values[k : k + 3]) for k in (4, 7, 10))
    distance, heading, pitch, roll = values[13:]
    axes = _axes(normal)
    focal = 0.5 * SIDE / np.tan(np.radians(FOV) / 2)
    intrinsics = np.array([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1.0]])
    compass = Camera(_rotation(heading, pitch, roll), _metres(target, stand), intrinsics, (SIDE, SIDE))
    aligned = any(line.split()[:1] == ["a"] for line in lines)
    return Annotation(
        path.with_suffix(".jpg"),
        compass.in_frame(axes, np.zeros(3)),
        "facade",
        f"{values[0]:.0f}-{values[1]:.0f}",
        calibrated=False,
        details={
            **{"heading": heading, "pitch": pitch, "roll": roll, "distance_m": distance},
            **{"street_view": f"{values[3]:.0f}", "aligned": aligned},
        },
    )


def _rotation(heading: float, pitch: float, roll: float) -> Any:  # noqa: ANN401
    """World (x east, y north, z up) to camera; heading 0 looks north, 90 east; pitch 90 looks up; a positive
    roll turns the camera clockwise as it looks."""
    h, p = np.radians([heading, pitch])
    forward = np.array([np.sin(h) * np.cos(p), np.cos(h) * np.cos(p), np.sin(p)])
    right = np.array([np.cos(h), -np.sin(h), 0.0])
    up = np.cross(right, forward)
    level = np.stack([right, up, -forward])
    return turn_about(roll, 2) @ level


def _axes(normal: Any) -> Any:  # noqa: ANN401
    """The facade's frame (columns x, y, z) in east, north and up."""
    flat = np.array([normal[0], normal[1], 0.0])
    length = np.linalg.norm(flat)
    y = -flat / length if length > 1e-3 else np.array([0.0, 1.0, 0.0])
    z = np.array([0.0, 0.0, 1.0])
    return np.stack([np.cross(y, z), y, z], axis=1)


def _metres(origin: Any, place: Any) -> Any:  # noqa: ANN401
    """East, north and up (3,) of a place (latitude, longitude, height) as seen from another near by."""
    sine = np.sin(np.radians(origin[0]))
    bulge = FLATTENING * (2 - FLATTENING)
    shape = 1 - bulge * sine**2
    east = EQUATOR / np.sqrt(shape) * np.cos(np.radians(origin[0]))
    north = EQUATOR * (1 - bulge) / shape**1.5
    longitude = (place[1] - origin[1] + 180) % 360 - 180
    return np.array(
        [np.radians(longitude) * east, np.radians(place[0] - origin[0]) * north, place[2] - origin[2]]
    )
