"""Networks small enough to test with, each with something that inversion has to get right."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert import Encoder, Preprocessing

SIZE = (16, 16)
PLAIN = Preprocessing(SIZE)


def seeded(build: Callable[[], nn.Module], seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network in eval mode, with weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    return network.to(dtype).eval()


def images(count: int = 2, size: tuple[int, int] = SIZE, channels: int = 3, seed: int = 7) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, *size, generator=source, dtype=torch.float64)


class Counting(nn.Module):
    """Counts its forward calls by label; class-wide, for an encoder works on a copy."""

    calls: ClassVar[Counter[str]] = Counter()

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label

    def forward(self, x: Tensor) -> Tensor:
        Counting.calls[self.label] += 1
        return x


def plain() -> nn.Module:
    """In-place ReLU after convolutions, BatchNorm with statistics, pooling, a head."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),  # 0
        nn.ReLU(inplace=True),  # 1
        nn.MaxPool2d(2),  # 2
        nn.Conv2d(6, 8, 3, padding=1, bias=False),  # 3
        nn.BatchNorm2d(8),  # 4
        nn.ReLU(inplace=True),  # 5
        nn.AdaptiveAvgPool2d(1),  # 6
        nn.Flatten(),  # 7
        nn.Linear(8, 5),  # 8
    )
    liven(network)
    return network


def liven(network: nn.Module) -> None:
    """BatchNorms as after training: statistics and scales that are not 0 and 1."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.2, 3.0)
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.normal_(part.bias, 0, 0.3)


class Functional(nn.Module):
    """In-place functional ReLU right behind a convolution, and a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x), inplace=True)
        x = F.relu_(x + self.second(x))
        return self.head(x.mean((-2, -1)))


class Residual(nn.Module):
    """The convolution's output goes through BatchNorm and past it: folding would change it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 4, 1)
        liven(self)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.last(self.norm(y) + y)


class Reused(nn.Module):
    """One ReLU, run three times."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(3)])
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.relu(conv(x))
        return x


@dataclass
class Both:
    features: Tensor
    pooled: Tensor


class Several(nn.Module):
    """Outputs that are no single tensor."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body = _Several(kind)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        if self.kind in ("tuple", "single"):
            return out[0]
        return out["features"] if self.kind == "dict" else out.features


class _Several(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> object:
        features = self.conv(x)
        pooled = features.mean((-2, -1))
        match self.kind:
            case "tuple":
                return features, pooled
            case "single":
                return features, None, "not a tensor"
            case "dict":
                return {"features": features, "pooled": pooled}
            case _:
                return Both(features, pooled)


class Tokens(nn.Module):
    """Patches as tokens (B, T, C), and attention over them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def smooth() -> nn.Module:
    """Small and smooth everywhere, so that exact comparisons are about rounding and nothing else."""
    return nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(5, 4, 3, padding=1))


def encoder(build: Callable[[], nn.Module] = smooth, layer: str = "output", **kwargs: object) -> Encoder:
    return Encoder(seeded(build), layer, PLAIN, **kwargs)
