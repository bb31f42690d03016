"""From samples to pixels: averages, the nearest, the majority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from netinvert.scenes.cameras import Camera, CameraError
from netinvert.scenes.objects import Array, MeshError, Object3D, linear_to_srgb
from netinvert.scenes.rays import Hits, PixelRays, Tracer, Window, box_corners, phase_of, window_of
from netinvert.scenes.shading import DARKNESS, Ground, Light, Samples, Shader

Index = NDArray[np.int64]
Number = TypeVar("Number", np.float32, np.int32)


@dataclass(frozen=True, eq=False)
class PixelAccumulator:
    """Sums over the samples of each of ``size`` pixels; sample i counts ``weight[i]`` in ``pixel[i]``."""

    pixel: Index
    weight: NDArray[np.float64]
    size: int

    def sum(self, values: Array | None = None) -> NDArray[np.float64]:
        """The weighted sum (size,) of the values (N,), or of 1."""
        weighted = self.weight if values is None else self.weight * values
        return np.asarray(np.bincount(self.pixel, weighted, self.size), np.float64)

    def least(self, values: Array) -> Array:
        """The least value (size,), inf without samples."""
        least = np.full(self.size, np.inf, np.float32)
        np.minimum.at(least, self.pixel, values)
        return least

    def vote(self, kind: Index, kinds: int, covered: NDArray[np.float64]) -> NDArray[np.uint8]:
        """1 + the kind of most samples (size,), or 0 where less is ``covered`` by any kind than is not."""
        seen = np.flatnonzero(covered)
        place = np.zeros(self.size, np.intp)
        place[seen] = np.arange(len(seen))
        ballot = place.take(self.pixel) * (kinds + 1) + kind + 1
        votes = np.bincount(ballot, self.weight, len(seen) * (kinds + 1)).reshape(-1, kinds + 1)
        votes[:, 0] = 1 - covered.take(seen)
        winner = np.zeros(self.size, np.uint8)
        winner[seen] = votes.argmax(axis=1)
        return winner

    def image(
        self, colour: list[Array], covered: NDArray[np.float64], shadow: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """Straight sRGB and alpha (size, 4) of linear red, green, blue (N,) over a black ``shadow``."""
        seen = np.flatnonzero(covered)
        share, opaque = covered.take(seen), covered + shadow
        rgba = np.zeros((self.size, 4), np.uint8)
        rgba[:, 3] = np.rint(opaque.clip(0, 1) * 255)
        for channel, values in enumerate(colour):
            mean = self.sum(values).take(seen) / share
            rgba[seen, channel] = np.rint(linear_to_srgb(mean) * (share / opaque.take(seen)) * 255)
        return rgba

    def mean_direction(self, vector: list[Array], covered: NDArray[np.float64]) -> Array:
        """Unit vectors (size, 3), 0 without samples, from x, y and z (N,)."""
        seen = np.flatnonzero(covered)
        mean = np.stack([self.sum(part).take(seen) for part in vector], axis=-1)
        directions = np.zeros((self.size, 3), np.float32)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        directions[seen] = np.where(length > 1e-6, mean / np.maximum(length, 1e-6), 0)
        return directions


COARSE, FINE = 2, 4
"""Samples a pixel's side: COARSE everywhere, FINE where the coarse samples see different things."""
CREASE = 0.95  # cosine between neighbouring samples' normals below which a pixel gets FINE samples
STEP = 0.05  # of the object's diagonal: a difference in depth that counts as an edge


@dataclass(frozen=True, eq=False)
class RenderedImage:
    """An image of H x W pixels, and what is seen in each.

    ``rgba`` (H, W, 4) uint8, straight sRGB, with the ground's shadow as black of partial alpha; ``mask`` (H,
    W) uint8, the share that the object covers; ``parts`` (H, W) uint8, 1 + the index of the part that covers
    most of the pixel, 0 for none."""

    rgba: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    parts: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Rendering(RenderedImage):
    """An image with its geometry.

    ``depth`` (H, W) float32 along the camera's axis, of the nearest sample, inf outside; ``normals`` (H, W,
    3) float32, unit, in camera coordinates, 0 outside."""

    depth: Array
    normals: Array


