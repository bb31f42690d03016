"""COLMAP's text model (Schönberger & Frahm 2016): cameras.txt and images.txt in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netinvert.rotations import rotation_from_quaternion
from netinvert.scenes.cameras import Camera, CameraError
from netinvert.scenes.loaders.annotations import Annotation, Annotations, numbers, reject, text_of

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


def read_colmap(folder: Path) -> Annotations:
    """The registered pictures, in the reconstruction's own world and scale.

    Raises:
        AnnotationError: a missing or broken file, or a distorted lens.
    """
    lenses = dict(_lenses(folder / "cameras.txt"))
    path = folder / "images.txt"
    found = []
    # a picture has two lines; the second, its points, may be empty
    lines = [(k, text) for k, text in _lines(path, keep_empty=True)]
    for number, text in lines[0::2]:
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
        found.append(Annotation(folder / fields[9], Camera(AXES @ turn, position, intrinsics, size)))
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
        try:
            size = int(values[0]), int(values[1])
            camera = Camera(np.eye(3), np.zeros(3), np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), size)
        except CameraError as error:
            raise reject(path, f"line {number}: {error}") from error
        yield fields[0], (camera.intrinsics, camera.size)


def _lines(path: Path, keep_empty: bool = False) -> Iterator[tuple[int, str]]:
    for number, text in enumerate(text_of(path).splitlines(), 1):
        if not text.startswith("#") and (keep_empty or text.strip()):
            yield number, text
