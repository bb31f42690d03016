"""How bright a surface is: texture, a key light with shadows, the sky, a highlight."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import ConfigError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.objects import Array, Object3D
from netinvert.scenes.rays import PixelRays, Tracer, Window, box_corners, phase_of, window_of

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A key light far away in ``direction`` (unit, towards the light), and a sky over a ground.

    ``key``, ``sky`` and ``bounce`` (from below) are linear RGB strengths: a white surface that faces the key
    light sends back ``key`` plus what it sees of the sky. ``softness`` is the key's radius in radians."""

    direction: Colour
    key: Colour = (0.75, 0.72, 0.66)
    sky: Colour = (0.34, 0.36, 0.40)
    bounce: Colour = (0.14, 0.13, 0.12)
    softness: float = 0.06
    shadow: bool = True

    def __post_init__(self) -> None:
        numbers = np.array([*self.direction, *self.key, *self.sky, *self.bounce, self.softness], float)
        if numbers.size != 13 or not np.isfinite(numbers).all() or numbers[3:].min() < 0:
            raise ConfigError(f"{self}: directions and colours are three numbers, and no colour is below 0")
        if abs(np.linalg.norm(self.direction) - 1) > 1e-3:
            raise ConfigError(
                f"a light's direction must be of length 1, not {self.direction}: see direction()"
            )

    @cached_property
    def directions(self) -> Array:
        """Sixteen unit directions (16, 3) spread over the key light, in an order good for any 4 of them."""
        k = (np.arange(16) * 7) % 16 + 0.5
        radius, angle = self.softness * np.sqrt(k / 16), k * np.pi * (3 - np.sqrt(5))
        axis = np.asarray(self.direction)
        side = np.cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        up = np.cross(axis, side)
        spread = axis + radius[:, None] * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * up)
        return np.asarray(spread / np.linalg.norm(spread, axis=1, keepdims=True), np.float32)


def direction(azimuth: float, elevation: float) -> Colour:
    """The unit direction towards a light at azimuth and elevation (degrees), PASCAL3D+ frame."""
    a, e = np.radians([azimuth, elevation])
    return float(np.cos(e) * np.sin(a)), float(-np.cos(e) * np.cos(a)), float(np.sin(e))


STUDIO = Light(direction(-40, 55))
"""From the front left, above."""


def random_light(rng: np.random.Generator) -> Light:
    """A key light from anywhere above 25 degrees, warm or cool, hard or soft, under a bright or dark sky."""
    warmth = rng.uniform(-1, 1) * 0.12
    tint = np.array([1 + warmth, 1, 1 - warmth])
    key = rng.uniform(0.35, 0.85) * tint
    sky = rng.uniform(0.2, 0.5) * (2 - tint)
    bounce = sky * rng.uniform(0.2, 0.6)
    return Light(
        direction(rng.uniform(0, 360), rng.uniform(25, 80)),
        _colour(key),
        _colour(sky),
        _colour(bounce),
        softness=float(rng.uniform(0.01, 0.15)),
    )


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = values.tolist()
    return red, green, blue


OFFSET = 4e-4  # of the object's diagonal: how far secondary rays start from the surface
OCCLUSION_RAYS = 32
OCCLUSION_REACH = 0.35  # of the object's diagonal
HIGHLIGHT = 0.35
BLOCK = 12_000  # samples shaded at once: more do not fit into the cache
EPSILON = 1e-12
NORMAL, UV, SKY, FLAT = slice(0, 9), slice(9, 15), slice(15, 18), slice(18, 21)
"""Columns of what is known of a face: three corners' normals, uv, shares of the sky; its own normal."""


@dataclass(frozen=True, eq=False)
class Samples:
    """N points that rays have met: ``pixel`` and ``phase`` (which of the light's directions) of the ray,
    its ``direction`` (N, 3), the ``face`` met, barycentrics ``u`` and ``v``, and distance ``t``."""

    pixel: NDArray[np.int64]
    phase: NDArray[np.int64]
    direction: Array
    face: NDArray[np.int32]
    u: Array
    v: Array
    t: Array

    def cut(self, start: int, stop: int) -> Samples:
        """Samples ``start`` to ``stop``."""
        return Samples(*(getattr(self, field.name)[start:stop] for field in fields(self)))


