"""Reconstructed scenes: COLMAP's text model (Schönberger & Frahm 2016) and the transforms.json of NeRF."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netinvert.io.images import IMAGE_SUFFIXES
from netinvert.scenes.annotations.annotation import (
    Annotation,
    Annotations,
    image_size,
    numbers,
    reading,
    reject,
    text_of,
)
from netinvert.scenes.cameras import Camera
from netinvert.scenes.rotations import rotation_from_quaternion

AXES = np.diag([1.0, -1.0, -1.0])  # COLMAP's camera looks along +z with y down
MODELS = {
    "SIMPLE_PINHOLE": (1, 0),
    "PINHOLE": (2, 0),
    "SIMPLE_RADIAL": (1, 1),
    "RADIAL": (1, 2),
    "OPENCV": (2, 4),
    "FULL_OPENCV": (2, 8),
}
"""How many focal lengths and distortions each model has; the principal point lies between."""
IMAGE_COLUMNS = 10
Lens = tuple[Any, tuple[int, int]]


def read_colmap(path: Path) -> Annotations:
    """The images registered in an images.txt, with the cameras.txt beside it; in the reconstruction's own
    world and scale.

    Raises AnnotationError: a missing or broken file, or a distorted lens.
    """
    lenses = dict(_lenses(path.with_name("cameras.txt")))
    found = []
    # an image has two lines; the second, its points, may be empty
    for number, text in list(_lines(path, keep_empty=True))[0::2]:
        fields = text.split(maxsplit=IMAGE_COLUMNS - 1)
        if len(fields) < IMAGE_COLUMNS:
            raise reject(path, f"line {number} should be IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        values = numbers(path, fields[1:8], number)
        if fields[8] not in lenses:
            raise reject(path, f"line {number} names camera {fields[8]}, which cameras.txt does not have")
        if not any(values[:4]):
            raise reject(path, f"line {number} has a quaternion of length 0")
        intrinsics, size = lenses[fields[8]]
        turn = rotation_from_quaternion(torch.tensor(values[:4], dtype=torch.float64)).numpy()
        position = -turn.T @ np.array(values[4:7])
        found.append(Annotation(path.parent / fields[9], Camera(AXES @ turn, position, intrinsics, size)))
    return Annotations(tuple(found))


def _lenses(path: Path) -> Iterator[tuple[str, Lens]]:
    for number, text in _lines(path):
        fields = text.split()
        if len(fields) < 5 or fields[1] not in MODELS:
            raise reject(
                path,
                f"line {number} should be CAMERA_ID MODEL WIDTH HEIGHT PARAMS of {', '.join(MODELS)}: "
                "run colmap image_undistorter for other models",
            )
        values = numbers(path, fields[2:], number)
        focal, distortions = MODELS[fields[1]]
        lens = values[2:]
        if len(lens) != focal + 2 + distortions:
            raise reject(path, f"line {number}: {fields[1]} has {focal + 2 + distortions} parameters")
        if any(lens[focal + 2 :]):
            raise reject(path, f"line {number}: the lens is distorted; run colmap image_undistorter first")
        fx, fy = lens[0], lens[focal - 1]
        cx, cy = lens[focal : focal + 2]
        with reading(path, f"line {number}"):
            size = int(values[0]), int(values[1])
            camera = Camera(np.eye(3), np.zeros(3), np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), size)
        yield fields[0], (camera.intrinsics, camera.size)


def _lines(path: Path, keep_empty: bool = False) -> Iterator[tuple[int, str]]:
    for number, text in enumerate(text_of(path).splitlines(), 1):
        if not text.startswith("#") and (keep_empty or text.strip()):
            yield number, text


DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")
ENDINGS = ("", *IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
"""What file_path may leave out."""


def read_nerf(path: Path) -> Annotations:
    """The frames of a transforms.json, in the file's own world: z is up, no side is the front.

    Its matrices map camera (x right, y up, z back) to world coordinates. The size comes from w and h, or
    from the images.

    Raises AnnotationError: not such a file, a distorted lens, or neither sizes nor images.
    """
    what = "is no transforms.json, which should hold a list of 'frames'"
    with reading(path, what, ValueError, KeyError, TypeError):
        content = json.loads(text_of(path))
        frames = list(content["frames"])
    return Annotations(tuple(_annotation(path, content, frame, k) for k, frame in enumerate(frames)))


def _annotation(path: Path, content: Mapping[str, Any], frame: Any, index: int) -> Annotation:  # noqa: ANN401
    with reading(
        path, f"frame {index} is no frame or has something missing", KeyError, TypeError, ValueError
    ):
        matrix = np.array(frame["transform_matrix"], float)
        if matrix.shape not in ((4, 4), (3, 4)):
            raise ValueError(f"transform_matrix is {matrix.shape}, not (4, 4)")
        settings = {**content, **frame}
        bent = [key for key in DISTORTIONS if settings.get(key)]
        if bent:
            raise ValueError(f"the lens is distorted ({', '.join(bent)}): undistort the images first")
        choices = [path.parent / (str(frame["file_path"]) + ending) for ending in ENDINGS]
        image = next((each for each in choices if each.is_file()), choices[0])
        if "w" in settings and "h" in settings:
            size = int(settings["w"]), int(settings["h"])
        else:
            size = image_size(path, image, "no w and h in the file, and ")
        camera = Camera(matrix[:3, :3].T, matrix[:3, 3], _intrinsics(settings, size), size)
        return Annotation(image, camera, identity=path.parent.name)


def _intrinsics(settings: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    width, height = size
    if "fl_x" in settings:
        fx = float(settings["fl_x"])
    elif "camera_angle_x" in settings:
        fx = 0.5 * width / np.tan(0.5 * float(settings["camera_angle_x"]))
    else:
        raise ValueError("neither camera_angle_x nor fl_x is given")
    fy = float(settings.get("fl_y", fx))
    cx, cy = float(settings.get("cx", width / 2)), float(settings.get("cy", height / 2))
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
