"""Procedural cars: alike on both sides, and no turn leaves them as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netinvert.scenes.mesh_builder import (
    Primitive,
    Worn,
    areas,
    assemble,
    both,
    box,
    joined,
    lathe,
    panel,
    wearing,
)
from netinvert.scenes.objects import Material, Object3D, paint

BODY, GLASS, RUBBER, RIM, LAMP, REAR, TRIM = range(7)


@dataclass(frozen=True)
class Shape:
    """A car's side in shares of its length from the front: where the windscreen begins at the bonnet and
    meets the roof, where the roof ends and the rear window meets the boot; ``roof`` and ``waist`` in shares
    of its height, ``nose`` and ``tail`` the bonnet's and boot's height."""

    screen: float
    roof_front: float
    roof_rear: float
    boot: float
    nose: float
    tail: float


SHAPES = {
    "saloon": Shape(0.27, 0.42, 0.7, 0.84, 0.58, 0.62),
    "hatchback": Shape(0.24, 0.42, 0.84, 0.98, 0.58, 0.62),
    "estate": Shape(0.25, 0.4, 0.93, 0.985, 0.58, 0.62),
    "van": Shape(0.06, 0.2, 0.97, 0.985, 0.5, 0.6),
    "pick-up": Shape(0.27, 0.4, 0.56, 0.59, 0.6, 0.55),
    "sports": Shape(0.33, 0.5, 0.68, 0.93, 0.56, 0.66),
}


def car(seed: int) -> Object3D:
    """The car of a seed, its front towards -y. Parts: body, windows, wheels, lights."""
    rng = np.random.default_rng([17, seed])
    kind = str(rng.choice(list(SHAPES)))
    shape = SHAPES[kind]
    length, width = rng.uniform(3.6, 4.9), rng.uniform(1.6, 1.95)
    height = {"van": rng.uniform(1.8, 2.2), "sports": rng.uniform(1.15, 1.3)}.get(kind, rng.uniform(1.4, 1.7))
    wobble = 1 + rng.uniform(-0.08, 0.08, 4)
    marks = [shape.screen * wobble[0], shape.roof_front * wobble[1], shape.roof_rear, shape.boot]
    nose, tail = shape.nose * wobble[2] * height, shape.tail * wobble[3] * height
    radius, ground = rng.uniform(0.29, 0.36), 0.22
    materials = (
        Material("paint", paint(rng), None, 0.8),
        Material("glass", (0.02, 0.025, 0.03), None, 0.9),
        Material("rubber", (0.015, 0.015, 0.015), None, 0.1),
        Material("metal", (0.45, 0.45, 0.47), None, 0.8),
        Material("lamp", (0.75, 0.74, 0.66), None, 0.8),
        Material("rear lamp", (0.55, 0.02, 0.02), None, 0.6),
        Material("plastic", (0.04, 0.04, 0.045), None, 0.3),
    )
    along = [(mark - 0.5) * length for mark in marks]
    front, rear = -length / 2, length / 2
    boot = [] if kind == "pick-up" else [(along[3], tail)]
    lower = [(front, ground), (rear, ground), (rear, tail), *boot]
    lower += [(along[0], nose), (front + 0.05, 0.85 * nose)]
    cabin = [(along[0], nose - 0.02), (along[3], tail - 0.02), (along[2], height), (along[1], height)]
    inset = rng.uniform(0.72, 0.84)
    body = [(_slab(lower, width, width), BODY), (_slab(cabin, 0.94 * width, inset * width), BODY)]
    parts = {
        "body": body + _trim(length, width, nose, ground),
        "windows": wearing(GLASS, _windows(cabin, 0.94 * width, inset * width, nose, kind)),
        "wheels": _wheels(length, width, radius),
        "lights": _lights(length, width, nose, tail),
    }
    numbers = {"length": length, "width": width, "height": height, "wheel": radius}
    return assemble(f"car {seed}", "cars", parts, materials, 1, {"body": kind, **numbers})


def _slab(side: list[tuple[float, float]], low: float, high: float) -> Primitive:
    """A side view (y, z) drawn out to a width that narrows from ``low`` at the bottom to ``high`` on top."""
    outline = np.array(side)
    primitive = panel(outline, 1.0).turned(90, axis=2)  # its plane is now yz
    bottom, top = outline[:, 1].min(), outline[:, 1].max()
    share = ((primitive.corners[..., 2] - bottom) / (top - bottom)).clip(0, 1)
    corners = primitive.corners.copy()
    corners[..., 0] *= low + (high - low) * share
    return _flat(corners, primitive.uv)


def _flat(corners: NDArray[np.float64], uv: NDArray[np.float64]) -> Primitive:
    normal = areas(corners)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    return Primitive(corners, np.repeat(normal[:, None], 3, axis=1), uv)


def _windows(
    cabin: list[tuple[float, float]], low: float, high: float, nose: float, kind: str
) -> list[Primitive]:
    """Panes a little proud of the cabin: two on each side, one before, one behind."""
    (y0, z0), (y3, z3), (y2, top), (y1, _) = cabin
    sill = max(z0, z3) + 0.06
    bottom, roof = min(z0, z3), top

    def width_at(z: float) -> float:
        return float(low + (high - low) * np.clip((z - bottom) / (roof - bottom), 0, 1)) / 2 + 0.008

    def at(share: float, edge: str) -> float:
        """Along a pillar of the cabin."""
        return y0 + (y1 - y0) * share if edge == "front" else y3 + (y2 - y3) * share

    def up(z: float, edge: str) -> float:
        start = z0 if edge == "front" else z3
        return (z - start) / (top - start)

    head = top - 0.07
    panes = []
    first, last = at(up(sill, "front"), "front") + 0.12, at(up(sill, "rear"), "rear") - 0.1
    first_up, last_up = at(up(head, "front"), "front") + 0.1, at(up(head, "rear"), "rear") - 0.08
    middle = (first_up + last_up) / 2
    stops = [(first, first_up, middle - 0.04, middle - 0.04)]
    if kind not in ("pick-up", "van"):
        stops.append((middle + 0.04, middle + 0.04, last, last_up))
    wide, narrow = width_at(sill), width_at(head)
    for a, a_up, b, b_up in stops:
        ring = [(wide, a, sill), (wide, b, sill), (narrow, b_up, head), (narrow, a_up, head)]
        panes += both([_pane(ring, (1, 0, 0))])
    for edge, out in (("front", -1.0), ("rear", 1.0)):
        s, h = up(sill, edge), up(head, edge)
        x0, x1 = wide * 0.9, narrow * 0.9
        ya, yb = at(s, edge) + 0.012 * out, at(h, edge) + 0.012 * out
        panes.append(_pane([(-x0, ya, sill), (x0, ya, sill), (x1, yb, head), (-x1, yb, head)], (0, out, 0.3)))
    return panes


def _pane(ring: list[tuple[float, float, float]], out: tuple[float, float, float]) -> Primitive:
    a, b, c, d = (np.array(corner, float) for corner in ring)
    corners = np.array([[a, b, c], [a, c, d]])
    if np.dot(np.cross(b - a, c - a), out) < 0:
        corners = corners[:, ::-1]
    return _flat(corners, np.zeros((2, 3, 2)))


def _wheels(length: float, width: float, radius: float) -> Worn:
    tyre = lathe([(0.7 * radius, -0.1), (radius, -0.08), (radius, 0.08), (0.7 * radius, 0.1)], sides=24)
    rim = lathe([(0.68 * radius, 0.1), (0.6 * radius, 0.115), (0.15 * radius, 0.105)], sides=16)
    made = []
    for y in (-0.31 * length, 0.3 * length):
        spot = (width / 2 - 0.06, y, radius)
        made += wearing(RUBBER, both([tyre.turned(90, axis=1).moved(spot)]))
        made += wearing(RIM, both([rim.turned(90, axis=1).moved(spot)]))
    return made


def _lights(length: float, width: float, nose: float, tail: float) -> Worn:
    front = box((0.36 * width, -length / 2 + 0.02, 0.68 * nose), (0.1 * width, 0.04, 0.07))
    rear = box((0.4 * width, length / 2, 0.78 * tail), (0.07 * width, 0.02, 0.09))
    return wearing(LAMP, both([front])) + wearing(REAR, both([rear]))


def _trim(length: float, width: float, nose: float, ground: float) -> Worn:
    grille = box((0, -length / 2 + 0.015, 0.62 * nose), (0.2 * width, 0.03, 0.08))
    bumpers = [box((0, s * (length / 2 - 0.01), ground + 0.12), (0.48 * width, 0.06, 0.09)) for s in (-1, 1)]
    sill = box((0, 0, ground + 0.03), (width / 2 + 0.01, 0.22 * length, 0.05))
    return [(joined([grille, *bumpers, sill]), TRIM)]
