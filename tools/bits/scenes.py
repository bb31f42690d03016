"""Rotations, objects, renders, datasets and what trainings make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bits import names as ni
from bits import tiny
from bits.values import contents

Run = Callable[[Path], dict[str, Any]]
CATEGORIES = ("chairs", "cars", "mugs", "tables")


def rotations(_: Path) -> dict[str, Any]:
    """Rotations, the angles between them, heads that say them."""
    angles = ([0.0, 33.0, 200.0, 359.0], [0.0, 20.0, -15.0, 80.0], [0.0, -8.0, 170.0, 12.0])
    azimuth, elevation, in_plane = map(torch.tensor, angles)
    made, other = (
        ni.rotation_from_angles(azimuth, elevation, in_plane),
        ni.rotation_from_6d(tiny.normal(4, 6)),
    )
    symmetry = torch.tensor([1, 2, 4, 0])
    heads = {}
    for head in (ni.ViewHead(), ni.BinsHead()):
        output = tiny.normal(4, head.outputs)
        loss = ni.rotation_loss(head, output, made, symmetry)
        heads[head.name] = {
            "rotation": head.rotation(output),
            "error": head.error(output, made),
            "loss": loss,
        }
    return {
        **heads,
        "from angles": made,
        "as numbers": [ni.rotation_from_angles(*each) for each in zip(*angles, strict=True)],
        "to 6d": ni.matrix_to_6d(other),
        "angles": ni.angles_from_rotation(other),
        "from quaternion": ni.rotation_from_quaternion(tiny.normal(4, 4)),
        "about": [ni.turn_about(azimuth, axis) for axis in range(3)],
        "geodesic": ni.geodesic_degrees(made, other),
        "equivalent": ni.equivalent_rotations(other, 4),
        "symmetric": ni.symmetric_geodesic_degrees(made, other, symmetry),
        "azimuth": ni.azimuth_difference(azimuth, elevation),
        "summary": ni.pose_summary(made, other, symmetry),
    }


def objects(category: str, _: Path) -> dict[str, Any]:
    """Meshes by seed, and what is seen of one."""
    found: dict[str, Any] = {}
    for seed in (0, 3, 12, 1000005):
        thing = ni.make_object(category, seed)
        names = ("vertices", "faces", "normals", "uv", "part", "material", "parts", "symmetry", "materials")
        found[str(seed)] = {name: getattr(thing, name) for name in names}
    camera, light = ni.Camera.orbit(40.0, 20.0, 5.0, 2.0, 35.0, 48), ni.random_light(np.random.default_rng(3))
    shown = ni.Renderer(thing).render(camera, light)
    names = ("rgba", "mask", "parts", "depth", "normals")
    without = ni.Renderer(thing.without(thing.parts[-1])).image(camera, ni.STUDIO).rgba
    facts = [
        camera.rotation,
        camera.position,
        camera.intrinsics,
        camera.in_frame(camera.rotation, [0.1, 0.2, 0.3]),
    ]
    return {**found, **{name: getattr(shown, name) for name in names}, "without": without, "camera": facts}


def path_traced(_: Path) -> dict[str, Any]:
    """The other renderer."""
    tracer, camera = ni.PathTracer(ni.make_object("mugs", 2), samples=4), ni.Camera.orbit(0, 20, size=32)
    return {str(seed): tracer.render(camera, ni.STUDIO, seed=seed) for seed in (0, 1)}


def dataset(options: str) -> Run:
    """A run of ``scenes render``, as its shards hold it."""

    def run(folder: Path) -> dict[str, Any]:
        ni.command(f"scenes render {options} --workers 1 --out {folder}/data")
        return contents(folder / "data")

    return run


def arrays(folder: Path) -> dict[str, Any]:
    """A dataset read whole, and the batches that trainings make of it."""
    dataset("--count 10 --views 3 --seed 6 --splits 0.6 0.2 0.2")(folder)
    found: dict[str, Any] = {
        name: ni.load_arrays(folder / "data", name) for name in ("train", "validation", "test")
    }
    batches = ni.PoseBatches(ni.Views.of(found["train"]), 8, 3)
    source = ni.SceneImages(folder / "data", 2)
    return {
        **found,
        "batches": [batches(0), batches(5)],
        "images": source.batch(3, 6),
        "held out": source.held_out(4),
    }


RUNS: dict[str, Run] = {
    "rotations": rotations,
    **{f"objects {category}": partial(objects, category) for category in CATEGORIES},
    "path traced": path_traced,
    "dataset plain": dataset("--count 3 --views 2 --pixels 32 --seed 3"),
    "dataset with backgrounds": dataset(
        "--objects cars --count 3 --views 3 --pixels 24 --background mixed --occlusion 0.4 --lights studio "
        "--elevation 10 30 --in-plane 0"
    ),
    "dataset chairs62": dataset("--count 1 --views 62 --pixels 8"),
    "dataset mugs and checks": dataset("--objects mugs --count 2 --views 2 --pixels 24 --background checks"),
    "dataset arrays": arrays,
}
