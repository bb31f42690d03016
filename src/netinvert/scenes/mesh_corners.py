"""Corners of a mesh's faces: which are at one spot, and the normals there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CREASE = 40.0
"""Degrees between neighbouring faces up to which an edge is shaded as round."""
SMALLEST = 1e-12


def spots_of(mesh: Any) -> NDArray[np.int64]:  # noqa: ANN401
    """Faces (F, 3) by where their corners are: corners at one spot are one, though files often part them
    (STL always, others along a texture's seam)."""
    _, spot = np.unique(mesh.vertices.round(9), axis=0, return_inverse=True)
    return np.asarray(spot.ravel()[mesh.faces])


def is_closed(spots: NDArray[np.int64]) -> bool:
    """Whether every edge of the faces (F, 3) belongs to two of them."""
    edges = np.sort(spots[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


def corner_normals(mesh: Any, spots: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ANN401
    """Unit normals (F, 3, 3): the mean of the faces around a corner that lie within CREASE of its own."""
    flat, spot = mesh.face_normals, spots.ravel()
    order = np.argsort(spot, kind="stable")
    owner = np.repeat(np.arange(len(spots)), 3)[order]
    starts = np.searchsorted(spot[order], np.arange(spot.max() + 2))
    weighted = flat * mesh.area_faces[:, None]
    mean = np.zeros((len(spot), 3))
    corners = np.arange(len(spot))
    reach = int((starts[1:] - starts[:-1]).max())
    for k in range(min(reach, 64)):  # the k-th face around every corner at once
        index = starts[spot] + k
        inside = index < starts[spot + 1]
        other = owner[index[inside]]
        near = np.einsum("ij,ij->i", flat[corners[inside] // 3], flat[other]) > np.cos(np.radians(CREASE))
        mean[corners[inside][near]] += weighted[other[near]]
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    normals = np.where(
        length > SMALLEST**2, mean / np.maximum(length, SMALLEST**2), np.repeat(flat, 3, axis=0)
    )
    return normals.reshape(-1, 3, 3)
