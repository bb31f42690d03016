"""From named pieces to an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from netinvert.scenes.objects import Material, Object3D, Value
from netinvert.scenes.shapes import Piece, joined

Parts = Mapping[str, Sequence[tuple[Piece, int]]]
"""For every part its pieces, each with the index of its material."""


def assembled(
    name: str,
    category: str,
    parts: Parts,
    materials: Sequence[Material],
    symmetry: int,
    parameters: Mapping[str, Value],
) -> Object3D:
    """The object made of these parts, normalised."""
    made = [(index, piece, material) for index, own in enumerate(parts.values()) for piece, material in own]
    whole = joined([piece for _, piece, _ in made])
    corners = whole.corners.reshape(-1, 3).astype(np.float32)
    vertices, inverse = np.unique(corners, axis=0, return_inverse=True)

    def labels(values: list[int]) -> NDArray[np.uint8]:
        counts = [len(piece.corners) for _, piece, _ in made]
        return np.repeat(np.array(values, np.uint8), counts)

    return Object3D(
        name=name,
        category=category,
        vertices=vertices,
        faces=inverse.reshape(-1, 3).astype(np.int32),
        normals=whole.normals.astype(np.float32),
        uv=whole.uv.astype(np.float32),
        part=labels([index for index, _, _ in made]),
        material=labels([material for _, _, material in made]),
        parts=tuple(parts),
        materials=tuple(materials),
        symmetry=symmetry,
        parameters=parameters,
    ).normalised()


def paint(rng: np.random.Generator, darkest: float = 0.05) -> tuple[float, float, float]:
    """A colour of paint, linear RGB; none so bright that light burns it white."""
    hue, saturation, value = rng.random(), rng.beta(2, 1.5), rng.uniform(darkest, 0.75)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    r, g, b = (float(x) for x in np.clip(value * (1 - saturation + saturation * wheel), 0.01, 0.78))
    return r, g, b