@dataclass(frozen=True, eq=False)
class _Seen:
    """The samples that meet the object and their ``weight``; the points ``taken`` (2H, 2W) that the ground
    need not look at; the refined ``pixels``, their ``fine`` rays, and which of those ``missed``."""

    samples: Samples
    weight: NDArray[np.float64]
    taken: NDArray[np.bool_]
    pixels: NDArray[np.int64]
    fine: Array
    missed: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Exposed:
    """The ``accumulator``, the share of each pixel that is ``covered`` (H W,), the samples' distances
    ``t`` (N,), ``normal``, x, y and z (N,) in the object's coordinates, and the ``image`` they make."""

    accumulator: PixelAccumulator
    covered: NDArray[np.float64]
    t: Array
    normal: list[Array]
    image: RenderedImage


class Renderer:
    """Renders one object from any number of cameras; the tree and the ambient occlusion are built once.
    Raises MissingExtraError: embreex is not installed; MeshError: the mesh is empty, has NaN, or more than
    255 parts."""

    def __init__(self, thing: Object3D) -> None:
        check_mesh(thing)
        self.thing = thing
        corners = np.ascontiguousarray(thing.vertices[thing.faces], np.float32)
        self._tracer = Tracer(corners)
        self._low, self._high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        self._ground = Ground(self._low, self._high, self._tracer)
        self._shader = Shader(thing, self._tracer)
        self._part = thing.part.astype(np.intp)
        # What is seen at a sample; the last entry is that of face -1, nothing.
        self._label = np.append(1 + thing.part.astype(np.int32) * 256 + thing.material, 0).astype(np.int32)

    def image(self, camera: Camera, light: Light) -> RenderedImage:
        """An image, antialiased. Raises CameraError: the camera stands inside the object's bounding box."""
        return self._exposed(camera, light).image

    def render(self, camera: Camera, light: Light) -> Rendering:
        """The same image with depth and normals. Raises CameraError: the camera stands inside the object's
        bounding box."""
        exposed = self._exposed(camera, light)
        width, height = camera.size
        accumulator, image = exposed.accumulator, exposed.image
        turn, (x, y, z) = camera.rotation.astype(np.float32), exposed.normal
        normal = [turn[axis, 0] * x + turn[axis, 1] * y + turn[axis, 2] * z for axis in range(3)]
        return Rendering(
            image.rgba,
            image.mask,
            image.parts,
            accumulator.least(exposed.t).reshape(height, width),
            accumulator.mean_direction(normal, exposed.covered).reshape(height, width, 3),
        )

    def _exposed(self, camera: Camera, light: Light) -> _Exposed:
        check_camera(camera, self.thing.name, self._low, self._high)
        rays = PixelRays.of(camera)
        window = window_of(camera, box_corners(self._low, self._high))
        seen = self._see(camera, rays, window)
        colour, normal = self._shader.shade(seen.samples, camera.position.astype(np.float32), light)
        width, height = camera.size
        accumulator = PixelAccumulator(seen.samples.pixel, seen.weight, width * height)
        covered = accumulator.sum()
        shadow = self._shadow(camera, rays, light, seen) if light.shadow else np.zeros(covered.shape)
        part = self._part.take(seen.samples.face)
        image = RenderedImage(
            accumulator.image(colour, covered, shadow).reshape(height, width, 4),
            np.rint(covered * 255).astype(np.uint8).reshape(height, width),
            accumulator.vote(part, len(self.thing.parts), covered).reshape(height, width),
        )
        return _Exposed(accumulator, covered, seen.samples.t, normal, image)

    def _see(self, camera: Camera, rays: PixelRays, window: Window) -> _Seen:
        """What the samples in the window meet: COARSE ones, and FINE ones in the pixels that see an edge."""
        x0, x1, y0, y1 = window
        width, height = camera.size
        position = camera.position.astype(np.float32)
        directions = rays.grid(window, COARSE)
        coarse = self._tracer.nearest(position, directions)
        hit = (coarse.face >= 0).reshape(COARSE * (y1 - y0), COARSE * (x1 - x0))
        edgy = self._edges(coarse, hit)
        refined = edgy.repeat(COARSE, axis=0).repeat(COARSE, axis=1)
        rows, columns = np.nonzero(edgy)
        pixels = (y0 + rows) * width + x0 + columns
        fine_directions = rays.inside(pixels, FINE)
        fine = self._tracer.nearest(position, fine_directions)
        inner, outer = np.flatnonzero(hit & ~refined), np.flatnonzero(fine.face >= 0)
        row, column = np.divmod(inner.astype(np.int32), np.int32(max(hit.shape[1], 1)))

        def both(one: NDArray[Number], other: NDArray[Number]) -> NDArray[Number]:
            return np.concatenate([one.take(inner, axis=0), other.take(outer, axis=0)])

        inner_pixel = (y0 + row // COARSE) * width + x0 + column // COARSE
        samples = Samples(
            np.concatenate([inner_pixel, pixels.repeat(FINE**2).take(outer)]),
            np.concatenate([phase_of(row, column), outer % FINE**2]),
            both(directions, fine_directions),
            *(both(getattr(coarse, name), getattr(fine, name)) for name in ("face", "u", "v", "t")),
        )
        weight = np.repeat([1 / COARSE**2, 1 / FINE**2], [len(inner), len(outer)])
        taken = np.zeros((COARSE * height, COARSE * width), bool)
        taken[COARSE * y0 : COARSE * y1, COARSE * x0 : COARSE * x1] = hit | refined
        return _Seen(samples, weight, taken, pixels, fine_directions, np.flatnonzero(fine.face < 0))

    def _shadow(self, camera: Camera, rays: PixelRays, light: Light, seen: _Seen) -> NDArray[np.float64]:
        """The alpha (H W,) of the shadow on the ground."""
        cast = self._ground.shadow(light)
        shadow = cast.over_grid(camera, rays, seen.taken).astype(float).ravel()
        directions = seen.fine.take(seen.missed, axis=0)
        dark = seen.missed.take(cast.met(camera, directions, seen.missed % FINE**2))
        found = np.bincount(dark // FINE**2, minlength=len(seen.pixels))
        shadow[seen.pixels] += found * np.float32(DARKNESS / FINE**2)
        return shadow

    def _edges(self, seen: Hits, hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which pixels of the window see an edge: of the outline, a part, a material, a step or a crease."""
        face = seen.face.reshape(hit.shape)
        label = self._label.take(seen.face, mode="wrap").reshape(hit.shape)
        depth = np.where(hit, seen.t.reshape(hit.shape), 0)
        edge = np.zeros(hit.shape, bool)
        flat = self._shader.flat
        for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
            differs = label[one] != label[other]
            differs |= np.abs(depth[one] - depth[other]) > STEP
            facets = np.flatnonzero(~differs & (face[one] != face[other]))
            a, b = (flat.take(face[half].ravel().take(facets), axis=0) for half in (one, other))
            creased = np.zeros(differs.shape, bool)
            creased.ravel()[facets] = np.einsum("ij,ij->i", a, b) < CREASE
            differs |= creased
            edge[one] |= differs
            edge[other] |= differs
        side = COARSE
        rows = edge[0::side] | edge[1::side]
        return np.asarray(rows[:, 0::side] | rows[:, 1::side])


def check_mesh(thing: Object3D) -> None:
    """Raises MeshError if the object cannot be rendered."""
    if not len(thing.faces):
        raise MeshError(f"{thing.name} has no faces: there is nothing to render")
    if len(thing.parts) > 255:
        raise MeshError(
            f"{thing.name} has {len(thing.parts)} parts: part ids are bytes, so join some (at most 255)"
        )
    if not (np.isfinite(thing.vertices).all() and np.isfinite(thing.normals).all()):
        raise MeshError(f"{thing.name} has NaN or infinite vertices or normals: repair the mesh")


def check_camera(camera: Camera, name: str, low: Array, high: Array) -> None:
    """Raises CameraError if the camera stands in the box between ``low`` and ``high``."""
    if np.all((camera.position > low) & (camera.position < high)):
        raise CameraError(
            f"the camera stands inside {name}, {camera.distance:.3g} from its centre: give a larger distance"
        )
