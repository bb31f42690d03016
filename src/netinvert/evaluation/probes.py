"""What a linear probe reads from codes: ridge regression in closed form, cross-validated, against chance.

Chance is measured, not assumed: the same probe, folds and choice of the ridge on shuffled labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.evaluation.attributes import Attribute

RIDGES = tuple(10.0**power for power in range(-2, 4))
"""Tried in each fold on its training rows, in units of a code's mean squared norm; leave-one-out decides."""
FOLDS = 5
LEAST = 10
"""Fewer rows than these say nothing."""


@dataclass(frozen=True, eq=False)
class Question:
    """Labels of ``rows`` of the codes: class numbers or numbers (n,), with folds (test rows each) and
    shuffles (P, n) of the labels: of whole groups or, where folds were made by class, within each fold.

    ``remark`` says what a reader of the score has to know.
    """

    name: str
    classes: tuple[str, ...]
    rows: Tensor
    labels: Tensor
    folds: tuple[Tensor, ...]
    shuffles: Tensor
    remark: str = ""

    @property
    def measure(self) -> str:
        """What a score is."""
        return "balanced accuracy" if self.classes else "R²"


@dataclass(frozen=True)
class Reading:
    """A cross-validated score, and what shuffled labels score: mean, 95 % quantile, and the share of them
    (with the true labels counted in) that score as high."""

    score: float
    chance: float
    chance_high: float
    p: float

    @property
    def above_chance(self) -> bool:
        """Whether less than 5 % of shuffled labels score as high."""
        return self.p < 0.05


def question_of(attribute: Attribute, groups: Attribute | None, shuffles: int, seed: int) -> Question | str:
    """An attribute made ready; a text that says why it cannot be read, if so.

    Rows of one group are never in training and test of one fold, and the groups' labels are shuffled as
    blocks. If a class lies within one group, that cannot be; then groups are left out, with a remark.
    """
    rows = [row for row, value in enumerate(attribute.values) if value is not None]
    values = [str(attribute.values[row]) for row in rows]
    remark = "" if len(rows) == len(attribute.values) else f"{len(attribute.values) - len(rows)} unknown"
    if not attribute.numeric:
        rare = {value for value in set(values) if values.count(value) < 2}
        if rare:
            kept = [index for index, value in enumerate(values) if value not in rare]
            rows, values = [rows[index] for index in kept], [values[index] for index in kept]
            remark = f"{remark}; {len(rare)} classes of a single code left out".removeprefix("; ")
    if len(set(values)) < 2:
        return f"{attribute.name}: all labels are equal, or no two codes share one; there is nothing to read"
    if len(values) < LEAST:
        return f"{attribute.name}: {len(values)} labelled codes are too few for a probe ({LEAST} at least)"
    blocks = None if groups is None else [str(groups.values[row]) for row in rows]
    if blocks is not None and (why := _ungroupable(attribute, values, blocks)):
        blocks, remark = None, f"{remark}; {why}".removeprefix("; ")
    source = torch.Generator().manual_seed(seed)
    folds = _folds(None if attribute.numeric else values, blocks, len(values), source)
    classes = () if attribute.numeric else tuple(sorted(set(values)))
    labels = [float(value) if attribute.numeric else classes.index(value) for value in values]
    return Question(
        name=attribute.name,
        classes=classes,
        rows=torch.tensor(rows),
        labels=torch.tensor(labels, dtype=torch.float64 if attribute.numeric else torch.long),
        folds=folds,
        shuffles=torch.stack([_shuffle(blocks, folds, source) for _ in range(shuffles)]),
        remark=remark,
    )


def _ungroupable(attribute: Attribute, values: Sequence[str], blocks: Sequence[str]) -> str:
    if len(set(blocks)) < 2:
        return "all in one group, so groups are left out"
    if attribute.numeric:
        return ""
    where = {value: {b for v, b in zip(values, blocks, strict=True) if v == value} for value in set(values)}
    alone = sum(len(found) == 1 for found in where.values())
    return f"{alone} classes lie within one group each, so folds cut through groups" if alone else ""


def _folds(
    classes: Sequence[str] | None, blocks: Sequence[str] | None, count: int, source: torch.Generator
) -> tuple[Tensor, ...]:
    """Test rows of each fold: whole groups, or else even shares of each class."""
    order = torch.randperm(count, generator=source).tolist()
    if blocks is not None:
        members: dict[str, list[int]] = {}
        for row in order:
            members.setdefault(blocks[row], []).append(row)
        folds: list[list[int]] = [[] for _ in range(min(FOLDS, len(members)))]
        for block in sorted(members.values(), key=len, reverse=True):
            min(folds, key=len).extend(block)
    else:
        least = count if classes is None else min(map(list(classes).count, set(classes)))
        folds = [[] for _ in range(min(FOLDS, least))]
        if classes is not None:
            order.sort(key=lambda row: classes[row])  # stable: shuffled within each class
        for position, row in enumerate(order):
            folds[position % len(folds)].append(row)
    return tuple(torch.tensor(sorted(fold)) for fold in folds)


