"""What can be read from codes along straight lines: ridge regression in closed form, held out by group.

Everything is done on the matrix of inner products of codes, so that a code may be far longer than there are
samples. The penalty is chosen within the samples that are trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError

FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-4, 4))
"""Times the mean squared length of the codes about their mean."""


@dataclass(frozen=True, eq=False)
class Standard:
    """Units of codes to mean 0 and deviation 1; units that never speak give nothing."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> Standard:
        """From codes (n, ...)."""
        flat = codes.flatten(1)
        return cls(flat.mean(0), flat.std(0))

    def __call__(self, codes: Tensor) -> Tensor:
        """(n, D)."""
        centred = codes.flatten(1) - self.mean
        return torch.where(self.std > 1e-6, centred / self.std.clamp_min(1e-6), torch.zeros(()))


def inner_products(codes: Tensor, others: Tensor | None = None) -> Tensor:
    """(m, n) of codes (m, D) with others (n, D), themselves if not given; float64, over D."""
    right = codes if others is None else others
    return codes.double() @ right.double().T / codes.shape[1]


def held_out(products: Tensor, targets: Tensor, groups: Tensor, seen: Tensor | None = None) -> Tensor:
    """What ridge regression says of every sample's targets (n, T) when its group was not trained on.

    ``products`` (n, n) of the codes, ``groups`` (n,) whole numbers. ``seen`` (n, n): products of other codes,
    one a sample, with the codes; it is from these that the targets are then read.

    Raises ConfigError for fewer groups than folds.
    """
    fold, truth = folds(groups), targets.double()
    found = torch.empty_like(truth)
    for index in range(FOLDS):
        test, train = fold == index, fold != index
        check = fold == (index + 1) % FOLDS
        fit = train & ~check
        inner = _Lines.between(products[fit][:, fit], truth[fit])
        errors = [
            (inner.read(products[check][:, fit], each) - truth[check]).square().sum() for each in PENALTIES
        ]
        penalty = PENALTIES[int(torch.stack(errors).argmin())]
        whole = _Lines.between(products[train][:, train], truth[train])
        found[test] = whole.read((products if seen is None else seen)[test][:, train], penalty)
    return found


def folds(groups: Tensor) -> Tensor:
    """The fold (n,) of every sample: groups in turn. Raises ConfigError for fewer groups than folds."""
    places = {group: place for place, group in enumerate(sorted(set(groups.tolist())))}
    if len(places) < FOLDS:
        raise ConfigError(f"{len(places)} objects are too few to hold some out: give {FOLDS} or more")
    return torch.tensor([places[group] for group in groups.tolist()]) % FOLDS


def about_groups(rows: Tensor, groups: Tensor) -> Tensor:
    """Rows (n, ...) less the mean of their group."""
    found = rows.double().clone()
    for group in set(groups.tolist()):
        own = groups == group
        found[own] -= found[own].mean(0)
    return found


def explained(found: Tensor, targets: Tensor) -> float:
    """The share of the targets' variance that is found, all columns together: 1 all, 0 no better than their
    mean, below 0 worse."""
    truth = targets.double()
    left = (found - truth).square().sum()
    return float(1 - left / (truth - truth.mean(0)).square().sum())


@dataclass(frozen=True, eq=False)
class _Lines:
    """Training samples about their mean: ``products`` (n, n), ``targets`` (n, T) and what the mean was."""

    products: Tensor
    row: Tensor
    targets: Tensor
    offset: Tensor

    @classmethod
    def between(cls, products: Tensor, targets: Tensor) -> _Lines:
        row = products.mean(0)
        centred = products - row - row[:, None] + row.mean()
        return cls(centred, row, targets - targets.mean(0), targets.mean(0))

    def read(self, products: Tensor, penalty: float) -> Tensor:
        """Targets (m, T) of codes whose products with the training samples are (m, n)."""
        count = len(self.row)
        ridge = penalty * self.products.diagonal().mean() + 1e-12
        factor = torch.linalg.cholesky(self.products + ridge * torch.eye(count, dtype=self.row.dtype))
        weights = torch.cholesky_solve(self.targets, factor)
        return (products - self.row) @ weights + self.offset


def squared(products: Tensor) -> Tensor:
    """The products (n, n) of codes with all products of two of their units added: lines become parabolas."""
    return (1 + products / products.diagonal().mean()).square()
