"""Seats, arms, legs and backs of procedural chairs. Lengths in metres; front towards -y; floor at z = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netinvert.scenes.mesh_builder import (
    Array,
    Primitive,
    Worn,
    bar,
    both,
    box,
    cushion,
    lathe,
    panel,
    wearing,
)

FRAME, SURFACE = 0, 1
"""A chair's materials: of what carries it, and of what is soft or flat."""
SEATS = ("square", "round", "trapezoid", "cushion", "saddle")
ARMS = ("post", "loop", "pad", "box")
STRETCHERS = ("none", "H", "box", "sides")


@dataclass(frozen=True)
class ChairPlan:
    """What a chair is made of. Lengths in metres: ``width``, ``depth`` and ``height`` of the seat's top,
    ``thickness`` of the seat, ``tall`` of the back above it, ``lean`` of its top to the back, ``bar`` half
    the thickness of legs and posts; ``splay`` how far legs stand out at the floor."""

    legs: str
    back: str
    seat: str
    arms: str
    stretcher: str
    width: float
    depth: float
    height: float
    thickness: float
    tall: float
    lean: float
    bar: float
    splay: float
    slats: int
    square: bool
    arm_height: float


def make_seat(plan: ChairPlan) -> Worn:
    """The seat; its top is at the plan's height."""
    w, d, t = plan.width / 2, plan.depth / 2, plan.thickness
    middle = plan.height - t / 2
    if plan.seat == "round":
        profile = [(0.9, -0.5), (1, -0.3), (1, 0.3), (0.94, 0.5)]
        disc = lathe([(r * w, z * t) for r, z in profile], sides=28)
        return [(_stretched(disc, d / w).moved((0, 0, middle)), SURFACE)]
    if plan.seat == "trapezoid":
        plate = panel([(-w, -d), (w, -d), (0.78 * w, d), (-0.78 * w, d)], t).turned(-90, axis=0)
        return [(plate.moved((0, 0, middle)), SURFACE)]
    if plan.seat == "cushion":
        base = box((0, 0, plan.height - t - 0.008), (0.94 * w, 0.94 * d, 0.012))
        return [(cushion((0, 0, middle), (w, d, t / 2)), SURFACE), (base, FRAME)]
    if plan.seat == "saddle":
        return [(cushion((0, -0.01, middle), (w, d, t / 2), (3, 3, 2.2)), SURFACE)]
    return [(cushion((0, 0, middle), (w, d, t / 2), (14, 14, 5)), SURFACE)]


def make_arms(plan: ChairPlan) -> Worn:
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
        return wearing(SURFACE, both(side))
    padding = SURFACE if plan.arms == "pad" else FRAME
    # a bracket, since round and narrowing seats do not reach the post
    bracket_height = plan.height - plan.thickness / 2
    bracket = bar([(0.5 * w, 0.5 * front, bracket_height), (x, front, bracket_height)], (0.7 * b, 0.7 * b))
    if plan.arms == "loop":
        start = (x, front, plan.height - plan.thickness / 2)
        bend = [(x, front - 0.03, top - 0.05), (x, front, top), (x, 0, top + 0.005), (x, rear, top)]
        tube = bar([start, *bend], (0.9 * b, 0.9 * b))
        return wearing(FRAME, both([tube, bracket]))
    post = bar([(x, front, plan.height - plan.thickness), (x, front - 0.01, top)], (b, b), square=plan.square)
    wide = 0.035 if plan.arms == "pad" else 0.026
    rest = cushion(
        (x, (front + rear) / 2 - 0.02, top + 0.012), (wide, (rear - front) / 2 + 0.03, 0.016), (5, 8, 4), 8
    )
    materials = [FRAME, FRAME, padding] * 2
    return list(zip(both([post, bracket, rest]), materials, strict=True))


def _stretched(primitive: Primitive, depth: float) -> Primitive:
    """A round seat made oval: y scaled by ``depth``."""
    scale = np.array([1.0, depth, 1.0])
    normals = primitive.normals / scale
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return Primitive(primitive.corners * scale, normals, primitive.uv)


def make_legs(plan: ChairPlan) -> Worn:
    """Everything that carries the seat."""
    if plan.legs == "box":
        low = plan.height - plan.thickness
        half = (0.48 * plan.width, 0.48 * plan.depth, (low - 0.04) / 2)
        sofa = cushion((0, 0, 0.04 + half[2]), half, (10, 10, 10), steps=10)
        feet = [box((0.42 * plan.width, y * plan.depth, 0.02), (0.025, 0.025, 0.02)) for y in (-0.4, 0.4)]
        return [(sofa, SURFACE), *wearing(FRAME, both(feet))]
    return wearing(FRAME, LEG_MAKERS[plan.legs](plan))