class Shader:
    """The surface of one object: all that does not depend on camera and light is worked out once."""

    def __init__(self, thing: Object3D, tracer: Tracer) -> None:
        corners = thing.vertices[thing.faces].astype(np.float32)
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        flat /= np.linalg.norm(flat, axis=1, keepdims=True) + EPSILON
        sky = _ambient_occlusion(thing, corners, tracer)
        count = len(thing.faces)
        per_face = [thing.normals.reshape(count, 9), thing.uv.reshape(count, 6), sky, flat]
        # column after column: what is gathered for the samples then lies one after the other in memory
        self._columns = np.ascontiguousarray(np.concatenate(per_face, axis=1, dtype=np.float32).T)
        self._material = thing.material.astype(np.intp)
        self._gloss = np.array([material.gloss for material in thing.materials], np.float32)
        self._skins = _Skins(thing)
        self._tracer = tracer
        self.flat = flat.astype(np.float32)

    def shade(self, samples: Samples, position: Array, light: Light) -> tuple[list[Array], list[Array]]:
        """Linear red, green and blue (N,), and the normals' x, y and z (N,), turned towards the ray."""
        starts = range(0, max(len(samples.face), 1), BLOCK)
        blocks = [self._shade(samples.cut(start, start + BLOCK), position, light) for start in starts]
        colour, normal = (
            [np.concatenate(one) for one in zip(*own, strict=True)] for own in zip(*blocks, strict=True)
        )
        return colour, normal

    def _shade(self, samples: Samples, position: Array, light: Light) -> tuple[list[Array], list[Array]]:
        face = samples.face.astype(np.intp)
        weights = (1 - samples.u - samples.v, samples.u, samples.v)
        corner = self._gathered(NORMAL, face)
        normal = _unit([_mixed(weights, corner[axis::3]) for axis in range(3)])
        view = _unit([-samples.direction[:, axis] for axis in range(3)])
        flat = self._gathered(FLAT, face)
        turn = np.where(_dot(flat, view) < 0, np.float32(-1), np.float32(1))
        normal = [turn * n for n in normal]
        origin = np.empty_like(samples.direction)
        for axis in range(3):
            point = position[axis] + samples.direction[:, axis] * samples.t
            origin[:, axis] = point + OFFSET * (turn * flat[axis])
        cosine = self._arriving(origin, normal, samples.phase, light)

        material = self._material.take(face)
        uv = self._gathered(UV, face)
        albedo = self._skins.look_up(material, _mixed(weights, uv[0::2]), _mixed(weights, uv[1::2]))
        seen = _mixed(weights, self._gathered(SKY, face))
        above, below = (0.5 + 0.5 * normal[2]) * seen, (0.5 - 0.5 * normal[2]) * seen
        half = _unit([view[axis] + np.float32(light.direction[axis]) for axis in range(3)])
        shine = _dot(normal, half).clip(0)
        for _ in range(5):  # to the power of 32
            shine *= shine
        shine *= HIGHLIGHT * self._gloss.take(material) * (cosine > 0)
        key, sky, bounce = (np.array(colour, np.float32) for colour in (light.key, light.sky, light.bounce))
        colour = [
            albedo[:, c] * (cosine * key[c] + (above * sky[c] + below * bounce[c])) + shine * key[c]
            for c in range(3)
        ]
        return colour, normal

    def _gathered(self, columns: slice, face: NDArray[np.intp]) -> list[Array]:
        return [column.take(face) for column in self._columns[columns]]

    def _arriving(self, origin: Array, normal: list[Array], phase: NDArray[np.int64], light: Light) -> Array:
        """The cosine at which the key light arrives (N,), 0 in shadow."""
        towards = light.directions
        cosine = _dot(normal, [towards[:, axis].take(phase) for axis in range(3)]).clip(0)
        if light.shadow:
            lit = np.flatnonzero(cosine > 0)
            hidden = self._tracer.hidden(origin.take(lit, axis=0), towards.take(phase.take(lit), axis=0))
            cosine[lit[hidden]] = 0
        return cosine


class _Skins:
    """The materials' colours and textures, in one table of texels."""

    def __init__(self, thing: Object3D) -> None:
        texels = []
        for material in thing.materials:
            texture = np.ones((1, 1, 3), np.float32) if material.texture is None else material.texture
            texels.append(np.asarray(texture, np.float32) * np.array(material.colour, np.float32))
        self._table = np.concatenate([texel.reshape(-1, 3) for texel in texels])
        self._height = np.array([len(texel) for texel in texels], np.int32)
        self._width = np.array([texel.shape[1] for texel in texels], np.int32)
        self._first = np.cumsum([0, *(len(texel) * texel.shape[1] for texel in texels[:-1])])

    def look_up(self, material: NDArray[np.int64], u: Array, v: Array) -> Array:
        """Nearest texels (N, 3) of the repeating textures."""
        width, height = self._width.take(material), self._height.take(material)
        column = np.floor(u * width.astype(np.float32)).astype(np.int32) % width
        row = np.floor(v * height.astype(np.float32)).astype(np.int32) % height
        return np.asarray(self._table.take(self._first.take(material) + row * width + column, axis=0))


def _ambient_occlusion(thing: Object3D, corners: Array, tracer: Tracer) -> Array:
    """The share of the sky that each corner (F, 3) sees within OCCLUSION_REACH."""
    # A little inside its face, so that a corner does not look from behind the face that adjoins it.
    points = (corners * 0.9 + corners.mean(axis=1, keepdims=True) * 0.1).reshape(-1, 3)
    normals = thing.normals.reshape(-1, 3)
    directions = np.matmul(_hemisphere(OCCLUSION_RAYS), _frames(normals)).reshape(-1, 3)
    origins = np.repeat((points + OFFSET * normals).astype(np.float32), OCCLUSION_RAYS, axis=0)
    hidden = tracer.hidden(origins, directions, OCCLUSION_REACH)
    return np.asarray(1 - hidden.reshape(-1, 3, OCCLUSION_RAYS).mean(axis=2), np.float32)


