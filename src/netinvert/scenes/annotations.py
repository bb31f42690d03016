"""Annotations of every known format. Those of single objects are in ``viewpoints``; here are COLMAP's text
model (Schönberger & Frahm 2016), NeRF's transforms.json, and Objectron's videos (Ahmadyan et al. 2021)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.io.files import guarded, inside
from netinvert.io.folders import paths_in
from netinvert.io.images import IMAGE_SUFFIXES
from netinvert.scenes.cameras import Camera, rotation_from_quaternion
from netinvert.scenes.poses import BOX_FROM_PASCAL
from netinvert.scenes.viewpoints import (
    Annotation,
    AnnotationError,
    Annotations,
    image_size,
    is_render_for_cnn,
    numbers,
    read_pascal3d,
    read_render_for_cnn,
    read_street_view,
    reading,
    reject,
    text_of,
)

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


@guarded(AnnotationError)
def read_colmap(path: Path) -> Annotations:
    """The images registered in an images.txt, with the cameras.txt beside it; in the reconstruction's own
    world and scale. Raises AnnotationError: a missing or broken file, or a distorted lens."""
    lenses = dict(_lenses(path.with_name("cameras.txt")))
    found = []
    for number, text in _image_lines(path):
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
        image = inside(path.parent, fields[9], AnnotationError)
        found.append(Annotation(image, Camera(AXES @ turn, position, intrinsics, size)))
    return Annotations(tuple(found))


def _image_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The first of the two lines of each image; the second, its points, is empty or triples of numbers, and
    some programs leave it out."""
    after_image = False
    for number, text in _lines(path):
        fields = text.split()
        points = len(fields) % 3 == 0 and all(map(_is_number, fields))
        if not (after_image and points) and fields:
            yield number, text
        after_image = bool(fields) and not (after_image and points)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lenses(path: Path) -> Iterator[tuple[str, Lens]]:
    for number, text in _lines(path):
        fields = text.split()
        if not fields:
            continue
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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, text in enumerate(text_of(path).splitlines(), 1):
        if not text.lstrip().startswith("#"):
            yield number, text.strip()


