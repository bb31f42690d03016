"""What trimesh knows of a mesh's colours and textures, as materials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.scenes.objects import Array, Material, MeshError

TEXTURE = 512
"""The greatest side of a texture in pixels; pictures of objects are small."""
GREY = (0.4, 0.4, 0.4)
MOST_COLOURS = 64


@dataclass(frozen=True, eq=False)
class Surface:
    """``materials``, which of them each face wears ``material`` (F,), texture coordinates ``uv`` (F, 3, 2),
    and how many textures were ``missing`` their coordinates."""

    materials: list[Material]
    material: NDArray[np.int64]
    uv: NDArray[np.float64]
    missing: int = 0


def surface_of(mesh: Any, file: Path, refuse_missing: bool) -> Surface:  # noqa: ANN401  (trimesh is not typed)
    """The surface of a trimesh mesh; grey where the file says nothing.

    Raises:
        MeshError: a texture's coordinates are missing and that is to be refused.
    """
    count = len(mesh.faces)
    zeros = np.zeros((count, 3, 2))
    visual = mesh.visual
    if visual.kind == "texture":
        return _textured(mesh, file, refuse_missing)
    if visual.kind in ("face", "vertex"):
        colours = (
            visual.face_colors if visual.kind == "face" else visual.vertex_colors[mesh.faces].mean(axis=1)
        )
        shades, index = _palette(np.asarray(colours)[:, :3])
        return Surface(
            [Material("coloured", tuple(linear(shade).tolist())) for shade in shades], index, zeros
        )
    return Surface([Material("plain", GREY)], np.zeros(count, np.int64), zeros)


def _textured(mesh: Any, file: Path, refuse_missing: bool) -> Surface:  # noqa: ANN401
    material = mesh.visual.material
    count = len(mesh.faces)
    uv = mesh.visual.uv
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    factor = getattr(material, "baseColorFactor", None)
    if factor is None:
        factor = getattr(material, "diffuse", None)
    colour = GREY if factor is None else tuple(linear(_bytes(factor)[:3]).tolist())
    kind = str(getattr(material, "name", None) or "material")
    if image is None or uv is None:
        missing = int(image is not None)
        if missing and refuse_missing:
            raise MeshError(f"{file} has a texture but no texture coordinates: export it with them")
        return Surface([Material(kind, colour)], np.zeros(count, np.int64), np.zeros((count, 3, 2)), missing)
    texture = _texture(image)
    white = (1.0, 1.0, 1.0)
    tint = colour if getattr(material, "baseColorFactor", None) is not None else white
    # Images count rows from above, texture coordinates from below.
    coordinates = np.asarray(uv)[mesh.faces] * (1, -1) + (0, 1)
    finite = np.nan_to_num(coordinates)
    return Surface([Material(kind, tint, texture)], np.zeros(count, np.int64), finite)


def linear(srgb: NDArray[Any]) -> NDArray[np.float64]:
    """Linear RGB in [0, 1] of 8-bit sRGB."""
    value = np.asarray(srgb, float) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _bytes(colour: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """A colour as 0 to 255, whether the file has floats or bytes."""
    values = np.asarray(colour)
    return values * 255.0 if values.dtype.kind == "f" and values.max() <= 1 else values.astype(float)


def _texture(image: Image.Image) -> Array:
    picture = image.convert("RGB")
    if max(picture.size) > TEXTURE:
        scale = TEXTURE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(linear(np.asarray(picture)), np.float32)


def _palette(colours: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """At most MOST_COLOURS shades and the nearest of them for each face; exact where there are no more."""
    shades, index = np.unique(colours.astype(np.uint8), axis=0, return_inverse=True)
    step = 8
    while len(shades) > MOST_COLOURS:
        shades, index = np.unique(
            (colours // step * step + step // 2).astype(np.uint8), axis=0, return_inverse=True
        )
        step *= 2
    return shades, index.ravel().astype(np.int64)
