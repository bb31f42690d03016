"""Backs of procedural chairs. Lengths in metres; the back rises at +y, behind the seat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netinvert.scenes.chair_seats import Made
from netinvert.scenes.shapes import Array, Piece, bar, both, cushion, panel

if TYPE_CHECKING:
    from netinvert.scenes.chairs import ChairPlan

BACKS = ("solid", "slats", "ladder", "spindles", "cushion", "frame", "round", "splat")


def make_back(plan: ChairPlan) -> Made:
    """The back; nothing for a stool."""
    if plan.back == "none":
        return []
    makers = {
        "solid": _solid,
        "slats": _slats,
        "ladder": _ladder,
        "spindles": _spindles,
        "cushion": _cushion,
        "frame": _frame,
        "round": _round,
        "splat": _splat,
    }
    return makers[plan.back](plan)


def _half(plan: ChairPlan) -> float:
    """Half the back's width."""
    return plan.width / 2 * (0.76 if plan.seat in ("trapezoid", "saddle", "round") else 0.92)


def _at(plan: ChairPlan, x: float, share: float, hollow: float = 0.0) -> tuple[float, float, float]:
    """A point of the back's surface: ``share`` of its height above the seat, leaning back."""
    half = _half(plan)
    y = 0.9 * plan.depth / 2 + plan.lean * share**1.3 - hollow * (x / half) ** 2
    return x, y, plan.height - plan.thickness / 2 + share * plan.tall


def _posts(plan: ChairPlan, top: float = 1.0) -> list[Piece]:
    x, b = _half(plan) - plan.bar, plan.bar
    path = [_at(plan, x, share * top) for share in (0, 0.33, 0.66, 1)]
    taper = np.linspace(1.1, 0.8, 4)[:, None] * b
    return both([bar(path, np.repeat(taper, 2, axis=1), square=plan.square)])


def _rail(plan: ChairPlan, share: float, tall: float, hollow: float = 0.02) -> Piece:
    """A board across the back, hollow towards the sitter."""
    x = _half(plan) - plan.bar
    path = [_at(plan, s * x, share, hollow) for s in np.linspace(-1, 1, 7)]
    # the path runs along x, so the section's first number is its depth and the second its height
    return bar(path, (0.55 * plan.bar, tall), square=True)


def _slats(plan: ChairPlan) -> Made:
    x, wide = _half(plan) - 3 * plan.bar, 0.3 * plan.width / plan.slats
    uprights = [
        bar(
            [_at(plan, s * x, share, 0.02) for share in (0.12, 0.5, 0.93)],
            (wide, 0.4 * plan.bar),
            square=True,
        )
        for s in np.linspace(-1, 1, plan.slats)
    ]
    rails = [_rail(plan, 0.12, 0.018), _rail(plan, 0.95, 0.035)]
    return [(piece, "frame") for piece in _posts(plan) + rails] + [(piece, "surface") for piece in uprights]


def _ladder(plan: ChairPlan) -> Made:
    count = min(plan.slats, 5)
    tall = 0.28 * plan.tall / count
    rungs = [_rail(plan, share, tall) for share in np.linspace(0.25, 0.94, count)]
    return [(piece, "frame") for piece in _posts(plan)] + [(piece, "surface") for piece in rungs]


def _spindles(plan: ChairPlan) -> Made:
    x = _half(plan) - 2 * plan.bar
    thin = max(0.35 * plan.bar, 0.006)
    rods = [
        bar([_at(plan, s * 0.85 * x, 0.0, 0.02), _at(plan, s * x, 0.94, 0.04)], (thin, thin), sides=8)
        for s in np.linspace(-1, 1, plan.slats + 2)
    ]
    crest = _rail(plan, 0.96, 0.03, hollow=0.045)
    return [(piece, "frame") for piece in [*rods, crest]]


