"""Light: a key light that throws shadows, and the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netinvert.scenes.objects import Array

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A key light far away in ``direction`` (unit, towards the light), and a sky over a ground.

    ``key``, ``sky`` and ``bounce`` (from below) are linear RGB strengths: a white surface that faces the
    key light sends back ``key`` plus what it sees of the sky. ``softness`` is the key's radius in radians.
    """

    direction: Colour
    key: Colour = (0.75, 0.72, 0.66)
    sky: Colour = (0.34, 0.36, 0.40)
    bounce: Colour = (0.14, 0.13, 0.12)
    softness: float = 0.06
    shadow: bool = True

    def directions(self) -> Array:
        """Sixteen unit directions (16, 3) spread over the key light, in an order good for any 4 of them."""
        k = (np.arange(16) * 7) % 16 + 0.5
        radius, angle = self.softness * np.sqrt(k / 16), k * np.pi * (3 - np.sqrt(5))
        axis = np.asarray(self.direction)
        side = np.cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        spread = axis + radius[:, None] * (
            np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side)
        )
        return (spread / np.linalg.norm(spread, axis=1, keepdims=True)).astype(np.float32)


def direction(azimuth: float, elevation: float) -> Colour:
    """The unit direction towards a light at azimuth and elevation (degrees), PASCAL3D+ frame."""
    a, e = np.radians([azimuth, elevation])
    return float(np.cos(e) * np.sin(a)), float(-np.cos(e) * np.cos(a)), float(np.sin(e))


STUDIO = Light(direction(-40, 55))
"""From the front left, above."""


def random_light(rng: np.random.Generator) -> Light:
    """A key light from anywhere above 25 degrees, from warm to cool, hard to soft, with a brighter or darker sky."""
    warmth = rng.uniform(-1, 1) * 0.12
    tint = np.array([1 + warmth, 1, 1 - warmth])
    key = rng.uniform(0.35, 0.85) * tint
    sky = rng.uniform(0.2, 0.5) * (2 - tint)
    bounce = sky * rng.uniform(0.2, 0.6)
    return Light(
        direction(rng.uniform(0, 360), rng.uniform(25, 80)),
        tuple(key.tolist()),
        tuple(sky.tolist()),
        tuple(bounce.tolist()),
        softness=float(rng.uniform(0.01, 0.15)),
    )
