"""Upholstered chairs: tubs, club and wing chairs, sofas. Metres; front towards -y; floor at z = 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from netinvert.scenes.chair_parts import FRAME, SURFACE, ChairPlan, make_arms, make_legs, plan_chair
from netinvert.scenes.mesh_builder import Array, Primitive, Worn, bar, both, box, cushion, swept, wearing

KindOfChair = tuple[ChairPlan, dict[str, Worn]]
"""What a chair is made of, and the pieces of its parts."""
STANDS = ("straight", "splayed", "swivel", "pedestal", "sled")


def wall(
    path: ArrayLike,
    thickness: float,
    span: tuple[ArrayLike, ArrayLike],
    lean: tuple[float, float] = (0.0, 0.0),
    cuts: Sequence[int] = (),
) -> list[Primitive]:
    """An upholstered wall along a level ``path`` (n, 2), its ends rounded; cut at points of the path.

    ``span``: lowest and highest z, of all or of each point. ``lean``: how far it leans for each metre up, to
    the right of the path and to the back."""
    path = np.asarray(path, float)
    low, high = (np.broadcast_to(np.asarray(z, float), len(path)) for z in span)
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    nose = np.radians([75, 45, 15])
    reach = thickness / 2 * np.sin(nose)[:, None]
    points = np.concatenate([path[0] - reach * ahead[0], path, path[-1] + reach[::-1] * ahead[-1]])
    row = np.clip(np.arange(len(points)) - len(nose), 0, len(path) - 1)
    narrow = np.concatenate([np.cos(nose), np.ones(len(path)), np.cos(nose[::-1])])
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    across, up = (np.sign(f) * np.abs(f) ** (2 / p) for f, p in ((np.cos(angle), 3.5), (np.sin(angle), 9)))
    right = np.stack([ahead[row, 1], -ahead[row, 0]], axis=-1)
    half = (high - low)[row] / 2 - (1 - narrow) * min(thickness / 4, 0.02)
    height = ((high + low)[row] / 2)[:, None] + half[:, None] * up
    above = height - low[row][:, None]
    aside = thickness / 2 * narrow[:, None] * across + lean[0] * above
    place = points[:, None] + aside[..., None] * right[:, None]
    place[..., 1] += lean[1] * above
    return swept(np.concatenate([place, height[..., None]], axis=-1), [cut + len(nose) for cut in cuts])


def pad(outline: Array, low: float, high: float, soft: float) -> Primitive:
    """A body of a convex level ``outline`` (n, 2) whose edges are ``soft`` wide."""
    middle = (outline.max(axis=0) + outline.min(axis=0)) / 2
    turn = np.radians([0, 30, 60, 85])
    soft = min(soft, 0.45 * (high - low))
    inset, rise = soft * (1 - np.sin(turn)), soft * (1 - np.cos(turn))
    levels = np.concatenate([low + rise, high - rise[::-1]])
    scale = 1 - np.concatenate([inset, inset[::-1]])[:, None, None] / np.ptp(outline, axis=0).min() * 2
    rings = middle + scale * (outline - middle)
    heights = np.broadcast_to(levels[:, None, None], (*rings.shape[:2], 1))
    return swept(np.concatenate([rings, heights], axis=-1))[0]


def stand(
    rng: np.random.Generator, plan: ChairPlan, half: tuple[float, float], low: float
) -> tuple[str, Worn]:
    """What a body of ``half`` sides stands on, ``low`` above the floor: its name and pieces."""
    x, y = half
    if low < 0.04:
        return "box", [(box((0, 0, low / 2), (0.93 * x, 0.93 * y, low / 2)), FRAME)]
    if low < 0.15:
        thick = rng.uniform(0.015, 0.035)
        ends = [(0.85 * x, s * 0.85 * y, low + 0.01) for s in (-1, 1)]
        out = rng.uniform(0, 0.3) * low
        feet = [
            bar(
                [end, (end[0] + out, end[1] + s * out, 0)],
                [(thick, thick), (0.7 * thick, 0.7 * thick)],
                square=plan.square,
            )
            for end, s in zip(ends, (-1, 1), strict=True)
        ]
        return "feet", wearing(FRAME, both(feet))
    legs = str(rng.choice(STANDS, p=[0.3, 0.25, 0.25, 0.1, 0.1])) if x < 0.45 else "straight"
    under = replace(
        plan,
        legs=legs,
        seat="square",
        width=2 * x,
        depth=2 * y,
        height=low + 0.02,
        thickness=0.02,
        stretcher="none",
    )
    return legs, make_legs(under)


def _ease(start: float, end: float, value: Array) -> Array:
    """From 0 at ``start`` to 1 at ``end``, smoothly."""
    share = ((value - start) / (end - start)).clip(0, 1)
    return np.asarray(share**2 * (3 - 2 * share))


def tub_chair(rng: np.random.Generator) -> KindOfChair:
    """A back that goes round into the arms: barrel chairs, tubs, and rails on spindles."""
    w, d = rng.uniform(0.24, 0.4), rng.uniform(0.24, 0.36)
    front, power, curl = rng.uniform(0.25, 1) * d, rng.uniform(2, 4.5), rng.uniform(0, 0.15)
    seat, tall = rng.uniform(0.34, 0.48), rng.uniform(0.2, 0.5)
    arm = tall if rng.random() < 0.3 else min(rng.uniform(0.1, 0.28), tall)
    angle = np.linspace(0, np.pi, 27)
    arc = [np.sign(f) * np.abs(f) ** (2 / power) * r for f, r in ((np.cos(angle), w), (np.sin(angle), d))]
    straight = np.linspace(1, 0, 7)[:-1]
    side = np.stack([w * (1 - curl * straight**2), -front * straight], axis=-1)
    path = np.concatenate([side, np.stack(arc, axis=-1), side[::-1] * (-1, 1)])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    share = np.abs(2 * length / length[-1] - 1)
    high = seat + tall - (tall - arm) * _ease(rng.uniform(0.1, 0.45), rng.uniform(0.55, 1), share)
    cut = int(np.searchsorted(-share[: len(share) // 2], -rng.uniform(0.35, 0.5)))
    cuts = [cut, len(path) - 1 - cut]
    thickness = rng.uniform(0.03, 0.14)
    low = rng.choice([0.02, rng.uniform(0.05, 0.12), rng.uniform(0.16, 0.26)])
    thick = min(rng.uniform(0.05, 0.22), seat - low - 0.03)
    plan = replace(plan_chair(rng), back="tub", arms="tub", seat="cushion", width=2 * w, depth=d + front)
    plan = replace(plan, height=seat, thickness=thick, tall=tall, arm_height=arm)
    outline = np.concatenate([path, [[0.5 * path[-1, 0], -front - 0.03], [0.5 * path[0, 0], -front - 0.03]]])
    if rng.random() < 0.2:
        return _captain(rng, plan, path, high, cuts)
    lean = (rng.uniform(-0.05, 0.25), rng.uniform(0, 0.15))
    plan = replace(plan, lean=sum(lean) * tall)
    start = low if rng.random() < 0.6 else seat - thick
    pieces = wall(path, thickness, (start, high), lean, cuts)
    body = pad(outline * 0.97, low, seat - thick, 0.015)
    legs, under = stand(rng, plan, (0.8 * w, 0.8 * (d + front) / 2), low)
    middle = (0, (d - front) / 2, 0)
    return replace(plan, legs=legs), {
        "seat": [(pad(outline * 0.96, seat - thick, seat, 0.45 * thick), SURFACE)],
        "back": [(pieces[1], SURFACE), *_loose(rng, plan, 0.85 * w - thickness, d - thickness)],
        "legs": [(body, SURFACE), *((piece.moved(middle), worn) for piece, worn in under)],
        "arms": wearing(SURFACE, [pieces[0], pieces[2]]),
    }


def _captain(
    rng: np.random.Generator, plan: ChairPlan, path: Array, high: Array, cuts: list[int]
) -> KindOfChair:
    """A rail around the seat, on spindles."""
    rail = wall(path, rng.uniform(0.025, 0.05), (high - rng.uniform(0.03, 0.09), high), cuts=cuts)
    legs = str(rng.choice(["straight", "splayed", "swivel"]))
    thick = rng.uniform(0.025, 0.09)
    plan = replace(plan, legs=legs, thickness=thick, height=max(plan.height, 0.4), back="rail", arms="rail")
    step = int(rng.integers(2, 5))
    thin = rng.uniform(0.006, 0.014)
    middle = (path.max(axis=0) + path.min(axis=0)) / 2
    at = range(2, len(path) - 2, step)
    rods = {
        k: bar(
            [(*(0.9 * (path[k] - middle) + middle), plan.height - thick / 2), (*path[k], high[k] - 0.02)],
            (thin, thin),
            sides=8,
        )
        for k in at
    }
    outline = np.concatenate([path, [[0, path[0, 1] - 0.03]]])
    legs_of = (
        (piece.moved((0, middle[1], 0)), worn) for piece, worn in make_legs(replace(plan, seat="square"))
    )
    inside = [cuts[0] < k < cuts[1] for k in at]
    return plan, {
        "seat": [(pad(outline, plan.height - thick, plan.height, 0.3 * thick), SURFACE)],
        "back": wearing(
            FRAME, [rail[1], *(rod for rod, own in zip(rods.values(), inside, strict=True) if own)]
        ),
        "legs": list(legs_of),
        "arms": wearing(
            FRAME,
            [rail[0], rail[2], *(rod for rod, own in zip(rods.values(), inside, strict=True) if not own)],
        ),
    }


def _loose(rng: np.random.Generator, plan: ChairPlan, half: float, y: float, count: int = 1) -> Worn:
    """Loose cushions before the back, whose front is at ``y`` where the seat is; in one of three none."""
    if rng.random() < 0.35:
        return []
    thick, tall = rng.uniform(0.04, 0.1), plan.tall * rng.uniform(0.7, 1.05)
    tilt = -np.degrees(np.arctan2(plan.lean, plan.tall)) - rng.uniform(0, 8)
    wide = half / count
    one = cushion((0, -thick, tall / 2), (0.98 * wide, thick, tall / 2), (6, 2.5, 5)).turned(tilt, axis=0)
    places = [(2 * k + 1) * wide - half for k in range(count)]
    return wearing(SURFACE, [one.moved((x, y, plan.height - 0.01)) for x in places])


def club_chair(
    rng: np.random.Generator, seats: int = 1, wings: bool = False, low: float | None = None
) -> KindOfChair:
    """Seat, back and arms of thick upholstery: easy and club chairs, without arms slipper and Parsons chairs;
    sofas of several ``seats``; with ``wings`` a high back. ``low`` above the floor; None: anything."""
    w = rng.uniform(0.23, 0.36) if seats == 1 else seats * rng.uniform(0.23, 0.32)
    d, seat, lean = rng.uniform(0.24, 0.4), rng.uniform(0.3, 0.5), rng.uniform(0.02, 0.2)
    if rng.random() < 0.3:
        lean = rng.uniform(0.2, 0.5)
    tall = rng.uniform(0.5, 0.85) if wings else rng.uniform(0.22, 0.7)
    low = low or float(rng.choice([0.02, rng.uniform(0.05, 0.13), rng.uniform(0.16, 0.26)]))
    thick = min(rng.uniform(0.05, 0.24), seat - low - 0.03)
    style = (
        str(rng.choice(ARM_STYLES, p=ARM_SHARES))
        if not wings
        else str(rng.choice(["box", "rolled", "sloped"]))
    )
    wide, deep = rng.uniform(0.04, 0.2), rng.uniform(0.05, 0.2)
    arm = min(rng.uniform(0.12, 0.28), 0.9 * tall)
    if style == "level":
        tall, lean = min(tall, 0.45), min(lean, 0.12)
        arm = tall
    plan = replace(plan_chair(rng), back="upholstered", arms=style, seat="cushion", width=2 * w, depth=2 * d)
    plan = replace(plan, height=seat, thickness=thick, tall=tall, lean=lean * tall, arm_height=arm)
    arms = _arms(plan, style, wide, low)
    outer = w + (wide if style in ("box", "rolled", "sloped", "level") and rng.random() < 0.6 else 0)
    across = np.linspace(outer, -outer, 15) * 0.999
    bow = rng.choice([0, rng.uniform(0, 0.15)]) * tall
    path = np.stack([across, np.full(15, d - deep / 2)], axis=-1)
    high = seat + tall - bow * np.abs(across / outer) ** rng.uniform(2, 5)
    base = low if rng.random() < 0.6 else seat - thick
    back: Worn = [(piece, SURFACE) for piece in wall(path, deep, (base, high), (0, lean))]
    front = d - deep + lean * (seat - base)
    back += _loose(rng, plan, 0.97 * w, front, seats)
    if wings:
        back += _wings(rng, plan, outer, deep, base)
    nose = -d - rng.choice([0, rng.uniform(0, 0.05)])
    soft = rng.uniform(2.5, 8)
    places = [((2 * k + 1) / seats - 1) * w for k in range(seats)]
    cushions = [
        cushion(
            (x, (front + nose) / 2, seat - thick / 2),
            (w / seats, (front - nose) / 2, thick / 2),
            (9, 9, soft),
        )
        for x in places
    ]
    body = cushion(
        (0, 0, (low + seat - thick) / 2), (0.99 * w, 0.98 * d, (seat - thick - low) / 2 + 0.01), (14, 14, 8)
    )
    legs, under = stand(rng, plan, (outer, d), low)
    parts = {
        "seat": wearing(SURFACE, cushions),
        "back": back,
        "legs": [(body, SURFACE), *under],
        "arms": arms,
    }
    return replace(plan, legs=legs), parts


ARM_STYLES = ("none", "box", "rolled", "sloped", "level", "post", "loop", "pad")
ARM_SHARES = (0.22, 0.22, 0.14, 0.14, 0.1, 0.06, 0.06, 0.06)


def _arms(plan: ChairPlan, style: str, wide: float, low: float) -> Worn:
    """Both arms, ``wide``, from ``low`` up."""
    if style in ("none", "post", "loop", "pad"):
        return make_arms(plan)
    w, d, top = plan.width / 2, plan.depth / 2, plan.height + plan.arm_height
    along = np.linspace(-d, d, 9)
    path = np.stack([np.full(9, w + wide / 2), along], axis=-1)
    share = (along / d + 1) / 2
    rise = {"sloped": 0.5 * (plan.tall - plan.arm_height) * share**2 - 0.06 * (1 - share)}.get(
        style, 0 * share
    )
    side = wall(path, wide, (low, top + rise))
    if style == "rolled":
        roll = max(0.55 * wide, 0.045)
        x = w + wide / 2 + 0.2 * roll
        # of many points, for shades are of corners
        line = [(x, y, top - 0.5 * roll) for y in np.linspace(-d - 0.015, d, 9)]
        side.append(bar(line, (roll, roll), sides=18))
    return wearing(SURFACE, both(side))


def _wings(rng: np.random.Generator, plan: ChairPlan, x: float, deep: float, base: float) -> Worn:
    """Wings at both sides of a high back."""
    reach, thick = rng.uniform(0.1, 0.32), rng.uniform(0.035, 0.09)
    y, slope = plan.depth / 2, plan.lean / plan.tall
    low, high = plan.height + 0.9 * plan.arm_height, plan.height + plan.tall
    share = np.linspace(0, 1, 9)
    path = np.stack(
        [x - thick / 2 + rng.uniform(-0.1, 0.2) * reach * share, y - deep / 2 - reach * share], axis=-1
    )
    path[:, 1] += slope * (low - base)
    top = high - rng.uniform(0.1, 0.6) * (high - low) * share ** rng.uniform(1.5, 4)
    return wearing(SURFACE, both(wall(path, thick, (low, top), (0, slope))))
