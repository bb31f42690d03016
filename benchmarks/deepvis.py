"""The four published sets of Yosinski et al. 2015 on classes of an ImageNet network, beside our default.

    python benchmarks/deepvis.py --size 128 --steps 300 --out out/deepvis-sets --sheet docs/deepvis.jpg

First as published, then with their learning rates times ``--factor`` (ours: theirs are CaffeNet's), then two
sets that a random search found. Pictures are stretched around the mean, as their code saves them; the
default's is as it is. Every picture is kept in ``--out``, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import netinvert as ni
from netinvert.evaluation.report import GridRow, ImageGrid, Tile
from netinvert.evaluation.report.grid import grid_image
from netinvert.inversion import units as directions
from netinvert.inversion.invert import maximise
from netinvert.inversion.objectives import Activate
from netinvert.inversion.presets.by_name import maximising_recipe
from netinvert.inversion.presets.yosinski15 import (
    DEEPVIS,
    DeepVis,
    ProgressRate,
    Regularisers,
    deepvis,
    stretched,
)
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import load_tensors, read_json, save_tensors, write_json
from netinvert.models.zoo.mobile import class_names

CLASSES = (130, 340, 779)
SHOWN = (224, 224)
FOUND = {
    "draw-0055": DeepVis(300, ProgressRate(166.0, 1e8), Regularisers(0.0, 0.857, 2, 0.0, 0.0)),
    "draw-0002": DeepVis(300, ProgressRate(74.3, 1e8), Regularisers(0.00474, 0.692, 4, 22.5, 0.0)),
}
"""By eye, of ``netinvert deepvis -n efficientnet-lite0 -l logits -c 130 --size 112 --steps 40``."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--layer", default="logits")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--factor", type=float, default=30.0)
    parser.add_argument("--steps", type=int, help="instead of each set's own")
    parser.add_argument("--size", type=int, help="side of the images, instead of the network's")
    parser.add_argument("--out", type=Path, default=Path("out/deepvis-sets"))
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    size = None if arguments.size is None else (arguments.size, arguments.size)
    encoder = ni.Encoder(ni.load_network(arguments.network), arguments.layer, size=size)
    recipes: dict[str, Recipe] = {}
    for name, settings in DEEPVIS.items():
        recipes[name] = deepvis(encoder, settings, None, name)
        recipes[f"{name}, rates × {arguments.factor:g}"] = deepvis(
            encoder, settings.faster(arguments.factor), None, name
        )
    recipes |= {name: deepvis(encoder, settings, None, name) for name, settings in FOUND.items()}
    if arguments.steps:
        recipes = {name: how.with_steps(arguments.steps) for name, how in recipes.items()}
    recipes["default"] = maximising_recipe("default", encoder)
    columns = sorted(recipes, key=lambda name: ("default" in name, name in FOUND, "×" in name, name))
    cells = {name: _cells(name, recipes[name], encoder, arguments) for name in columns}
    if arguments.sheet is not None:
        names = class_names()
        rows = [
            GridRow(f"{names[index]} ({index})", tuple(cells[name][k] for name in columns))
            for k, index in enumerate(arguments.classes)
        ]
        title = f"{arguments.network}, {arguments.layer}: most of a class"
        grid_image(ImageGrid(rows, columns, title)).save(arguments.sheet, quality=88)


def _cells(name: str, how: Recipe, encoder: ni.Encoder, arguments: argparse.Namespace) -> list[Tile]:
    """One a class: the picture, its activation, how much of the range it fills."""
    stem = name.replace(", rates × ", "-x")
    path = arguments.out / f"{stem}.safetensors"
    if not path.exists():
        wanted = torch.cat([directions.channel(encoder, index) for index in arguments.classes])
        began = time.process_time()
        result = maximise(encoder, Activate(wanted), preset=how, seed=[0] * len(arguments.classes))
        seconds = time.process_time() - began
        activations = (result.code * wanted).flatten(1).sum(1)
        shares = torch.softmax(result.code, 1)[range(len(arguments.classes)), arguments.classes]
        spread = 255 * result.image.flatten(1).std(1)
        figures = {
            "steps": result.steps,
            "cpu_seconds": round(seconds, 1),
            "classes": arguments.classes,
            "activation": activations.tolist(),
            "probability": shares.tolist(),
            "best_step": result.best_step.tolist(),
            "spread_of_255": spread.tolist(),
        }
        write_json(arguments.out / f"{stem}.json", figures)
        save_tensors(path, {"image": result.image})
        print(stem, figures, flush=True)
    figures = read_json(arguments.out / f"{stem}.json")
    images = load_tensors(path)[0]["image"]
    shown = ni.fit(images if name == "default" else stretched(images, encoder.centre), SHOWN)
    return [
        Tile(
            shown[k : k + 1],
            (
                f"activation {figures['activation'][k]:.1f}, step {figures['best_step'][k] + 1}",
                f"spread {figures['spread_of_255'][k]:.1f} of 255",
            ),
        )
        for k in range(len(images))
    ]


if __name__ == "__main__":
    main()
