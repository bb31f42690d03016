"""Render the four chairs of the demo, which posenet never saw: python tools/make_unseen_chairs.py

They come with the package, so that the demo needs no renderer.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.scenes.backgrounds import composite
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.object_source import object_source
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

PLAN = DatasetConfig(identities=4, views=1, size=64, seed=4, elevation=(10, 35), in_plane=0, lights="studio")
PAPER = (206, 212, 218)
OUT = Path(__file__).parent.parent / "src" / "netinvert" / "data" / "unseen-chairs"


def rendered() -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]:
    """The chairs before plain paper, and the rotations of their cameras (3, 3)."""
    images, rotations = [], []
    source = object_source(PLAN.objects)
    for identity in range(PLAN.identities):
        thing = source.make(PLAN.object_seed(identity), identity)
        camera = PLAN.camera(thing.vertices, 0, PLAN.generator(identity, 0))
        rgba = Renderer(thing).image(camera, STUDIO).rgba
        paper = np.broadcast_to(np.array(PAPER, np.uint8), (*rgba.shape[:2], 3))
        images.append(composite(rgba, paper))
        rotations.append(camera.rotation)
    return images, rotations


def main() -> None:
    OUT.mkdir(exist_ok=True)
    images, rotations = rendered()
    for number, image in enumerate(images, 1):
        Image.fromarray(image).save(OUT / f"{number}.png", optimize=True)
    cameras = [rotation.tolist() for rotation in rotations]
    (OUT / "rotations.json").write_text(json.dumps(cameras) + "\n")


if __name__ == "__main__":
    main()
