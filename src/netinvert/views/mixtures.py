"""Objects that a generator did not learn: between two, of a distribution, and sums of others (Dosovitskiy et
al. 2015, sections 5.3 to 5.6)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.models.generator import Generator, transformation, view_numbers

SPACES = ("embedding", "identity 1", "identity 2", "joint 1", "joint 2")
"""Where objects can be added: the embedding, and what each fully connected layer gives, of the identity alone
and of all that the network is told."""
COMPARED = ((35.0, 20.0), (145.0, 20.0), (270.0, 20.0))
"""Azimuth and elevation of the views by which objects are compared."""
SIDE = 32


def line_between(first: Tensor, second: Tensor, steps: int) -> Tensor:
    """Embeddings (steps + 1, E) on the line from one (E,) to another, both included.

    >>> line_between(torch.zeros(1), torch.ones(1), 2).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    return torch.lerp(first, second, torch.linspace(0, 1, steps + 1)[:, None])


def random_embeddings(generator: Generator, count: int, seed: int = 0) -> Tensor:
    """New objects (count, E): of the normal distribution with mean and covariance of the known ones."""
    table: Tensor = generator.module.table.weight
    source = torch.Generator().manual_seed(seed)
    draws = torch.randn(count, len(table), generator=source) / math.sqrt(max(len(table) - 1, 1))
    mean = table.mean(0)
    return mean + draws @ (table - mean)


@torch.no_grad()
def combined(
    generator: Generator, triples: Tensor, space: str = SPACES[0], view: tuple[float, float] = COMPARED[0]
) -> Tensor:
    """Objects a − b + c, drawn, (N, 4, H, W): of triples (N, 3) of numbers, added in one of SPACES, seen from
    ``view`` (azimuth, elevation). Raises ConfigError: no such space; CodeError: no such object.
    """
    if space not in SPACES:
        raise ConfigError(f"objects are added in {', '.join(SPACES)}, not in {space!r}")
    network, depth = generator.module, SPACES.index(space)
    angles = (torch.tensor([one], dtype=torch.float32) for one in view)
    told = torch.cat([network.view(view_numbers(*angles)), network.transform(transformation())], 1)
    own, joint = network.identity, network.joint  # two layers each, with what follows them
    before, after = own[: 2 * depth], own[2 * min(depth, 2) :]
    early, late = joint[: 2 * max(depth - 2, 0)], joint[2 * max(depth - 2, 0) :]

    def features(numbers: Tensor) -> Tensor:
        found: Tensor = before(generator.embedded(numbers))
        return early(_told(found, told)) if depth > 2 else found

    a, b, c = (features(numbers) for numbers in triples.unbind(1))
    mixed = a - b + c
    mixed = late(mixed if depth > 2 else _told(after(mixed), told))
    maps = mixed.unflatten(1, (network.form.first, -1))
    side = math.isqrt(maps.shape[-1])
    drawn: Tensor = torch.sigmoid(network.ups(maps.unflatten(2, (side, side))))
    return drawn


def _told(features: Tensor, told: Tensor) -> Tensor:
    return torch.cat([features, told.expand(len(features), -1)], 1)


@torch.no_grad()
def seen_around(generator: Generator, who: Tensor | list[int]) -> Tensor:
    """Objects from the views COMPARED, (N, V, 4, H, W)."""
    return torch.stack([generator.layers(who, *view) for view in COMPARED], 1)


def nearest_objects(planes: Tensor, others: Tensor, same: bool = False) -> tuple[Tensor, Tensor]:
    """Which of ``others`` (M, V, 4, H, W) looks most like each of ``planes`` (N, V, 4, H, W), and how far it
    is, (N,) each: the mean absolute difference of colours and mask, at SIDE pixels at most. With ``same``
    both are the same objects, and each one's nearest is another."""
    few, many = (_small(one) for one in (planes, others))
    far = torch.stack([(many - one).abs().mean(1) for one in few])
    if same:
        far.fill_diagonal_(torch.inf)
    return far.argmin(1), far.amin(1)


def _small(planes: Tensor) -> Tensor:
    side = min(SIDE, planes.shape[-1])
    return F.adaptive_avg_pool2d(planes.flatten(0, 1), side).reshape(len(planes), -1)
