"""Networks and pictures that are small, and the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bits import names as ni


def good() -> Any:  # noqa: ANN401
    """A smooth network, for commands."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Tanh(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    form = ni.Preprocessing((20, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return ni.Network("tiny", body.eval(), form)


def layered() -> Any:  # noqa: ANN401
    """``plain`` for small images."""
    return ni.Network("tiny", seeded(plain), ni.Preprocessing((16, 16)))


class Tokens(nn.Module):
    """Patches as tokens (B, T, C), and attention over them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def plain() -> nn.Module:
    """Convolutions, batch norm as after training, pooling, a head."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, bias=False), norm := nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    nn.init.normal_(norm.running_mean, 0, 0.3)
    nn.init.uniform_(norm.running_var, 0.2, 3.0)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    nn.init.normal_(norm.bias, 0, 0.3)
    return network


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A network in eval mode, with weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


def encoder(layer: str = "5", build: Callable[[], nn.Module] = plain, side: int = 32) -> Any:  # noqa: ANN401
    """An encoder of a small network."""
    form = ni.Preprocessing((side, side), mean=(0.4, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return ni.Encoder(ni.Network("tiny", seeded(build), form), layer)


def noise(*shape: int, seed: int = 7) -> Tensor:
    """Uniform numbers in [0, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 7) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def photographs(size: tuple[int, int] = (32, 32), count: int = 2, channels: int = 3) -> Tensor:
    """The first of the package's photographs."""
    return ni.photographs(size, channels)[1][:count]


def pictures(folder: Path, count: int = 2, size: tuple[int, int] = (20, 24)) -> Path:
    """A folder of smooth pictures."""
    place = folder / "originals"
    place.mkdir()
    for index in range(count):
        coarse = noise(1, 3, 5, 6, seed=index)
        ni.write_png(nn.functional.interpolate(coarse, size, mode="bilinear"), place / f"p{index}.png")
    return place


def with_gradient(term: Callable[[Tensor], Tensor], at: Tensor) -> dict[str, Tensor]:
    """Values of a function, and the gradient of their sum."""
    x = at.clone().requires_grad_(True)
    values = term(x)
    return {"values": values, "gradient": torch.autograd.grad(values.sum(), x)[0]}


def constants(value: object) -> list[float]:
    """The numbers in a dataclass and in those it holds, in their order, whatever its parts are called."""
    if is_dataclass(value):
        value = [getattr(value, one.name) for one in fields(value)]
    if isinstance(value, list | tuple):
        return [number for each in value for number in constants(each)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def result(found: Any) -> dict[str, Any]:  # noqa: ANN401
    """What an optimisation gave."""
    names = ("image", "code", "losses", "terms", "best_step", "status")
    error = {} if found.target is None else {"error": found.error.tolist()}
    return {name: getattr(found, name) for name in names} | error
