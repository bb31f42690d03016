"""Render the four chairs of the demo, which posenet never saw: python tools/make_unseen_chairs.py

They come with the package, so that the demo needs no renderer.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT, TestViews, rendered_views
from netinvert.scenes.seeds import DEMO

OUT = Path(__file__).parent.parent / "src" / "netinvert" / "data" / "unseen-chairs"


def rendered() -> TestViews:
    """The chairs before plain paper."""
    return rendered_views(DatasetConfig(identities=4, views=1, size=128, seed=DEMO, **UPRIGHT)).before(
        "paper"
    )


def main() -> None:
    OUT.mkdir(exist_ok=True)
    views = rendered()
    for number, image in enumerate(views.images, 1):
        pixels = (255 * image.permute(1, 2, 0)).round().numpy().astype(np.uint8)
        Image.fromarray(pixels).save(OUT / f"{number}.png", optimize=True)
    (OUT / "rotations.json").write_text(json.dumps(views.rotation.tolist()) + "\n")


if __name__ == "__main__":
    main()
