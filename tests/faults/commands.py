"""Every command that writes, as small as it can be, and what it reads."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from netinvert import write_png
from netinvert.cli.app import main

sys.path.append(str(Path(__file__).parents[1]))
from small_generator import small_generator

NETS = """
import torch
from torch import nn
from netinvert import Network, Preprocessing

def good():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    ).eval()
    return Network("tiny", module, Preprocessing((16, 16)))
"""
LETTERS = "abcdefgh"
PEOPLE = "name,smiles\n" + "".join(f"{one},{'yes' if one in 'aceg' else 'no'}\n" for one in LETTERS)
IN = "../inputs"
TINY = f"--network module:{IN}/nets.py:good --threads 1"
ONE = f"{IN}/images/a.png {TINY}"
SPLITS = "--seed 5 --size 128 --objects chairs --splits 0.5 0.5 0 --workers 1 --threads 1"
TRAIN = "--samples 8 --batch 4 --every 1 --threads 1"
DECODER = f"decoder train {TINY} --layer 4 --data {IN}/images --pixels 16 --samples 8 --batch 4 --every 1"
CODES = "--decoders posenet-pose --chairs 2 --threads 1 --out out"
INVERT = f"invert {IN}/images {TINY} --layer 0 --steps 2 --batch 1"
GENERATOR = f"--generator {IN}/small.safetensors --threads 1"
RINGS = f"scenes render --count 2 --views 62 {SPLITS} --pixels 16 --lights studio --out {IN}/rings"
RENDER = f"scenes render --count 8 --views 2 {SPLITS} --out {IN}/data"


@dataclass(frozen=True)
class Case:
    """A command, the commands that make what it reads, and which of the inputs lie in its folder from the
    start, by what they are called there."""

    words: str
    before: tuple[str, ...] = ()
    there: Mapping[str, str] = field(default_factory=dict)


COMMANDS = {
    "encode": Case(f"encode {IN}/images {TINY} --layer 0 --out out.npy"),
    "maximise": Case(f"maximise {TINY} --layer 0 --channel 0 --steps 2 --out out"),
    "caricature": Case(f"caricature {ONE} --layer 0 --steps 2 --out out"),
    "invert": Case(f"{INVERT} --out out"),
    "invert, over another": Case(
        f"{INVERT} --out out --overwrite", (f"{INVERT} --seed 1 --out {IN}/other",), {"out": "other"}
    ),
    "decode": Case(f"decode {IN}/images/a.png --decoder posenet-pose --threads 1 --out out"),
    "look": Case(f"look {ONE} --layers 0 --steps 2 --out out"),
    "sweep": Case(
        f"sweep {ONE} --layers 0 --priors tv-isotropic none --prior-weights 0.1 --steps 2 --out out"
    ),
    "audit": Case(
        f"audit {IN}/codes.npy {TINY} --layer 0 --images {IN}/images --attributes {IN}/people.csv --sample 2 "
        "--shuffles 20 --steps 3 --out out",
        (f"encode {IN}/images {TINY} --layer 0 --out {IN}/codes.npy",),
    ),
    "deepvis": Case(
        f"deepvis {TINY} --layer 0 --channel 0 --draws 1 --steps 2 --published-steps 2 --factor 1 --out out"
    ),
    "study layers": Case(
        f"study layers {TINY} --layers 0 --images {IN}/images --count 1 --steps 3 --values 1 --out out"
    ),
    "study attributes": Case(
        "study attributes --network posenet --layers fc8 --decoders posenet-pose --attributes hue "
        "--chairs 10 --threads 1 --out out"
    ),
    "study features": Case("study features --chairs 1 --learned 20 --seed 101 --threads 1 --out out"),
    "study surgery": Case(
        "study surgery --decoders posenet-fc7 --chairs 3 --others 40 --learned 20 --steps 1 --seed 101 "
        "--threads 1 --out out"
    ),
    "study agree": Case(
        "study agree --layers fc8 --chairs 2 --steps 3 --learned 20 --samples 2 --seed 101 --threads 1 "
        "--out out"
    ),
    "study methods": Case(f"study methods --steps 12 --bank 12 --learned 20 {CODES}"),
    "study priors": Case(
        "study priors --network posenet --layers fc8 --count 2 --bank 9 --learned 20 --priors tv-isotropic "
        "none --prior-weights 0.1 --canvases fourier --steps 3 --threads 1 --out out"
    ),
    "study perturb": Case(f"study perturb --data {IN}/data {CODES}", (RENDER,)),
    "study interpolate": Case(f"study interpolate {CODES}"),
    "study random": Case(f"study random --data {IN}/data {CODES}", (RENDER,)),
    "study iterate": Case(f"study iterate --rounds 1 {CODES}"),
    "explain saliency": Case(f"explain saliency {ONE} --methods gradient occlusion --out out"),
    "explain sanity": Case(f"explain sanity {IN}/images {TINY} --methods gradient --out out"),
    "explain parts": Case(
        "explain parts --network posenet-judge --targets pose:geodesic --methods gradient --chairs 4 "
        "--seed 101 --threads 1 --out out"
    ),
    "explain deconv": Case(
        f"explain deconv {IN}/images/a.png --network posenet --layer relu1 --channel 0 --threads 1 --out out"
    ),
    "explain occlusion": Case(f"explain occlusion {ONE} --window 8 --stride 8 --out out"),
    "explain top": Case(f"explain top {IN}/images {TINY} --layer 0 --channel 0 --steps 2 --out out"),
    "explain locate": Case(f"explain locate {ONE} --out out"),
    "explain correspond": Case(f"explain correspond {TINY} --layers 0 --count 2 --out out"),
    "explain invariance": Case(f"explain invariance {ONE} --layers 0 --out out"),
    "explain paths": Case(f"explain paths {ONE} --natural {IN}/images --layers 0 --out out"),
    "explain evolve": Case(
        f"explain evolve {IN}/images --network posenet --layer relu1 --channel 0 --checkpoints random "
        "--threads 1 --out out"
    ),
    "demo": Case("demo --steps 3 --threads 1 --out out"),
    "pose read": Case(f"pose read {IN}/images/a.png --threads 1 --out out"),
    "pose evaluate": Case("pose evaluate --chairs 1 --views 1 --learned 20 --threads 1 --out out"),
    "pose evaluate, with a card": Case(
        "pose evaluate --weights posenet.safetensors --chairs 2 --views 2 --learned 20 --card --threads 1 "
        "--out out",
        (RENDER, f"pose train --data {IN}/data {TRAIN} --out {IN}/trained"),
        {"posenet.safetensors": "trained/posenet.safetensors", "posenet.md": "trained/posenet.md"},
    ),
    "decoder evaluate": Case("decoder evaluate posenet-pose --chairs 2 --threads 1 --out out"),
    "decoder evaluate, with a card": Case(
        f"decoder evaluate decoder.safetensors --trust --images {IN}/images --card --threads 1 --out out",
        (f"{DECODER} --out {IN}/trained".replace(f"{TINY} --layer 4", "--network posenet --layer fc8"),),
        {"decoder.safetensors": "trained/decoder.safetensors", "decoder.md": "trained/decoder.md"},
    ),
    "pose train": Case(f"pose train --data {IN}/data {TRAIN} --out out", (RENDER,)),
    "decoder train": Case(f"{DECODER} --cache 4 --out out"),
    "views train": Case(
        f"views train --data {IN}/rings {TRAIN} --out out", (RINGS.replace("--size 128 ", ""),)
    ),
    "views generate": Case(f"views generate {GENERATOR} --objects 0 --azimuths 30 60 --out out"),
    "views generate, new ones": Case(
        f"views generate {GENERATOR} --random 2 --azimuths 30 --learned 20 --out out"
    ),
    "views turntable": Case(f"views turntable {GENERATOR} --frames 2 --out out"),
    "views morph": Case(f"views morph {GENERATOR} --steps 1 --out out"),
    "views arithmetic": Case(f"views arithmetic {GENERATOR} --triples 2 --out out"),
    "views match": Case(f"views match {GENERATOR} --pairs 2 --steps 1 --flow ilk --out out"),
    "views transfer": Case(
        "views transfer --chairs 4 --pixels 16 --known 2 --samples 8 --batch 4 --threads 1 --out out"
    ),
    "views novel": Case(
        f"views novel {GENERATOR} --chairs 2 --bank 2 --samples 32 --pixels 16 --turns 3 "
        "--learned 20 --out out"
    ),
    "views reconstruct": Case(
        f"views reconstruct {GENERATOR} --chairs 2 --bank 2 --samples 32 --pixels 16 --resolution 16 "
        "--out out"
    ),
    "views evaluate": Case(f"views evaluate {GENERATOR} --chairs 2 --learned 20 --out out"),
    "views evaluate, with a card": Case(
        "views evaluate --generator mine.safetensors --chairs 2 --learned 20 --card --threads 1 --out out",
        there={"mine.safetensors": "small.safetensors"},
    ),
    "scenes render": Case(f"scenes render --count 4 --views 1 --identities-a-shard 2 {SPLITS} --out out"),
    "scenes show": Case("scenes show --count 1 --views 1 --pixels 16 --out out"),
    "rerun": Case(f"rerun {IN}/first --trust --out out", (f"{INVERT} --out {IN}/first",)),
    "rerun, of a file": Case(
        f"rerun {IN}/out.npy.manifest.json --trust --out out",
        (f"encode {IN}/images {TINY} --layer 0 --out {IN}/out.npy",),
    ),
}
"""By the name in the help and, of several of one command, a word more."""


def make_inputs(name: str, folder: Path) -> None:
    """What a command reads, in `folder`/inputs; `folder`/here is where it is run."""
    images = folder / "inputs" / "images"
    images.mkdir(parents=True)
    down, right = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 20), indexing="ij")
    few = name.startswith(("invert", "encode", "rerun"))
    for k, letter in enumerate(LETTERS[: 2 if few else None]):
        write_png(torch.stack([down, right, (k * right).sin() / 2 + 0.5]), images / f"{letter}.png")
    (images.parent / "nets.py").write_text(NETS)
    (images.parent / "people.csv").write_text(PEOPLE)
    if name.startswith("views"):
        small_generator(images.parent / "small.safetensors", objects=24)
    os.chdir(folder / "here")
    for command in COMMANDS[name].before:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            if main(command.split()):
                raise SystemExit(said.getvalue())


def lay_out(name: str, folder: Path) -> None:
    """`folder`/here, empty but for what is there from the start."""
    here = folder / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    for called, source in COMMANDS[name].there.items():
        whole = folder / "inputs" / source
        (shutil.copytree if whole.is_dir() else shutil.copy2)(whole, here / called)
