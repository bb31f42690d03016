"""Photographs found again from the tokens of a vision transformer, block by block, and from its class token.

    python benchmarks/transformer_models.py --out docs

prints code errors and SSIM and writes transformers.jpg. The network is timm's vit_tiny_patch16_224 with
random weights (or what --network and --weights name), so nothing is downloaded; two to six minutes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import netinvert as ni
from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.report import GridRow, ImageGrid, Tile
from netinvert.evaluation.report.grid import grid_image
from netinvert.io.assets import photographs

LAYERS = ("patch_embed", "blocks.0", "blocks.5", "blocks.11")
PHOTOGRAPHS = ("astronaut", "chelsea")
STEPS = 150


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--network", default="timm:vit_tiny_patch16_224")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    network = ni.load_network(options.network, options.weights)
    names, images = photographs(network.preprocessing.size)
    originals = images[[names.index(name) for name in PHOTOGRAPHS]]
    columns = {"original": (originals, ("",) * len(originals))}
    for layer, class_token in [*((layer, False) for layer in options.layers), (options.layers[-1], True)]:
        encoder = ni.Encoder(network, layer)
        how = ni.recipe("default", encoder).with_steps(options.steps)
        if class_token:
            mask = torch.zeros(encoder.code_shape[0], 1)
            mask[0] = 1
            how = replace(how, mask=mask)
        code, run = encoder(originals), ni.Run(seed=0)
        result = ni.prepare(encoder, code, how).run(run)
        part = slice(0, 1) if class_token else slice(None)
        difference = (result.code - code)[:, part].flatten(1).norm(dim=1)
        errors = (difference / code[:, part].flatten(1).norm(dim=1)).tolist()
        likeness = ssim(result.image, originals).tolist()
        title = f"{layer}, class token alone" if class_token else layer
        size = "×".join(map(str, code[0, part].shape))
        lines = tuple(f"error {e:.3f}, SSIM {s:.2f}" for e, s in zip(errors, likeness, strict=True))
        columns[f"{title}, {size}"] = (result.image, lines)
        print(f"{title:34} {size:8} {'; '.join(lines)}; {result.seconds:.0f} s", flush=True)
    rows = [
        GridRow(
            name, tuple(Tile(found[index].clamp(0, 1), (lines[index],)) for found, lines in columns.values())
        )
        for index, name in enumerate(PHOTOGRAPHS)
    ]
    title = f"{options.network}, weights: {options.weights}"
    grid_image(ImageGrid(rows, list(columns), title)).save(options.out / "transformers.jpg", quality=88)


if __name__ == "__main__":
    main()