def _outline(plan: ChairPlan) -> Array:
    """A board with rounded upper corners, in its own plane: (n, 2), counter-clockwise, bottom at 0."""
    x, z = _half(plan), plan.tall
    angle = np.linspace(0, np.pi, 17)
    corner = min(0.6 * x, 0.5 * z) if plan.slats % 2 else 0.25 * x
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * corner
    arc[:, 0] += np.where(angle <= np.pi / 2, x - corner, corner - x)
    arc[:, 1] += z - corner
    return np.concatenate([[[-x, 0.0], [x, 0.0]], arc])


def _leant(plan: ChairPlan, piece: Piece) -> Piece:
    """A plate of the xz plane, set up behind the seat and tilted back."""
    angle = -np.degrees(np.arctan2(plan.lean, plan.tall))
    return piece.turned(angle, axis=0).moved((0, 0.9 * plan.depth / 2, plan.height - plan.thickness / 2))


def _solid(plan: ChairPlan) -> Made:
    return [(_leant(plan, panel(_outline(plan), 0.02 + 0.4 * plan.bar)), "surface")]


def _cushion(plan: ChairPlan) -> Made:
    x, low = _half(plan), 0.12
    half = (0.95 * x, 0.03 + plan.bar, (1 - low) * plan.tall / 2)
    pad = cushion((0, 0, plan.tall * (1 + low) / 2), half, (6, 2.6, 5))
    thin = [bar([(0.4 * x, 0, 0), (0.4 * x, 0.01, 0.5 * plan.tall)], (plan.bar, 0.5 * plan.bar), square=True)]
    return [(_leant(plan, pad), "surface"), *((_leant(plan, piece), "frame") for piece in both(thin))]


def _frame(plan: ChairPlan) -> Made:
    """Posts and rails around a panel."""
    x = _half(plan) - 2.5 * plan.bar
    low, high = 0.3 * plan.tall, 0.88 * plan.tall
    plate = panel([(-x, low), (x, low), (x, high), (-x, high)], 0.014)
    rails = [_rail(plan, 0.28, 0.02, 0.0), _rail(plan, 0.95, 0.03, 0.0)]
    return [(piece, "frame") for piece in _posts(plan) + rails] + [(_leant(plan, plate), "surface")]


def _round(plan: ChairPlan) -> Made:
    """A hoop, filled with spindles or a round pad."""
    x, b = _half(plan) - plan.bar, 0.85 * plan.bar
    angle = np.linspace(0, np.pi, 15)
    hoop = [
        (x, 0),
        *((x * np.cos(a), 0.45 * plan.tall + 0.55 * plan.tall * np.sin(a)) for a in angle),
        (-x, 0),
    ]
    ring = bar([(px, 0, pz) for px, pz in hoop], (b, b))
    if plan.slats % 2:
        pad = cushion((0, 0, 0.55 * plan.tall), (0.8 * x, 0.025, 0.36 * plan.tall), (2.4, 2.4, 2.4))
        return [(_leant(plan, ring), "frame"), (_leant(plan, pad), "surface")]
    thin = max(0.35 * plan.bar, 0.006)
    rods = []
    for s in np.linspace(-0.75, 0.75, plan.slats):
        tall = 0.45 * plan.tall + 0.55 * plan.tall * np.sqrt(1 - s**2)
        rods.append(bar([(s * 0.9 * x, 0, 0), (s * x, 0, tall)], (thin, thin), sides=8))
    return [(_leant(plan, piece), "frame") for piece in [ring, *rods]]


def _splat(plan: ChairPlan) -> Made:
    """One broad board in the middle, as in a fiddleback."""
    wide, z = 0.3 * _half(plan), plan.tall
    levels = np.linspace(0.02, 0.92, 9)
    widths = wide * (1 + 0.35 * np.sin(levels * 2 * np.pi))
    board = bar(
        [(0, 0, level * z) for level in levels], np.stack([widths, np.full(9, 0.006)], -1), square=True
    )
    crest = _rail(plan, 0.96, 0.032, 0.02)
    return [(piece, "frame") for piece in [*_posts(plan), crest]] + [(_leant(plan, board), "surface")]
