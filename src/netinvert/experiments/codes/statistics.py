"""What the codes of pictures look like, number by number and together: to draw new ones, and to bring edited
ones back to where a decoder has learned (Dosovitskiy & Brox 2016 draw from the histograms of the units); and
changes to codes, to see what of them a decoder uses (their section 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError
from netinvert.io.running import draw

LEVELS = 257
"""Of the quantiles that stand for a histogram."""
KEPT = 2048
"""Codes whose scores are kept, at most."""
VARIANCE, DIRECTIONS = 0.95, 256
"""The share of the codes' variance that the principal directions hold, and how many there are at most."""
FLOATS = 2**24
"""Numbers of all kept scores together, at most."""


@dataclass(frozen=True, eq=False)
class CodeStatistics:
    """Statistics of codes (N, *code_shape), by feature: a unit of a vector, a channel of a map (C, H, W).

    ``mean`` and ``std`` (F,); ``quantiles`` (LEVELS, F) from the least value seen to the largest, which is
    the inverse of the cumulated histogram; ``strength`` (2, G) the least and largest root mean square that
    a code had: of a whole vector, or of each channel of a map; ``scores`` (M, *code_shape) the normal scores
    of some of the codes: what their numbers would be if every feature were normally distributed;
    ``directions`` (K, *code_shape) the principal ones of the codes about their ``centre``, ``reach`` (2, K)
    the least and the largest place of a code along each.
    """

    mean: Tensor
    std: Tensor
    quantiles: Tensor
    strength: Tensor
    scores: Tensor
    centre: Tensor
    directions: Tensor
    reach: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> CodeStatistics:
        """Those of codes (N, *code_shape), vectors or maps.

        Raises CodeError for fewer than two, for codes of other dimensions, or with NaN.
        """
        if codes.ndim not in (2, 4) or len(codes) < 2:
            raise CodeError(
                f"statistics are of two codes or more, (N, F) or (N, C, H, W); got {tuple(codes.shape)}"
            )
        if not bool(torch.isfinite(codes).all()):
            raise CodeError("the codes hold NaN or infinite values; compute or load them again")
        codes = codes.detach().float().cpu()
        by_feature = codes.transpose(0, 1).flatten(1)
        ordered = by_feature.contiguous().sort(dim=1).values
        at = torch.linspace(0, 1, LEVELS, dtype=torch.float64) * (ordered.shape[1] - 1)
        strengths = _strength(codes)
        return cls(
            by_feature.mean(1),
            by_feature.std(1),
            _between(ordered, at.expand(len(ordered), -1)).T.contiguous(),
            torch.stack([strengths.amin(0), strengths.amax(0)]),
            _normal_scores(codes, ordered),
            *_principal(codes),
        )

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Of one code."""
        return tuple(self.scores.shape[1:])

    def project(self, codes: Tensor, principal: bool = False) -> Tensor:
        """Codes (N, *code_shape) brought to where codes of pictures are: every number in the range that its
        feature was seen in (a rectified one is never negative), and the root mean square of each code, of a
        map's every channel, in the range of those seen. Codes that are there already stay as they are.

        A code that is too weak can stay a little weaker where its numbers reach the ends of their ranges.
        With ``principal`` codes are first put on the principal directions, no farther along each than a code
        was seen, which changes every code: numbers that go together for pictures then do so again.
        Raises CodeError for codes of another shape.
        """
        if tuple(codes.shape[1:]) != self.code_shape:
            raise CodeError(f"these statistics are of codes {self.code_shape}, got {tuple(codes.shape)}")
        clamped = self._clamped(self._on_directions(codes) if principal else codes)
        found = _strength(clamped)
        low, high = self.strength.to(codes.device)
        # The least strength gets no rounding error: what is in the range must not move.
        wanted = torch.maximum(torch.minimum(found, high), low)
        ratio = torch.where(found > 0, wanted / found.clamp_min(torch.finfo(found.dtype).tiny), 1.0)
        ratio = torch.where(wanted == found, torch.ones_like(ratio), ratio)
        return self._clamped(clamped * ratio.view(len(codes), -1, *[1] * (codes.ndim - 2)))

    def sample(self, count: int, seed: int, joint: bool = False) -> Tensor:
        """Random codes (count, *code_shape), the k-th from the seed ``seed + k``.

        Each number is drawn by itself from the histogram of its feature (Dosovitskiy & Brox 2016). With
        ``joint`` they are drawn together, from the normal distribution of the scores of real codes with all
        its covariances (a Gaussian copula; for maps with the means of every place), and have the features'
        histograms too: units that speak together for pictures then do so here.
        """
        if count < 1:
            raise ConfigError(f"how many random codes? At least one, not {count}")
        seeds = range(seed, seed + count)
        if not joint:
            uniform = draw(seeds, lambda source: torch.rand(self.code_shape, generator=source))
            return self._by_rank(uniform)
        scale = 1 / math.sqrt(len(self.scores) - 1)
        weights = draw(seeds, lambda source: scale * torch.randn(len(self.scores), generator=source))
        flat = self.scores.flatten(1).float()
        mean = flat.mean(0)
        # One code at a time: a product of matrices would depend in its last bit on how many there are.
        normal = torch.stack([mean + row @ (flat - mean) for row in weights])
        return self._by_rank(torch.special.ndtr(normal).view(count, *self.code_shape))

    def _by_rank(self, rank: Tensor) -> Tensor:
        """The numbers (N, *code_shape) at these shares, in [0, 1], of the features' histograms."""
        at = rank.transpose(0, 1).flatten(1).double() * (LEVELS - 1)
        values = _between(self.quantiles.T.contiguous(), at)
        return values.view(rank.shape[1], len(rank), *rank.shape[2:]).transpose(0, 1).contiguous()

    def _on_directions(self, codes: Tensor) -> Tensor:
        low, high = self.reach.to(codes)
        flat = self.directions.flatten(1).to(codes)
        centre = self.centre.flatten().to(codes)
        # One code at a time, as in ``sample``.
        along = [torch.maximum(torch.minimum(flat @ (code.flatten() - centre), high), low) for code in codes]
        return torch.stack([centre + row @ flat for row in along]).view(codes.shape)

    def _clamped(self, codes: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (codes.ndim - 2))
        low, high = (self.quantiles[end].to(codes.device).view(shape) for end in (0, -1))
        return torch.maximum(torch.minimum(codes, high), low)


