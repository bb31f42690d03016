"""Re-identification: does what was made from a code point back at that code among many?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

METRICS = ("cosine", "L2")
TOPS = (1, 5)
_Z = 1.959964
"""Of the normal distribution, two-sided 95 %."""
_CHUNK = 64


@dataclass(frozen=True)
class Rate:
    """How often the right one was among the first ``top`` of a gallery: of ``count`` queries, ``hits``.

    ``low`` and ``high`` are Wilson's 95 % interval of ``rate``; ``chance`` is the rate of guessing.
    """

    top: int
    hits: float
    count: int
    rate: float
    low: float
    high: float
    chance: float

    @property
    def above_chance(self) -> bool:
        """Whether the interval lies above guessing."""
        return self.low > self.chance


@dataclass(frozen=True)
class Retrieval:
    """Rates by one metric, and the median rank of the right one (1 is first; ties count half)."""

    metric: str
    rates: tuple[Rate, ...]
    median_rank: float


def wilson(hits: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a rate (Wilson 1927); ``hits`` may be an expectation, and need not be whole."""
    rate, square = hits / count, _Z * _Z / count
    centre = (rate + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(rate * (1 - rate) / count + square / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def duplicates(codes: Tensor) -> tuple[Tensor, Tensor]:
    """For codes (N, ...): the number (N,) of the group of equal codes each is in, the size (M,) of each."""
    _, group, sizes = torch.unique(codes.flatten(1), dim=0, return_inverse=True, return_counts=True)
    return group, sizes


def retrieve(queries: Tensor, gallery: Tensor, own: Tensor, metric: str) -> Retrieval:
    """How queries (n, ...) find their own entries ``own`` (n,) of the gallery (N, ...).

    Entries that are equal cannot be told apart: a query that finds a group of g counts 1/g for the first
    place, as a guess among them does in the mean. Tops of the gallery's size or more are left out.
    """
    closer, tied = _standing(_flat(queries, metric), gallery, own, metric)
    count, total = len(queries), len(gallery)
    rates = []
    for top in TOPS:
        if top >= total:
            continue
        hits = ((top - closer) / tied).clamp(0, 1).sum().item()
        low, high = wilson(hits, count)
        rates.append(Rate(top, hits, count, hits / count, low, high, top / total))
    ranks = closer + (tied + 1) / 2
    return Retrieval(metric, tuple(rates), ranks.quantile(0.5).item())


def _standing(queries: Tensor, gallery: Tensor, own: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """How many entries are closer to each query than its own, and how many are its own's equals."""
    group, sizes = duplicates(gallery)
    first = torch.full((len(sizes),), len(group), device=group.device)
    first = first.scatter_reduce(0, group, torch.arange(len(group), device=group.device), "amin")
    # Each distinct code once: equal ones have distances that are equal to the last bit only so.
    distinct = _flat(gallery[first], metric)
    closer, tied = [], []
    for start in range(0, len(queries), _CHUNK):
        part = queries[start : start + _CHUNK]
        distance = torch.cdist(part, distinct, compute_mode="donot_use_mm_for_euclid_dist")
        mine = group[own[start : start + _CHUNK]]
        at = distance.gather(1, mine[:, None])
        closer.append(((distance < at) * sizes).sum(1))
        tied.append(((distance == at) * sizes).sum(1))
    return torch.cat(closer).double(), torch.cat(tied).double()


def _flat(codes: Tensor, metric: str) -> Tensor:
    """Codes as vectors; between unit vectors, Euclidean distances stand in the order of the cosine ones."""
    vectors = codes.detach().flatten(1).double()
    return normalize(vectors, dim=1) if metric == "cosine" else vectors