def _corners(plan: ChairPlan) -> tuple[float, float, float, float]:
    """Half distances of the legs at the seat and at the floor: (x, y, x, y)."""
    shrink = 0.72 if plan.seat in ("round", "saddle") else 0.9
    x, y = shrink * plan.width / 2 - plan.bar, shrink * plan.depth / 2 - plan.bar
    spread = plan.splay if plan.legs == "splayed" else 0.0
    return x, y, x + spread, y + spread


def _four(plan: ChairPlan) -> list[Primitive]:
    x, y, fx, fy = _corners(plan)
    top, b = plan.height - plan.thickness * 0.8, plan.bar
    taper = 0.65 if plan.legs == "splayed" else 0.9
    sections = [(b * 1.2, b * 1.2), (b * taper, b * taper)]
    side = [bar([(x, s * y, top), (fx, s * fy, 0)], sections, square=plan.square) for s in (-1, 1)]
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


def _swivel(plan: ChairPlan) -> list[Primitive]:
    count, reach, b = 4 + plan.slats % 3, 0.52 * plan.width + 0.02, plan.bar
    top = plan.height - plan.thickness
    column = lathe([(0.022, 0.07), (0.022, 0.6 * top), (0.016, 0.6 * top + 0.005), (0.016, top)], sides=12)
    plate = box((0, 0, top - 0.015), (0.3 * plan.width, 0.3 * plan.depth, 0.015))
    primitives = [column, plate]
    for k in range(count):
        spoke = bar([(0, 0, 0.1), (0, -reach, 0.065)], [(1.2 * b, b), (0.8 * b, 0.5 * b)], square=True)
        wheel = lathe([(0.006, -0.018), (0.028, -0.016), (0.028, 0.016), (0.006, 0.018)], sides=10)
        turn = 360 * k / count + 360 / count / 2
        primitives += [spoke.turned(turn), wheel.turned(90, axis=1).moved((0, -reach, 0.03)).turned(turn)]
    return primitives


def _sled(plan: ChairPlan) -> list[Primitive]:
    x, y, _, _ = _corners(plan)
    b, top = plan.bar * 0.85, plan.height - plan.thickness * 0.8
    front = [(x, -y, top), (x, -y - 0.02, 0.06), (x, -y + 0.02, b)]
    path = [*front, (x, y - 0.02, b), (x, y + 0.03, 0.06), (x, y, top)]
    return [*both([bar(path, (b, b))]), bar([(-x, y, 0.25), (x, y, 0.25)], (0.8 * b, 0.8 * b))]


def _pedestal(plan: ChairPlan) -> list[Primitive]:
    top, foot = plan.height - plan.thickness, 0.42 * plan.width
    stem = 0.02 + plan.bar * 0.6
    radius = [foot, foot, 0.55 * foot, stem, stem, 0.3 * foot + stem]
    height = [0, 0.015, 0.035, 0.1, top - 0.06, top]
    return [lathe(np.stack([radius, height], axis=-1), sides=24)]


def _cantilever(plan: ChairPlan) -> list[Primitive]:
    """Tubes that rise at the front alone; the seat's rear hangs free."""
    x, y, _, _ = _corners(plan)
    b, top = plan.bar * 0.85, plan.height - plan.thickness * 0.8
    foot = [(x, y, b), (x, -y + 0.03, b), (x, -y - 0.02, 0.04)]
    path = [*foot, (x, -y - 0.04, top - 0.06), (x, -y, top), (x, 0.9 * y, top)]
    return [*both([bar(path, (b, b))]), bar([(-x, y, b), (x, y, b)], (b, b))]


def _cross(plan: ChairPlan) -> list[Primitive]:
    """Folding chair: on either side two bars that cross."""
    x, y, _, _ = _corners(plan)
    b, top = plan.bar, plan.height - plan.thickness * 0.8
    side = [
        bar([(x, -y, top), (x, y + 0.03, 0)], (0.6 * b, b), square=plan.square),
        bar([(x - 1.4 * b, y, top), (x - 1.4 * b, -y - 0.03, 0)], (0.6 * b, b), square=plan.square),
    ]
    z = 0.06
    half = np.array([0.5, 0.5]) * b
    rails = [bar([(-x, s * (y + 0.015), z), (x, s * (y + 0.015), z)], half) for s in (-1, 1)]
    return both(side) + rails


def make_back(plan: ChairPlan) -> Worn:
    """The back; nothing for a stool."""
    return [] if plan.back == "none" else BACK_MAKERS[plan.back](plan)


