"""Closed primitives that objects are put together from: bars along paths, panels, cushions, turned bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netinvert.scenes.cameras import turn_about
from netinvert.scenes.objects import Material, Object3D, Value

Array = NDArray[np.float64]
EPSILON = 1e-12


@dataclass(frozen=True, eq=False)
class Primitive:
    """F triangles counter-clockwise from outside: ``corners`` and ``normals`` (F, 3, 3), ``uv`` (F, 3, 2)."""

    corners: Array
    normals: Array
    uv: Array

    def moved(self, shift: ArrayLike) -> Primitive:
        """The primitive somewhere else."""
        return replace(self, corners=self.corners + np.asarray(shift, float))

    def turned(self, degrees: float, axis: int = 2) -> Primitive:
        """The primitive turned counter-clockwise about a coordinate axis (0 x, 1 y, 2 z)."""
        matrix = turn_about(degrees, axis)
        return replace(self, corners=self.corners @ matrix.T, normals=self.normals @ matrix.T)

    def mirrored(self) -> Primitive:
        """The primitive on the other side, x -> -x."""
        flip = np.array([-1.0, 1.0, 1.0])
        return Primitive((self.corners * flip)[:, ::-1], (self.normals * flip)[:, ::-1], self.uv[:, ::-1])


def areas(corners: Array) -> Array:
    """Normals (F, 3) of triangles ``corners`` (F, 3, 3), twice their area long."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def joined(primitives: list[Primitive]) -> Primitive:
    """All primitives as one."""
    return Primitive(
        *(np.concatenate([getattr(p, name) for p in primitives]) for name in ("corners", "normals", "uv"))
    )


def both(primitives: list[Primitive]) -> list[Primitive]:
    """The primitives and their images on the other side."""
    return primitives + [primitive.mirrored() for primitive in primitives]


def bar(path: ArrayLike, section: ArrayLike, sides: int = 10, square: bool = False) -> Primitive:
    """A bar along ``path`` (n, 3), round or rectangular.

    ``section`` is its half width and half height: (2,), or (n, 2) along the path; the width lies as level as
    the path allows."""
    path = np.asarray(path, float)
    half = np.broadcast_to(np.asarray(section, float), (len(path), 2))
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + EPSILON
    across = np.array([1.0, 0, 0]) if abs(tangent[:, 0]).max() < 0.9 else np.array([0, 1.0, 0])
    wide = across - tangent * (tangent @ across)[:, None]
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    high = np.cross(tangent, wide)
    if square:
        ring = np.array([[1, -1], [1, 1], [1, 1], [-1, 1], [-1, 1], [-1, -1], [-1, -1], [1, -1]], float)
        out = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [-1, 0], [-1, 0], [0, -1], [0, -1]], float)
    else:
        angle = np.arange(sides) * 2 * np.pi / sides
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        out = ring
    offset = half[:, None] * ring
    points = path[:, None] + offset[..., :1] * wide[:, None] + offset[..., 1:] * high[:, None]
    normals = out[None, :, :1] * wide[:, None] + out[None, :, 1:] * high[:, None]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    girth = np.linspace(0, 0.35, len(ring), endpoint=False)
    uv = np.stack(np.broadcast_arrays(girth[None, :], length[:, None] * 2), axis=-1)
    shell = _tube(points, normals, uv, closed=True)
    return joined([shell, _cap(points[0], -tangent[0]), _cap(points[-1], tangent[-1])])


def box(centre: ArrayLike, half: ArrayLike) -> Primitive:
    """An upright box."""
    centre, half = np.asarray(centre, float), np.asarray(half, float)
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            ring = np.zeros((4, 3))
            ring[:, axis] = sign
            ring[:, i], ring[:, j] = [-1, 1, 1, -1], [-1, -1, 1, 1]
            normal = np.zeros(3)
            normal[axis] = sign
            faces.append(_cap(centre + ring * half, normal))
    return joined(faces)


