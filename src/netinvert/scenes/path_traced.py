"""A slower renderer with light that bounces: Mitsuba 3, of the same objects, cameras and lights."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import MissingExtraError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.objects import Array, Object3D, linear_to_srgb
from netinvert.scenes.render import check_camera, check_mesh
from netinvert.scenes.shading import Light

VARIANT = "scalar_rgb"
BOUNCES = 5
ROUGHNESS = 0.25
SKY = (16, 32)  # pixels of the image of the sky
SAMPLES = 16
"""Paths a pixel, unless told otherwise."""


class PathTracer:
    """Renders one object from any number of cameras, without a ground, with ``samples`` paths a pixel.

    Mitsuba's variant is a setting of the whole process; it is set to scalar_rgb. Raises MissingExtraError:
    mitsuba is not installed; MeshError: the mesh is empty, has NaN, or more than 255 parts."""

    def __init__(self, thing: Object3D, samples: int = SAMPLES) -> None:
        check_mesh(thing)
        self._mitsuba = _mitsuba()
        self.thing, self.samples = thing, samples
        corners = thing.vertices[thing.faces]
        self._low, self._high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        self._shapes = {f"shape{k}": shape for k, shape in enumerate(mitsuba_shapes(self._mitsuba, thing))}

    def render(self, camera: Camera, light: Light, seed: int = 0) -> NDArray[np.uint8]:
        """The image (H, W, 4), straight sRGB with alpha; the same seed gives the same image. Raises
        CameraError: the camera stands inside the object's bounding box."""
        check_camera(camera, self.thing.name, self._low, self._high)
        mi = self._mitsuba
        scene = mi.load_dict(
            {
                "type": "scene",
                "integrator": {"type": "path", "max_depth": BOUNCES, "hide_emitters": True},
                **_lights(mi, light),
                **self._shapes,
            }
        )
        sensor = mi.load_dict(mitsuba_sensor(mi, camera, self.samples))
        linear = np.array(mi.render(scene, sensor=sensor, spp=self.samples, seed=seed), np.float64)
        alpha = linear[..., 3:].clip(0, 1)
        colour = linear_to_srgb(linear[..., :3] / np.maximum(alpha, 1e-6))
        return np.asarray(np.rint(np.concatenate([colour * (alpha > 0), alpha], axis=-1) * 255), np.uint8)


def _mitsuba() -> ModuleType:
    try:
        import mitsuba
    except ImportError as error:
        raise MissingExtraError("path tracing", "mitsuba") from error
    if mitsuba.variant() != VARIANT:
        mitsuba.set_variant(VARIANT)
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    module: ModuleType = mitsuba
    return module


def mitsuba_shapes(mi: ModuleType, thing: Object3D) -> list[Any]:
    """The object as Mitsuba meshes, one of each material."""
    corners = thing.vertices[thing.faces]
    shapes = []
    for index, material in enumerate(thing.materials):
        own = thing.material == index
        if not own.any():
            continue
        texture = np.ones((1, 1, 3), np.float32) if material.texture is None else material.texture
        texels = np.ascontiguousarray(texture * np.array(material.colour, np.float32))
        reflectance = {"type": "bitmap", "bitmap": mi.Bitmap(texels), "raw": True, "filter_type": "nearest"}
        surface = (
            {"type": "roughplastic", "alpha": ROUGHNESS, "diffuse_reflectance": reflectance}
            if material.gloss > 0
            else {"type": "diffuse", "reflectance": reflectance}
        )
        shapes.append(_mesh(mi, thing, corners, own, mi.load_dict({"type": "twosided", "surface": surface})))
    return shapes


def _mesh(mi: ModuleType, thing: Object3D, corners: Array, own: NDArray[np.bool_], skin: Any) -> Any:  # noqa: ANN401
    count = int(own.sum())
    properties = mi.Properties()
    properties["skin"] = skin
    mesh = mi.Mesh(
        thing.name, 3 * count, count, properties, has_vertex_normals=True, has_vertex_texcoords=True
    )
    settings = mi.traverse(mesh)
    # Mitsuba counts an image's rows from below, as texture coordinates go; here row 0 belongs to v = 0.
    columns = {"positions": corners, "normals": thing.normals, "texcoords": thing.uv * (1, -1)}
    for name, values in columns.items():
        settings[f"vertex_{name}"] = np.ascontiguousarray(values[own], np.float32).ravel()
    settings["faces"] = np.arange(3 * count, dtype=np.uint32)
    settings.update()
    return mesh


def _lights(mi: ModuleType, light: Light) -> dict[str, Any]:
    """The key light and the sky, in the strengths that ``Light`` means: what a white surface sends back."""
    rows, columns = SKY
    up = np.cos((np.arange(rows) + 0.5) / rows * np.pi)[:, None, None]
    sky = np.where(up > 0, np.array(light.sky), np.array(light.bounce))
    image = np.ascontiguousarray(np.broadcast_to(sky, (rows, columns, 3)), np.float32)
    key = [float(np.pi * value) for value in light.key]
    return {
        "key": {
            "type": "directional",
            "direction": [-value for value in light.direction],
            "irradiance": {"type": "rgb", "value": key},
        },
        "sky": {
            "type": "envmap",
            "bitmap": mi.Bitmap(image),
            "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90),  # Mitsuba's up is y
        },
    }


def mitsuba_sensor(mi: ModuleType, camera: Camera, samples: int) -> dict[str, Any]:
    """The camera as a Mitsuba sensor's settings."""
    _, up, back = camera.rotation.tolist()
    position = camera.position
    return {
        "type": "perspective",
        "fov": camera.fov,
        "to_world": mi.ScalarTransform4f().look_at(
            position.tolist(), (position - np.array(back)).tolist(), up
        ),
        "sampler": {"type": "multijitter", "sample_count": samples},
        "film": {
            "type": "hdrfilm",
            "width": camera.size[0],
            "height": camera.size[1],
            "pixel_format": "rgba",
            "rfilter": {"type": "box"},
        },
    }
