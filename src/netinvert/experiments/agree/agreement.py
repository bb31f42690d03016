"""How two witnesses agree about the parts of chairs: rank correlations within chairs, their intervals over
chairs, and what they would be if each chair's parts were ordered at random."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.evaluation.report import Estimate
from netinvert.evaluation.statistics import DRAWS, LEVEL, times_drawn
from netinvert.experiments.agree.registration import Held
from netinvert.experiments.features.measures import ENOUGH
from netinvert.explain.part_truth import LEAST_PARTS
from netinvert.explain.sanity import ranks


@dataclass(frozen=True, eq=False)
class PartAgreement:
    """A correlation with its 95 % interval, the probability ``p`` of one as far from 0 if each chair's parts
    were ordered at random (two-sided), the ``chairs`` that it is of (N,) bool, and its values in the samples
    of the bootstrap, ``spread`` (DRAWS,)."""

    found: Estimate
    p: float
    chairs: Tensor
    spread: Tensor

    def above(self, other: PartAgreement) -> Estimate | None:
        """By how much it is above another of the same chairs, in the same samples; None: other chairs."""
        if not torch.equal(self.chairs, other.chairs):
            return None
        return Estimate(self.found.value - other.found.value, *_interval(self.spread - other.spread))


def part_agreement(
    first: Tensor, second: Tensor, size: Tensor, held: Held, draws: int
) -> PartAgreement | None:
    """Of what two witnesses say of parts (N, P), NaN where nothing, of N chairs; ``size`` (N, P) are the
    parts'. None: fewer than ENOUGH chairs have LEAST_PARTS that both know.

    With nothing ``held`` it is Spearman's ρ over the parts of a chair, in the mean over chairs. With the size
    held, it is the correlation of what is left of ranks when the parts' ranks by size have had their say
    (one slope for all chairs); with the kind, of ranks less what all parts of a kind have in common. p is of
    ``draws`` permutations of each chair's parts, with something held of what is left of them (Freedman &
    Lane 1983); the interval is of the bootstrap over chairs.

    Example:
        >>> one = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
        >>> found = part_agreement(one, one.exp(), -one, "", 99)
        >>> round(found.found.value, 6), found.p
        (1.0, 0.01)
    """
    known = first.isfinite() & second.isfinite() & size.isfinite()
    chairs = known.sum(1) >= LEAST_PARTS
    if chairs.sum() < ENOUGH:
        return None
    known = known[chairs]
    rows = [within_ranks(one[chairs], known) for one in (first, second)]
    if held == "size":
        rows.append(within_ranks(size[chairs], known))
    elif held == "kind":
        kinds = torch.eye(known.shape[1], dtype=torch.float64)
        rows += [_centred(one.expand(len(known), -1), known) for one in kinds]
    values = torch.stack(rows, 2)
    products = torch.einsum("npa,npb->nab", values, values)
    spread = _partial((times_drawn(len(known), DRAWS) @ products.flatten(1)).view(-1, *products.shape[1:]))
    found = Estimate(_partial(products.sum(0)).item(), *_interval(spread))
    return PartAgreement(found, _permuted(*_left(values), known, draws), chairs, spread)


def within_ranks(values: Tensor, known: Tensor) -> Tensor:
    """Ranks (N, P) of each chair's parts that are known, as a vector of length 1 about 0, so that the product
    of two is Spearman's ρ; 0 of the others, and where all are alike."""
    found = torch.zeros(values.shape, dtype=torch.float64)
    for row, one, here in zip(found, values, known, strict=True):
        row[here] = ranks(one[here])
    return F.normalize(_centred(found, known), dim=1)


def _centred(values: Tensor, known: Tensor) -> Tensor:
    kept = values * known
    return (kept - kept.sum(1, keepdim=True) / known.sum(1, keepdim=True)) * known


def _interval(spread: Tensor) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(spread, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def _partial(products: Tensor) -> Tensor:
    """The correlation (...) of the first two columns, the others held, of sums of products (..., A, A)."""
    left = products[..., :2, :2]
    if products.shape[-1] > 2:
        across = products[..., :2, 2:]
        left = left - across @ torch.linalg.pinv(products[..., 2:, 2:], hermitian=True) @ across.mT
    scale = (left[..., 0, 0] * left[..., 1, 1]).clamp_min(0).sqrt()
    return torch.where(scale > 1e-9, left[..., 0, 1] / scale, 0.0)


def _left(values: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of the first two columns (N, P) each of (N, P, A) when the others have had their say."""
    rows = values.flatten(0, 1)
    others = rows[:, 2:]
    left = rows[:, :2] - others @ (torch.linalg.pinv(others) @ rows[:, :2]) if others.shape[1] else rows
    first, second = left[:, :2].unflatten(0, values.shape[:2]).unbind(2)
    return first, second


def _permuted(first: Tensor, second: Tensor, known: Tensor, draws: int) -> float:
    orders = torch.tensor(list(permutations(range(known.shape[1]))))
    kept = orders == torch.arange(known.shape[1])
    allowed = (kept | known[:, None]).all(2)  # parts that are not known stay where they are
    products = torch.einsum("nkp,np->nk", first[:, orders], second)
    drawn = torch.multinomial(allowed.double(), draws, True, generator=torch.Generator().manual_seed(0))
    chance = products.gather(1, drawn).sum(0)
    own = (first * second).sum().abs() - 1e-9
    return (int((chance.abs() >= own).sum()) + 1) / (draws + 1)
