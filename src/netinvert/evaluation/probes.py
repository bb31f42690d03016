"""What codes say: by linear probes (ridge regression of scikit-learn), and by finding their own among many.

Two protocols of probes. :func:`probe` cross-validates an attribute of a few codes against its own permutation
baseline (the same probe, folds and choice of the penalty on shuffled labels). :func:`held_out` reads targets
of whole held-out groups from the matrix of inner products of codes, so that a code may be far longer than
there are samples. Both need the extra ``probes``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.evaluation.attributes import Attribute

FOLDS = 5
LEAST = 10
"""Fewer rows than these say nothing."""
PENALTIES = tuple(10.0**power for power in range(-4, 4))
"""Of :func:`held_out`, times the mean squared length of the codes about their mean; the fold after the test
fold, which is not fitted on, decides."""
PROBE_PENALTIES = PENALTIES[2:]
"""Of :func:`probe`, in units of a code's mean squared norm; leave-one-out on the training rows decides."""


def check_installed() -> None:
    """Raises MissingExtraError without scikit-learn, before any long work."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtraError("linear probes", "probes") from None


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
    """A cross-validated score, and its permutation baseline: what shuffled labels score, mean and 95 %
    quantile, and the share of them (with the true labels counted in) that score as high."""

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
    check_installed()
    rows = [row for row, value in enumerate(attribute.values) if value is not None]
    values = [str(attribute.values[row]) for row in rows]
    remark = "" if len(rows) == len(attribute.values) else f"{len(attribute.values) - len(rows)} unknown"
    if not attribute.numeric:
        rare = {value for value in set(values) if values.count(value) < 2}
        if rare:
            rows = [row for row in rows if attribute.values[row] not in rare]
            values = [value for value in values if value not in rare]
            remark = f"{remark}; {len(rare)} classes of a single code left out".removeprefix("; ")
    if len(set(values)) < 2:
        return f"{attribute.name}: all labels are equal, or no two codes share one; there is nothing to read"
    if len(values) < LEAST:
        return f"{attribute.name}: {len(values)} labelled codes are too few for a probe ({LEAST} at least)"
    blocks = None if groups is None else [str(groups.values[row]) for row in rows]
    if blocks is not None and (why := _ungroupable(attribute, values, blocks)):
        blocks, remark = None, f"{remark}; {why}".removeprefix("; ")
    folds = _folds(None if attribute.numeric else values, blocks, len(values), seed)
    source = torch.Generator().manual_seed(seed)
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
    classes: Sequence[str] | None, blocks: Sequence[str] | None, count: int, seed: int
) -> tuple[Tensor, ...]:
    """Test rows of each fold: whole groups, or else even shares of each class."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    places = np.zeros((count, 1))
    if blocks is not None:
        splits = GroupKFold(min(FOLDS, len(set(blocks)))).split(places, groups=blocks)
    elif classes is not None:
        least = min(map(list(classes).count, set(classes)))
        splits = StratifiedKFold(min(FOLDS, least), shuffle=True, random_state=seed).split(places, classes)
    else:
        splits = KFold(FOLDS, shuffle=True, random_state=seed).split(places)
    return tuple(torch.from_numpy(test) for _, test in splits)


def _shuffle(blocks: Sequence[str] | None, folds: Sequence[Tensor], source: torch.Generator) -> Tensor:
    """A permutation of the labels; labels of a group move as a block, for they are alike.

    Without groups they move within their fold: folds hold even shares of the true classes, so they have to
    hold even shares of the shuffled ones, or the probe would fail on those for that alone.
    """
    permutation = torch.empty(sum(map(len, folds)), dtype=torch.long)
    if blocks is None:
        for fold in folds:
            permutation[fold] = fold[torch.randperm(len(fold), generator=source)]
        return permutation
    rows = [[row for row, name in enumerate(blocks) if name == block] for block in sorted(set(blocks))]
    order = torch.randperm(len(rows), generator=source).tolist()
    taken = [row for index in order for row in rows[index]]
    permutation[torch.tensor([row for block in rows for row in block])] = torch.tensor(taken)
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
    targets = one_hot(labels, len(question.classes)).double() if question.classes else labels[..., None]
    read, plain = torch.empty_like(targets), torch.empty_like(targets)
    for fold in question.folds:
        learning = torch.isin(torch.arange(count), fold, invert=True)
        flat = ridge(known[learning], targets[learning].flatten(1), seen[fold])
        read[fold] = flat.view(len(fold), *targets.shape[1:])
        plain[fold] = targets[learning].mean(0)
    if question.classes:
        # As if all classes were equally common, for so the score counts them.
        likely = torch.where(plain > 0, read / plain.clamp_min(1e-12), -torch.inf)
        # The mean over classes of the share of their rows that are read right.
        truth = one_hot(labels, len(question.classes)).double()
        right = (likely.argmax(-1) == labels)[..., None]
        scores = ((truth * right).sum(0) / truth.sum(0)).mean(-1)
    else:
        scores = 1 - ((read - targets).square().sum((0, 2)) / (plain - targets).square().sum((0, 2)))
    true, baseline = scores[0].item(), scores[1:]
    p = (1 + int((baseline >= true - 1e-12).sum())) / (1 + len(baseline))
    return Reading(true, baseline.mean().item(), baseline.quantile(0.95).item(), p)


