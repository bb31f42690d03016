"""Rays: through a camera's pixels, and what of a mesh they meet (Embree)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import MissingExtraError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.objects import Array

Window = tuple[int, int, int, int]
"""Columns x0 <= x < x1 and rows y0 <= y < y1 of an image, as (x0, x1, y0, y1)."""


@dataclass(frozen=True, eq=False)
class Hits:
    """What N rays meet first: ``face`` (N,), -1 for none; barycentrics ``u`` and ``v`` of the face's second
    and third corner; ``t`` in lengths of the ray's direction."""

    face: NDArray[np.int32]
    u: Array
    v: Array
    t: Array


class Tracer:
    """Embree's tree of the triangles ``corners`` (F, 3, 3). Raises MissingExtraError: embreex is not
    installed."""

    def __init__(self, corners: Array) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise MissingExtraError("rendering", "scenes") from error
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, np.ascontiguousarray(corners, np.float32))

    def nearest(self, origin: Array, directions: Array) -> Hits:
        """What the rays from ``origin`` (3,) along ``directions`` (N, 3) meet first."""
        origins = np.empty_like(directions)
        origins[:] = origin
        found = self._scene.run(origins, directions, output=True)
        return Hits(found["primID"], found["u"], found["v"], found["tfar"])

    def hidden(self, origins: Array, directions: Array, reach: float | None = None) -> NDArray[np.bool_]:
        """Whether anything lies on the rays (N,), nearer than ``reach``."""
        limits = None if reach is None else np.full(len(origins), reach, np.float32)
        found = self._scene.run(origins, directions, limits, "OCCLUDED")
        return np.asarray(found >= 0)


@dataclass(frozen=True, eq=False)
class PixelRays:
    """The rays of a camera, along ``base`` + column * ``across`` + row * ``down``, each (3,)."""

    base: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    width: int

    @classmethod
    def of(cls, camera: Camera) -> PixelRays:
        """The camera's rays."""
        base, right, below = camera.directions([[0, 0], [1, 0], [0, 1]])
        return cls(base, right - base, below - base, camera.size[0])

    def grid(self, window: Window, side: int) -> Array:
        """Directions through side x side points of each pixel of a window, in rows: (side² pixels, 3)."""
        x0, x1, y0, y1 = window
        columns = x0 + (np.arange((x1 - x0) * side) + 0.5) / side
        rows = y0 + (np.arange((y1 - y0) * side) + 0.5) / side
        directions = np.empty((len(rows), len(columns), 3), np.float32)
        for axis in range(3):
            along_row = self.base[axis] + columns * self.across[axis]
            directions[..., axis] = along_row + (rows * self.down[axis])[:, None]
        return directions.reshape(-1, 3)

    def inside(self, pixels: NDArray[np.int64], side: int) -> Array:
        """Directions through side x side points of the given pixels, pixel after pixel: (side² P, 3)."""
        rows, columns = np.divmod(pixels, self.width)
        corner = self.base + columns[:, None] * self.across + rows[:, None] * self.down
        ticks = (np.arange(side) + 0.5) / side
        points = (ticks[None, :, None] * self.across + ticks[:, None, None] * self.down).reshape(-1, 3)
        directions = np.empty((len(pixels), side * side, 3), np.float32)
        for axis in range(3):
            directions[..., axis] = corner[:, axis, None] + points[:, axis]
        return directions.reshape(-1, 3)


def window_of(camera: Camera, points: NDArray[np.float64]) -> Window:
    """The pixels in which the convex hull of the points (N, 3) may lie, with one to spare; maybe none."""
    width, height = camera.size
    pixels, depth = camera.project(points)
    if (depth <= 1e-6).any():
        return 0, width, 0, height
    pixels = pixels.clip(-2, np.array([width, height]) + 2.0)
    low, high = np.floor(pixels.min(axis=0)).astype(int) - 1, np.ceil(pixels.max(axis=0)).astype(int) + 1
    x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
    return x0, max(min(int(high[0]), width), x0), y0, max(min(int(high[1]), height), y0)


def box_corners(low: Array, high: Array) -> NDArray[np.float64]:
    """The eight corners (8, 3) of a box."""
    return np.array(np.meshgrid(*zip(low, high, strict=True)), float).reshape(3, -1).T


def phase_of(row: NDArray[np.int32], column: NDArray[np.int32]) -> NDArray[np.int64]:
    """Which of sixteen directions of a light belongs to a point of a grid of 2 x 2 points a pixel."""
    return np.asarray(8 * (row & 1) + 4 * (column & 1), np.int64)
