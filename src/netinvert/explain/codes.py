"""What codes know of images: that the same part is the same in other images (Zeiler & Fergus 2013, section
4.4: hide it in each, and see whether the code changes in the same way); how far they move when an image is
shifted, scaled or turned (figure 5 there, with the code error of this package as distance); whether layers
treat an image as they treat natural ones (Geirhos et al. 2023, "Don't trust your eyes", arXiv 2306.04719,
section 4): one that was optimised for a code or a unit may reach it by another way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.errors import CodeError, ConfigError
from netinvert.explain.sanity import rank_correlation
from netinvert.inversion.objectives import AnyEncoder, code_error, layers_of
from netinvert.models.private_copy import plain_torch


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


# -- what moves codes ----------------------------------------------------------------------------------

CHANGES: Mapping[str, tuple[float, ...]] = {
    "shift": (-0.25, -0.15, -0.1, -0.05, -0.025, 0.0, 0.025, 0.05, 0.1, 0.15, 0.25),
    "scale": (0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.4),
    "turn": (-180.0, -90.0, -45.0, -30.0, -15.0, -5.0, 0.0, 5.0, 15.0, 30.0, 45.0, 90.0, 180.0),
}
"""Down the image, as a share of its height; by a factor; by degrees."""


def transformed(images: Tensor, change: str, amount: float) -> Tensor:
    """Images (N, C, H, W), shifted, scaled about their middle, or turned anticlockwise; what comes in from
    outside has the colour of the border's nearest pixel. Raises ConfigError.

    >>> transformed(torch.eye(3)[None, None], "turn", 90.0)[0, 0].round().flip(0)
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    if change not in CHANGES or (change == "scale" and amount <= 0):
        raise ConfigError(f"changes are {', '.join(CHANGES)}, scales above 0; got {change} by {amount:g}")
    turn, size = math.radians(amount if change == "turn" else 0.0), amount if change == "scale" else 1.0
    ratio = images.shape[-2] / images.shape[-1]
    rows = [
        [math.cos(turn) / size, -math.sin(turn) * ratio, 0.0],
        [math.sin(turn) / ratio, math.cos(turn) / size, -2 * amount if change == "shift" else 0.0],
    ]
    way = images.new_tensor(rows).expand(len(images), -1, -1)
    grid = F.affine_grid(way, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False).clamp(0, 1)


@plain_torch()
@torch.no_grad()
def invariance(
    encoder: AnyEncoder, images: Tensor, change: str, amounts: Sequence[float] = ()
) -> dict[str, Tensor]:
    """By layer the code error (A, N) of images (N, C, H, W), changed by each amount (of CHANGES where none is
    given), from their own codes. Raises ConfigError."""
    images = encoder.fit(images.to(encoder.device, encoder.dtype))
    own = layers_of(encoder(images))
    rows: dict[str, list[Tensor]] = {name: [] for name in own}
    for amount in amounts or CHANGES[change] if change in CHANGES else (0.0,):
        codes = layers_of(encoder(transformed(images, change, amount)))
        for name, code in codes.items():
            rows[name].append(code_error(code, own[name]).cpu())
    return {name or encoder.layer: torch.stack(one) for name, one in rows.items()}


# -- paths through a network ---------------------------------------------------------------------------


@plain_torch()
@torch.no_grad()
def path_similarity(encoder: AnyEncoder, images: Tensor, natural: Tensor) -> dict[str, Tensor]:
    """By layer, for each of images (N, C, H, W) the mean rank correlation (N,) of its activations with those
    of natural images (M, C, H, W). One that is the same as a natural image is compared with the others.

    A layer is on the natural path where this is as high as natural images have among themselves.
    """
    coded = [
        layers_of(encoder(encoder.fit(one.to(encoder.device, encoder.dtype)))) for one in (images, natural)
    ]
    same = torch.stack([(natural == one).flatten(1).all(1) for one in images])
    found = {}
    for name in coded[0]:
        mine, theirs = (one[name].flatten(1).cpu() for one in coded)
        rows = []
        for code, own in zip(mine, same, strict=True):
            others = theirs[~own]
            rows.append(rank_correlation(code.expand_as(others), others).mean())
        found[name or encoder.layer] = torch.stack(rows)
    return found
