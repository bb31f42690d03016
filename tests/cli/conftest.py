"""A tiny network in a file, two pictures, and the command line in process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from netinvert import write_png
from netinvert.cli.app import main

FACTORIES = """
import torch
from torch import nn
from netinvert import Network, Preprocessing

FORM = Preprocessing((20, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

def body():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Tanh(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()

class Detached(nn.Module):
    def forward(self, x):
        return x.detach() * 2

class Constant(nn.Module):
    def forward(self, x):
        return x * 0 + 1

def named(module):
    return Network("tiny", module, FORM)

def good(): return named(body())
def training(): return named(body().train())
def detached(): return named(nn.Sequential(body()[0], Detached()).eval())
def constant(): return named(nn.Sequential(body()[0], Constant()).eval())
def mixed():
    module = body()
    module[2].double()
    return named(module)
def half(): return named(body().half())
"""


@pytest.fixture
def nets(tmp_path: Path) -> Callable[[str], str]:
    """``--network`` for one of the factories."""
    path = tmp_path / "nets.py"
    path.write_text(FACTORIES)
    return lambda name: f"module:{path}:{name}"


@pytest.fixture
def net(nets: Callable[[str], str]) -> list[str]:
    """Options that every command takes."""
    return ["--network", nets("good"), "--layer", "2"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two pictures, and a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    down, right = torch.meshgrid(torch.linspace(0, 1, 30), torch.linspace(0, 1, 40), indexing="ij")
    write_png(torch.stack([down, right, 1 - down]), folder / "a.png")
    write_png(torch.stack([right, (6 * down).sin() / 2 + 0.5, right * down]), folder / "b.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@dataclass(frozen=True)
class Said:
    """What a command has said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both."""
        return self.stdout + self.stderr


@pytest.fixture
def cli(capsys) -> Callable[..., Said]:
    """Run a command; an unexpected exception is raised."""

    def run(*arguments: object) -> Any:
        words = [str(argument) for argument in arguments]
        capsys.readouterr()
        code = main(words)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def plots(blank_plots: None) -> None:
    """Most tests do without them."""