def _shuffle(blocks: Sequence[str] | None, folds: Sequence[Tensor], source: torch.Generator) -> Tensor:
    """A permutation of the labels; labels of a group move as a block, for they are alike.

    Without groups they move within their fold: folds hold even shares of the true classes, so they have to
    hold even shares of the shuffled ones, or the probe would fail on those for that alone.
    """
    count = sum(map(len, folds))
    if blocks is None:
        within = torch.empty(count, dtype=torch.long)
        for fold in folds:
            within[fold] = fold[torch.randperm(len(fold), generator=source)]
        return within
    names = sorted(set(blocks))
    rows = [[row for row, name in enumerate(blocks) if name == block] for block in names]
    order = torch.randperm(len(names), generator=source).tolist()
    taken = torch.tensor([row for index in order for row in rows[index]])
    permutation = torch.empty(count, dtype=torch.long)
    permutation[torch.tensor([row for block in rows for row in block])] = taken
    return permutation


@torch.no_grad()
def probe(train: Tensor, question: Question, test: Tensor | None = None) -> Reading:
    """How well labels are read from codes (N, ...), of which the question's rows count.

    The probe learns from rows of ``train`` and reads the other rows of ``test`` (the same, if not given).
    """
    known = train[question.rows.to(train.device)].flatten(1).double().cpu()
    seen = known if test is None else test[question.rows.to(test.device)].flatten(1).double().cpu()
    count = len(known)
    orders = torch.cat([torch.arange(count)[None], question.shuffles])  # the true labels first
    labels = question.labels[orders].T  # (n, 1 + P)
    targets = _one_hot(labels, len(question.classes)) if question.classes else labels[..., None]
    read, plain = torch.empty_like(targets), torch.empty_like(targets)
    for fold in question.folds:
        learning = torch.ones(count, dtype=torch.bool)
        learning[fold] = False
        read[fold] = ridge(known[learning], targets[learning], seen[fold])
        plain[fold] = targets[learning].mean(0)
    if question.classes:
        # As if all classes were equally common, for so the score counts them.
        likely = torch.where(plain > 0, read / plain.clamp_min(1e-12), -torch.inf)
        scores = _balanced(likely.argmax(-1), labels, len(question.classes))
    else:
        scores = 1 - ((read - targets).square().sum((0, 2)) / (plain - targets).square().sum((0, 2)))
    true, shuffled = scores[0].item(), scores[1:]
    p = (1 + int((shuffled >= true - 1e-12).sum())) / (1 + len(shuffled))
    return Reading(true, shuffled.mean().item(), shuffled.quantile(0.95).item(), p)


def ridge(train: Tensor, targets: Tensor, test: Tensor) -> Tensor:
    """Predictions (m, P, C) for ``test`` (m, D), learned from ``train`` (n, D) with targets (n, P, C).

    Features are standardised by the training rows; the intercept is free; each of the P problems has the one
    of RIDGES with the least leave-one-out error on the training rows.
    """
    count = len(train)
    mean, deviation = train.mean(0), train.std(0, correction=0)
    live = deviation > 1e-9 * deviation.max().clamp_min(1e-300)
    if not bool(live.any()):
        return targets.mean(0).expand(len(test), -1, -1)
    scale = deviation[live] * math.sqrt(int(live.sum()))
    rows, others = (train - mean)[:, live] / scale, (test - mean)[:, live] / scale
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    values = values.clamp_min(0)
    offset = targets.mean(0)
    centred = targets - offset
    projected = vectors.T @ centred.flatten(1)
    least = torch.full(targets.shape[1:2], torch.inf, dtype=targets.dtype)
    best = torch.empty(len(test), *targets.shape[1:], dtype=targets.dtype)
    for weight in RIDGES:
        share = values / (values + weight)
        leverage = (vectors.square() * share).sum(1) + 1 / count
        fitted = (vectors @ (share[:, None] * projected)).view_as(targets)
        residual = (centred - fitted) / (1 - leverage).clamp_min(1e-12)[:, None, None]
        error = residual.square().sum((0, 2))
        dual = vectors @ (projected / (values + weight)[:, None])
        found = (others @ (rows.T @ dual)).view_as(best)
        best = torch.where((error < least)[:, None], found, best)
        least = torch.minimum(error, least)
    return best + offset


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).double()


def _balanced(read: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean over classes of the share of their rows that are read right, for each of P columns."""
    right = _one_hot(labels, classes) * (read == labels)[..., None]
    return (right.sum(0) / _one_hot(labels, classes).sum(0)).mean(-1)
