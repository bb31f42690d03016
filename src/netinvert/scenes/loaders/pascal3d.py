"""PASCAL3D+ (Xiang et al. 2014) and ObjectNet3D (Xiang et al. 2016): a .mat file a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from netinvert.errors import MissingExtraError
from netinvert.scenes.cameras import Camera, CameraError, rotation_from_angles
from netinvert.scenes.loaders.annotations import Annotation, Annotations, Value, reject

COARSE = "only a coarse viewpoint (distance 0)"
UNSEEN = "no viewpoint"
FLAGS = ("truncated", "occluded", "difficult")


def read_pascal3d(path: Path) -> Annotations:
    """The objects of one .mat file.

    The camera is the devkit's: C = d (cos e sin a, -cos e cos a, sin e), focal length viewport × focal
    in pixels, principal point (px, py), the picture then turned by theta. MATLAB's first pixel has its
    centre at 1, ours at 0.5.

    Raises:
        AnnotationError: no such file, or no record of PASCAL3D+ in it.
        MissingExtraError: scipy is not installed.
    """
    record = _record(path)
    objects = np.atleast_1d(getattr(record, "objects", np.array([])))
    found, skipped = [], {COARSE: 0, UNSEEN: 0}
    size = _image_size(path, record)
    image = path.with_name(str(getattr(record, "filename", path.stem)))
    for index, thing in enumerate(objects):
        viewpoint: Any = getattr(thing, "viewpoint", None)
        if not hasattr(viewpoint, "distance"):
            skipped[UNSEEN] += 1
        elif not float(viewpoint.distance) > 0:
            skipped[COARSE] += 1
        else:
            found.append(_annotation(path, image, thing, size, index))
    return Annotations(tuple(found), {reason: count for reason, count in skipped.items() if count})


def _record(path: Path) -> Any:  # noqa: ANN401  (scipy's own struct)
    try:
        from scipy.io import loadmat  # noqa: PLC0415
        from scipy.io.matlab import MatReadError  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("reading .mat files", "scenes") from error
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except NotImplementedError as error:
        raise reject(path, "is a MATLAB 7.3 file: save it again in MATLAB with -v7") from error
    except (MatReadError, ValueError, TypeError, OSError, EOFError) as error:
        raise reject(path, f"is no readable .mat file ({error})") from error
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
        raise reject(path, "does not tell the picture's size (record.size or record.imgsize)")
    return int(wide[0]), int(wide[1])


def _annotation(path: Path, image: Path, thing: Any, size: tuple[int, int], index: int) -> Annotation:  # noqa: ANN401
    view = thing.viewpoint
    try:
        azimuth, elevation, theta, distance, focal, px, py = (
            float(getattr(view, name))
            for name in ("azimuth", "elevation", "theta", "distance", "focal", "px", "py")
        )
        scale = focal * float(getattr(view, "viewport", 3000))
        rotation = rotation_from_angles(azimuth, elevation, theta)
        intrinsics = np.array([[scale, 0, px - 0.5], [0, scale, py - 0.5], [0, 0, 1.0]])
        camera = Camera(rotation, distance * rotation[2], intrinsics, size)
        box = np.atleast_1d(getattr(thing, "bbox", np.array([]))).astype(float)
    except (AttributeError, TypeError, ValueError, CameraError) as error:
        raise reject(path, f"object {index} has no usable viewpoint ({error})") from error
    details: dict[str, Value] = {name: bool(getattr(thing, name)) for name in FLAGS if _is_flag(thing, name)}
    if hasattr(thing, "cad_index"):
        details["cad_index"] = int(thing.cad_index)
    whole = (float(box[0] - 1), float(box[1] - 1), float(box[2]), float(box[3])) if len(box) == 4 else None
    category = str(getattr(thing, "class", getattr(thing, "cls", "")))
    return Annotation(image, camera, category, f"{path.stem}-{index}", whole, True, details)


def _is_flag(thing: Any, name: str) -> bool:  # noqa: ANN401
    return np.ndim(getattr(thing, name, [0, 0])) == 0
