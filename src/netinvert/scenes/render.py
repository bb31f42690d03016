"""Pictures of an object by ray casting: Embree finds the surfaces, a few lines of numpy light them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import MissingExtraError
from netinvert.scenes.cameras import Camera, CameraError
from netinvert.scenes.lights import Light
from netinvert.scenes.objects import Array, MeshError, Object3D

COARSE, FINE = 2, 4
"""Samples a pixel's side: COARSE everywhere, FINE where the coarse samples see different things."""
OFFSET = 1e-4  # of the object's diagonal: how far secondary rays start from the surface
OCCLUSION_RAYS = 32
OCCLUSION_REACH = 0.35  # of the object's diagonal
CREASE = 0.95  # cosine between neighbouring samples' normals below which a pixel gets FINE samples
SHADOW = 0.6  # how dark the ground's full shadow is
EPSILON = 1e-12


@dataclass(frozen=True, eq=False)
class Rendering:
    """A picture of H x W pixels and what is known of each.

    ``rgba`` (H, W, 4) uint8, straight sRGB, with the ground's shadow as black of partial alpha; ``mask``
    (H, W) uint8, the share that the object covers; ``depth`` (H, W) float32 along the camera's axis, of
    the nearest sample, inf outside; ``normals`` (H, W, 3) float32, unit, in camera coordinates, 0 outside;
    ``parts`` (H, W) uint8, 1 + the index of the part that covers most of the pixel, 0 for none.
    """

    rgba: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth: Array
    normals: Array
    parts: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Samples:
    """Rays through ``pixel`` (N,), each of ``weight`` (N,) in it, and what they hit (face -1: nothing)."""

    pixel: NDArray[np.int64]
    weight: Array
    phase: NDArray[np.int64]
    direction: Array
    face: NDArray[np.int32]
    u: Array
    v: Array
    t: Array


