"""NeRF's transforms.json (Mildenhall et al. 2020), as written for Blender, instant-ngp and nerfstudio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from netinvert.scenes.cameras import Camera, CameraError
from netinvert.scenes.loaders.annotations import Annotation, Annotations, reject, text_of

DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")
ENDINGS = ("", ".png", ".jpg", ".jpeg", ".JPG", ".PNG")


def read_nerf(path: Path) -> Annotations:
    """The frames of a transforms.json, in the file's own world: z is up, no side is the front.

    Its matrices map camera (x right, y up, z back) to world coordinates. The size comes from w and h, or
    from the pictures.

    Raises:
        AnnotationError: not such a file, a distorted lens, or neither sizes nor pictures.
    """
    try:
        content = json.loads(text_of(path))
        frames = content["frames"]
        assert isinstance(frames, list)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise reject(path, f"is no transforms.json: it should hold a list of 'frames' ({error!r})") from error
    return Annotations(tuple(_annotation(path, content, frame, k) for k, frame in enumerate(frames)))


def _annotation(path: Path, content: Mapping[str, Any], frame: Any, index: int) -> Annotation:  # noqa: ANN401
    try:
        matrix = np.array(frame["transform_matrix"], float)
        name = str(frame["file_path"])
        if matrix.shape not in ((4, 4), (3, 4)):
            raise ValueError(f"transform_matrix is {matrix.shape}, not (4, 4)")
        settings = {**content, **frame}
        bent = [key for key in DISTORTIONS if settings.get(key)]
        if bent:
            raise ValueError(f"the lens is distorted ({', '.join(bent)}): undistort the pictures first")
        image = _image(path.parent, name)
        size = _size(settings, image)
        camera = Camera(matrix[:3, :3].T, matrix[:3, 3], _intrinsics(settings, size), size)
    except KeyError as error:
        raise reject(path, f"frame {index} has no {error}") from error
    except (TypeError, ValueError, CameraError) as error:
        raise reject(path, f"frame {index}: {error}") from error
    return Annotation(image, camera, identity=path.parent.name)


def _image(folder: Path, name: str) -> Path:
    choices = [folder / (name + ending) for ending in ENDINGS]
    return next((each for each in choices if each.is_file()), choices[0])


def _size(settings: Mapping[str, Any], image: Path) -> tuple[int, int]:
    if "w" in settings and "h" in settings:
        return int(settings["w"]), int(settings["h"])
    try:
        with Image.open(image) as picture:
            return picture.size
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"no w and h in the file, and the picture {image} cannot be opened") from error


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