def cushion(
    centre: ArrayLike, half: ArrayLike, powers: ArrayLike = (6, 6, 2.4), steps: int = 12
) -> Primitive:
    """A superellipsoid |x/a|^p + |y/b|^q + |z/c|^r = 1: high powers give flat faces and tight corners."""
    centre, half, powers = (np.asarray(values, float) for values in (centre, half, powers))
    v = np.linspace(0, np.pi, steps + 1)[:, None]
    u = np.linspace(0, 2 * np.pi, 2 * steps + 1)[None, :]
    direction = np.stack(
        np.broadcast_arrays(np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)), axis=-1
    )
    unit = np.sign(direction) * np.abs(direction) ** (2 / powers)
    normals = np.sign(unit) * powers * np.abs(unit) ** (powers - 1) / half
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + EPSILON
    points = centre + unit * half
    primitive = _tube(points.transpose(1, 0, 2)[::-1], normals.transpose(1, 0, 2)[::-1], None, closed=False)
    return _mapped(primitive)


def panel(outline: ArrayLike, thickness: float) -> Primitive:
    """A plate in the xz plane from y = -t/2 to t/2 with a convex ``outline`` (n, 2), counter-clockwise."""
    outline = np.asarray(outline, float)
    front = np.stack([outline[:, 0], np.full(len(outline), -thickness / 2), outline[:, 1]], axis=-1)
    back = front + np.array([0, thickness, 0])
    after = np.roll(outline, -1, axis=0) - outline
    flat = np.stack([after[:, 1], np.zeros(len(after)), -after[:, 0]], axis=-1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + EPSILON
    a, b, c, d = front, np.roll(front, -1, axis=0), np.roll(back, -1, axis=0), back
    corners = np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1)])
    normals = np.concatenate([np.repeat(flat[:, None], 3, axis=1)] * 2)
    rim = _mapped(_oriented(Primitive(corners, normals, np.zeros((*corners.shape[:2], 2)))))
    return joined([rim, _cap(front, [0, -1, 0]), _cap(back, [0, 1, 0])])


def swept(rings: ArrayLike, cuts: Sequence[int] = ()) -> list[Primitive]:
    """A body through closed ``rings`` (n, m, 3), convex each, with a cap at either end; cut at rows into
    closed pieces whose shading goes on across the cuts."""
    rings = np.asarray(rings, float)

    def across(grid: Array) -> Array:
        around = np.roll(grid, -1, axis=1) - np.roll(grid, 1, axis=1)
        return np.cross(around, np.gradient(grid, axis=0))

    if (across(rings) * (rings - rings.mean(axis=1, keepdims=True))).sum() < 0:
        rings = rings[:, ::-1]
    normals = _unit(across(rings))
    rings, normals = (np.concatenate([values, values[:, :1]], axis=1) for values in (rings, normals))
    pieces = []
    for start, end in pairwise((0, *cuts, len(rings) - 1)):
        rows = slice(start, end + 1)
        faces = [_grid(rings[rows], normals[rows])]
        for row, inner in ((start, start + 1), (end, end - 1)):
            out = _unit(rings[row].mean(axis=0) - rings[inner].mean(axis=0))
            faces.append(_cap(rings[row, :-1], out))
        pieces.append(_mapped(joined(faces)))
    return pieces


def sheet(
    middle: ArrayLike, thickness: float, pieces: Sequence[tuple[slice, slice]] = ((slice(None), slice(None)),)
) -> list[Primitive]:
    """A curved plate around the surface ``middle`` (n, m, 3); or closed ``pieces`` of it, each its rows and
    columns. Seen from its front, columns are followed by rows counter-clockwise."""
    middle = np.asarray(middle, float)
    normals = _unit(np.cross(np.gradient(middle, axis=1), np.gradient(middle, axis=0)))
    front, back = middle + normals * thickness / 2, middle - normals * thickness / 2
    made = []
    for piece in pieces:
        one, two, out = front[piece], back[piece], normals[piece]
        faces = [_grid(one, out), _grid(two[::-1], -out[::-1])]
        row, column = one[0] - one[1], one[:, 0] - one[:, 1]
        last_row, last_column = one[-1] - one[-2], one[:, -1] - one[:, -2]
        for first, second, away in (
            (two[0], one[0], row),
            (one[-1], two[-1], last_row),
            (one[:, 0], two[:, 0], column),
            (two[:, -1], one[:, -1], last_column),
        ):
            faces.append(_grid(np.stack([first, second]), np.stack([_unit(away)] * 2)))
        made.append(_mapped(joined(faces)))
    return made


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + EPSILON))