def _half(plan: ChairPlan) -> float:
    """Half the back's width."""
    return plan.width / 2 * (0.76 if plan.seat in ("trapezoid", "saddle", "round") else 0.92)


def _at(plan: ChairPlan, x: float, share: float, hollow: float = 0.0) -> tuple[float, float, float]:
    """A point of the back's surface: ``share`` of its height above the seat, leaning back."""
    half = _half(plan)
    y = 0.9 * plan.depth / 2 + plan.lean * share**1.3 - hollow * (x / half) ** 2
    return x, y, plan.height - plan.thickness / 2 + share * plan.tall


def _posts(plan: ChairPlan) -> list[Primitive]:
    x, b = _half(plan) - plan.bar, plan.bar
    path = [_at(plan, x, share) for share in (0, 0.33, 0.66, 1)]
    taper = np.linspace(1.1, 0.8, 4)[:, None] * b
    return both([bar(path, np.repeat(taper, 2, axis=1), square=plan.square)])


def _rail(plan: ChairPlan, share: float, tall: float, hollow: float = 0.02) -> Primitive:
    """A board across the back, hollow towards the sitter."""
    x = _half(plan) - plan.bar
    path = [_at(plan, s * x, share, hollow) for s in np.linspace(-1, 1, 7)]
    # the path runs along x, so the section's first number is its depth and the second its height
    return bar(path, (0.55 * plan.bar, tall), square=True)


def _slats(plan: ChairPlan) -> Worn:
    x, wide = _half(plan) - 3 * plan.bar, 0.3 * plan.width / plan.slats
    paths = [[_at(plan, s * x, h, 0.02) for h in (0.12, 0.5, 0.93)] for s in np.linspace(-1, 1, plan.slats)]
    uprights = [bar(path, (wide, 0.4 * plan.bar), square=True) for path in paths]
    rails = [_rail(plan, 0.12, 0.018), _rail(plan, 0.95, 0.035)]
    return wearing(FRAME, _posts(plan) + rails) + wearing(SURFACE, uprights)


def _ladder(plan: ChairPlan) -> Worn:
    count = min(plan.slats, 5)
    tall = 0.28 * plan.tall / count
    rungs = [_rail(plan, share, tall) for share in np.linspace(0.25, 0.94, count)]
    return wearing(FRAME, _posts(plan)) + wearing(SURFACE, rungs)


def _spindles(plan: ChairPlan) -> Worn:
    x = _half(plan) - 2 * plan.bar
    thin = max(0.35 * plan.bar, 0.006)
    rods = [
        bar([_at(plan, s * 0.85 * x, 0.0, 0.02), _at(plan, s * x, 0.94, 0.04)], (thin, thin), sides=8)
        for s in np.linspace(-1, 1, plan.slats + 2)
    ]
    crest = _rail(plan, 0.96, 0.03, hollow=0.045)
    return wearing(FRAME, [*rods, crest])


def _outline(plan: ChairPlan) -> Array:
    """A board with rounded upper corners, in its own plane: (n, 2), counter-clockwise, bottom at 0."""
    x, z = _half(plan), plan.tall
    angle = np.linspace(0, np.pi, 17)
    corner = min(0.6 * x, 0.5 * z) if plan.slats % 2 else 0.25 * x
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * corner
    arc[:, 0] += np.where(angle <= np.pi / 2, x - corner, corner - x)
    arc[:, 1] += z - corner
    return np.concatenate([[[-x, 0.0], [x, 0.0]], arc])


def _leant(plan: ChairPlan, primitive: Primitive) -> Primitive:
    """A plate of the xz plane, set up behind the seat and tilted back."""
    angle = -np.degrees(np.arctan2(plan.lean, plan.tall))
    return primitive.turned(angle, axis=0).moved((0, 0.9 * plan.depth / 2, plan.height - plan.thickness / 2))


def _solid(plan: ChairPlan) -> Worn:
    return [(_leant(plan, panel(_outline(plan), 0.02 + 0.4 * plan.bar)), SURFACE)]


def _cushion(plan: ChairPlan) -> Worn:
    x, low = _half(plan), 0.12
    half = (0.95 * x, 0.03 + plan.bar, (1 - low) * plan.tall / 2)
    pad = cushion((0, 0, plan.tall * (1 + low) / 2), half, (6, 2.6, 5))
    thin = [bar([(0.4 * x, 0, 0), (0.4 * x, 0.01, 0.5 * plan.tall)], (plan.bar, 0.5 * plan.bar), square=True)]
    return [(_leant(plan, pad), SURFACE), *((_leant(plan, primitive), FRAME) for primitive in both(thin))]


