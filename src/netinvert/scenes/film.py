"""From samples to pixels: averages, the nearest, the majority."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netinvert.scenes.objects import Array

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Film:
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

    def picture(
        self, colour: list[Array], covered: NDArray[np.float64], shadow: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """Straight sRGB and alpha (size, 4) of linear red, green, blue (N,) over a black ``shadow``."""
        seen = np.flatnonzero(covered)
        share, opaque = covered.take(seen), covered + shadow
        rgba = np.zeros((self.size, 4), np.uint8)
        rgba[:, 3] = np.rint(opaque.clip(0, 1) * 255)
        for channel, values in enumerate(colour):
            mean = self.sum(values).take(seen) / share
            rgba[seen, channel] = np.rint(srgb(mean) * (share / opaque.take(seen)) * 255)
        return rgba

    def mean_direction(self, vector: list[Array], covered: NDArray[np.float64]) -> Array:
        """Unit vectors (size, 3), 0 without samples, from x, y and z (N,)."""
        seen = np.flatnonzero(covered)
        mean = np.stack([self.sum(part).take(seen) for part in vector], axis=-1)
        directions = np.zeros((self.size, 3), np.float32)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        directions[seen] = np.where(length > 1e-6, mean / np.maximum(length, 1e-6), 0)
        return directions


def srgb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light to sRGB, both in [0, 1] (IEC 61966-2-1); what is brighter is cut."""
    linear = np.clip(linear, 0, 1)
    bright = 1.055 * np.maximum(linear, 1e-8) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, bright)
