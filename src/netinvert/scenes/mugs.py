"""Procedural mugs: the handle tells the azimuth; without one there is none to tell."""

from __future__ import annotations

import numpy as np

from netinvert.scenes.colours import paint
from netinvert.scenes.mesh_builder import Primitive, assemble, bar, lathe
from netinvert.scenes.objects import Material, Object3D

HANDLES = ("round", "square", "ear", "none")


def mug(seed: int) -> Object3D:
    """The mug of a seed, its handle at the front (-y). Parts: cup, handle. One in five has no handle and is a
    body of revolution (symmetry 0)."""
    rng = np.random.default_rng([13, seed])
    handle = str(rng.choice(HANDLES, p=[0.32, 0.24, 0.24, 0.2]))
    height, radius = rng.uniform(0.07, 0.13), rng.uniform(0.032, 0.05)
    belly, flare = rng.uniform(-0.12, 0.25), rng.uniform(-0.1, 0.25)
    wall = rng.uniform(0.0025, 0.005)
    outside = Material("glaze", paint(rng), None, 0.8)
    band = Material("glaze", paint(rng), None, 0.8)
    inside = Material("glaze", paint(rng, 0.4), None, 0.6)
    level = np.linspace(0, 1, 13)
    reach = radius * (1 + belly * np.sin(np.pi * level) + flare * level**2)
    where = rng.uniform(0.2, 0.7)
    striped = rng.random() < 0.5
    primitives = []
    for k in range(12):
        ring = [(reach[k + j], height * level[k + j]) for j in (0, 1)]
        primitives.append((_shell(ring), int(striped and where <= level[k] < where + 0.25)))
    inner = [(r - wall, max(z, 2 * wall)) for r, z in zip(reach, height * level, strict=True)]
    primitives.append((_shell(inner[::-1]), 2))
    primitives.append((_shell([(reach[-1], height), (reach[-1] - wall, height)]), 0))
    primitives.append((_shell([(1e-5, 0), (reach[0], 0)]), 0))
    primitives.append((_shell([(reach[0] - wall, 2 * wall), (1e-5, 2 * wall)]), 2))
    grip = [] if handle == "none" else [(_handle(handle, height, reach, rng), 0)]
    shape = {"height": height, "radius": radius, "belly": belly, "flare": flare, "striped": striped}
    parts = {"cup": primitives, "handle": grip}
    symmetry = 0 if handle == "none" else 1
    return assemble(
        f"mug {seed}", "mugs", parts, (outside, band, inside), symmetry, {"handle": handle, **shape}
    )


def _shell(profile: list[tuple[float, float]]) -> Primitive:
    """A body of revolution without its ends; the profile runs so that the outside lies to its right."""
    primitive = lathe(profile, sides=40)
    caps = 2 * (40 - 2)
    keep = len(primitive.corners) - caps
    return Primitive(primitive.corners[:keep], primitive.normals[:keep], primitive.uv[:keep])


def _handle(kind: str, height: float, reach: np.ndarray, rng: np.random.Generator) -> Primitive:
    low, high = rng.uniform(0.15, 0.3) * height, rng.uniform(0.72, 0.88) * height
    start = float(np.interp(high / height, np.linspace(0, 1, 13), reach)) - 0.002
    end = float(np.interp(low / height, np.linspace(0, 1, 13), reach)) - 0.002
    out = max(start, end) + rng.uniform(0.018, 0.032)
    middle = (low + high) / 2
    if kind == "square":
        spots = [(start, high), (out, high), (out, low), (end, low)]
    elif kind == "ear":
        spots = [(start, high), (out, high + 0.004), (out + 0.004, 0.6 * high + 0.4 * low), (end, low)]
    else:
        angle = np.linspace(0, np.pi, 9)
        mean = np.linspace(start, end, 9)
        spots = [
            (m + (out - max(start, end)) * np.sin(a), middle + (high - low) / 2 * np.cos(a))
            for m, a in zip(mean, angle, strict=True)
        ]
    thick = rng.uniform(0.0035, 0.006)
    return bar([(0, -y, z) for y, z in spots], (thick * 1.3, thick), sides=10)
