"""Presets against one another on real photographs: code error, PSNR, SSIM and seconds, by network and layer.

    python benchmarks/photographs.py --out benchmarks/results

writes photographs.json (every figure), photographs.md (the table) and a contact sheet a network. Takes
about half an hour on two cores; a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

import netinvert as ni
from netinvert.evaluation.metrics import psnr, ssim
from netinvert.evaluation.report import GridRow, ImageGrid, Tile
from netinvert.evaluation.report.grid import grid_image
from netinvert.io.assets import photographs
from netinvert.io.files import load_tensors, save_tensors, write_json

LAYERS = {
    "mobilenet-v2": {"early": "blocks.5", "middle": "blocks.9", "late": "blocks.16"},
    "efficientnet-lite0": {"early": "blocks.4", "middle": "blocks.10", "late": "blocks.15"},
}
PRESETS = ("default", "cvpr15", "ijcv16")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", type=Path, default=Path("out/photographs"), help="for the float tensors")
    parser.add_argument("--networks", nargs="+", default=list(LAYERS))
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    options.images.mkdir(parents=True, exist_ok=True)
    record = options.out / "photographs.json"
    results = json.loads(record.read_text()) if record.exists() else {}
    results["machine"] = {"threads": options.threads, "torch": torch.__version__, "cpu": platform.machine()}
    cells = results.setdefault("cells", {})
    for name in options.networks:
        network = ni.load_network(name)
        names, originals = photographs(network.preprocessing.size)
        pictures: dict[str, list[Tensor]] = {}
        for depth, layer in LAYERS[name].items():
            encoder = ni.Encoder(network, layer)
            codes = encoder(originals)
            for preset in options.presets:
                key = f"{name} {layer} {preset}"
                images = options.images / f"{key.replace(' ', '-')}.safetensors"
                if key not in cells or not images.exists():
                    cell, found = measure(encoder, codes, originals, preset, options.seed)
                    cells[key] = {"depth": depth, "shape": list(encoder.code_shape), "names": names, **cell}
                    save_tensors(images, {"images": found}, None)
                    write_json(record, results)
                pictures[f"{depth} {preset}"] = list(load_tensors(images)[0]["images"])
                print(key, line(cells[key]), flush=True)
        sheet(names, originals, pictures, name).save(options.out / f"photographs-{name}.jpg", quality=85)
    (options.out / "photographs.md").write_text(table(results))


def measure(
    encoder: ni.Encoder, codes: Tensor, originals: Tensor, preset: str, seed: int
) -> tuple[dict[str, list[float]], Tensor]:
    """One photograph at a time, so that the seconds are those of a user with one photograph."""
    figures: dict[str, list[float]] = {"ijcv16": [], "psnr": [], "ssim": [], "seconds": [], "diverged": []}
    images = []
    for index in range(len(originals)):
        result = ni.invert(encoder, codes[index : index + 1], preset=preset, seed=seed)
        original = originals[index : index + 1]
        figures["ijcv16"] += result.error.tolist()
        figures["psnr"] += psnr(result.image, original).tolist()
        figures["ssim"] += ssim(result.image, original).tolist()
        figures["seconds"].append(result.seconds)
        figures["diverged"].append(float("diverged" in result.status[0]))
        images.append(result.image.clamp(0, 1))
    return figures, torch.cat(images)


def line(cell: dict[str, list[float]]) -> str:
    return " ".join(f"{name} {mean(cell[name]):.3f}" for name in ("ijcv16", "psnr", "ssim", "seconds"))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def table(results: dict) -> str:
    rows = [
        "# Presets on photographs",
        "",
        "Made by `python benchmarks/photographs.py`: means over the photographs in the package, one at a",
        f"time, {results['machine']['threads']} thread(s), torch {results['machine']['torch']}. Code error:",
        "‖Φ - Φ0‖ / ‖Φ0‖ (`ijcv16`), its largest value over the photographs in brackets.",
        "",
        "| network | layer | preset | code error (worst) | PSNR dB | SSIM | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    cuts = [(name, layer) for name, layers in LAYERS.items() for layer in layers.values()]
    for name, layer, preset in ((*cut, preset) for cut in cuts for preset in PRESETS):
        cell = results["cells"].get(f"{name} {layer} {preset}")
        if cell is None:
            continue
        shape = "×".join(map(str, cell["shape"]))
        error = f"{mean(cell['ijcv16']):.3f} ({max(cell['ijcv16']):.3f})"
        if diverged := int(sum(cell.get("diverged", []))):
            error += f", {diverged} of {len(cell['names'])} diverged"
        rest = f"{mean(cell['psnr']):.1f} | {mean(cell['ssim']):.3f} | {mean(cell['seconds']):.1f}"
        rows.append(f"| {name} | {cell['depth']}, {layer}, {shape} | {preset} | {error} | {rest} |")
    return "\n".join(rows) + "\n"


def sheet(names: list[str], originals: Tensor, pictures: dict[str, list[Tensor]], title: str) -> Image:
    rows = [
        GridRow(name, (Tile(originals[index]), *(Tile(images[index]) for images in pictures.values())))
        for index, name in enumerate(names)
    ]
    return grid_image(ImageGrid(rows, ["original", *pictures], title))


if __name__ == "__main__":
    main()
