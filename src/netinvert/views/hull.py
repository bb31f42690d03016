"""A first 3-D shape from views: visual hulls (Laurentini 1994), depths by plane sweeps (Collins 1996), fused
into a signed distance (Curless & Levoy 1996), and how near a shape is to the true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.scenes.cameras import Camera

HALF = 0.62
"""Half the side of the cube about the object's centre that is looked at; its bounding box has a diagonal of
1."""
INSIDE = 0.5
"""A mask's value from which on a pixel is the object's."""
NEAR_VIEWS = 2
"""Views on either side that a plane sweep compares with."""
TRUNCATION = 3.0
"""Of signed distances, in voxels."""
TRUST = 1.0
"""Voxels that depths may be off: nothing is carved away for less."""
POINTS = 4000
"""On surfaces that are compared."""


@dataclass(frozen=True, eq=False)
class ViewSet:
    """Images with masks ``planes`` (V, 4, H, W) in [0, 1], colours multiplied by the mask, and their
    cameras."""

    planes: Tensor
    cameras: tuple[Camera, ...]

    def __post_init__(self) -> None:
        if len(self.planes) != len(self.cameras) or len(self.cameras) < 2:
            raise ConfigError("a shape needs two views or more, with a camera each")

    def some(self, chosen: slice) -> ViewSet:
        """Every other one, say."""
        return ViewSet(self.planes[chosen], self.cameras[chosen])


def projected(points: Tensor, cameras: tuple[Camera, ...]) -> tuple[Tensor, Tensor]:
    """Places (V, P, 2) in the images, in [-1, 1], right and down, and depths (V, P) of points (P, 3)."""
    seen = [one.project(points.numpy()) for one in cameras]
    places = [2 * pixels / np.array(one.size) - 1 for (pixels, _), one in zip(seen, cameras, strict=True)]
    return tuple(torch.from_numpy(np.stack(x)).float() for x in (places, [depth for _, depth in seen]))  # type: ignore[return-value]


def lattice(resolution: int) -> Tensor:
    """Centres (R³, 3) of the voxels of the cube."""
    step = 2 * HALF / resolution
    axis = (torch.arange(resolution) + 0.5) * step - HALF
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def visual_hull(views: ViewSet, resolution: int = 64) -> Tensor:
    """How surely each voxel (R, R, R) is inside, in [0, 1]: the least of what the views' masks say. At 0.5
    lies the surface."""
    places, _ = projected(lattice(resolution), views.cameras)
    said = F.grid_sample(views.planes[:, 3:], places[:, :, None], align_corners=False)[:, 0, :, 0]
    return said.amin(0).reshape((resolution,) * 3)


def fused_depths(views: ViewSet, hull: Tensor, planes: int = 48) -> Tensor:
    """Signed distances (R, R, R) in voxels, positive outside: how far before or behind the depths of views,
    by plane sweeps within the hull, in the mean. Views are a ring: neighbours in the list stand beside one
    another."""
    resolution = len(hull)
    points = lattice(resolution)
    places, depths = projected(points, views.cameras)
    voxel = 2 * HALF / resolution
    total, weight = torch.zeros(len(points)), torch.zeros(len(points))
    for v in range(len(views.cameras)):
        depth = _swept(views, v, hull, planes)
        there = F.grid_sample(depth[None, None], places[v][None, None], mode="nearest", align_corners=False)
        off = (there[0, 0, 0] - depths[v]) / voxel  # positive before the surface
        known = (there[0, 0, 0] > 0) & (off > -TRUNCATION)
        total += torch.where(known, off.clamp(-TRUNCATION, TRUNCATION), torch.zeros(()))
        weight += known.float()
    inside = hull.flatten() > INSIDE
    found = torch.where(weight > 0, total / weight.clamp_min(1), torch.where(inside, -1.0, 1.0))
    return torch.where(inside, found - TRUST, found.clamp_min(0.5)).reshape(hull.shape)


def _swept(views: ViewSet, v: int, hull: Tensor, planes: int) -> Tensor:
    """Depths (H, W) of a view where its mask is, 0 elsewhere: of planes through the cube, the one in which
    neighbouring views look most alike, among places inside the hull."""
    camera, count = views.cameras[v], len(views.cameras)
    tall, wide = views.planes.shape[-2:]
    distance = float(np.linalg.norm(np.asarray(camera.position)))
    steps = torch.linspace(distance - HALF, distance + HALF, planes)
    chosen = (views.planes[v, 3] > INSIDE).flatten()
    place = chosen.nonzero().squeeze(1)
    pixels = torch.stack([place % wide + 0.5, place // wide + 0.5], 1)
    rays, position = (
        torch.from_numpy(camera.directions(pixels)).float(),
        torch.tensor(camera.position).float(),
    )
    points = position + steps[:, None, None] * rays
    flat = points.reshape(-1, 3)
    within = F.grid_sample(
        hull[None, None], (flat / HALF).flip(-1)[None, None, None], align_corners=False
    ).reshape(planes, -1)
    own = views.planes[v, :3].flatten(1)[:, chosen]
    cost = torch.zeros(planes, int(chosen.sum()))
    beside = [(v + k) % count for k in range(-NEAR_VIEWS, NEAR_VIEWS + 1) if k]
    places, _ = projected(flat, tuple(views.cameras[k] for k in beside))
    for k, place in zip(beside, places, strict=True):
        other = F.grid_sample(views.planes[k][None, :3], place[None, None], align_corners=False)
        cost += (other.reshape(3, planes, -1) - own[:, None]).abs().mean(0)
    cost = torch.where(within > INSIDE, cost, torch.full((), torch.inf))
    least = cost.min(0)
    depth = torch.where(least.values.isfinite(), steps[least.indices], torch.zeros(()))
    return torch.zeros(tall * wide).masked_scatter(chosen, depth).reshape(tall, wide)


def surface(values: Tensor, level: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (M, 3) in the object's coordinates and faces (K, 3) where values (R, R, R) pass a level, by
    marching cubes. Nothing where they never do. Raises MissingExtraError: without scikit-image."""
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise MissingExtraError("surfaces of shapes", "views") from error
    padded = F.pad(values, (1,) * 6, value=float(values.min()) if level > float(values.min()) else level - 1)
    if not float(padded.min()) < level < float(padded.max()):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    found: Any = marching_cubes  # untyped
    vertices, faces, _, _ = found(padded.numpy(), level)
    return (vertices - 0.5) * (2 * HALF / len(values)) - HALF, faces


