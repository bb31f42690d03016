"""HOG, HOGb and dense SIFT of twenty photographs, inverted (Mahendran & Vedaldi 2015, table 1).

    python benchmarks/shallow.py --out benchmarks/results

writes shallow.json (every figure), shallow.md (the table) and shallow.jpg (some of the pictures). Takes about
half an hour on one core; a stopped run goes on where it was. The photographs: those of netinvert, and others
that come with scikit-image, of two of which both halves are used, for want of more.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import skimage.data
import torch
from PIL.Image import Image
from torch import Tensor

import netinvert as ni
from netinvert.evaluation.metrics import error_cvpr15, ssim
from netinvert.evaluation.report import GridRow, ImageGrid, Tile
from netinvert.evaluation.report.grid import grid_image
from netinvert.inversion.objectives import code_error
from netinvert.io.assets import photographs
from netinvert.io.files import load_tensors, save_tensors, write_json
from netinvert.io.images import fit, read_image

CODES = {"hog": "cells", "hogb": "cells", "dsift": "clamp"}
"""The layer that the paper calls by the network's name."""
PRESETS = ("shallow", "cvpr15-shallow")
WHOLE = ("brick", "clock_motion", "coins", "grass", "gravel", "ihc", "moon", "page", "retina")
HALVES = ("hubble_deep_field", "motorcycle_left")
SHOWN = ("astronaut", "chelsea", "coffee", "raccoon", "coins", "motorcycle_left, left half")
GOALS = {"hog": 28, "hogb": 11, "dsift": 11}
BATCH = 10


@dataclass(frozen=True, eq=False)
class Cut:
    encoder: ni.Encoder
    originals: Tensor
    codes: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", type=Path, default=Path("out/shallow"), help="for the float tensors")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--networks", nargs="+", default=list(CODES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    options.images.mkdir(parents=True, exist_ok=True)
    record = options.out / "shallow.json"
    results = json.loads(record.read_text()) if record.exists() else {"cells": {}}
    cuts = {name: cut(name) for name in options.networks}
    results["names"] = names = grey_photographs((64, 64))[0]
    for preset in options.presets:
        for name, this in cuts.items():
            key, found = f"{name} {preset}", []
            for start in range(0, len(names), BATCH):
                file = options.images / f"{name}-{preset}-{start}.safetensors"
                if not file.exists():
                    result = ni.invert(this.encoder, this.codes[start : start + BATCH], preset=preset)
                    size = torch.tensor(result.seconds)
                    save_tensors(file, {"images": result.image, "seconds": size}, None)
                found.append(load_tensors(file)[0])
            results["cells"][key] = figures(this, torch.cat([part["images"] for part in found]))
            results["cells"][key]["seconds"] = sum(float(part["seconds"]) for part in found) / len(names)
            write_json(record, results)
            print(row(key, results["cells"][key]), flush=True)
    (options.out / "shallow.md").write_text(table(results))
    sheet(cuts, options.images).save(options.out / "shallow.jpg", quality=88)


def grey_photographs(size: tuple[int, int]) -> tuple[list[str], Tensor]:
    names, images = photographs(size, channels=1)
    pictures = list(torch.split(images, 1))
    folder = Path(skimage.data.__file__).parent

    def read(name: str) -> Tensor:
        return read_image(next(folder.glob(f"{name}.*g")), channels=1)

    for name in WHOLE:
        names.append(name)
        pictures.append(fit(read(name), size))
    for name in HALVES:
        for side, half in zip(("left", "right"), read(name).chunk(2, dim=3), strict=True):
            names.append(f"{name}, {side} half")
            pictures.append(fit(half, size))
    return names, torch.cat(pictures)


def cut(name: str) -> Cut:
    encoder = ni.Encoder(ni.load_network(name), CODES[name])
    originals = grey_photographs(encoder.size)[1]
    with torch.no_grad():
        return Cut(encoder, originals, encoder(originals))


@torch.no_grad()
def figures(this: Cut, images: Tensor) -> dict[str, list[float]]:
    """Errors of the code; likeness once the picture has the original's brightness and contrast."""
    codes = this.encoder(images)
    matched = at_exposure_of(images, this.originals)
    return {
        "cvpr15": (100 * error_cvpr15(codes, this.codes, this.codes)).tolist(),
        "ijcv16": code_error(codes, this.codes).tolist(),
        "ssim": ssim(matched, this.originals).tolist(),
    }


def at_exposure_of(images: Tensor, originals: Tensor) -> Tensor:
    """The codes know nothing of an image's mean and deviation, so those of the originals are lent to it."""
    deviation, mean = torch.std_mean(images, (1, 2, 3), keepdim=True)
    theirs, middle = torch.std_mean(originals, (1, 2, 3), keepdim=True)
    return (images - mean) / deviation * theirs + middle


def row(key: str, cell: dict[str, list[float]]) -> str:
    network, preset = key.split()
    error = torch.tensor(cell["cvpr15"])
    mean = {name: float(torch.tensor(cell[name]).mean()) for name in ("ijcv16", "ssim", "seconds")}
    return (
        f"| {network} | {preset} | {error.mean():.2f} ± {error.std():.2f} | {error.max():.2f} | "
        f"{GOALS[network]} | {mean['ijcv16']:.3f} | {mean['ssim']:.3f} | {mean['seconds']:.1f} |"
    )


def table(results: dict) -> str:
    names = results["names"]
    keys = [f"{name} {preset}" for preset in PRESETS for name in CODES]
    lines = [
        "# HOG, HOGb and dense SIFT",
        "",
        f"Made by `python benchmarks/shallow.py`: {len(names)} photographs; HOG and HOGb at 224 × 224,",
        "dense SIFT (layer `clamp`, bins of 8) at 233 × 233. Code error: ‖Φ - Φ0‖² over the mean over all",
        "pairs of photographs, in % (`cvpr15`), mean ± standard deviation, the worst photograph, the goal",
        "for the mean; ‖Φ - Φ0‖ / ‖Φ0‖ (`ijcv16`). SSIM after giving the picture the original's mean and",
        "deviation, of which the codes know nothing. Seconds a photograph, in batches, one thread of a busy",
        "machine.",
        "",
        "| network | preset | cvpr15 % | worst | goal | ijcv16 | SSIM | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(row(key, results["cells"][key]) for key in keys if key in results["cells"]),
        "",
        f"Photographs: {'; '.join(names)}.",
    ]
    return "\n".join(lines) + "\n"


def sheet(cuts: dict[str, Cut], folder: Path) -> Image:
    names, originals = grey_photographs((224, 224))
    pictures = {}
    for name in cuts:
        files = [folder / f"{name}-{PRESETS[0]}-{start}.safetensors" for start in range(0, len(names), BATCH)]
        pictures[name] = torch.cat([load_tensors(file)[0]["images"] for file in files])
    rows = []
    for name in SHOWN:
        index = names.index(name)
        found = (fit(images[index : index + 1].clamp(0, 1), (224, 224)) for images in pictures.values())
        rows.append(GridRow(name, (Tile(originals[index]), *(Tile(image) for image in found))))
    return grid_image(ImageGrid(rows, ["original", *pictures], "Found from HOG, HOGb and dense SIFT alone"))


if __name__ == "__main__":
    main()
