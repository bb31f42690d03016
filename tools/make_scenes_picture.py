"""Make the picture of the documentation: objects of every category, seen alone and as parts.

python tools/make_scenes_picture.py --out docs/scenes.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.experiments.scenes import coloured_parts
from netinvert.scenes.backgrounds import composite
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

SIZE, COLUMNS, GAP = 160, 10, 6
ROWS = ("chairs", "chairs", "chairs", "tables", "cars", "mugs")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    side = SIZE + GAP
    sheet = np.full((len(ROWS) * side + GAP, COLUMNS * side + GAP, 3), 255, np.uint8)
    for row, category in enumerate(ROWS):
        plan = DatasetConfig(category, size=SIZE, seed=options.seed, fill=(0.9, 0.9))
        for column in range(COLUMNS):
            # the third row shows the chairs above it as parts
            identity = column + COLUMNS * min(row, 1) * (category == "chairs")
            y, x = row * side + GAP, column * side + GAP
            sheet[y : y + SIZE, x : x + SIZE] = picture(plan, identity, 36 * column + 20, parts=row == 2)
    Image.fromarray(sheet).save(options.out, quality=88)


def picture(plan: DatasetConfig, identity: int, azimuth: float, parts: bool) -> NDArray[np.uint8]:
    thing = make_object(plan.objects, plan.object_seed(identity))
    rendering = Renderer(thing).image(plan.camera_at(thing.vertices, azimuth % 360, 22), STUDIO)
    if parts:
        return coloured_parts(rendering.parts)
    return composite(rendering.rgba, np.full((SIZE, SIZE, 3), (232, 232, 234), np.uint8))


if __name__ == "__main__":
    main()
