"""Surfaces drawn from a seed: small linear RGB multipliers around 1 that repeat without a seam."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netinvert.scenes.objects import Array

SIZE = 64
FABRICS = ("plain", "stripes", "check", "dots", "melange", "zigzag")


def _noise(rng: np.random.Generator, falloff: float, stretch: tuple[float, float] = (1, 1)) -> Array:
    """Smooth noise (SIZE, SIZE) that repeats, of mean 0 and deviation 1; spectrum 1 / f**falloff."""
    y, x = np.meshgrid(np.fft.fftfreq(SIZE) * SIZE, np.fft.rfftfreq(SIZE) * SIZE, indexing="ij")
    frequency = np.hypot(x * stretch[0], y * stretch[1])
    frequency[0, 0] = np.inf
    spectrum = (rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape)) / frequency**falloff
    noise = np.fft.irfft2(spectrum, s=(SIZE, SIZE))
    return np.asarray(noise / noise.std(), np.float32)


def _tinted(strength: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> Array:
    share = strength[..., None].clip(0, 1)
    return np.asarray(low * (1 - share) + high * share, np.float32)


def wood(rng: np.random.Generator) -> Array:
    """Grain along the texture's second axis."""
    warp = _noise(rng, 2.0, (1, 3)) * 0.05
    x = np.arange(SIZE, dtype=np.float32)[None, :] / SIZE
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.integers(4, 9) * x + 2.2 * warp))
    fibre = _noise(rng, 0.8, (1, 8))
    value = 1 - rng.uniform(0.25, 0.5) * rings + 0.08 * fibre
    return np.asarray(np.repeat(value[..., None], 3, axis=2).clip(0.3, 1.3), np.float32)


def fabric(rng: np.random.Generator, kind: str) -> Array:
    """Cloth of a pattern in FABRICS; the second colour is a random tint of the first."""
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    repeats = int(rng.choice([2, 4, 8]))
    width = SIZE // repeats
    weave = 1 + 0.06 * _noise(rng, 0.3)
    other = rng.uniform(0.25, 1.6, 3)
    share: NDArray[Any]
    if kind == "stripes":
        share = (x % width < width * rng.uniform(0.3, 0.7)).astype(np.float32)
    elif kind == "check":
        share = 0.5 * (x % width < width / 2) + 0.5 * (y % width < width / 2)
    elif kind == "dots":
        share = (np.hypot(x % width - width / 2, y % width - width / 2) < 0.3 * width).astype(np.float32)
    elif kind == "zigzag":
        share = ((x + np.abs(y % width - width // 2)) % width < width / 2).astype(np.float32)
    elif kind == "melange":
        share = 0.5 + 0.35 * _noise(rng, 1.2)
    else:
        share = np.zeros((SIZE, SIZE))
    return np.asarray(
        _tinted(np.asarray(share, np.float32), np.ones(3), other) * weave[..., None], np.float32
    )


def leather(rng: np.random.Generator) -> Array:
    """Fine creases and slow changes of shade."""
    value = 1 + 0.07 * _noise(rng, 0.6) + 0.08 * _noise(rng, 1.8)
    return np.asarray(np.repeat(value[..., None], 3, axis=2), np.float32)
