"""Where the objects of a dataset come from: a category, by seeds, mesh files, or a furniture library."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netinvert.errors import ConfigError
from netinvert.scenes.cars import car
from netinvert.scenes.chair_kinds import KINDS, chair_parts, kind_of
from netinvert.scenes.chair_parts import ChairPlan, plan_chair
from netinvert.scenes.mesh_builder import Primitive, assemble, bar, both, box, cushion, lathe, wearing
from netinvert.scenes.objects import (
    FABRICS,
    Material,
    Object3D,
    Value,
    fabric,
    leather,
    paint,
    random_hue,
    surface_colour,
    wood,
)

if TYPE_CHECKING:
    from netinvert.scenes.furniture import Furniture

WOODS = ((0.47, 0.24, 0.09), (0.17, 0.07, 0.03), (0.6, 0.4, 0.2), (0.32, 0.11, 0.05), (0.68, 0.53, 0.33))


def make_chair(seed: int) -> Object3D:
    """The chair of a seed: always the same, and another for every seed. Parts: seat, back, legs, arms.

    ``parameters`` tell its ``kind``, "plain" or one of KINDS. A chair without a back is a stool or bench,
    which looks the same after some turns: ``symmetry`` says which."""
    # apart from what is drawn of plain chairs, so that they stay what they were before there were kinds
    rng = np.random.default_rng([7, seed, 1])
    kind = kind_of(rng)
    if kind == "plain":
        rng = np.random.default_rng([7, seed])
        plan = plan_chair(rng)
        frame, surface = _materials(rng, plan)
        parts = chair_parts(plan)
    else:
        plan, parts = KINDS[kind][1](rng)
        frame, surface = _materials(rng, plan)
    about = {"kind": kind, **asdict(plan), "frame": frame.kind, "surface": surface.kind}
    return assemble(f"chair {seed}", "chairs", parts, (frame, surface), symmetry_of(plan), about)


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
        return Material(kind, surface_colour(base), wood(rng), gloss=0.25)
    if kind == "metal":
        shade = rng.uniform(0.08, 0.5) * np.array([1, 1, 1 + rng.uniform(-0.1, 0.15)])
        return Material(kind, surface_colour(shade), None, gloss=0.9)
    colour = random_hue(rng, 2)
    if kind == "fabric":
        pattern = str(rng.choice(FABRICS))
        return Material(f"fabric {pattern}", surface_colour(colour), fabric(rng, pattern), gloss=0.0)
    if kind == "leather":
        return Material(kind, surface_colour(colour * 0.7), leather(rng), gloss=0.4)
    return Material(kind, surface_colour(colour), None, gloss=0.35)


TOPS = ("rectangle", "square", "round")
TABLE_LEGS = ("straight", "splayed", "pedestal", "trestle")


def table(seed: int) -> Object3D:
    """The table of a seed. Parts: top, legs. ``symmetry`` is 4 for square, 2 for other, 0 for round tables on
    a pedestal."""
    rng = np.random.default_rng([11, seed])
    top, legs = str(rng.choice(TOPS)), str(rng.choice(TABLE_LEGS))
    width = rng.uniform(0.7, 1.1)
    depth = width * rng.uniform(0.45, 0.75) if top == "rectangle" else width
    height, thickness, thick = rng.uniform(0.4, 0.8), rng.uniform(0.02, 0.05), rng.uniform(0.018, 0.04)
    if top == "round" and legs == "trestle":
        legs = "straight"
    surface = Material("wood", paint(rng), wood(rng), 0.25)
    frame = surface if rng.random() < 0.5 else Material("paint", paint(rng), None, 0.4)
    # a square board's grain would tell its turns apart
    if top == "square" or (top == "round" and legs == "pedestal"):
        surface, frame = (Material("paint", paint(rng), None, 0.4) for _ in range(2))
    board = _top(top, width / 2, depth / 2, thickness).moved((0, 0, height - thickness / 2))
    under = _under(legs, (width / 2, depth / 2), height - thickness, thick, top == "round")
    symmetry = 2 if top == "rectangle" or legs == "trestle" else 4
    if top == "round" and legs == "pedestal":
        symmetry = 0
    parts = {"top": [(board, 0)], "legs": wearing(1, under)}
    about: dict[str, Value] = {"top": top, "legs": legs, "width": width, "depth": depth, "height": height}
    about["thickness"] = thickness
    return assemble(f"table {seed}", "tables", parts, (surface, frame), symmetry, about)


def _top(kind: str, w: float, d: float, t: float) -> Primitive:
    if kind == "round":
        return lathe([(0.97 * w, -t / 2), (w, -t / 4), (w, t / 4), (0.97 * w, t / 2)], sides=48)
    return cushion((0, 0, 0), (w, d, t / 2), (16, 16, 6))


def _under(kind: str, half: tuple[float, float], top: float, thick: float, inside: bool) -> list[Primitive]:
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


CATEGORIES: Mapping[str, Callable[[int], Object3D]]
CATEGORIES = {"chairs": make_chair, "cars": car, "mugs": mug, "tables": table}
"""What makes the object of a seed, for each category."""


def make_object(category: str, seed: int) -> Object3D:
    """The object of a category and a seed, the same every time. Raises ConfigError: no such category.

    >>> make_object("chairs", 7).parts
    ('seat', 'back', 'legs', 'arms')
    """
    if category not in CATEGORIES:
        near = difflib.get_close_matches(category, CATEGORIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(CATEGORIES)}"
        raise ConfigError(f"no category {category!r}: {hint}")
    return CATEGORIES[category](seed)


# -- objects of all sources ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectSource:
    """Where a dataset's objects come from: a ``category``, without end, or ``members``: mesh files, with the
    axis that points ``up`` in them, "auto" by their formats, or models of a furniture library."""

    category: str
    members: tuple[Path | Furniture, ...] = ()
    up: str = "auto"

    @property
    def count(self) -> int | None:
        """How many objects there are; None without end."""
        return len(self.members) or None

    @property
    def files(self) -> tuple[Path, ...]:
        """The mesh files, or the library, that the objects are read from."""
        return tuple(dict.fromkeys(one if isinstance(one, Path) else one.library for one in self.members))

    @property
    def guess(self) -> str | None:
        """What is guessed of mesh files, for the user."""
        from netinvert.scenes.mesh_files import guessed_up

        files = [one for one in self.members if isinstance(one, Path)]
        guesses = {path.suffix.lower(): guessed_up(path) for path in files} if self.up == "auto" else {}
        found = [f"{axis} in {suffix} files" for suffix, axis in sorted(guesses.items()) if axis]
        return f"taken to point up: {', '.join(found)}; --up says otherwise" if found else None

    @property
    def credits(self) -> list[dict[str, str]]:
        """Whose the models of a library are, in the order of their places."""
        from netinvert.scenes.furniture import Furniture

        return [one.credit for one in self.members if isinstance(one, Furniture)]

    def make(self, seed: int, place: int) -> Object3D:
        """The object of a seed; or that at a place in the dataset, after the last the first again."""
        if not self.members:
            return make_object(self.category, seed)
        member = self.members[place % len(self.members)]
        if not isinstance(member, Path):
            return member.read()
        from netinvert.scenes.mesh_files import MeshOptions, read_object

        up: Any = None if self.up == "auto" else self.up
        return read_object(member, MeshOptions(up))


LIBRARY = "sh3f:"


def object_source(objects: str, up: str = "auto", category: str | None = None) -> ObjectSource:
    """The objects of a category, of a mesh file, of the meshes in a folder in the order of their names, or of
    a furniture library, ``sh3f:FILE`` (those of a ``category``, see :func:`read_library`).

    Raises ConfigError: neither a category nor a path, or what goes with other objects; MeshError: a folder
    without meshes, a library that cannot be read."""
    library = objects.startswith(LIBRARY)
    if category is not None and not library:
        raise ConfigError(f"--category is of a furniture library: give --objects {LIBRARY}FILE with it")
    if category is not None and not category.strip():
        raise ConfigError("--category has no word: name one, or leave it out for all models")
    if library:
        from netinvert.scenes.furniture import read_library

        if objects == LIBRARY:
            raise ConfigError(f"--objects {LIBRARY} names no library: give {LIBRARY}FILE.sh3f")
        if up != "auto":
            raise ConfigError(f"the catalogue of {objects} says what is up: leave out --up")
        return ObjectSource("furniture", read_library(objects.removeprefix(LIBRARY), category or ""))
    if objects in CATEGORIES:
        return ObjectSource(objects)
    path = Path(objects)
    if not path.exists():
        raise ConfigError(
            f"no objects {objects!r}: give a category ({', '.join(CATEGORIES)}), a mesh file, a folder or "
            f"{LIBRARY}FILE"
        )
    if path.suffix.lower() == ".sh3f":
        raise ConfigError(f"{path} is a furniture library: give --objects {LIBRARY}{path}")
    from netinvert.scenes.mesh_files import list_objects

    return ObjectSource("mesh", tuple(list_objects(path)) if path.is_dir() else (path,), up)
