"""Kinds of chairs beside the plain ones. Lengths in metres; front towards -y; floor at z = 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from netinvert.scenes.chair_parts import (
    FRAME,
    SURFACE,
    ChairPlan,
    make_arms,
    make_back,
    make_legs,
    make_seat,
    plan_chair,
)
from netinvert.scenes.loungers import deck_chair, folding_chair
from netinvert.scenes.mesh_builder import Worn, bar, both, cushion, sheet, wearing
from netinvert.scenes.upholstery import KindOfChair, club_chair, tub_chair


def chair_parts(plan: ChairPlan) -> dict[str, Worn]:
    """Closed primitives for each part, in metres; none for a part that the chair lacks."""
    makers = {"seat": make_seat, "back": make_back, "legs": make_legs, "arms": make_arms}
    return {name: make(plan) for name, make in makers.items()}


def shell_chair(rng: np.random.Generator) -> KindOfChair:
    """One moulded bucket on legs: its sides are turned up, in some so far that they are arms."""
    w, d = rng.uniform(0.2, 0.32), rng.uniform(0.19, 0.27)
    height, tall, lean = rng.uniform(0.36, 0.48), rng.uniform(0.26, 0.75), rng.uniform(0.08, 0.45)
    armed = rng.random() < 0.5
    curl, power = (rng.uniform(0.12, 0.26) if armed else rng.uniform(0, 0.09)), rng.uniform(2, 4)
    bend, drop = rng.uniform(0.05, 0.14), rng.uniform(0, 0.05)
    # from the side: the seat from the front's edge, a bend, the back
    turn = np.linspace(0, np.pi / 2 - np.arctan(lean), 7)
    arc = np.stack([d + bend * (np.sin(turn) - 1), height - drop + bend * (1 - np.cos(turn))], axis=-1)
    seat = np.stack([np.linspace(-d, arc[0, 0], 9)[:-1], np.linspace(height, height - drop, 9)[:-1]], axis=-1)
    seat[:2, 1] -= [0.02, 0.004]
    rise = tall * np.sin(np.linspace(0, np.pi / 2, 17)[1:])
    profile = np.concatenate([seat, arc, np.stack([arc[-1, 0] + lean * rise, arc[-1, 1] + rise], axis=-1)])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    share = length / length[-1]
    start = share[len(seat) + 3]  # where the back begins
    waist, top, round_top = rng.uniform(0.75, 1), rng.uniform(0.65, 1.1), rng.uniform(0.05, 0.45)
    half = w * np.interp(share, [0, 0.25, start, 1], [rng.uniform(0.75, 1), 1, waist, top])
    for edge, wide in ((1 - share, round_top), (share, rng.uniform(0.04, 0.2))):
        half *= (1 - ((wide - edge) / wide).clip(0, 0.97) ** 2.5) ** 0.5
    swell = np.interp(
        share, [0, 0.5 * start, start, start + 0.25, 1], [0.15, 0.7, 1, 0.6, rng.uniform(0, 0.35)]
    )
    ahead = np.gradient(profile, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    inwards = np.stack([-ahead[:, 1], ahead[:, 0]], axis=-1)
    across = np.linspace(-1, 1, 17)
    lift = (curl * swell * (half / w).clip(0, 1) ** 2)[:, None] * np.abs(across) ** power
    middle = profile[:, None] + lift[..., None] * (inwards + np.array([0, 0.6 * armed]))[:, None]
    x = half[:, None] * across * (1 + 0.4 * lift / w)
    rows, low, high = len(seat) + 3, len(seat) // 2, len(seat) + 11
    every, inner, sides = slice(None), slice(3, 14), (slice(0, 4), slice(13, None))
    if armed:
        cut = [
            *((slice(0, low + 1), every), (slice(low, rows + 1), inner)),
            *((slice(rows, high + 1), inner), (slice(high, None), every)),
            *((slice(low, high + 1), side) for side in sides),
        ]
    else:
        cut = [(slice(0, rows + 1), every), (slice(rows, None), every)]
    thick = rng.choice([rng.uniform(0.008, 0.02), rng.uniform(0.02, 0.06)])
    made = sheet(np.concatenate([x[..., None], middle], axis=-1), thick, cut)
    plan = replace(plan_chair(rng), back="shell", seat="shell", arms="shell" if armed else "none")
    legs = str(rng.choice(SHELL_LEGS, p=[0.22, 0.24, 0.2, 0.12, 0.08, 0.06, 0.08]))
    plan = replace(
        plan, legs=legs, width=1.8 * w, depth=1.8 * d, height=height - drop, thickness=float(thick)
    )
    plan = replace(plan, tall=tall, lean=lean * tall, arm_height=curl)
    count = 2 if armed else 1
    parts = {
        "seat": wearing(SURFACE, made[:count]),
        "back": wearing(SURFACE, made[count : 2 * count]),
        "legs": _shell_legs(rng, plan),
        "arms": wearing(SURFACE, made[2 * count :]),
    }
    if rng.random() < 0.3:
        soft = cushion((0, -0.01, height - drop + 0.02), (0.75 * w, 0.7 * d, 0.025), (4, 4, 2.5))
        parts["seat"].append((soft, FRAME if rng.random() < 0.5 else SURFACE))
    if not armed and rng.random() < 0.2:
        plan = replace(
            plan, arms=str(rng.choice(["post", "loop", "pad"])), arm_height=rng.uniform(0.16, 0.24)
        )
        parts["arms"] = make_arms(plan)
    return plan, parts


SHELL_LEGS = ("pedestal", "splayed", "straight", "swivel", "sled", "cantilever", "rockers")


def _shell_legs(rng: np.random.Generator, plan: ChairPlan) -> Worn:
    inner = replace(plan, seat="square", stretcher=str(rng.choice(["none", "none", "H", "box"])))
    if plan.legs == "rockers":
        legs = make_legs(replace(inner, legs="splayed"))
        return legs + _rockers(rng, inner, 0.45 * plan.depth + plan.splay)
    if rng.random() < 0.5:  # slender, of steel or wood
        inner = replace(inner, bar=rng.uniform(0.006, 0.012), square=False)
    return make_legs(inner)


def _rockers(rng: np.random.Generator, plan: ChairPlan, foot: float) -> Worn:
    """Arcs below the legs, whose feet stand ``foot`` before and behind the middle on the floor."""
    front, rear, radius = foot + rng.uniform(0.04, 0.16), foot + rng.uniform(0.1, 0.34), rng.uniform(0.8, 1.6)
    y = np.linspace(-front, rear, 15)
    z = (y**2 - foot**2) / (2 * radius)
    x = 0.45 * plan.width - plan.bar + (plan.splay if plan.legs == "rockers" else 0.0)
    path = np.stack([np.full(15, x), y, z], axis=-1)
    thick = max(plan.bar, 0.012)
    return wearing(FRAME, both([bar(path, (0.8 * thick, 1.1 * thick), square=True)]))


def rocking_chair(rng: np.random.Generator) -> KindOfChair:
    """A chair on rockers: of wood, or in upholstery."""
    if rng.random() < 0.3:
        plan, parts = club_chair(rng, wings=rng.random() < 0.4, low=float(rng.uniform(0.14, 0.22)))
        plan = replace(plan, legs="straight", seat="square", stretcher="none")
        low = float(parts["legs"][0][0].corners[..., 2].min())
        under = replace(plan, height=low + 0.02, thickness=0.02)
        parts["legs"] = parts["legs"][:1] + make_legs(under)
    else:
        plan = replace(plan_chair(rng), legs=str(rng.choice(["straight", "splayed"])))
        plan = replace(
            plan, height=rng.uniform(0.34, 0.44), tall=rng.uniform(0.4, 0.8), lean=rng.uniform(0.08, 0.25)
        )
        if plan.back == "none":
            plan = replace(plan, back="slats")
        if plan.arms == "box" or (plan.arms == "none" and rng.random() < 0.6):
            plan = replace(plan, arms="post")
        parts = chair_parts(plan)
    foot = max(float(piece.corners[..., 1].max()) for piece, _ in parts["legs"][1:3])
    under = replace(plan, legs="rockers")
    parts["legs"] = parts["legs"] + _rockers(rng, under if plan.legs == "splayed" else plan, min(foot, 0.4))
    return under, tilted(parts, rng.uniform(0, 7))


def tilted(parts: dict[str, Worn], degrees: float) -> dict[str, Worn]:
    """The chair tipped back, and set on the floor again."""
    turned = {
        name: [(piece.turned(-degrees, axis=0), worn) for piece, worn in own] for name, own in parts.items()
    }
    low = min(float(piece.corners[..., 2].min()) for own in turned.values() for piece, _ in own)
    return {name: [(piece.moved((0, 0, -low)), worn) for piece, worn in own] for name, own in turned.items()}


def bench(rng: np.random.Generator) -> KindOfChair:
    """Wide: sofas, benches with and without a back."""
    if rng.random() < 0.55:
        return club_chair(rng, seats=int(rng.choice([2, 3], p=[0.65, 0.35])))
    plan = plan_chair(rng)
    back = (
        "none"
        if rng.random() < 0.25
        else str(rng.choice(["slats", "ladder", "spindles", "solid", "frame", "cushion"]))
    )
    legs = str(rng.choice(["straight", "straight", "splayed", "sled", "box"]))
    if back == "none" and legs == "sled":
        legs = "straight"
    wide = rng.uniform(0.85, 1.7)
    arms = (
        "none" if back == "none" or rng.random() < 0.35 else str(rng.choice(["post", "pad", "loop", "box"]))
    )
    plan = replace(plan, width=wide, legs=legs, back=back, arms=arms, bar=rng.uniform(0.016, 0.034))
    plan = replace(plan, seat=str(rng.choice(["square", "cushion"])), slats=int(rng.integers(5, 22)))
    plan = replace(
        plan, height=rng.uniform(0.38, 0.5), lean=rng.uniform(0.02, 0.22), tall=rng.uniform(0.28, 0.6)
    )
    if legs == "box":
        plan = replace(plan, seat="cushion")
    return plan, chair_parts(plan)


def varied_chair(rng: np.random.Generator) -> KindOfChair:
    """A plain chair of wider proportions: low or tall, thick or thin, upright or leaning far back."""
    plan = plan_chair(rng)
    if plan.back == "none":
        plan = replace(plan, back="cushion")
    if rng.random() < 0.35:  # for an office
        plan = replace(
            plan, legs="swivel", back=str(rng.choice(["cushion", "solid", "round"])), seat="cushion"
        )
        plan = replace(plan, arms=str(rng.choice(["none", "pad", "pad", "loop", "post"])))
    tall = rng.uniform(0.2, 0.95)
    plan = replace(
        plan,
        width=rng.uniform(0.34, 0.72),
        depth=rng.uniform(0.34, 0.64),
        height=max(plan.height, 0.4) if plan.legs == "swivel" else rng.uniform(0.26, 0.6),
        thickness=rng.uniform(0.02, 0.09)
        if plan.seat not in ("cushion", "saddle")
        else rng.uniform(0.06, 0.2),
        tall=tall,
        lean=tall * rng.uniform(0, 0.6),
        bar=rng.uniform(0.01, 0.045),
        arm_height=min(rng.uniform(0.12, 0.28), 0.8 * tall),
    )
    return plan, chair_parts(plan)


KINDS: dict[str, tuple[float, Callable[[np.random.Generator], KindOfChair]]] = {
    "tub": (0.15, tub_chair),
    "shell": (0.14, shell_chair),
    "wing": (0.08, lambda rng: club_chair(rng, wings=True)),
    "club": (0.15, club_chair),
    "deck": (0.14, deck_chair),
    "folding": (0.08, folding_chair),
    "bench": (0.11, bench),
    "rocking": (0.07, rocking_chair),
    "varied": (0.08, varied_chair),
}
"""How common each kind is among these, and what makes it."""
NEW_SHARE = 0.4
"""Of all chairs that are of these kinds; the others are plain."""


def kind_of(rng: np.random.Generator) -> str:
    """The kind of a chair: "plain", or one of KINDS."""
    if rng.random() >= NEW_SHARE:
        return "plain"
    return str(rng.choice(list(KINDS), p=[share for share, _ in KINDS.values()]))
