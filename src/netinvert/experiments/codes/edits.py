"""Changes to codes (N, ...), to see what of them a decoder uses (Dosovitskiy & Brox 2016, section 5).

Every code is changed by itself; what is random comes from one seed a code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.running import draw


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