def _frame(plan: ChairPlan) -> Worn:
    """Posts and rails around a panel."""
    x = _half(plan) - 2.5 * plan.bar
    low, high = 0.3 * plan.tall, 0.88 * plan.tall
    plate = panel([(-x, low), (x, low), (x, high), (-x, high)], 0.014)
    rails = [_rail(plan, 0.28, 0.02, 0.0), _rail(plan, 0.95, 0.03, 0.0)]
    return [*wearing(FRAME, _posts(plan) + rails), (_leant(plan, plate), SURFACE)]


def _round(plan: ChairPlan) -> Worn:
    """A hoop, filled with spindles or a round pad."""
    x, b = _half(plan) - plan.bar, 0.85 * plan.bar
    angle = np.linspace(0, np.pi, 15)
    arch = [(x * np.cos(a), 0, 0.45 * plan.tall + 0.55 * plan.tall * np.sin(a)) for a in angle]
    ring = bar([(x, 0, 0), *arch, (-x, 0, 0)], (b, b))
    if plan.slats % 2:
        pad = cushion((0, 0, 0.55 * plan.tall), (0.8 * x, 0.025, 0.36 * plan.tall), (2.4, 2.4, 2.4))
        return [(_leant(plan, ring), FRAME), (_leant(plan, pad), SURFACE)]
    thin = max(0.35 * plan.bar, 0.006)
    rods = []
    for s in np.linspace(-0.75, 0.75, plan.slats):
        tall = 0.45 * plan.tall + 0.55 * plan.tall * np.sqrt(1 - s**2)
        rods.append(bar([(s * 0.9 * x, 0, 0), (s * x, 0, tall)], (thin, thin), sides=8))
    return [(_leant(plan, primitive), FRAME) for primitive in [ring, *rods]]


def _splat(plan: ChairPlan) -> Worn:
    """One broad board in the middle, as in a fiddleback."""
    wide, z = 0.3 * _half(plan), plan.tall
    levels = np.linspace(0.02, 0.92, 9)
    widths = wide * (1 + 0.35 * np.sin(levels * 2 * np.pi))
    board = bar(
        [(0, 0, level * z) for level in levels], np.stack([widths, np.full(9, 0.006)], -1), square=True
    )
    crest = _rail(plan, 0.96, 0.032, 0.02)
    return [*wearing(FRAME, [*_posts(plan), crest]), (_leant(plan, board), SURFACE)]


LEG_MAKERS = {
    **{"straight": _four, "splayed": _four, "swivel": _swivel, "sled": _sled},
    **{"pedestal": _pedestal, "cantilever": _cantilever, "cross": _cross},
}
LEGS = (*LEG_MAKERS, "box")
BACK_MAKERS = {
    **{"solid": _solid, "slats": _slats, "ladder": _ladder, "spindles": _spindles},
    **{"cushion": _cushion, "frame": _frame, "round": _round, "splat": _splat},
}
BACKS = tuple(BACK_MAKERS)


def plan_chair(rng: np.random.Generator) -> ChairPlan:
    """Choose what a chair is made of."""
    legs = str(rng.choice(list(LEGS), p=[0.26, 0.16, 0.13, 0.1, 0.08, 0.1, 0.08, 0.09]))
    back = "none" if rng.random() < 0.04 else str(rng.choice(list(BACKS)))
    seat = str(rng.choice(list(SEATS)))
    arms = "none" if back == "none" or rng.random() < 0.45 else str(rng.choice(list(ARMS)))
    if legs == "box":
        seat = "cushion"
    bar_chair = legs in ("straight", "splayed", "swivel", "pedestal") and rng.random() < 0.12
    width, depth = rng.uniform(0.38, 0.6), rng.uniform(0.38, 0.56)
    if back == "none":
        arms = "none"
        depth = width if rng.random() < 0.5 else depth
    height = rng.uniform(0.62, 0.8) if bar_chair else rng.uniform(0.38, 0.52)
    return ChairPlan(
        legs=legs,
        back=back,
        seat=seat,
        arms=arms,
        stretcher=str(rng.choice(list(STRETCHERS))),
        width=float(width),
        depth=float(depth),
        height=float(height),
        thickness=float(
            rng.uniform(0.02, 0.05) if seat not in ("cushion", "saddle") else rng.uniform(0.05, 0.12)
        ),
        tall=float(rng.uniform(0.32, 0.66)),
        lean=float(rng.uniform(0.02, 0.16)),
        bar=float(rng.uniform(0.012, 0.026)),
        splay=float(rng.uniform(0.04, 0.12)),
        slats=int(rng.integers(3, 8)),
        square=bool(rng.random() < 0.5),
        arm_height=float(rng.uniform(0.18, 0.27)),
    )
