"""Legs of procedural chairs. Lengths in metres; front towards -y; the floor at z = 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netinvert.scenes.chair_seats import Made
from netinvert.scenes.shapes import Piece, bar, both, box, cushion, lathe

if TYPE_CHECKING:
    from netinvert.scenes.chairs import ChairPlan

LEGS = ("straight", "splayed", "swivel", "sled", "pedestal", "cantilever", "cross", "box")
STRETCHERS = ("none", "H", "box", "sides")


def make_legs(plan: ChairPlan) -> Made:
    """Everything that carries the seat."""
    if plan.legs == "box":
        low = plan.height - plan.thickness
        half = (0.48 * plan.width, 0.48 * plan.depth, (low - 0.04) / 2)
        sofa = cushion((0, 0, 0.04 + half[2]), half, (10, 10, 10), steps=10)
        feet = [box((0.42 * plan.width, y * plan.depth, 0.02), (0.025, 0.025, 0.02)) for y in (-0.4, 0.4)]
        return [(sofa, "surface"), *((foot, "frame") for foot in both(feet))]
    makers = {
        "straight": _four,
        "splayed": _four,
        "swivel": _swivel,
        "sled": _sled,
        "pedestal": _pedestal,
        "cantilever": _cantilever,
        "cross": _cross,
    }
    return [(piece, "frame") for piece in makers[plan.legs](plan)]


def _corners(plan: ChairPlan) -> tuple[float, float, float, float]:
    """Half distances of the legs at the seat and at the floor: (x, y, x, y)."""
    shrink = 0.72 if plan.seat in ("round", "saddle") else 0.9
    x, y = shrink * plan.width / 2 - plan.bar, shrink * plan.depth / 2 - plan.bar
    spread = plan.splay if plan.legs == "splayed" else 0.0
    return x, y, x + spread, y + spread


def _four(plan: ChairPlan) -> list[Piece]:
    x, y, fx, fy = _corners(plan)
    top, b = plan.height - plan.thickness * 0.8, plan.bar
    taper = 0.65 if plan.legs == "splayed" else 0.9
    side = [
        bar(
            [(x, s * y, top), (fx, s * fy, 0)],
            [(b * 1.2, b * 1.2), (b * taper, b * taper)],
            square=plan.square,
        )
        for s in (-1, 1)
    ]
    rails = []
    if plan.seat in ("square", "trapezoid", "cushion") and plan.legs == "straight":
        z = top - 0.03
        rails = [box((0, s * y, z), (x, b * 0.6, 0.028)) for s in (-1, 1)]
        side.append(box((x, 0, z), (b * 0.6, y, 0.028)))
    at = 0.4 * plan.height
    mix = 1 - at / plan.height
    mx, my = x + (fx - x) * mix, y + (fy - y) * mix
    thin = (0.6 * b, 0.6 * b)
    if plan.stretcher in ("H", "box", "sides"):
        side.append(bar([(mx, -my, at), (mx, my, at)], thin))
    if plan.stretcher == "H":
        rails.append(bar([(-mx, 0, at), (mx, 0, at)], thin))
    if plan.stretcher == "box":
        rails += [bar([(-mx, s * my, at), (mx, s * my, at)], thin) for s in (-1, 1)]
    return both(side) + rails


def _swivel(plan: ChairPlan) -> list[Piece]:
    count, reach, b = 4 + plan.slats % 3, 0.52 * plan.width + 0.02, plan.bar
    top = plan.height - plan.thickness
    column = lathe([(0.022, 0.07), (0.022, 0.6 * top), (0.016, 0.6 * top + 0.005), (0.016, top)], sides=12)
    plate = box((0, 0, top - 0.015), (0.3 * plan.width, 0.3 * plan.depth, 0.015))
    pieces = [column, plate]
    for k in range(count):
        spoke = bar([(0, 0, 0.1), (0, -reach, 0.065)], [(1.2 * b, b), (0.8 * b, 0.5 * b)], square=True)
        wheel = lathe([(0.006, -0.018), (0.028, -0.016), (0.028, 0.016), (0.006, 0.018)], sides=10)
        turn = 360 * k / count + 360 / count / 2
        pieces += [spoke.turned(turn), wheel.turned(90, axis=1).moved((0, -reach, 0.03)).turned(turn)]
    return pieces


def _sled(plan: ChairPlan) -> list[Piece]:
    x, y, _, _ = _corners(plan)
    b, top = plan.bar * 0.85, plan.height - plan.thickness * 0.8
    path = [
        (x, -y, top),
        (x, -y - 0.02, 0.06),
        (x, -y + 0.02, b),
        (x, y - 0.02, b),
        (x, y + 0.03, 0.06),
        (x, y, top),
    ]
    return [*both([bar(path, (b, b))]), bar([(-x, y, 0.25), (x, y, 0.25)], (0.8 * b, 0.8 * b))]


def _pedestal(plan: ChairPlan) -> list[Piece]:
    top, foot = plan.height - plan.thickness, 0.42 * plan.width
    stem = 0.02 + plan.bar * 0.6
    profile = [
        (foot, 0),
        (foot, 0.015),
        (0.55 * foot, 0.035),
        (stem, 0.1),
        (stem, top - 0.06),
        (0.3 * foot + stem, top),
    ]
    return [lathe(profile, sides=24)]


def _cantilever(plan: ChairPlan) -> list[Piece]:
    """Tubes that rise at the front alone; the seat's rear hangs free."""
    x, y, _, _ = _corners(plan)
    b, top = plan.bar * 0.85, plan.height - plan.thickness * 0.8
    path = [
        (x, y, b),
        (x, -y + 0.03, b),
        (x, -y - 0.02, 0.04),
        (x, -y - 0.04, top - 0.06),
        (x, -y, top),
        (x, 0.9 * y, top),
    ]
    return [*both([bar(path, (b, b))]), bar([(-x, y, b), (x, y, b)], (b, b))]


def _cross(plan: ChairPlan) -> list[Piece]:
    """Folding chair: on either side two bars that cross."""
    x, y, _, _ = _corners(plan)
    b, top = plan.bar, plan.height - plan.thickness * 0.8
    side = [
        bar([(x, -y, top), (x, y + 0.03, 0)], (0.6 * b, b), square=plan.square),
        bar([(x - 1.4 * b, y, top), (x - 1.4 * b, -y - 0.03, 0)], (0.6 * b, b), square=plan.square),
    ]
    z = 0.06
    rails = [
        bar([(-x, s * (y + 0.015), z), (x, s * (y + 0.015), z)], np.array([0.5, 0.5]) * b) for s in (-1, 1)
    ]
    return both(side) + rails
