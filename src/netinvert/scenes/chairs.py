"""Procedural chairs: every seed is another one."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from netinvert.scenes import textures
from netinvert.scenes.chair_parts import (
    ARMS,
    BACKS,
    LEGS,
    SEATS,
    STRETCHERS,
    ChairPlan,
    make_arms,
    make_back,
    make_legs,
    make_seat,
)
from netinvert.scenes.colours import random_hue, surface_colour
from netinvert.scenes.mesh_builder import Worn, assemble
from netinvert.scenes.objects import Material, Object3D

WOODS = ((0.47, 0.24, 0.09), (0.17, 0.07, 0.03), (0.6, 0.4, 0.2), (0.32, 0.11, 0.05), (0.68, 0.53, 0.33))


def make_chair(seed: int) -> Object3D:
    """The chair of a seed: always the same, and another for every seed. Parts: seat, back, legs, arms.

    A chair without a back is a stool, which looks the same after some turns: ``symmetry`` says which.
    """
    rng = np.random.default_rng([7, seed])
    plan = plan_chair(rng)
    frame, surface = _materials(rng, plan)
    parameters = asdict(plan) | {"frame": frame.kind, "surface": surface.kind}
    parts = chair_parts(plan)
    return assemble(f"chair {seed}", "chairs", parts, (frame, surface), symmetry_of(plan), parameters)


def chair_parts(plan: ChairPlan) -> dict[str, Worn]:
    """Closed primitives for each part, in metres; none for a part that the chair lacks."""
    return {
        "seat": make_seat(plan),
        "back": make_back(plan),
        "legs": make_legs(plan),
        "arms": make_arms(plan),
    }


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


def symmetry_of(plan: ChairPlan) -> int:
    """How many turns about z leave the chair as it is: 1 unless it is a stool; 0 if it is round."""
    if (
        plan.back != "none"
        or plan.legs in ("swivel", "sled", "cantilever")
        or plan.seat in ("trapezoid", "saddle")
    ):
        return 1
    if plan.legs == "pedestal" and plan.seat == "round":
        return 0
    fourfold = plan.width == plan.depth and plan.legs in ("straight", "splayed", "pedestal", "box")
    if fourfold and plan.stretcher in ("none", "box"):
        return 4
    return 2


def _materials(rng: np.random.Generator, plan: ChairPlan) -> tuple[Material, Material]:
    """A material for the frame and one for the soft or flat surfaces."""
    frame = _material(rng, str(rng.choice(["wood", "paint", "metal"], p=[0.5, 0.3, 0.2])))
    soft = plan.seat in ("cushion", "saddle") or plan.back == "cushion"
    kind = (
        rng.choice(["fabric", "leather"], p=[0.7, 0.3]) if soft else rng.choice(["wood", "paint", "fabric"])
    )
    return frame, _material(rng, str(kind)) if soft or rng.random() < 0.6 else frame


def _material(rng: np.random.Generator, kind: str) -> Material:
    if kind == "wood":
        base = np.array(WOODS[int(rng.integers(len(WOODS)))]) * rng.uniform(0.8, 1.2)
        return Material(kind, surface_colour(base), textures.wood(rng), gloss=0.25)
    if kind == "metal":
        shade = rng.uniform(0.08, 0.5) * np.array([1, 1, 1 + rng.uniform(-0.1, 0.15)])
        return Material(kind, surface_colour(shade), None, gloss=0.9)
    colour = random_hue(rng, 2)
    if kind == "fabric":
        pattern = str(rng.choice(textures.FABRICS))
        return Material(f"fabric {pattern}", surface_colour(colour), textures.fabric(rng, pattern), gloss=0.0)
    if kind == "leather":
        return Material(kind, surface_colour(colour * 0.7), textures.leather(rng), gloss=0.4)
    return Material(kind, surface_colour(colour), None, gloss=0.35)
