"""The README's picture, from the demo's folder: python tools/make_cover.py out/demo docs/cover.jpg"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROWS = (
    ("chair", "objectron-chair", ("blocks.2", "blocks.7", "blocks.14", "pool", "keypoints")),
    ("chelsea", "mobilenet-v2", ("blocks.5", "blocks.9", "blocks.12", "blocks.16", "pool")),
)
CELL, GAP, TEXT = 224, 8, 26


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    manifest = json.loads((folder / "manifest.json").read_text())
    shapes = {(item["network"], item["layer"]): item["code_shape"] for item in manifest["reconstructions"]}
    columns = 1 + len(ROWS[0][2])
    size = (columns * (CELL + GAP) - GAP, len(ROWS) * (CELL + TEXT + GAP) - GAP)
    cover = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(cover)
    font = ImageFont.load_default(15)
    for row, (original, network, layers) in enumerate(ROWS):
        names = [f"{original}.png", *(f"{network}-{layer}-tv-isotropic.png" for layer in layers)]
        texts = ["original", *("from " + " x ".join(map(str, shapes[network, layer])) for layer in layers)]
        for column, (name, text) in enumerate(zip(names, texts, strict=True)):
            x, y = column * (CELL + GAP), row * (CELL + TEXT + GAP)
            cover.paste(Image.open(folder / name), (x, y))
            draw.text((x + 2, y + CELL + 4), text, "#333", font)
    cover.save(out, quality=90)


if __name__ == "__main__":
    main()