def ridge(train: Tensor, targets: Tensor, test: Tensor) -> Tensor:
    """Predictions (m, T) for ``test`` (m, D), learned from ``train`` (n, D) with targets (n, T).

    Units are standardised by the training rows (dead ones give nothing), the intercept is free; each target
    has the one of PROBE_PENALTIES with the least leave-one-out error.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train.numpy())
    live = scaler.scale_ > 1e-9 * np.sqrt(scaler.var_.max())
    live &= scaler.var_ > 0
    if not live.any():
        return targets.mean(0).expand(len(test), -1)
    rows, others = (scaler.transform(each.numpy())[:, live] / math.sqrt(live.sum()) for each in (train, test))
    model = RidgeCV(alphas=PROBE_PENALTIES, alpha_per_target=True).fit(rows, targets.numpy())
    return torch.from_numpy(model.predict(others)).reshape(len(test), -1)


@dataclass(frozen=True, eq=False)
class Standard:
    """Units of codes to mean 0 and deviation 1; dead units give nothing."""

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
    return codes.double() @ (codes if others is None else others).double().T / codes.shape[1]


def quadratic_kernel(products: Tensor) -> Tensor:
    """The products (n, n) of codes with all products of two of their units added: lines become parabolas."""
    return (1 + products / products.diagonal().mean()).square()


def held_out(products: Tensor, targets: Tensor, groups: Tensor, seen: Tensor | None = None) -> Tensor:
    """What kernel ridge regression says of every sample's targets (n, T) when its group was not fitted on.

    ``products`` (n, n) of the codes, ``groups`` (n,) whole numbers. ``seen`` (n, n): products of other codes,
    one a sample, with the codes; it is from these that the targets are then read. The penalty is chosen on
    the fold after the test fold, by a probe that saw neither.

    Raises ConfigError for fewer groups than folds, MissingExtraError without scikit-learn.
    """
    check_installed()
    fold, truth = group_folds(groups).cpu().numpy(), targets.double().cpu().numpy()
    kernel = products.double().cpu().numpy()
    read_from = kernel if seen is None else seen.double().cpu().numpy()
    found = np.empty_like(truth)
    for index in range(FOLDS):
        test, check = fold == index, fold == (index + 1) % FOLDS
        train, fit = ~test, ~test & ~check
        errors = [
            np.square(_read(kernel, truth, fit, kernel[check], penalty) - truth[check]).sum()
            for penalty in PENALTIES
        ]
        best = PENALTIES[int(np.argmin(errors))]
        found[test] = _read(kernel, truth, train, read_from[test], best)
    return torch.from_numpy(found)


def _read(
    kernel: np.ndarray, truth: np.ndarray, fit: np.ndarray, rows: np.ndarray, penalty: float
) -> np.ndarray:
    """Targets of samples with ``rows`` of products, by a probe fitted on the samples in ``fit``."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.preprocessing import KernelCenterer

    inside = kernel[np.ix_(fit, fit)]
    centre = KernelCenterer().fit(inside)
    centred, offset = centre.transform(inside), truth[fit].mean(0)
    model = KernelRidge(alpha=penalty * centred.diagonal().mean() + 1e-12, kernel="precomputed")
    model.fit(centred, truth[fit] - offset)
    found: np.ndarray = model.predict(centre.transform(rows[:, fit])) + offset
    return found


def group_folds(groups: Tensor) -> Tensor:
    """The fold (n,) of every sample: groups in turn. Raises ConfigError for fewer groups than folds."""
    names, places = torch.unique(groups, return_inverse=True)
    if len(names) < FOLDS:
        raise ConfigError(f"{len(names)} objects are too few to hold some out: give {FOLDS} or more")
    return torch.as_tensor(places % FOLDS)


def within_groups(rows: Tensor, groups: Tensor) -> Tensor:
    """Rows (n, ...) less the mean of their group."""
    found = rows.double().clone()
    for group in set(groups.tolist()):
        own = groups == group
        found[own] -= found[own].mean(0)
    return found


def r2(found: Tensor, targets: Tensor) -> float:
    """The share of the targets' variance that is found, all columns together: 1 all, 0 no better than their
    mean, below 0 worse."""
    truth = targets.double()
    left = (found - truth).square().sum()
    return float(1 - left / (truth - truth.mean(0)).square().sum())


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
    for top in [top for top in TOPS if top < total]:
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
