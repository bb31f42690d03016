"""The pictures of docs/optimisation.md, each made by what that page tells its readers to run.

    python tools/make_optimisation_pictures.py priors classes pose caricature diverse parts

About twenty minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

import netinvert as ni
from netinvert.evaluation.evaluate import read_poses
from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.report import GridRow, ImageGrid, Tile
from netinvert.evaluation.report.grid import CELL, grid_image
from netinvert.inversion.canvases import with_canvas
from netinvert.inversion.invert import diversify
from netinvert.inversion.objectives import Activate, PoseTowards
from netinvert.inversion.units import channel, parse_mask
from netinvert.io.assets import photographs
from netinvert.models.zoo.mobile import class_names
from netinvert.scenes.cameras import heading, rotation_from_angles

DOCS = Path(__file__).parent.parent / "docs"
STEPS = 200
LAYERS = {"blocks.5": "early, 32×28×28", "blocks.9": "middle, 64×14×14", "blocks.16": "late, 320×7×7"}
PRIORS = ("none", "tv-isotropic", "tv-anisotropic", "tv-quadratic", "tv-huber", "second-order")
PRESETS = ("default", "simonyan13", "ijcv16", "maco")
CANVASES = ("pixels", "phase", "deep-prior")


def photograph(name: str) -> torch.Tensor:
    names, images = photographs()
    return images[names.index(name)][None]


def priors() -> None:
    """Every prior and canvas at three depths; the figures go to optimisation.json."""
    network, original = ni.load_network("mobilenet-v2"), photograph("chelsea")
    rows, figures = [], {}
    for layer, where in LAYERS.items():
        encoder = ni.Encoder(network, layer)
        code = encoder(original)
        recipes = {name: ni.recipe("default", encoder, name) for name in PRIORS}
        recipes["tv + batchnorm"] = ni.recipe("default", encoder, "tv-isotropic+batchnorm")
        for name in CANVASES:
            prior = "none" if name == "deep-prior" else None
            recipes[f"{name} canvas"] = with_canvas(ni.recipe("default", encoder, prior), name)
        cells = [Tile(original)]
        for name, how in recipes.items():
            result = ni.invert(encoder, code, preset=how.with_steps(STEPS))
            likeness = ssim(result.image, original).item()
            figures[f"{layer} {name}"] = {"error": round(result.error.item(), 4), "ssim": round(likeness, 4)}
            print(layer, name, figures[f"{layer} {name}"], f"{result.seconds:.0f} s", flush=True)
            cells.append(Tile(result.image, (f"error {result.error.item():.3f}", f"SSIM {likeness:.2f}")))
        rows.append(GridRow(f"{layer}: {where}", tuple(cells)))
    save(rows, ["original", *recipes], "priors", 0.62)
    (DOCS.parent / "benchmarks" / "results" / "priors.json").write_text(json.dumps(figures, indent=2) + "\n")


def classes() -> None:
    """Class models and channels by each preset."""
    network = ni.load_network("efficientnet-lite0")
    names = class_names()
    wishes = [("logits", k, names[k]) for k in (130, 281)] + [("blocks.10", 7, "blocks.10, channel 7")]
    rows = []
    for layer, index, title in wishes:
        encoder = ni.Encoder(network, layer)
        cells = []
        for preset in PRESETS:
            result = ni.maximise(encoder, Activate(channel(encoder, index)), preset=preset)
            best = result.losses[:, 0].nan_to_num(torch.inf).min().item()
            print(title, preset, f"{-best:.2f}", f"{result.seconds:.0f} s", flush=True)
            image = result.image
            if preset == "simonyan13":  # nearly grey: shown with a standard deviation of 0.15
                image = 0.5 + 0.15 * (image - image.mean()) / image.std()
            cells.append(Tile(image, (f"{-best:.1f}",)))
        rows.append(GridRow(title, tuple(cells)))
    save(rows, PRESETS, "classes", 0.8)


def pose() -> None:
    """The images that most say a pose, for posenet, and what it, its judge, and a network that was trained on
    photographs (whose objects have a margin) read from them."""
    network = ni.load_network("posenet")
    encoder, judge = ni.Encoder(network, "fc8"), ni.Encoder(ni.load_network("posenet-judge"), "output")
    foreign = ni.Encoder(ni.load_network("objectron-chair"), "keypoints")
    cells = []
    for azimuth in (0, 45, 90, 135, 180, 225, 270, 315):
        angles = (torch.tensor([float(angle)]) for angle in (azimuth, 20, 0))
        wish = PoseTowards(rotation_from_angles(*angles), network.pose_error)
        result = ni.maximise(encoder, wish, seed=0)
        wide = torch.nn.functional.pad(result.image, (14, 14, 14, 14), mode="replicate")
        asked = ((encoder, result.image), (judge, result.image), (foreign, wide))
        read = [heading(read_poses(reader, image).azimuth.item()) for reader, image in asked]
        print(azimuth, read, flush=True)
        cells.append(
            Tile(result.image, (f"posenet {read[0]}, judge {read[1]}", f"objectron-chair {read[2]}"))
        )
    rows = [
        GridRow("azimuth 0° to 135°", tuple(cells[:4])),
        GridRow("azimuth 180° to 315°", tuple(cells[4:])),
    ]
    save(rows, ["", "", "", ""], "pose-wishes", 0.85, 256)


def caricature() -> None:
    """What layers see more of."""
    network = ni.load_network("mobilenet-v2")
    rows = []
    for name in ("chelsea", "coffee"):
        original = photograph(name)
        cells = [Tile(original)]
        for layer in LAYERS:
            result = ni.caricature(ni.Encoder(network, layer), original)
            print(name, layer, f"{result.seconds:.0f} s", flush=True)
            cells.append(Tile(result.image))
        rows.append(GridRow(name, tuple(cells)))
    save(rows, ["original", *LAYERS], "caricatures", 0.8)


def diverse() -> None:
    """Plain restarts, and images that are to differ, for one code."""
    encoder = ni.Encoder(ni.load_network("mobilenet-v2"), "blocks.16")
    original = photograph("chelsea")
    code = encoder(original)
    rows = []
    for weight in (0.0, 0.1):
        found = diversify(encoder, code, 4, weight=weight)
        errors = found.error.tolist()
        apart = ni.spread(found.image[None])
        print(weight, apart, errors, flush=True)
        cells = [Tile(found.image[k], (f"error {error:.3f}",)) for k, error in enumerate(errors)]
        title = "plain restarts" if weight == 0 else f"diverse, weight {weight}"
        spread = f"mean distance of two {apart['distance'][0]:.3f}, SSIM {apart['ssim'][0]:.2f}"
        rows.append(GridRow(f"{title}: {spread}", (Tile(original), *cells)))
    save(rows, ["original", "", "", "", ""], "diverse", 0.7)


def parts() -> None:
    """Parts of a code: positions of a map, channels."""
    encoder = ni.Encoder(ni.load_network("mobilenet-v2"), "blocks.9")
    original, how = photograph("chelsea"), ni.recipe("default", encoder)
    masks = ("centre=8", "centre=4", "rows=0:14,columns=0:7", "channels=0:32", "channels=32:64")
    tiles = [Tile(original), Tile(ni.invert(encoder, encoder(original), steps=100).image)]
    for text in masks:
        some = replace(how, mask=parse_mask(encoder, text))
        tiles.append(Tile(ni.invert(encoder, encoder(original), preset=some, steps=100).image))
    save([GridRow("blocks.9: 64×14×14", tiles)], ["original", "all", *masks], "parts", 0.7)


def save(rows: list[GridRow], columns: list[str], name: str, scale: float, size: int = CELL) -> None:
    sheet = grid_image(ImageGrid(rows, columns, size=size))
    smaller = (round(sheet.width * scale), round(sheet.height * scale))
    sheet.resize(smaller, Image.Resampling.LANCZOS).save(DOCS / f"{name}.jpg", quality=88)


PICTURES: dict[str, Callable[[], None]] = {
    "priors": priors,
    "classes": classes,
    "pose": pose,
    "caricature": caricature,
    "diverse": diverse,
    "parts": parts,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="*", default=list(PICTURES), choices=list(PICTURES))
    for name in parser.parse_args().pictures:
        PICTURES[name]()


if __name__ == "__main__":
    main()