def lathe(profile: ArrayLike, sides: int = 20) -> Primitive:
    """A body of revolution about z; ``profile`` (n, 2) holds radius and height, from the bottom up."""
    profile = np.asarray(profile, float)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    slope = np.gradient(profile, axis=0)
    out = np.stack([slope[:, 1], -slope[:, 0]], axis=-1)
    out /= np.linalg.norm(out, axis=1, keepdims=True) + EPSILON
    points = np.concatenate(
        [profile[:, None, :1] * ring, np.broadcast_to(profile[:, None, 1:], (len(profile), sides + 1, 1))],
        axis=-1,
    )
    normals = np.concatenate(
        [out[:, None, :1] * ring, np.broadcast_to(out[:, None, 1:], (len(out), sides + 1, 1))], axis=-1
    )
    shell = _mapped(_tube(points, normals, None, closed=False))
    return joined([shell, _cap(points[0, :-1], [0, 0, -1]), _cap(points[-1, :-1], [0, 0, 1])])


def _tube(points: Array, normals: Array, uv: Array | None, closed: bool) -> Primitive:
    """Quads between neighbouring rows (n) and columns (m) of a grid (n, m, 3), as triangles; the normals say
    what is outside."""
    if closed:
        assert uv is not None
        last = uv[:, :1] + [[[0.35, 0]]]
        points, normals = (np.concatenate([x, x[:, :1]], axis=1) for x in (points, normals))
        uv = np.concatenate([uv, last], axis=1)
    return _oriented(_grid(points, normals, uv))


def _grid(points: Array, normals: Array, uv: Array | None = None) -> Primitive:
    """The same; outside, columns are followed by rows counter-clockwise."""

    def triangles(x: Array) -> Array:
        a, b, c, d = x[:-1, :-1], x[:-1, 1:], x[1:, 1:], x[1:, :-1]
        return np.stack([np.stack([a, b, c], 2), np.stack([a, c, d], 2)], 2).reshape(-1, 3, x.shape[-1])

    corners = triangles(points)
    solid = np.linalg.norm(areas(corners), axis=1) > EPSILON
    if uv is None:
        uv = np.zeros((*points.shape[:2], 2))
    return Primitive(corners[solid], triangles(normals)[solid], triangles(uv)[solid])


def _oriented(primitive: Primitive) -> Primitive:
    """Every triangle turned so that it agrees with its normals."""
    wrong = (areas(primitive.corners) * primitive.normals.sum(axis=1)).sum(axis=1) < 0
    turned = [values.copy() for values in (primitive.corners, primitive.normals, primitive.uv)]
    for values in turned:
        values[wrong] = values[wrong, ::-1]
    return Primitive(*turned)


def _cap(ring: Array, normal: ArrayLike) -> Primitive:
    """A convex polygon (n, 3) as a fan."""
    ring = np.asarray(ring, float)
    count = len(ring) - 2
    if count < 1:
        return Primitive(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3, 2)))
    corners = np.stack([np.repeat(ring[:1], count, axis=0), ring[1:-1], ring[2:]], axis=1)
    corners = corners[np.linalg.norm(areas(corners), axis=1) > EPSILON]
    normals = np.broadcast_to(np.asarray(normal, float), corners.shape).copy()
    return _mapped(_oriented(Primitive(corners, normals, np.zeros((len(corners), 3, 2)))))


def _mapped(primitive: Primitive) -> Primitive:
    """Texture coordinates by the two axes that each triangle faces least, two repeats a metre."""
    axes = np.array([[1, 2], [0, 2], [0, 1]])[np.abs(areas(primitive.corners)).argmax(axis=1)]
    uv = np.take_along_axis(primitive.corners, axes[:, None], axis=2) * 2
    return replace(primitive, uv=uv)


Worn = list[tuple[Primitive, int]]
"""Primitives, each with the index of its material."""


def wearing(material: int, primitives: Sequence[Primitive]) -> Worn:
    """The primitives, all of one material."""
    return [(primitive, material) for primitive in primitives]


def assemble(
    name: str,
    category: str,
    parts: Mapping[str, Worn],
    materials: Sequence[Material],
    symmetry: int,
    parameters: Mapping[str, Value],
) -> Object3D:
    """The object made of these parts, normalised."""
    made = [(index, *worn) for index, own in enumerate(parts.values()) for worn in own]
    whole = joined([primitive for _, primitive, _ in made])
    corners = whole.corners.reshape(-1, 3).astype(np.float32)
    vertices, inverse = np.unique(corners, axis=0, return_inverse=True)

    def labels(values: list[int]) -> NDArray[np.uint8]:
        counts = [len(primitive.corners) for _, primitive, _ in made]
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
