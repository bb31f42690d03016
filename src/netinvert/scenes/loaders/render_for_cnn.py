"""Renders of RenderForCNN (Su et al. 2015), whose file names tell the camera."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from netinvert.scenes.cameras import Camera
from netinvert.scenes.loaders.annotations import Annotation, reject

NAME = re.compile(
    r"^(?P<category>[^_]+)_(?P<identity>.+)_a(?P<a>-?\d+)_e(?P<e>-?\d+)_t(?P<t>-?\d+)_d(?P<d>-?\d+)\.(png|jpe?g)$",
    re.IGNORECASE,
)
BLENDER_FOV = 49.13  # degrees, of Blender's default camera, before the pictures were cropped


def read_render_for_cnn(path: Path, negate_tilt: bool = True) -> Annotation:
    """What the name of one picture tells, such as ``03001627_1a6f_a010_e007_t016_d002.png``.

    The pictures of the published package carry the tilt with the wrong sign (their README): -16 degrees
    here. Those that the repository's later scripts render carry the right one: ``negate_tilt=False``. The
    distance is rounded and the pictures were cropped, so the camera is not calibrated.

    Raises:
        AnnotationError: another kind of name, or a picture that cannot be opened.
    """
    match = NAME.match(path.name)
    if match is None:
        raise reject(path, "is not named as in RenderForCNN: <synset>_<model>_a010_e007_t016_d002.png")
    azimuth, elevation, tilt, distance = (float(match[name]) for name in "aetd")
    try:
        with Image.open(path) as picture:
            size = picture.size
    except (OSError, UnidentifiedImageError) as error:
        raise reject(path, f"cannot be opened as a picture ({error})") from error
    camera = Camera.orbit(
        azimuth, elevation, -tilt if negate_tilt else tilt, max(distance, 1.0), BLENDER_FOV, max(size)
    )
    return Annotation(path, camera.resized(*size), match["category"], match["identity"], calibrated=False)


def is_render_for_cnn(name: str) -> bool:
    """Whether a file is named as in RenderForCNN."""
    return NAME.match(name) is not None