class Renderer:
    """Renders one object from any number of cameras; the tree and the ambient occlusion are built once.

    Raises:
        MissingExtraError: embreex is not installed.
        MeshError: the mesh is empty, or has NaN.
    """

    def __init__(self, thing: Object3D) -> None:
        if not len(thing.faces):
            raise MeshError(f"{thing.name} has no faces: there is nothing to render")
        if not (np.isfinite(thing.vertices).all() and np.isfinite(thing.normals).all()):
            raise MeshError(f"{thing.name} has NaN or infinite vertices or normals: repair the mesh")
        self.thing = thing
        self._corners = np.ascontiguousarray(thing.vertices[thing.faces], np.float32)
        self._scene = _embree_scene(self._corners)
        self._low, self._high = self._corners.min(axis=(0, 1)), self._corners.max(axis=(0, 1))
        edges = self._corners[:, 1] - self._corners[:, 0], self._corners[:, 2] - self._corners[:, 0]
        flat = np.cross(*edges)
        self._flat = (flat / (np.linalg.norm(flat, axis=1, keepdims=True) + EPSILON)).astype(np.float32)
        self._occlusion = self._ambient_occlusion()
        self._colour = np.array([material.colour for material in thing.materials], np.float32)
        self._gloss = np.array([material.gloss for material in thing.materials], np.float32)

    def render(self, camera: Camera, light: Light) -> Rendering:
        """A picture, antialiased.

        Raises:
            CameraError: the camera stands inside the object's bounding box.
        """
        if np.all((camera.position > self._low) & (camera.position < self._high)):
            raise CameraError(
                f"the camera stands inside {self.thing.name}, {camera.distance:.3g} from its centre: "
                "give a larger distance"
            )
        samples = self._trace(camera)
        return self._shade(samples, camera, light)

    # -- rays ------------------------------------------------------------------------------------------

    def _trace(self, camera: Camera) -> _Samples:
        width, height = camera.size
        x0, x1, y0, y1 = self._window(camera)
        if x0 >= x1 or y0 >= y1:
            x0, x1, y0, y1 = 0, 1, 0, 1
        columns, rows = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
        pixels = (rows * width + columns).ravel()
        coarse = self._cast(camera, pixels, COARSE)
        shape = (y1 - y0, x1 - x0, COARSE, COARSE)
        edgy = self._differing(coarse, shape)
        fine = self._cast(camera, pixels[edgy], FINE)
        kept = ~np.repeat(edgy, COARSE * COARSE)
        return _Samples(
            *(
                np.concatenate([getattr(coarse, name)[kept], getattr(fine, name)])
                for name in ("pixel", "weight", "phase", "direction", "face", "u", "v", "t")
            )
        )

    def _window(self, camera: Camera) -> tuple[int, int, int, int]:
        corners = np.array(np.meshgrid(*zip(self._low, self._high, strict=True))).reshape(3, -1).T
        pixels, depth = camera.project(corners)
        width, height = camera.size
        if (depth <= 0).any():
            return 0, width, 0, height
        low, high = np.floor(pixels.min(axis=0)).astype(int) - 1, np.ceil(pixels.max(axis=0)).astype(int) + 1
        return max(low[0], 0), min(high[0], width), max(low[1], 0), min(high[1], height)

    def _cast(self, camera: Camera, pixels: NDArray[np.int64], side: int) -> _Samples:
        count = side * side
        ticks = (np.arange(side) + 0.5) / side
        inside = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        corner = np.stack([pixels % camera.size[0], pixels // camera.size[0]], axis=-1)
        points = (corner[:, None] + inside).reshape(-1, 2)
        direction = camera.directions(points).astype(np.float32)
        origin = np.broadcast_to(camera.position.astype(np.float32), direction.shape)
        hit = self._scene.run(np.ascontiguousarray(origin), direction, output=True)
        phase = np.tile(np.arange(count) * (16 // count), len(pixels))
        return _Samples(
            np.repeat(pixels, count),
            np.full(len(points), 1 / count, np.float32),
            phase,
            direction,
            hit["primID"],
            hit["u"],
            hit["v"],
            hit["tfar"],
        )

    def _differing(self, samples: _Samples, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which pixels of the window see an edge: of the outline, a part, a material, or a crease."""
        height, width, side, _ = shape
        hit = samples.face >= 0
        face = np.where(hit, samples.face, 0)
        label = np.where(hit, 1 + self.thing.part[face].astype(np.int32) * 256 + self.thing.material[face], 0)
        normal = self._flat[face]

        def grid(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            tail = values.shape[1:]
            order = (0, 2, 1, 3, *range(4, 4 + len(tail)))
            return values.reshape(height, width, side, side, *tail).transpose(order).reshape(
                height * side, width * side, *tail
            )

        label, normal, depth = grid(label), grid(normal), grid(np.where(hit, samples.t, 0))
        edge = np.zeros(label.shape, bool)
        for one, other in (
            ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
            ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ):
            cosine = np.einsum("ijk,ijk->ij", normal[one], normal[other])
            differs = (label[one] != label[other]) | (cosine < CREASE)
            differs |= np.abs(depth[one] - depth[other]) > 0.05
            differs &= (label[one] > 0) | (label[other] > 0)
            edge[one] |= differs
            edge[other] |= differs
        return np.asarray(edge.reshape(height, side, width, side).any(axis=(1, 3)).ravel())

    # -- light -----------------------------------------------------------------------------------------

    def _ambient_occlusion(self) -> Array:
        """The share of the sky that each corner (F, 3) sees within OCCLUSION_REACH."""
        thing = self.thing
        centre = self._corners.mean(axis=1, keepdims=True)
        points = (self._corners * 0.9 + centre * 0.1).reshape(-1, 3)
        normals = thing.normals.reshape(-1, 3)
        rays = _hemisphere(OCCLUSION_RAYS)
        directions = np.einsum("rk,nkc->nrc", rays, _frames(normals)).reshape(-1, 3)
        origins = np.repeat(points + 4 * OFFSET * normals, OCCLUSION_RAYS, axis=0)
        reach = np.full(len(origins), OCCLUSION_REACH, np.float32)
        hidden = self._scene.run(
            origins.astype(np.float32), directions.astype(np.float32), dists=reach, query="OCCLUDED"
        )
        share = 1 - (hidden.reshape(-1, OCCLUSION_RAYS) >= 0).mean(axis=1)
        return np.asarray(share.reshape(-1, 3), np.float32)

    def _shade(self, samples: _Samples, camera: Camera, light: Light) -> Rendering:
        width, height = camera.size
        size = width * height
        hit = np.flatnonzero(samples.face >= 0)
        face, pixel, weight = samples.face[hit], samples.pixel[hit], samples.weight[hit]
        u, v = samples.u[hit, None], samples.v[hit, None]
        barycentric = np.concatenate([1 - u - v, u, v], axis=1)
        direction = samples.direction[hit]
        direction_length = np.sqrt(np.einsum("ij,ij->i", direction, direction))
        view = -direction / direction_length[:, None]
        normal = np.einsum("nk,nkc->nc", barycentric, self.thing.normals[face])
        normal /= np.sqrt(np.einsum("ij,ij->i", normal, normal))[:, None] + EPSILON
        flat = self._flat[face]
        behind = np.einsum("ij,ij->i", flat, view) < 0
        normal[behind] *= -1
        flat = np.where(behind[:, None], -flat, flat)
        point = camera.position.astype(np.float32) + direction * samples.t[hit, None]
        linear = self._radiance(
            face, barycentric, normal, view, self._key(point + 4 * OFFSET * flat, normal, samples.phase[hit], light), light
        )
        covered = np.bincount(pixel, weight, size)
        colour = np.stack([np.bincount(pixel, weight * linear[:, c], size) for c in range(3)], axis=-1)
        colour /= np.maximum(covered, EPSILON)[:, None]
        shadow = self._ground(samples, camera, light, size) if light.shadow else np.zeros(size)
        opaque = covered + shadow
        rgb = _srgb(colour) * (covered / np.maximum(opaque, EPSILON))[:, None]
        rgba = np.concatenate([rgb, opaque[:, None].clip(0, 1)], axis=1)
        return Rendering(
            np.rint(rgba * 255).astype(np.uint8).reshape(height, width, 4),
            np.rint(covered * 255).clip(0, 255).astype(np.uint8).reshape(height, width),
            _nearest(pixel, samples.t[hit], size).reshape(height, width),
            _mean_normals(pixel, weight, normal @ camera.rotation.T.astype(np.float32), size).reshape(height, width, 3),
            _majority(pixel, weight, self.thing.part[face], len(self.thing.parts), covered).reshape(height, width),
        )

    def _key(self, origin: Array, normal: Array, phase: NDArray[np.int64], light: Light) -> Array:
        """The cosine to the key light's direction where it arrives (N,), 0 in shadow; and the direction."""
        towards = light.directions()[phase]
        cosine = np.einsum("ij,ij->i", normal, towards).clip(0)
        if light.shadow:
            lit = np.flatnonzero(cosine > 0)
            hidden = self._scene.run(
                np.ascontiguousarray(origin[lit]), np.ascontiguousarray(towards[lit]), query="OCCLUDED"
            )
            cosine[lit[hidden >= 0]] = 0
        return cosine

    def _radiance(self, face, barycentric, normal, view, cosine, light):  # type: ignore[no-untyped-def]
        thing = self.thing
        material = thing.material[face]
        albedo = self._colour[material]
        uv = np.einsum("nk,nkc->nc", barycentric, thing.uv[face])
        for index, kind in enumerate(thing.materials):
            if kind.texture is not None:
                own = np.flatnonzero(material == index)
                albedo[own] *= _look_up(kind.texture, uv[own])
        open_sky = np.einsum("nk,nk->n", barycentric, self._occlusion[face])
        sky = (0.5 + 0.5 * normal[:, 2]) * open_sky
        ground = (0.5 - 0.5 * normal[:, 2]) * open_sky
        sky_light = sky[:, None] * np.float32(light.sky) + ground[:, None] * np.float32(light.bounce)
        half = view + np.float32(light.direction)
        half /= np.sqrt(np.einsum("ij,ij->i", half, half))[:, None] + EPSILON
        shine = np.einsum("ij,ij->i", normal, half).clip(0) ** 32 * self._gloss[material] * (cosine > 0)
        return albedo * (cosine[:, None] * np.float32(light.key) + sky_light) + 0.35 * shine[:, None] * np.float32(light.key)

    def _ground(self, samples: _Samples, camera: Camera, light: Light, size: int) -> Array:
        """How much of each pixel (H*W,) the object's shadow on the ground darkens."""
        low = self._low[2]
        corners = np.array(np.meshgrid(*zip(self._low, self._high, strict=True))).reshape(3, -1).T
        thrown = np.concatenate([corners + d * ((low - corners[:, 2:]) / d[2]) for d in light.directions()[:1]])
        margin = 0.15 * (self._high - self._low).max()
        first, last = thrown.min(axis=0)[:2] - margin, thrown.max(axis=0)[:2] + margin
        traced = np.zeros(size, bool)
        traced[samples.pixel] = True
        rest = np.flatnonzero(~traced)
        width = camera.size[0]
        ticks = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
        points = (np.stack([rest % width, rest // width], -1)[:, None] + ticks).reshape(-1, 2)
        missed = samples.face < 0
        pixel = np.concatenate([samples.pixel[missed], np.repeat(rest, 4)])
        weight = np.concatenate([samples.weight[missed], np.full(len(points), 0.25, np.float32)])
        phase = np.concatenate([samples.phase[missed], np.tile([0, 4, 8, 12], len(rest))])
        direction = np.concatenate([samples.direction[missed], camera.directions(points).astype(np.float32)])
        down = direction[:, 2] < -1e-4
        position = camera.position.astype(np.float32)
        t = np.where(down, (low - position[2]) / np.where(down, direction[:, 2], -1), -1)
        spot = position + direction * t[:, None]
        near = (t > 0) & np.all((spot[:, :2] > first) & (spot[:, :2] < last), axis=1)
        index = np.flatnonzero(near)
        towards = light.directions()[phase[index]]
        origin = spot[index] + np.float32([0, 0, 4 * OFFSET])
        hidden = self._scene.run(origin.astype(np.float32), towards, query="OCCLUDED") >= 0
        index = index[hidden]
        return np.bincount(pixel[index], weight[index] * SHADOW, size)


def _embree_scene(corners: Array):  # type: ignore[no-untyped-def]
    try:
        from embreex.mesh_construction import TriangleMesh  # noqa: PLC0415
        from embreex.rtcore_scene import EmbreeScene  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("rendering", "scenes") from error
    scene = EmbreeScene()
    TriangleMesh(scene, corners)
    return scene


def _hemisphere(count: int) -> Array:
    """Cosine-distributed directions around z (a Fibonacci spiral), the same each time."""
    k = np.arange(count) + 0.5
    radius, angle = np.sqrt(k / count), k * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - k / count)], -1).astype(np.float32)


def _frames(normals: Array) -> Array:
    """An orthonormal frame (N, 3, 3) with rows tangent, bitangent, normal (Duff et al. 2017)."""
    x, y, z = normals.T
    sign = np.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    tangent = np.stack([1 + sign * x * x * a, sign * b, -sign * x], -1)
    bitangent = np.stack([b, sign + y * y * a, -y], -1)
    return np.stack([tangent, bitangent, normals], axis=1).astype(np.float32)


def _look_up(texture: Array, uv: Array) -> Array:
    """Nearest texels (N, 3) of a repeating texture."""
    height, width = texture.shape[:2]
    column = np.floor(uv[:, 0] * width).astype(np.int64) % width
    row = np.floor(uv[:, 1] * height).astype(np.int64) % height
    return texture[row, column]


def _srgb(linear):  # type: ignore[no-untyped-def]
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-8) ** (1 / 2.4) - 0.055)


def _nearest(pixel, t, size):  # type: ignore[no-untyped-def]
    depth = np.full(size, np.inf, np.float32)
    np.minimum.at(depth, pixel, t)
    return depth


def _mean_normals(pixel, weight, normal, size):  # type: ignore[no-untyped-def]
    mean = np.stack([np.bincount(pixel, weight * normal[:, c], size) for c in range(3)], axis=-1)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.where(length > 1e-6, mean / np.maximum(length, 1e-6), 0).astype(np.float32)


def _majority(pixel, weight, part, count, covered):  # type: ignore[no-untyped-def]
    size = len(covered)
    share = np.bincount(pixel * (count + 1) + part + 1, weight, size * (count + 1)).reshape(size, count + 1)
    share[:, 0] = 1 - covered
    return share.argmax(axis=1).astype(np.uint8)