def as_obj(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> bytes:
    """A mesh as a Wavefront OBJ file."""
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in np.asarray(faces) + 1]
    return "\n".join([*lines, ""]).encode()


def solid(vertices: NDArray[np.floating], faces: NDArray[np.integer], resolution: int = 64) -> Tensor:
    """Which voxels (R, R, R) of the cube lie inside a mesh of closed, outward-facing parts that may overlap:
    those from which a ray upwards leaves more often than it enters."""
    step = 2 * HALF / resolution
    columns = (np.arange(resolution) + 0.5) * step - HALF + 1e-6  # beside edges that lie on the lattice
    # how often a ray has still to leave above a level, less how often to enter: cumulated from the top
    change = np.zeros((resolution, resolution, resolution + 1), np.int64)
    for corners in np.asarray(vertices)[np.asarray(faces)]:
        (ax, ay, _), (bx, by, _), (cx, cy, _) = corners
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        low, high = corners[:, :2].min(0), corners[:, :2].max(0)
        i, j = (np.arange(*np.searchsorted(columns, (low[k], high[k]))) for k in (0, 1))
        if area == 0 or not len(i) or not len(j):
            continue
        x, y = np.meshgrid(columns[i], columns[j], indexing="ij")
        v = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
        w = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
        hit = (v >= 0) & (w >= 0) & (v + w < 1)
        z = corners[0, 2] + v * (corners[1, 2] - corners[0, 2]) + w * (corners[2, 2] - corners[0, 2])
        level = np.clip(np.searchsorted(columns, z[hit]), 0, resolution)
        rows, lines = np.nonzero(hit)
        np.add.at(change, (i[rows], j[lines], level), 1 if area > 0 else -1)
    above = change[..., ::-1].cumsum(-1)[..., ::-1][..., 1:]
    return torch.from_numpy(above > 0)


def overlap(first: Tensor, second: Tensor) -> float:
    """Intersection over union of two sets of voxels, both bool."""
    return float((first & second).sum() / (first | second).sum().clamp_min(1))


def surface_points(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], count: int = POINTS, seed: int = 0
) -> NDArray[np.float64]:
    """Points (count, 3) spread evenly over a mesh's surface; none of a mesh without faces."""
    corners = np.asarray(vertices)[np.asarray(faces)]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1)
    if not area.sum():
        return np.zeros((0, 3))
    rng = np.random.default_rng(seed)
    which = rng.choice(len(faces), count, p=area / area.sum())
    u, w = rng.random((2, count, 1))
    u, w = np.where(u + w > 1, 1 - u, u), np.where(u + w > 1, 1 - w, w)
    a, b, c = (corners[which, k] for k in range(3))
    points: NDArray[np.float64] = a + u * (b - a) + w * (c - a)
    return points


def chamfer(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The mean distance from points (N, 3) to the nearest of others (M, 3), both ways, in units of the
    object's diagonal; infinite where there are none."""
    if not len(first) or not len(second):
        return float("inf")
    apart = torch.cdist(torch.from_numpy(first).float(), torch.from_numpy(second).float())
    return float(apart.min(1).values.mean() + apart.min(0).values.mean()) / 2
