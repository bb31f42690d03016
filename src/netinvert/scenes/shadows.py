"""The shadow that an object throws on the ground it stands on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netinvert.scenes.cameras import Camera
from netinvert.scenes.lights import Light
from netinvert.scenes.objects import Array
from netinvert.scenes.rays import PixelRays, Tracer, Window, box_corners, phase_of, window_of

DARKNESS = 0.6  # of the ground's full shadow
LOWEST = 0.02  # sine of the elevation below which a light's shadow is so long that it is left out
OFFSET = 4e-4  # of the object's diagonal: how far shadow rays start above the ground


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
        spot = np.empty((len(near), 3), np.float32)
        spot[:, 0], spot[:, 1], spot[:, 2] = (
            x.take(near),
            y.take(near),
            np.float32(self.z) + np.float32(OFFSET),
        )
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
