"""Make the picture of posenet's inverted codes in the README from the folder of `netinvert demo`.

netinvert demo --out out/demo && python tools/make_unseen_picture.py out/demo --out docs/posenet.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from netinvert.experiments.demo_cells import UNSEEN_LAYERS, UNSEEN_NETWORK
from netinvert.io.assets import unseen_chairs

SIDE, GAP, HEAD = 160, 6, 26


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    columns = ("unseen", *(f"{UNSEEN_NETWORK}-{layer}" for layer in UNSEEN_LAYERS))
    step, chairs = SIDE + GAP, len(unseen_chairs().images)
    sheet = Image.new("RGB", (len(columns) * step + GAP, chairs * step + HEAD), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for column, stem in enumerate(columns):
        x = GAP + column * step
        draw.text((x, 4), "rendered" if column == 0 else UNSEEN_LAYERS[column - 1], "black", font)
        for row in range(chairs):
            with Image.open(options.demo / f"{stem}-chair-{row + 1}.png") as picture:
                large = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(large, (x, HEAD + row * step))
    sheet.save(options.out, quality=90)


if __name__ == "__main__":
    main()
