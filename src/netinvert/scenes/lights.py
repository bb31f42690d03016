"""Light: a key light that throws shadows, and the sky."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import ConfigError
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