def _hemisphere(count: int) -> Array:
    """Cosine-distributed directions around z (a Fibonacci spiral), the same each time."""
    k = np.arange(count) + 0.5
    radius, angle = np.sqrt(k / count), k * np.pi * (3 - np.sqrt(5))
    spread = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - k / count)], axis=-1)
    return np.asarray(spread, np.float32)


def _frames(normals: Array) -> Array:
    """An orthonormal frame (N, 3, 3) with rows tangent, bitangent, normal (Duff et al. 2017)."""
    x, y, z = normals.T
    sign = np.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    tangent = np.stack([1 + sign * x * x * a, sign * b, -sign * x], -1)
    bitangent = np.stack([b, sign + y * y * a, -y], -1)
    return np.stack([tangent, bitangent, normals], axis=1).astype(np.float32)


def _mixed(weights: tuple[Array, Array, Array], corners: list[Array]) -> Array:
    first = weights[0] * corners[0]
    first += weights[1] * corners[1]
    first += weights[2] * corners[2]
    return first


def _dot(one: list[Array], other: list[Array]) -> Array:
    return np.asarray(one[0] * other[0] + one[1] * other[1] + one[2] * other[2])


def _unit(vector: list[Array]) -> list[Array]:
    length = np.sqrt(_dot(vector, vector)) + np.float32(EPSILON)
    return [part / length for part in vector]


DARKNESS = 0.6  # of the ground's full shadow
LOWEST = 0.02  # sine of the elevation below which a light's shadow is so long that it is left out
OFFSET_SHADOWS = 4e-4  # of the object's diagonal: how far shadow rays start above the ground


@dataclass(frozen=True, eq=False)
class Ground:
    """A horizontal plane below an object with the bounding box ``low`` (3,), ``high`` (3,)."""

    low: Array
    high: Array
    tracer: Tracer

    def shadow(self, light: Light) -> Shadow:
        """The object's shadow in a light."""
        corners = box_corners(self.low, self.high)
        towards = light.directions.astype(float)[:, None]
        thrown = corners + towards * ((self.low[2] - corners[:, 2:]) / towards[..., 2:])
        first, last = thrown.min(axis=(0, 1))[:2], thrown.max(axis=(0, 1))[:2]
        return Shadow(light.directions, first, last, float(self.low[2]), self.tracer)


@dataclass(frozen=True, eq=False)
class Shadow:
    """A shadow on the ground at height ``z``, somewhere between ``first`` and ``last`` (2,), x and y; the
    light's parts lie towards ``directions`` (16, 3)."""

    directions: Array
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    z: float
    tracer: Tracer

    def window(self, camera: Camera) -> Window | None:
        """The pixels that the shadow can reach; None if the camera sees none of it."""
        if camera.position[2] <= self.z or self.directions[:, 2].min() < LOWEST:
            return None
        (x0, y0), (x1, y1), z = self.first, self.last, self.z
        return window_of(camera, np.array([[x0, y0, z], [x1, y0, z], [x0, y1, z], [x1, y1, z]]))

    def met(self, camera: Camera, directions: Array, phase: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the rays (N, 3) end in the shadow; ``phase`` (N,) says towards which part of the light."""
        first, last = self.first, self.last
        position = camera.position.astype(np.float32)
        fall = directions[:, 2]
        down = np.flatnonzero(fall < -1e-4)
        t = (np.float32(self.z) - position[2]) / fall.take(down)
        x, y = (position[axis] + directions[:, axis].take(down) * t for axis in (0, 1))
        near = np.flatnonzero((x > first[0]) & (x < last[0]) & (y > first[1]) & (y < last[1]))
        height = np.full(len(near), np.float32(self.z) + np.float32(OFFSET_SHADOWS))
        spot = np.stack([x.take(near), y.take(near), height], axis=-1)
        index = down.take(near)
        hidden = self.tracer.hidden(spot, self.directions.take(phase.take(index), axis=0))
        return index[hidden]

    def over_grid(self, camera: Camera, rays: PixelRays, taken: NDArray[np.bool_]) -> Array:
        """The share of each pixel (H, W) that 2 x 2 points find in shadow, save those ``taken`` (2H, 2W)."""
        height, width = taken.shape[0] // 2, taken.shape[1] // 2
        share = np.zeros((height, width), np.float32)
        window = self.window(camera)
        if window is None or window[0] >= window[1] or window[2] >= window[3]:
            return share
        x0, x1, y0, y1 = window
        free = ~taken[2 * y0 : 2 * y1, 2 * x0 : 2 * x1]
        index = np.flatnonzero(free)
        row, column = np.divmod(index.astype(np.int32), np.int32(free.shape[1]))
        phase = phase_of(row, column)
        dark = np.zeros(free.shape, np.float32)
        inside = self.met(camera, rays.grid(window, 2).take(index, axis=0), phase)
        dark.ravel()[index.take(inside)] = DARKNESS / 4
        share[y0:y1, x0:x1] = dark.reshape(y1 - y0, 2, x1 - x0, 2).sum(axis=(1, 3))
        return share
