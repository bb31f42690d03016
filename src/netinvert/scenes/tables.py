"""Procedural tables: most look the same after a half or a quarter turn, some after any."""

from __future__ import annotations

import numpy as np

from netinvert.scenes import textures
from netinvert.scenes.colours import paint
from netinvert.scenes.mesh_builder import Primitive, assemble, bar, both, box, cushion, lathe, wearing
from netinvert.scenes.objects import Material, Object3D

TOPS = ("rectangle", "square", "round")
LEGS = ("straight", "splayed", "pedestal", "trestle")


def table(seed: int) -> Object3D:
    """The table of a seed. Parts: top, legs. ``symmetry`` is 4 for square, 2 for other, 0 for round tables on
    a pedestal."""
    rng = np.random.default_rng([11, seed])
    top, legs = str(rng.choice(TOPS)), str(rng.choice(LEGS))
    width = rng.uniform(0.7, 1.1)
    depth = width * rng.uniform(0.45, 0.75) if top == "rectangle" else width
    height, thickness, thick = rng.uniform(0.4, 0.8), rng.uniform(0.02, 0.05), rng.uniform(0.018, 0.04)
    if top == "round" and legs == "trestle":
        legs = "straight"
    surface = Material("wood", paint(rng), textures.wood(rng), 0.25)
    frame = surface if rng.random() < 0.5 else Material("paint", paint(rng), None, 0.4)
    # a square board's grain would tell its turns apart
    if top == "square" or (top == "round" and legs == "pedestal"):
        surface = Material("paint", paint(rng), None, 0.4)
        frame = Material("paint", paint(rng), None, 0.4)
    board = _top(top, width / 2, depth / 2, thickness).moved((0, 0, height - thickness / 2))
    under = _legs(legs, (width / 2, depth / 2), height - thickness, thick, top == "round")
    symmetry = {"rectangle": 2, "square": 4, "round": 4}[top]
    if legs == "trestle":
        symmetry = 2
    if top == "round" and legs == "pedestal":
        symmetry = 0
    return assemble(
        f"table {seed}",
        "tables",
        {"top": [(board, 0)], "legs": wearing(1, under)},
        (surface, frame),
        symmetry,
        {"top": top, "legs": legs, "width": width, "depth": depth, "height": height, "thickness": thickness},
    )


def _top(kind: str, w: float, d: float, t: float) -> Primitive:
    if kind == "round":
        return lathe([(0.97 * w, -t / 2), (w, -t / 4), (w, t / 4), (0.97 * w, t / 2)], sides=48)
    return cushion((0, 0, 0), (w, d, t / 2), (16, 16, 6))


def _legs(kind: str, half: tuple[float, float], top: float, thick: float, inside: bool) -> list[Primitive]:
    x, y = (side * (0.62 if inside else 0.9) - thick for side in half)
    if kind == "pedestal":
        foot = 0.55 * min(half)
        stem = 1.4 * thick
        radius = [foot, foot, 0.5 * foot, stem, stem, 2 * stem]
        profile = np.stack([radius, [0, 0.02, 0.05, 0.12, top - 0.05, top]], axis=-1)
        return [lathe(profile, sides=48)]
    if kind == "trestle":
        stand = bar([(x, 0, 0.03), (x, 0, top)], (thick, 2.2 * thick), square=True)
        sole = box((x, 0, 0.02), (1.2 * thick, 0.9 * half[1], 0.02))
        rail = bar([(-x, 0, 0.5 * top), (x, 0, 0.5 * top)], (0.6 * thick, thick), square=True)
        return [*both([stand, sole]), rail]
    spread = 0.06 if kind == "splayed" else 0.0
    taper = [(thick, thick), (0.6 * thick, 0.6 * thick)]
    leg = bar([(x, y, top), (x + spread, y + spread, 0)], taper, sides=8)
    # one leg turned by quarters if the top is square, so that the turns are exact; else mirrored
    if abs(x - y) < 1e-9:
        return [leg.turned(90 * k) for k in range(4)]
    other = bar([(-x, y, top), (-x - spread, y + spread, 0)], taper, sides=8)
    return [leg, leg.turned(180), other, other.turned(180)]
