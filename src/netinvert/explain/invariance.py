"""How far codes move when an image is shifted, scaled or turned, layer by layer (Zeiler & Fergus 2013, figure
5), with the code error of this package as distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import AnyEncoder, code_error, layers_of
from netinvert.models.private_copy import plain_torch

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
