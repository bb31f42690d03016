"""Does a layer know that the same part is the same in other images? Zeiler & Fergus 2013, section 4.4: hide a
part in each, and see whether the code changes in the same way."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.errors import CodeError, ConfigError


def correspondence(bare: Tensor, hidden: Tensor) -> Tensor:
    """Of codes (N, ...) of N images and of the same with something hidden: for each image the mean, over the
    others, of the share of numbers whose change has another sign, (N,). The mean of all is the paper's Δ over
    the number of pairs: 0 if all change alike. Numbers that stay as they are have the sign 0.

    Raises CodeError, ConfigError: fewer than two images.

    >>> bare = torch.zeros(2, 4)
    >>> correspondence(bare, torch.tensor([[1.0, 1, -1, 0], [1, -1, -1, 0]])).tolist()
    [0.25, 0.25]
    """
    if bare.shape != hidden.shape:
        raise CodeError(f"codes {(*bare.shape,)} and {(*hidden.shape,)} are not of the same images")
    if len(bare) < 2:
        raise ConfigError("parts correspond between images: give two or more")
    signs = (bare - hidden).flatten(1).sign()
    rows = [(signs != one).double().mean(1) for one in signs]
    return torch.stack(rows).sum(1) / (len(bare) - 1)


def with_squares(images: Tensor, centres: Tensor, window: int, colour: float = 0.5) -> Tensor:
    """Images (N, C, H, W) with a square each about its centre (N, 2), row and column, cut at the border."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height) - centres[:, :1] + window / 2).floor()
    columns = (torch.arange(width) - centres[:, 1:] + window / 2).floor()
    inside = [(one >= 0) & (one < window) for one in (rows, columns)]
    squares = (inside[0][:, :, None] & inside[1][:, None])[:, None].to(images.device)
    return torch.where(squares, torch.full_like(images, colour), images)


def random_centres(masks: Tensor, seed: int) -> Tensor:
    """A pixel of each mask (N, H, W) at random, (N, 2)."""
    source = torch.Generator().manual_seed(seed)
    found = []
    for mask in masks:
        places = mask.nonzero()
        if not len(places):
            raise ConfigError("a mask is empty, so nothing of it can be hidden")
        found.append(places[torch.randint(len(places), (), generator=source)])
    return torch.stack(found).double()


def covering_centres(masks: Tensor, window: int) -> Tensor:
    """Where a square hides most of each mask (N, H, W), (N, 2); of a chair's two arms it hides one, where the
    middle of both is no arm. Raises ConfigError for an empty mask."""
    if not bool(masks.flatten(1).any(1).all()):
        raise ConfigError("a mask is empty, so nothing of it can be hidden")
    before, after = window // 2, (window - 1) // 2
    padded = F.pad(masks[:, None].float(), (before, after, before, after))
    hidden = F.avg_pool2d(padded, window, 1, divisor_override=1)[:, 0].flatten(1).argmax(1)
    return torch.stack([hidden // masks.shape[2], hidden % masks.shape[2]], 1).double()