DISTORTIONS = re.compile(r"[kps]\d|distortion_params")
LENSES = ("is_fisheye", "ftheta_p0", "latlong", "equirectangular", "orthographic")
"""What says in a transforms.json of nerfstudio and instant-ngp, where it is not 0, that it is no pinhole."""
ENDINGS = ("", *IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
"""What file_path may leave out."""


@guarded(AnnotationError)
def read_nerf(path: Path) -> Annotations:
    """The frames of a transforms.json, in the file's own world: z is up, no side is the front.

    Its matrices map camera (x right, y up, z back) to world coordinates; ``applied_transform`` tells how that
    world came from another, and is not undone. The size comes from w and h, or from the images. What a frame
    says goes before what the file says. Raises AnnotationError: not such a file, a camera that is no pinhole,
    or neither sizes nor images."""
    what = "is no transforms.json, which should hold a list of 'frames'"
    with reading(path, what):
        content = json.loads(text_of(path))
        frames = list(content["frames"])
    return Annotations(tuple(_frame(path, content, frame, k) for k, frame in enumerate(frames)))


def _frame(path: Path, content: Mapping[str, Any], frame: Any, index: int) -> Annotation:  # noqa: ANN401
    with reading(path, f"frame {index} is no frame or has something missing"):
        matrix = np.array(frame["transform_matrix"], float)
        if matrix.shape not in ((4, 4), (3, 4)):
            raise ValueError(f"transform_matrix is {matrix.shape}, not (4, 4)")
        settings = {**content, **frame}
        _check_pinhole(settings)
        name = str(frame["file_path"])
        choices = [inside(path.parent, name + ending, AnnotationError) for ending in ENDINGS]
        image = next((each for each in choices if each.is_file()), choices[0])
        if "w" in settings and "h" in settings:
            size = int(settings["w"]), int(settings["h"])
        else:
            size = image_size(path, image, "no w and h in the file, and ")
        camera = Camera(matrix[:3, :3].T, matrix[:3, 3], _intrinsics(content, frame, size), size)
        return Annotation(image, camera, identity=path.parent.name)


def _check_pinhole(settings: Mapping[str, Any]) -> None:
    model = str(settings.get("camera_model") or "PINHOLE").upper()
    wrong = [] if model in (*MODELS, "PERSPECTIVE") else [f"camera_model {model}"]
    wrong += [
        key
        for key, value in settings.items()
        if (key in LENSES or DISTORTIONS.fullmatch(key)) and np.any(np.asarray(value or 0))
    ]
    if wrong:
        raise ValueError(
            f"the lens is distorted or no pinhole ({', '.join(wrong)}): undistort the images first, for "
            "instance with colmap image_undistorter"
        )


def _focal(settings: Mapping[str, Any], side: int, axis: str) -> float:
    """In pixels along an axis; 0 if it is not told."""
    degrees = float(settings.get(f"{axis}_fov") or 0)
    angle = float(settings.get(f"camera_angle_{axis}") or np.radians(degrees))
    return float(settings.get(f"fl_{axis}") or (0.5 * side / np.tan(0.5 * angle) if angle else 0))


def _intrinsics(
    content: Mapping[str, Any], frame: Mapping[str, Any], size: tuple[int, int]
) -> np.ndarray[Any, Any]:
    fx, fy = (_focal(frame, *of) or _focal(content, *of) for of in zip(size, "xy", strict=True))
    if not (fx or fy):
        raise ValueError("neither camera_angle_x nor fl_x is given")
    settings = {**content, **frame}
    cx, cy = (float(settings.get(name, side / 2)) for name, side in zip(("cx", "cy"), size, strict=True))
    return np.array([[fx or fy, 0, cx], [0, fy or fx, cy], [0, 0, 1.0]])


# the fields that are read, by their numbers in the dataset's published schema; all others are skipped
SCHEMA = {
    "Object": {"id": (1, "int32"), "category": (2, "string"), "rotation": (4, "floats"),
               "translation": (5, "floats"), "scale": (6, "floats")},
    "ARCamera": {"image_resolution_width": (5, "int32"), "image_resolution_height": (6, "int32"),
                 "projection_matrix": (8, "floats"), "view_matrix": (9, "floats")},
    "ObjectAnnotation": {"object_id": (1, "int32"), "visibility": (3, "float")},
    "FrameAnnotation": {"frame_id": (1, "int32"), "annotations": (2, "ObjectAnnotation*"),
                        "camera": (3, "ARCamera")},
    "Sequence": {"objects": (1, "Object*"), "frame_annotations": (2, "FrameAnnotation*")},
}  # fmt: skip
# the phone was held upright: the image's right is the sensor's up, and its up the sensor's left
UPRIGHT = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@guarded(AnnotationError)
def read_objectron(path: Path) -> Annotations:
    """The boxes of every frame of a .pbdata file, in metres about the box's centre.

    The box's +y is up and its +z the front. ``image`` is the frame's number in a folder named as the
    annotation; the images are upright, of the sensor's height by its width. Raises AnnotationError: no such
    file, or not such a message; MissingExtraError: protobuf is not installed."""
    sequence = sequence_message()()

    with reading(path, "is no readable annotation of Objectron"):
        sequence.ParseFromString(path.read_bytes())
    if not sequence.objects:
        raise reject(path, "holds no objects, so it is empty or no annotation of Objectron")
    objects = {thing.id: thing for thing in sequence.objects}
    found, skipped = [], 0
    for frame in sequence.frame_annotations:
        for annotated in frame.annotations:
            if annotated.object_id not in objects:
                skipped += 1
                continue
            with reading(path, f"frame {frame.frame_id}"):
                found.append(_annotated(path, frame, annotated, objects[annotated.object_id]))
    return Annotations(tuple(found), {"unknown object": skipped} if skipped else {})


def _annotated(path: Path, frame: Any, annotated: Any, thing: Any) -> Annotation:  # noqa: ANN401
    height, width = frame.camera.image_resolution_width, frame.camera.image_resolution_height
    view = np.array(frame.camera.view_matrix, float).reshape(4, 4)
    projection = np.array(frame.camera.projection_matrix, float).reshape(4, 4)
    intrinsics = np.array(
        [
            [projection[1, 1] * width / 2, 0, (1 - projection[1, 2]) * width / 2],
            [0, projection[0, 0] * height / 2, (1 - projection[0, 2]) * height / 2],
            [0, 0, 1.0],
        ]
    )
    position = -view[:3, :3].T @ view[:3, 3]
    world = Camera(UPRIGHT @ view[:3, :3], position, intrinsics, (width, height))
    axes = np.array(thing.rotation, float).reshape(3, 3) @ np.array(BOX_FROM_PASCAL)
    camera = world.in_frame(axes, np.array(thing.translation, float).reshape(3))
    # a front, side and height in the order of the PASCAL3D+ axes
    wide, tall, deep = np.array(thing.scale, float).reshape(3).tolist()
    return Annotation(
        path.with_suffix("") / f"{frame.frame_id}.png",
        camera,
        thing.category,
        f"{path.stem}-{thing.id}",
        details={"visibility": annotated.visibility, "width_m": wide, "depth_m": deep, "height_m": tall},
    )


@lru_cache(maxsize=1)
def sequence_message() -> Any:  # noqa: ANN401
    """The class of the messages in .pbdata files. Raises MissingExtraError: protobuf is not installed."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise MissingExtraError("reading Objectron's annotations", "scenes") from error
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {
        "int32": field.TYPE_INT32,
        "string": field.TYPE_STRING,
        "float": field.TYPE_FLOAT,
        "floats": field.TYPE_FLOAT,
    }
    file = descriptor_pb2.FileDescriptorProto(name="objectron.proto", package="objectron", syntax="proto3")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for own, (number, kind) in fields.items():
            many = kind in ("floats",) or kind.endswith("*")
            one = message.field.add(
                name=own, number=number, label=field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
            )
            one.type = kinds.get(kind, field.TYPE_MESSAGE)
            if one.type == field.TYPE_MESSAGE:
                one.type_name = ".objectron." + kind.rstrip("*")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("objectron.Sequence"))


@dataclass(frozen=True)
class Format:
    """``read`` is for files with the ending ``suffixes`` that ``holds`` accepts."""

    suffixes: tuple[str, ...]
    read: Callable[[Path], Annotations]
    holds: Callable[[Path], bool] = Path.is_file

    def files(self, path: Path) -> list[Path]:
        """The files of this format at a path or below it, in order."""
        files = [path] if path.is_file() else paths_in(path, "**/*", AnnotationError)
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
    converter = "; colmap model_converter --output_type TXT makes text of COLMAP's binary files"
    raise reject(path, f"holds no annotations of a known format: {', '.join(FORMATS)}{converter}")


def load_annotations(path: str | Path, kind: str | None = None) -> Annotations:
    """All annotations in a file or folder; ``kind`` is one of FORMATS, told from the files if None. Raises
    AnnotationError: nothing to read, or a broken file, which is named; ConfigError: an unknown kind;
    MissingExtraError: the format needs a library that is not installed."""
    place = Path(path)
    if kind is not None and kind not in FORMATS:
        raise ConfigError(f"no format {kind!r}: there are {', '.join(FORMATS)}")
    chosen = FORMATS[kind or format_of(place)]
    found = chosen.files(place)
    if not found:
        raise reject(place, f"holds no files of the format {kind}")
    return Annotations.joined([chosen.read(each) for each in found])
