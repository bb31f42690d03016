"""Seats and arms of procedural chairs. Lengths in metres; front towards -y; the floor at z = 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netinvert.scenes.shapes import Piece, bar, both, box, cushion, lathe, panel

if TYPE_CHECKING:
    from netinvert.scenes.chairs import ChairPlan

SEATS = ("square", "round", "trapezoid", "cushion", "saddle")
ARMS = ("post", "loop", "pad", "box")
Made = list[tuple[Piece, str]]
"""Closed pieces, and which of a chair's materials each wears."""


def make_seat(plan: ChairPlan) -> Made:
    """The seat; its top is at the plan's height."""
    w, d, t = plan.width / 2, plan.depth / 2, plan.thickness
    middle = plan.height - t / 2
    if plan.seat == "round":
        profile = [(0.9, -0.5), (1, -0.3), (1, 0.3), (0.94, 0.5)]
        disc = lathe([(r * w, z * t) for r, z in profile], sides=28)
        return [(_stretched(disc, d / w).moved((0, 0, middle)), "surface")]
    if plan.seat == "trapezoid":
        outline = [(-w, -d), (w, -d), (0.78 * w, d), (-0.78 * w, d)]
        plate = panel([(x, y) for x, y in outline], t).turned(-90, axis=0)
        return [(_upright(plate).moved((0, 0, middle)), "surface")]
    if plan.seat == "cushion":
        seat = [(cushion((0, 0, middle), (w, d, t / 2)), "surface")]
        base = box((0, 0, plan.height - t - 0.008), (0.94 * w, 0.94 * d, 0.012))
        return [*seat, (base, "frame")]
    if plan.seat == "saddle":
        return [(cushion((0, -0.01, middle), (w, d, t / 2), (3, 3, 2.2)), "surface")]
    return [(cushion((0, 0, middle), (w, d, t / 2), (14, 14, 5)), "surface")]


def make_arms(plan: ChairPlan) -> Made:
    """Both arms, or nothing."""
    if plan.arms == "none":
        return []
    w, d = plan.width / 2, plan.depth / 2
    top, b = plan.height + plan.arm_height, plan.bar
    rear = d + plan.lean * plan.arm_height / plan.tall
    x, front = w + b, -0.75 * d
    if plan.arms == "box":
        low = 0.06 if plan.legs == "box" else plan.height - plan.thickness - 0.04
        half = (top - low) / 2
        side = [cushion((w + 0.05, 0, low + half), (0.055, d, half), (8, 8, 8), steps=10)]
        return [(piece, "surface") for piece in both(side)]
    rest_kind = "surface" if plan.arms == "pad" else "frame"
    # a bracket, since round and narrowing seats do not reach the post
    bracket_height = plan.height - plan.thickness / 2
    bracket = bar([(0.5 * w, 0.5 * front, bracket_height), (x, front, bracket_height)], (0.7 * b, 0.7 * b))
    if plan.arms == "loop":
        start = (x, front, plan.height - plan.thickness / 2)
        bend = [(x, front - 0.03, top - 0.05), (x, front, top), (x, 0, top + 0.005), (x, rear, top)]
        tube = bar([start, *bend], (0.9 * b, 0.9 * b))
        return [(piece, "frame") for piece in both([tube, bracket])]
    post = bar([(x, front, plan.height - plan.thickness), (x, front - 0.01, top)], (b, b), square=plan.square)
    wide = 0.035 if plan.arms == "pad" else 0.026
    rest = cushion(
        (x, (front + rear) / 2 - 0.02, top + 0.012), (wide, (rear - front) / 2 + 0.03, 0.016), (5, 8, 4), 8
    )
    kinds = ["frame", "frame", rest_kind] * 2
    return list(zip(both([post, bracket, rest]), kinds, strict=True))


def _stretched(piece: Piece, depth: float) -> Piece:
    """A round seat made oval: y scaled by ``depth``."""
    scale = np.array([1.0, depth, 1.0])
    normals = piece.normals / scale
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return Piece(piece.corners * scale, normals, piece.uv)


def _upright(piece: Piece) -> Piece:
    """A plate turned to lie flat, with its outline's second axis towards +y."""
    if piece.corners[..., 2].max() > piece.corners[..., 1].max():
        return piece.turned(-90, axis=0)
    return piece