def _some(codes: Tensor) -> Tensor:
    """Codes spread evenly over all, as many as there is room for."""
    keep = max(2, min(KEPT, len(codes), FLOATS // codes[0].numel()))
    return codes[torch.linspace(0, len(codes) - 1, keep).round().long()]


def _principal(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean code, the principal directions about it, and how far codes lie along each."""
    centre = codes.mean(0)
    away = (_some(codes) - centre).flatten(1)
    _, sizes, directions = torch.linalg.svd(away, full_matrices=False)
    held = sizes.square().cumsum(0) / sizes.square().sum().clamp_min(1e-30)
    count = min(DIRECTIONS, int((held < VARIANCE).sum()) + 1)
    along = away @ directions[:count].T
    reach = torch.stack([along.amin(0), along.amax(0)])
    return centre, directions[:count].view(count, *codes.shape[1:]).contiguous(), reach


def _strength(codes: Tensor) -> Tensor:
    """Root mean squares (N, G): of vectors, of every channel of maps."""
    grouped = codes.flatten(2) if codes.ndim == 4 else codes[:, None]
    return grouped.square().mean(-1).sqrt()


def _between(ordered: Tensor, at: Tensor) -> Tensor:
    """The numbers of rows (F, L) at the places (F, K) in [0, L - 1], linear between neighbours."""
    below = at.floor().clamp(0, ordered.shape[1] - 1)
    above = (below + 1).clamp_max(ordered.shape[1] - 1)
    one, other = ordered.gather(1, below.long()), ordered.gather(1, above.long())
    return torch.lerp(one, other, (at - below).to(ordered))


def _normal_scores(codes: Tensor, ordered: Tensor) -> Tensor:
    """(M, *code_shape) for some of the codes: the normal quantile of each number's rank in its feature.

    Equal numbers (the zeros of a ReLU) share their middle rank, which narrows the scores; they are widened to
    a variance of 1 over each feature, so that its histogram comes out of them again.
    """
    some = _some(codes)
    values = some.transpose(0, 1).flatten(1).contiguous()
    low = torch.searchsorted(ordered, values, right=False)
    high = torch.searchsorted(ordered, values, right=True)
    scores = torch.special.ndtri((low + high).double() / (2 * ordered.shape[1]))
    centred = scores - scores.mean(1, keepdim=True)
    deviation = centred.square().mean(1, keepdim=True).sqrt()
    spread = torch.where(deviation > 1e-9, centred / deviation.clamp_min(1e-9), torch.zeros_like(centred))
    return spread.float().view(codes.shape[1], len(some), *codes.shape[2:]).transpose(0, 1).contiguous()


# -- changes: every code by itself; what is random comes from one seed a code --------------------------------


def binarised(codes: Tensor) -> Tensor:
    """The signs alone: every number that is not 0 gets one size, which keeps the code's norm."""
    return rescaled(codes.sign(), codes)


def dropped(codes: Tensor, share: float, seeds: Sequence[int]) -> Tensor:
    """A random ``share`` of each code's numbers set to 0, the others scaled to keep the code's norm."""
    if not 0 <= share < 1:
        raise ConfigError(f"the share of a code to leave out is in [0, 1), not {share}")
    _check_seeds(codes, seeds)
    count = codes[0].numel()
    gone = round(share * count)
    order = draw(seeds, lambda source: torch.randperm(count, generator=source))
    kept = (order >= gone).view(codes.shape).to(codes)
    return rescaled(codes * kept, codes)


def top_only(codes: Tensor, count: int) -> Tensor:
    """The ``count`` numbers farthest from 0 of each code; the others are 0."""
    return codes * _top(codes, count)


def without_top(codes: Tensor, count: int) -> Tensor:
    """All but the ``count`` numbers farthest from 0 of each code, which become 0."""
    return codes * (1 - _top(codes, count))


def noisy(codes: Tensor, std: Tensor, share: float, seeds: Sequence[int]) -> Tensor:
    """With normal noise: ``share`` of the deviation ``std`` (F,) of each unit or channel."""
    if share < 0:
        raise ConfigError(f"the share of noise is not negative, got {share}")
    _check_seeds(codes, seeds)
    noise = draw(seeds, lambda source: torch.randn(codes.shape[1:], generator=source)).to(codes)
    return codes + share * std.to(codes).view(1, -1, *[1] * (codes.ndim - 2)) * noise


def between(first: Tensor, second: Tensor, share: Tensor, spherical: bool = False) -> Tensor:
    """Codes on the way from ``first`` to ``second`` (N, ...), at the ``share`` (K,): (N, K, ...).

    Straight, or ``spherical``: on the great circle between their directions, the norm changing evenly
    (Shoemake 1985). Where a code is 0, or the two point the same way, both are the same; between opposite
    codes there is no one great circle, and the way is straight.
    """
    if first.shape != second.shape:
        raise ConfigError(f"a way leads between codes of one shape, got {first.shape} and {second.shape}")
    one, other = (codes.flatten(1)[:, None] for codes in (first, second))
    t = share.to(first).view(1, -1, 1)
    path = (1 - t) * one + t * other
    if spherical:
        lengths = [codes.norm(dim=-1, keepdim=True) for codes in (one, other)]
        a, b = (codes / length.clamp_min(1e-30) for codes, length in zip((one, other), lengths, strict=True))
        # atan2 of half chords: arccos of the scalar product loses half the digits near 0 and 180 degrees
        angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
        sine = angle.sin()
        direction = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / sine.clamp_min(1e-30)
        curved = ((1 - t) * lengths[0] + t * lengths[1]) * direction
        path = torch.where((sine > 1e-4) & (lengths[0] > 0) & (lengths[1] > 0), curved, path)
    return path.view(len(first), len(share), *first.shape[1:])


def rescaled(codes: Tensor, like: Tensor) -> Tensor:
    """Codes with the norms of others; codes of zeros stay so."""
    norms, wanted = (one.flatten(1).norm(dim=1) for one in (codes, like))
    ratio = torch.where(norms > 0, wanted / norms.clamp_min(torch.finfo(norms.dtype).tiny), 0.0)
    return codes * ratio.view(-1, *[1] * (codes.ndim - 1))


def _top(codes: Tensor, count: int) -> Tensor:
    """1 at the ``count`` numbers of each code that are farthest from 0, the first of equal ones; else 0."""
    flat = codes.flatten(1)
    if not 1 <= count <= flat.shape[1]:
        raise ConfigError(f"the largest 1 to {flat.shape[1]} numbers of a code, not {count}")
    order = flat.abs().sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(flat).scatter(1, order, 1.0).view(codes.shape)


def _check_seeds(codes: Tensor, seeds: Sequence[int]) -> None:
    if len(seeds) != len(codes):
        raise ConfigError(f"one seed a code: got {len(seeds)} for {len(codes)}")
