"""Deck chairs, loungers and folding chairs. Lengths in metres; front towards -y; floor at z = 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from netinvert.scenes.chair_parts import FRAME, SURFACE, ChairPlan, plan_chair
from netinvert.scenes.mesh_builder import Array, Primitive, Worn, bar, both, box, cushion, sheet, wearing
from netinvert.scenes.upholstery import KindOfChair

COVERS = ("slats", "boards", "cloth", "padded", "plate")


def _between(start: Array, end: Array, shares: Array | list[float]) -> Array:
    """Points (n, 2) on the line, at shares of it."""
    return np.asarray(start + np.asarray(shares, float)[:, None] * (end - start))


def _cover(
    rng: np.random.Generator, cover: str, line: tuple[Array, Array], half: float, thick: float
) -> list[Primitive]:
    """What one sits on or leans against, along a ``line`` of points (y, z), ``half`` wide to either side."""
    start, end = line
    length = float(np.linalg.norm(end - start))
    ahead = (end - start) / length
    tilt = float(np.degrees(np.arctan2(ahead[1], ahead[0])))
    if cover == "slats":
        count = max(2, int(length / rng.uniform(0.05, 0.12)))
        wide = length / count * rng.uniform(0.3, 0.45)
        places = _between(start, end, (np.arange(count) + 0.5) / count)
        return [
            box((0, 0, 0), (half, wide, 0.4 * thick)).turned(tilt, axis=0).moved((0, *place))
            for place in places
        ]
    if cover == "boards":
        count = int(rng.integers(3, 9))
        places, wide = (np.arange(count) + 0.5) / count * 2 - 1, half / count * rng.uniform(0.7, 0.95)
        return [bar([(half * x, *start), (half * x, *end)], (wide, 0.4 * thick), square=True) for x in places]
    middle = (start + end) / 2
    if cover == "cloth":
        sag = rng.uniform(0, 0.1) * length
        share = np.linspace(0, 1, 13)
        line_points = _between(start, end, share)
        line_points += 4 * (share * (1 - share))[:, None] * sag * np.array([ahead[1], -ahead[0]])
        x = np.linspace(-half, half, 7)
        grid = np.stack(np.broadcast_arrays(x[None], line_points[:, :1], line_points[:, 1:]), axis=-1)
        return sheet(grid, 0.008)
    if cover == "padded":
        count = int(rng.choice([1, 1, 2, 3]))
        soft = rng.uniform(0.03, 0.07)
        pads = [
            cushion((0, 0, soft), (half, length / count / 2, soft), (8, 8, 2.6)).turned(tilt, axis=0)
        ] * count
        places = _between(start, end, (np.arange(count) + 0.5) / count)
        return [one.moved((0, *place)) for one, place in zip(pads, places, strict=True)]
    return [cushion((0, 0, 0), (half, length / 2, thick), (9, 9, 4)).turned(tilt, axis=0).moved((0, *middle))]


def deck_chair(rng: np.random.Generator) -> KindOfChair:
    """Reclined: deck chairs, sun loungers, garden chairs with flat arms, leaning easy chairs."""
    half, height, depth = rng.uniform(0.22, 0.36), rng.uniform(0.2, 0.44), rng.uniform(0.42, 0.62)
    drop, recline = rng.uniform(0, 0.32) * depth, np.radians(rng.uniform(22, 62))
    back = rng.uniform(0.5, 0.95)
    front, rear = np.array([-depth / 2, height]), np.array([depth / 2, max(height - drop, 0.1)])
    top = rear + back * np.array([np.sin(recline), np.cos(recline)])
    cover = str(rng.choice(COVERS, p=[0.3, 0.2, 0.22, 0.2, 0.08]))
    thick, b = rng.uniform(0.015, 0.03), rng.uniform(0.011, 0.026)
    square = bool(rng.random() < 0.6)
    arms = rng.random() < 0.6
    inner = half - (0.0 if cover in ("slats", "cloth") else 1.2 * b)
    rest = front + np.array([-rng.uniform(0.35, 0.85), -rng.uniform(0, 0.1) * height])
    long = rng.random() < 0.35
    begin = rest if long else front
    seat = _cover(rng, cover, (begin, rear), inner, thick)
    lean = _cover(rng, cover, (rear, top), inner, thick)
    if rng.random() < 0.15:
        place = rear + 0.85 * (top - rear)
        roll = bar([(-0.8 * inner, *place), (0.8 * inner, *place)], (0.045, 0.045), sides=14)
        lean.append(roll.moved((0, -0.04, 0.02)))
    under = np.array([0, -0.4 * thick - 0.5 * b])
    rails = both(
        [
            _beam([begin + under, rear + under], half, b, square),
            _beam([rear + under, top + under], half, b, square),
        ]
    )
    plan = replace(
        plan_chair(rng),
        back=cover,
        seat="cushion" if cover == "padded" else cover,
        arms="board" if arms else "none",
    )
    plan = replace(plan, width=2 * half, depth=depth, height=height, thickness=thick, bar=b, square=square)
    plan = replace(
        plan, tall=float(top[1] - rear[1]), lean=float(top[0] - rear[0]), arm_height=rng.uniform(0.16, 0.26)
    )
    legs = str(rng.choice(["straight", "cross", "sled"], p=[0.5, 0.3, 0.2]))
    made = _deck_legs(plan, legs, (begin, front, rear, top))
    return replace(plan, legs=legs), {
        "seat": wearing(SURFACE, seat),
        "back": wearing(SURFACE, lean) + wearing(FRAME, [rails[1], rails[3]]),
        "legs": wearing(FRAME, [*made, rails[0], rails[2]]),
        "arms": _boards(rng, plan, (front, rear, top)) if arms else [],
    }


def _beam(points: list[Array], x: float, b: float, square: bool) -> Primitive:
    return bar([(x, *point) for point in points], (b, b), square=square)


def _deck_legs(plan: ChairPlan, legs: str, corners: tuple[Array, ...]) -> list[Primitive]:
    begin, front, rear, top = corners
    b, square, x = plan.bar, plan.square, plan.width / 2 - 2 * plan.bar
    behind = rear + 0.3 * (top - rear)
    if legs == "cross":
        foot_front, foot_rear = np.array([begin[0] + 0.05, b]), np.array([behind[0] + 0.1, b])
        pairs = [(behind, foot_front), (begin, foot_rear)]
    else:
        pairs = [
            (begin + np.array([0.04, 0]), np.array([begin[0] + 0.02, b])),
            (behind, np.array([behind[0] + 0.04, b])),
        ]
        if begin[0] < front[0] - 0.1:
            pairs.append((rear - np.array([0.1, 0]), np.array([rear[0] - 0.1, b])))
    side = [
        _beam([one, other], x - k * 2 * b if legs == "cross" else x, b, square)
        for k, (one, other) in enumerate(pairs)
    ]
    for one, other in pairs[:2]:
        z = other if legs == "cross" else one + 0.3 * (other - one)
        side.append(bar([(0, *z), (x, *z)], (0.7 * b, 0.7 * b)))
    if legs == "sled":
        side.append(_beam([pairs[0][1], pairs[1][1]], x, b, square))
    return both(side)


def _boards(rng: np.random.Generator, plan: ChairPlan, corners: tuple[Array, Array, Array]) -> Worn:
    """Arms: boards from a post before the seat to the back."""
    front, rear, top = corners
    height = float(front[1]) + plan.arm_height
    share = np.clip((height - rear[1]) / (top[1] - rear[1]), 0.1, 0.95)
    end = rear + share * (top - rear)
    b, wide = plan.bar, rng.uniform(0.025, 0.075)
    x = plan.width / 2 + max(b, 0.4 * wide)
    nose = front[0] - rng.uniform(-0.08, 0.08)
    board = bar([(x, nose, height), (x, end[0] + 0.03, end[1])], (wide, 0.6 * b), square=True)
    foot = b if rng.random() < 0.5 else front[1] - 0.03
    post = bar([(x, nose + 0.06, height), (x, nose + 0.06, foot)], (0.8 * b, b), square=plan.square)
    return wearing(FRAME, both([board, post]))


def folding_chair(rng: np.random.Generator) -> KindOfChair:
    """Bars that cross at the sides and carry the back, or below a seat of cloth: a director's chair."""
    if rng.random() < 0.35:
        return _director(rng)
    half, depth, height = rng.uniform(0.19, 0.27), rng.uniform(0.34, 0.46), rng.uniform(0.4, 0.5)
    tall, slope = rng.uniform(0.26, 0.5), rng.uniform(0.35, 0.6)
    b, square, thick = rng.uniform(0.009, 0.02), bool(rng.random() < 0.5), rng.uniform(0.012, 0.025)
    rear, front = np.array([depth / 2, height]), np.array([-depth / 2, height - rng.uniform(0, 0.02)])
    foot, upright = np.array([depth / 2 - slope * height, b]), rng.uniform(0.15, 0.5)
    top = rear + tall * np.array([upright * slope, 1])
    # the long bars run from the front's floor past the seat's rear into the back
    long = [_beam([foot, rear, top], half, b, square)]
    heel = np.array([depth / 2 + rng.uniform(0, 0.1), b])
    short = _beam([heel, front - np.array([0, thick])], half - 2.2 * b, b, square)
    rails = [
        bar([(-half, *end), (half, *end)], (0.7 * b, 0.7 * b))
        for end in (foot + np.array([0, 0.08]), heel + np.array([0, 0.06]))
    ]
    covers = ("slats", "plate", "cloth", "padded")
    seat = str(rng.choice(covers))
    cover = str(rng.choice(["slats", "plate", "cloth", "boards"]))
    plan = replace(
        plan_chair(rng), legs="cross", back=cover, seat="cushion" if seat == "padded" else seat, arms="none"
    )
    plan = replace(
        plan, width=2 * half, depth=depth, height=height, tall=tall, lean=upright * slope * tall, bar=b
    )
    at = rear + rng.uniform(0.25, 0.6) * (top - rear)
    # in front of the bars, so that both are seen
    back = _cover(rng, cover, (at, top), half, thick)
    made = _cover(rng, seat, (front, rear - np.array([0.02, 0])), half - 1.1 * b, thick)
    posts = both([_beam([rear, top], half, 1.02 * b, square)])
    return plan, {
        "seat": wearing(SURFACE, made),
        "back": wearing(SURFACE, back) + wearing(FRAME, posts),
        "legs": wearing(FRAME, [*both([*long, short]), *rails]),
        "arms": [],
    }


