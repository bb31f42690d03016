"""Objectron's annotations (Ahmadyan et al. 2021): one protocol buffer a video."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from netinvert.errors import MissingExtraError
from netinvert.scenes.annotations.annotation import Annotation, Annotations, reading, reject
from netinvert.scenes.boxes import BOX_FROM_PASCAL
from netinvert.scenes.cameras import Camera

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


def read_objectron(path: Path) -> Annotations:
    """The boxes of every frame of a .pbdata file, in metres about the box's centre.

    The box's +y is up and its +z the front. ``image`` is the frame's number in a folder named as the
    annotation; the images are upright, of the sensor's height by its width.

    Raises AnnotationError: no such file, or not such a message; MissingExtraError: protobuf is not installed.
    """
    sequence = sequence_message()()
    from google.protobuf.message import DecodeError

    with reading(path, "is no readable annotation of Objectron", OSError, DecodeError):
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
            with reading(path, f"frame {frame.frame_id}", ValueError):
                found.append(_annotation(path, frame, annotated, objects[annotated.object_id]))
    return Annotations(tuple(found), {"unknown object": skipped} if skipped else {})


def _annotation(path: Path, frame: Any, annotated: Any, thing: Any) -> Annotation:  # noqa: ANN401
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
