"""The 3-D Street View dataset (Zamir et al. 2016): a text file beside every picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from netinvert.scenes.cameras import Camera
from netinvert.scenes.loaders.annotations import Annotation, numbers, reject, text_of

SIDE = 640  # pixels
FOV = 90.0  # degrees, the street view service's own choice; the files do not tell
EQUATOR, FLATTENING = 6378137.0, 1 / 298.257223563  # WGS84, metres
COLUMNS = 17


def read_street_view(path: Path) -> Annotation:
    """What one text file tells: the camera about the target point, in metres.

    The target is the origin, z is up, and the facade's normal points to -y, so that azimuth 0 sees the
    facade from the front; where it is horizontal ground or sky, -y is south. The field of view is not
    told, so the camera is not calibrated. Pictures of one target share their ``identity``.

    Raises:
        AnnotationError: no line "d" of seventeen numbers.
    """
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
            "heading": heading,
            "pitch": pitch,
            "roll": roll,
            "distance_m": distance,
            "street_view": f"{values[3]:.0f}",
            "aligned": aligned,
        },
    )


def _rotation(heading: float, pitch: float, roll: float) -> Any:  # noqa: ANN401
    """World (x east, y north, z up) to camera; heading 0 looks north, 90 east; pitch 90 looks up; a positive
    roll turns the camera clockwise as it looks."""
    h, p, r = np.radians([heading, pitch, roll])
    forward = np.array([np.sin(h) * np.cos(p), np.cos(h) * np.cos(p), np.sin(p)])
    right = np.array([np.cos(h), -np.sin(h), 0.0])
    up = np.cross(right, forward)
    level = np.stack([right, up, -forward])
    return np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]) @ level


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
