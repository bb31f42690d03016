"""Every command that writes, as small as it can be, and what it reads."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from netinvert import write_png
from netinvert.cli.app import main
from netinvert.inversion.result import Checkpoint
from netinvert.training.pose import train

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
IN = "../inputs"
TINY = f"--network module:{IN}/nets.py:good --threads 1"
SPLITS = "--seed 5 --size 64 --objects chairs --splits 0.5 0.5 0 --workers 1 --threads 1"
TRAIN = "--samples 8 --batch 4 --every 1 --threads 1"
DECODER = f"decoder train {TINY} --layer 4 --data {IN}/images --pixels 16 --samples 8 --batch 4 --every 1"
COMMANDS = {
    "encode": f"encode {IN}/images {TINY} --layer 0 --out out.npy",
    "maximise": f"maximise {TINY} --layer 0 --channel 0 --steps 2 --out out",
    "invert": f"invert {IN}/images {TINY} --layer 0 --steps 2 --batch 1 --out out",
    "decode": f"decode {IN}/images/a.png --decoder posenet-pose --threads 1 --out out",
    "sweep": f"sweep {IN}/images/a.png {TINY} --layers 0 --priors tv-isotropic none --prior-weights 0.1 "
    "--steps 2 --out out",
    "scenes render": f"scenes render --count 4 --views 1 --identities-a-shard 2 {SPLITS} --out out",
    "pose train": f"pose train --data {IN}/data {TRAIN} --out out",
    "decoder train": f"{DECODER} --cache 4 --out out",
}
BEFORE = {
    "pose train": f"scenes render --count 8 --views 2 {SPLITS} --out {IN}/data",
}
"""What makes the inputs of some."""


def make_inputs(name: str, folder: Path) -> None:
    """What a command reads, in `folder`/inputs."""
    images = folder / "inputs" / "images"
    images.mkdir(parents=True)
    down, right = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 20), indexing="ij")
    for k in range(2 if name in ("invert", "encode") else 8):
        write_png(torch.stack([down, right, (k * right).sin() / 2 + 0.5]), images / f"{'abcdefgh'[k]}.png")
    (images.parent / "nets.py").write_text(NETS)
    if name in BEFORE:
        os.chdir(folder / "here")
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            if main(BEFORE[name].split()):
                raise SystemExit(said.getvalue())


def quickened() -> None:
    """In this process: plots are blank, backgrounds made once, checkpoints always due, logs left out."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    blank = io.BytesIO()
    Image.new("L", (1, 1)).save(blank, "PNG")
    Figure.savefig = lambda self, file, **options: file.write(blank.getvalue())
    ConstrainedLayoutEngine.execute = lambda self, figure: None
    Checkpoint.due = lambda self: True
    train.background_pool = cache(train.background_pool)
    sys.modules["torch.utils.tensorboard"] = None
    torch.set_num_threads(1)
