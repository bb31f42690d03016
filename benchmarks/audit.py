"""The privacy audit of an ImageNet network's embeddings over photographs that packages ship.

    python benchmarks/audit.py

Four disjoint quarters each of eleven photographs of netinvert, scikit-image and matplotlib are encoded by
mobilenet-v2 (its 1280 pooled features), and audited as `netinvert audit` does: the pictures from the codes,
re-identification by the network itself and by efficientnet-lite0, and probes for the photograph, the
brightness and the colour. Writes benchmarks/results/audit.{json,md,jpg}, and the audit with its page to
out/audit. About four minutes of one core; a stopped run is taken up
again.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from pathlib import Path

import matplotlib
import skimage
import torch
from PIL import Image
from torch import Tensor

from netinvert import read_image
from netinvert.experiments.commands import perform
from netinvert.experiments.configs.images import Encode
from netinvert.experiments.configs.looks import Audit
from netinvert.experiments.runs import made_by
from netinvert.io.assets import DATA
from netinvert.io.files import read_json, write_atomic, write_json
from netinvert.io.images import fit, write_png
from netinvert.io.manifest import versions

SKIMAGE = Path(skimage.__file__).parent / "data"
PHOTOGRAPHS = {
    "astronaut": SKIMAGE / "astronaut.png",
    "camera": SKIMAGE / "camera.png",
    "chelsea": SKIMAGE / "chelsea.png",
    "clock": SKIMAGE / "clock_motion.png",
    "coffee": SKIMAGE / "coffee.png",
    "coins": SKIMAGE / "coins.png",
    "hopper": Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    "hubble": SKIMAGE / "hubble_deep_field.jpg",
    "raccoon": Path(str(DATA / "photographs" / "raccoon.jpg")),
    "retina": SKIMAGE / "retina.jpg",
    "rocket": SKIMAGE / "rocket.jpg",
}
"""All in the public domain or CC0."""
QUARTERS = ("top-left", "top-right", "bottom-left", "bottom-right")
SIDE = 224


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("out/audit-codes"), help="crops and codes")
    parser.add_argument("--report", type=Path, default=Path("out/audit"), help="the audit's folder")
    parser.add_argument("--network", default="mobilenet-v2")
    parser.add_argument("--judge", default="efficientnet-lite0")
    parser.add_argument("--layer", default="pool", help="of both")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, attributes = write_crops(options.work)
    codes = options.work / "codes.safetensors"
    perform(
        Encode(input=str(images), network=options.network, layer=options.layer, out=codes, overwrite=True)
    )
    config = Audit(
        codes=codes,
        network=options.network,
        layer=options.layer,
        images=str(images),
        attributes=attributes,
        groups="photograph",
        judge_network=options.judge,
        judge_layer=options.layer,
        preset=options.preset,
        steps=options.steps,
        threads=options.threads,
        out=options.report,
        overwrite=True,
    )
    perform(config, print)
    seconds = time.process_time()  # the clock of the processor: others may be at work too
    options.out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "benchmarks/audit.py", *sys.argv[1:]])
    record = {"command": command, "cpu_seconds": seconds, "threads": options.threads, "versions": versions()}
    write_json(options.out / "audit.json", {**record, **read_json(options.report / "audit.json")})
    text = (options.report / "report.md").read_text().replace("contact-sheet.png", "audit.jpg")
    text = text.replace(made_by(config), command)
    write_atomic(options.out / "audit.md", text.encode())
    with Image.open(options.report / "contact-sheet.png") as sheet:
        sheet.save(options.out / "audit.jpg", quality=85)
    print(f"{seconds:.0f} CPU seconds")


def write_crops(folder: Path) -> tuple[Path, Path]:
    """The quarters as PNG files, and their attributes as CSV: both in the folder."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, path in PHOTOGRAPHS.items():
        for where, crop in zip(QUARTERS, quarters(read_image(path)), strict=True):
            write_png(crop, images / f"{name}-{where}.png")
            red, green, blue = crop.mean((0, 2, 3)).tolist()
            bright = 0.299 * red + 0.587 * green + 0.114 * blue
            warm = red - blue
            contrast = crop.mean(1).std().item()
            rows.append([f"{name}-{where}", name, f"{bright:.4f}", f"{warm:.4f}", f"{contrast:.4f}"])
    table = folder / "attributes.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["name", "photograph", "brightness", "warmth (red - blue)", "contrast"], *rows]
        )
    return images, table


def quarters(image: Tensor) -> list[Tensor]:
    """Four disjoint crops (1, 3, SIDE, SIDE), by rows."""
    down, right = (side // 2 for side in image.shape[2:])
    rows = ((0, down), (image.shape[2] - down, image.shape[2]))
    columns = ((0, right), (image.shape[3] - right, image.shape[3]))
    return [
        fit(image[:, :, top:bottom, left:end], (SIDE, SIDE)) for top, bottom in rows for left, end in columns
    ]


if __name__ == "__main__":
    main()
