"""What the commands of every day leave in their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bits import names as ni
from bits import tiny
from bits.scenes import Run
from bits.values import contents

TINY = "--network module:bits.tiny:good"
LAYER = f"{TINY} --layer 2"
LARGE = (64, 64)


def left(line: str, images: int = 2, size: tuple[int, int] = (20, 24), codes: str = LAYER) -> Run:
    """A command, by what it leaves. {images} stands for a folder of pictures, {image} for one of them,
    {codes} for a file of theirs, {table} for their attributes, {way} for a direction."""

    def run(folder: Path) -> dict[str, Any]:
        place = tiny.pictures(folder, images, size)
        words = {"images": place, "image": place / "p1.png"}
        words |= {name: folder / name for name in ("codes.safetensors", "table.csv", "way.npy")}
        words = {name.partition(".")[0]: path for name, path in words.items()}
        np.save(words["way"], tiny.normal(2, 8, 10, 12).numpy())
        rows = [f"p{k}.png,{'ab'[k % 2]},{(k * 7) % 5 + 0.5}\n" for k in range(images)]
        words["table"].write_text("name,kind,number\n" + "".join(rows))
        if "{codes}" in line:
            ni.command(f"encode {place} {codes} --out {folder}/codes.safetensors")
        ni.command(f"{line} --out {folder}/out", **words)
        return contents(folder / "out")

    return run


def encode(folder: Path) -> dict[str, Any]:
    """Codes as files of both kinds."""
    images = tiny.pictures(folder)
    for suffix in ("npy", "safetensors"):
        ni.command(f"encode {images} {LAYER} --out {folder}/codes.{suffix}")
        (folder / f"codes.{suffix}.manifest.json").unlink()
    return contents(folder)


def listings(_: Path) -> dict[str, Any]:
    """``layers`` and ``networks``."""
    layers = json.loads(ni.command("layers module:bits.tiny:good --json"))
    return {"layers": repr(layers["layers"]), "networks": ni.command("networks --json")}


FEW = "--steps 6"
ON = f"invert {{images}} --network posenet {FEW}"
MAXIMISE = f"maximise {LAYER} {FEW} --channel 1"
SWEEP = f"sweep {{images}} {TINY} --layers 1 3 --priors tv-isotropic none --prior-weights 0.03 0.3 --steps 8"
AUDIT = f"audit {{codes}} {LAYER} --steps 8"
JUDGED = "--images {images} --attributes {table} --judge-network module:bits.tiny:layered --judge-layer 2"
FC7 = "--network posenet --layer relu7"
RUNS: dict[str, Run] = {
    "invert": left(f"invert {{images}} {LAYER} --steps 12 --restarts 2 --batch 3 --seed 7"),
    "invert with options": left(
        f"invert {{images}} {LAYER} {FEW} --canvas pixels --prior tv-anisotropic=0.5 --data-weight 3 "
        "--start {image} --reference {images}"
    ),
    "invert diverse": left(
        f"invert {{images}} {LAYER} {FEW} --preset fourier-adam --restarts 3 --diverse 0.2"
    ),
    "invert masked": left(f"invert {{images}} {LAYER} {FEW} --mask rows=0:4,columns=2:6"),
    "invert ijcv16": left(f"invert {{images}} {LAYER} {FEW} --preset ijcv16"),
    "invert codes": left(f"invert {{codes}} {LAYER} {FEW}"),
    "invert posenet": left(f"{ON} --layer relu6", 1, LARGE),
    "invert from a decoder": left(f"{ON} --layer relu7 --decoder posenet-fc7", 1, LARGE),
    "invert on a decoder": left(f"{ON} --layer relu7 --decoder posenet-fc7 --canvas decoder", 1, LARGE),
    "invert deep prior": left(f"{ON} --layer relu3 --canvas deep-prior", 1, LARGE),
    "encode": encode,
    "decode": left("decode {images} --decoder posenet-fc7", 2, LARGE),
    "decode codes": left("decode {codes} --decoder posenet-fc7", 2, LARGE, FC7),
    "maximise": left(f"{MAXIMISE} --channel 5 --restarts 2 --seed 3"),
    "maximise poses": left(f"maximise {FEW} --network posenet --layer fc8 --azimuth 30 120 --elevation 15"),
    "maximise class": left(f"maximise {FEW} --network efficientnet-lite0 --layer logits --class flamingo"),
    "maximise unit": left(f"maximise {FEW} {TINY} --layer 6 --class 2 --restarts 2 --seed 3"),
    "maximise neuron": left(f"{MAXIMISE} --at centre"),
    "maximise direction": left(f"maximise {LAYER} {FEW} --direction {{way}}"),
    "maximise deepvis": left(f"{MAXIMISE} --preset deepvis-3"),
    "maximise maco": left(f"{MAXIMISE} --preset maco"),
    "caricature": left(f"caricature {{images}} {LAYER} {FEW} --power 3"),
    "caricature from noise": left(f"caricature {{images}} {LAYER} {FEW} --from-noise --seed 4"),
    "listings": listings,
    "deepvis": left(f"deepvis {LAYER} -c 0 5 --draws 3 --steps 4 --published-steps 3 --pixels 16 --seed 3"),
    "sweep": left(f"{SWEEP} --canvases fourier pixels"),
    "sweep at random": left(f"{SWEEP} --random 5 --measure ssim"),
    "audit": left(f"{AUDIT} {JUDGED}", 12),
    "audit of codes alone": left(f"{AUDIT} --sample 8 --batch 4 --seed 2", 12),
    "audit with a decoder": left(
        f"audit {{codes}} {FC7} --steps 4 --decoder posenet-fc7 --images {{images}}", 4, LARGE, FC7
    ),
    "look": left(f"look {{image}} {TINY} --layers 1 3 {FEW}"),
}
