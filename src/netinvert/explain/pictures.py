"""Maps of values as colours, alone and over their images."""

from __future__ import annotations

import torch
from torch import Tensor

FULL = 0.995
"""Of a map's values by size: those above this quantile have the full colour."""


def coloured(maps: Tensor) -> Tensor:
    """Colours (N, 3, H, W) of maps (N, H, W): from black over red to white of those that are nowhere below
    zero, red above and blue below zero of others. Each has its own scale.

    >>> coloured(torch.tensor([[[0.0, 1.0]]]))[0, :, 0].T.round()
    tensor([[0., 0., 0.],
            [1., 1., 1.]])
    """
    value = _scaled(maps)
    heat = torch.stack([3 * value, 3 * value - 1, 3 * value - 2], 1)
    signs = 1 - torch.stack([-value.clamp_max(0), value.abs(), value.clamp_min(0)], 1)
    below = (maps < 0).flatten(1).any(1)[:, None, None, None]
    return torch.where(below, signs, heat).clamp(0, 1)


def overlaid(images: Tensor, maps: Tensor) -> Tensor:
    """Images (N, C, H, W) in pale grey with their maps (N, H, W) over them: red, blue below zero."""
    value = _scaled(maps)[:, None]
    grey = (0.35 + 0.6 * images.mean(1, keepdim=True)).expand(-1, 3, -1, -1)
    red, blue = (value.new_tensor(colour)[:, None, None] for colour in ((0.8, 0.0, 0.0), (0.0, 0.1, 0.8)))
    share = value.abs()
    return (grey * (1 - share) + torch.where(value < 0, blue, red) * share).clamp(0, 1)


def _scaled(maps: Tensor) -> Tensor:
    """In [-1, 1], zero staying where it is."""
    most = maps.abs().flatten(1).quantile(FULL, 1).clamp_min(torch.finfo(maps.dtype).tiny)
    return (maps / most[:, None, None]).clamp(-1, 1)