def _director(rng: np.random.Generator) -> KindOfChair:
    """Legs that cross as seen from the front, cloth for seat and back, boards for arms."""
    half, depth, height = rng.uniform(0.23, 0.3), rng.uniform(0.36, 0.46), rng.uniform(0.4, 0.6)
    arm, tall, b = rng.uniform(0.16, 0.24), rng.uniform(0.35, 0.5), rng.uniform(0.011, 0.02)
    y = depth / 2
    legs = [
        bar([(-half, s * y + 0.4 * b, b), (half, s * y + 0.4 * b, height)], (b, b), square=True)
        for s in (-1, 1)
    ]
    legs += [one.mirrored().moved((0, -0.8 * b, 0)) for one in legs]
    feet = both([bar([(half, -y - 0.03, b), (half, y + 0.03, b)], (b, b), square=True)])
    seat = _cover(rng, "cloth", (np.array([-y, height]), np.array([y, height])), half, 0.01)
    posts = [
        bar([(half, s * y, height - 0.02), (half, s * y, height + arm)], (b, b), square=True) for s in (-1, 1)
    ]
    boards = [
        bar(
            [(half, -y - 0.04, height + arm), (half, y + 0.03, height + arm)],
            (rng.uniform(0.02, 0.04), 0.8 * b),
            square=True,
        )
    ]
    lean = rng.uniform(0, 0.2) * tall
    stiles = [bar([(half, y, height), (half, y + lean, height + tall)], (b, b), square=True)]
    line = (np.array([y + 0.5 * lean, height + 0.5 * tall]), np.array([y + lean, height + tall]))
    plan = replace(
        plan_chair(rng), legs="cross", back="cloth", seat="cloth", arms="board", width=2 * half, depth=depth
    )
    plan = replace(plan, height=height, tall=tall, lean=lean, arm_height=arm, bar=b)
    return plan, {
        "seat": wearing(SURFACE, seat),
        "back": wearing(SURFACE, _cover(rng, "cloth", line, half, 0.01)) + wearing(FRAME, both(stiles)),
        "legs": wearing(FRAME, [*legs, *feet]),
        "arms": wearing(FRAME, both([*posts, *boards])),
    }
