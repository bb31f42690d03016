"""Colours: between sRGB and linear light, and of random paint."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RGB = tuple[float, float, float]
DARKEST, BRIGHTEST = 0.01, 0.78
"""Of surfaces, linear: none so bright that light burns it white."""


def linear_to_srgb(linear: ArrayLike) -> NDArray[np.float64]:
    """Linear light to sRGB, both in [0, 1] (IEC 61966-2-1); what is brighter is cut.

    Example:
        >>> linear_to_srgb([0.0, 0.5, 1.0]).round(3)
        array([0.   , 0.735, 1.   ])
    """
    value = np.clip(np.asarray(linear, float), 0, 1)
    bright = 1.055 * np.maximum(value, 1e-8) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(value <= 0.0031308, 12.92 * value, bright))


def srgb_to_linear(srgb: ArrayLike) -> NDArray[np.float64]:
    """sRGB to linear light, both in [0, 1] (IEC 61966-2-1).

    Example:
        >>> srgb_to_linear([0.0, 0.5, 1.0]).round(3)
        array([0.   , 0.214, 1.   ])
    """
    value = np.asarray(srgb, float)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def paint(rng: np.random.Generator, darkest: float = 0.05) -> RGB:
    """A random colour of paint, linear RGB."""
    return surface_colour(random_hue(rng, 1.5, darkest))


def random_hue(rng: np.random.Generator, dull: float, darkest: float = 0.05) -> NDArray[np.float64]:
    """Any hue (3,), linear RGB, its value above ``darkest``; the higher ``dull``, the less saturated."""
    hue, saturation, value = rng.random(), rng.beta(2, dull), rng.uniform(darkest, 0.75)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * wheel))


def surface_colour(colour: NDArray[Any]) -> RGB:
    """Linear RGB (3,) within what surfaces send back."""
    red, green, blue = np.clip(colour, DARKEST, BRIGHTEST).tolist()
    return red, green, blue
