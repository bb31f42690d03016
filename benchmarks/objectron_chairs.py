"""How well `objectron-chair` reads poses from renders with known cameras, and what of its error is theirs.

    python benchmarks/objectron_chairs.py --json benchmarks/results/objectron-chairs.json

First the 24 path-traced test pictures of two well-made chairs; then the same two meshes from the same
cameras by our own renderer; then our procedural chairs, from the conditions of `pose evaluate` to ones ever
more like those of the test pictures. Needs the extras scenes and mitsuba (for the two meshes).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

import netinvert as ni
from netinvert.io.files import write_json
from netinvert.models.network import Network
from netinvert.scenes.backgrounds import composite
from netinvert.scenes.cameras import Camera, angles_from_rotation, azimuth_difference, pose_summary
from netinvert.scenes.dataset_config import PATH_TRACED, DatasetConfig
from netinvert.scenes.fresh import fresh_views
from netinvert.scenes.objects import Material, Object3D
from netinvert.scenes.render import Renderer
from netinvert.scenes.seeds import OPENED_POSE
from netinvert.scenes.shading import STUDIO
from netinvert.training.pose.evaluation import read_rotations

ROOT = Path(__file__).parent.parent
CHAIRS = ROOT / "tests" / "data" / "chairs"
SIZE, FILL = 224, 1 / 1.5  # of the test pictures, and of the network's own training crops
LIKE_TESTED = {"fill": (FILL, FILL), "background": "plain", "in_plane": 0.0, "lights": "studio"}
CONDITIONS: dict[str, dict[str, Any]] = {
    "as in pose evaluate": {},
    "with the margin of the network's own crops": {"fill": (FILL, FILL)},
    "and a plain background": {"fill": (FILL, FILL), "background": "plain"},
    "and upright, in studio light": LIKE_TESTED,
    "and from elevation 20": {**LIKE_TESTED, "elevation": (20.0, 20.0)},
}
USUAL = ("straight", "splayed")
"""Legs of the chairs that Objectron's look like; these also have a back."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--identities", type=int, default=60)
    parser.add_argument("--views", type=int, default=4)
    options = parser.parse_args()
    network = ni.load_network("objectron-chair")
    cameras = json.loads((CHAIRS / "cameras.json").read_text())
    rotations = torch.stack(
        [torch.from_numpy(orbit(camera, 1.0).rotation).float() for camera in cameras.values()]
    )
    traced = torch.cat([ni.read_image(CHAIRS / name) for name in cameras])
    rows = [
        row(network, "two chairs, path traced", traced, rotations),
        row(network, "the same two chairs by our renderer", ours(cameras), rotations),
    ]
    for name, settings in CONDITIONS.items():
        plan = DatasetConfig(
            identities=options.identities, views=options.views, size=SIZE, seed=OPENED_POSE, **settings
        )
        views = fresh_views(plan)
        rows.append(row(network, f"procedural chairs, {name}", views.images, views.rotation, views.symmetry))
    traced = fresh_views(replace(plan, renderer=PATH_TRACED))
    name = "the last ones path traced"
    rows.append(row(network, name, traced.images, traced.rotation, traced.symmetry))
    usual = [k for k, p in enumerate(views.parameters) if p["legs"] in USUAL and p["back"] != "none"]
    rows.append(
        row(
            network,
            "by our renderer, and only those with four legs and a back",
            views.images[usual],
            views.rotation[usual],
            views.symmetry[usual],
        )
    )
    if options.json:
        write_json(options.json, {"rows": rows})


def row(
    network: Network, name: str, images: Tensor, rotations: Tensor, symmetry: Tensor | None = None
) -> dict[str, Any]:
    if symmetry is None:
        symmetry = torch.ones(len(images), dtype=torch.int64)
    read = read_rotations(network, images)
    figures = pose_summary(read, rotations, symmetry) | {
        "backs_as_fronts": backs_as_fronts(read[symmetry == 1], rotations[symmetry == 1])
    }
    print(
        f"{name:62} {len(images):4} views, median {figures['median_geodesic_deg']:5.1f}°, within 30° "
        f"{figures['acc_30']:.2f}, azimuth median {figures['median_azimuth_deg']:5.1f}°, "
        f"turned about {figures['azimuth_flip_rate']:.2f}, backs read as fronts "
        f"{figures['backs_as_fronts']:.2f}",
        flush=True,
    )
    return {"pictures": name, "views": len(images), **figures}


def backs_as_fronts(read: Tensor, true: Tensor) -> float:
    """Of the views within 30 degrees of straight behind, the share that is read as seen from the front."""
    front = torch.zeros(())
    away, said = (azimuth_difference(angles_from_rotation(each)[0], front) for each in (true, read))
    return (said[away > 150] < 90).float().mean().item()


def orbit(camera: dict[str, Any], unit: float) -> Camera:
    """The camera of a test picture, in lengths of ``unit`` metres."""
    distance = camera["distance"] / unit
    return Camera.orbit(camera["azimuth"], camera["elevation"], 0.0, distance, camera["field_of_view"], SIZE)


def ours(cameras: dict[str, Any]) -> Tensor:
    """The two chairs from the test pictures' cameras by our renderer, before grey."""
    tool = render_chairs()
    things = {name: mesh(tool, name) for name in ("dining", "carver")}
    renderers = {name: Renderer(thing) for name, (thing, _) in things.items()}
    grey = np.full((SIZE, SIZE, 3), 185, np.uint8)
    pictures = []
    for camera in cameras.values():
        seen = orbit(camera, things[camera["chair"]][1])
        rendering = renderers[camera["chair"]].image(seen, STUDIO)
        pictures.append(composite(rendering.rgba, grey))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def mesh(tool: ModuleType, name: str) -> tuple[Object3D, float]:
    """One of the two chairs, and how many metres its unit is."""
    pieces, box = tool.build(name)
    kinds = sorted({piece[0] for piece in pieces})
    corners, normals, uv = (np.concatenate([piece[k] for piece in pieces]) for k in (1, 2, 3))
    material = np.concatenate([np.full(len(piece[1]), kinds.index(piece[0])) for piece in pieces])
    thing = Object3D(
        name=name,
        category="chair",
        vertices=corners.reshape(-1, 3).astype(np.float32),
        faces=np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3),
        normals=normals.astype(np.float32),
        uv=uv.astype(np.float32),
        part=np.zeros(len(corners), np.uint8),
        material=material.astype(np.uint8),
        parts=("chair",),
        materials=tuple(Material(kind, tool.MATERIALS[kind][0]) for kind in kinds),
    )
    return thing.normalised(), float(np.linalg.norm(box))


def render_chairs() -> ModuleType:
    """The tool that made the test pictures, as a module."""
    spec = importlib.util.spec_from_file_location("render_chairs", ROOT / "tools" / "render_chairs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
