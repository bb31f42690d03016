"""The layers that HOG and SIFT share: an image's gradient, sorted by direction and gathered into cells.

Mahendran & Vedaldi 2015, section 4, write both descriptors as networks of such layers. Directions are angles
clockwise from the x axis, for y points down; direction ``o`` of D is o · 360°/D. None has weights to learn.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.errors import NetworkError


class Derivatives(nn.Module):
    """Images (N, 1, H, W) to their derivatives along D directions, (N, D, H - 2, W - 2).

    By central differences, halved; the pixels of the border have none."""

    compass: Tensor

    def __init__(self, directions: int) -> None:
        super().__init__()
        self.register_buffer("compass", compass(directions))

    def forward(self, images: Tensor) -> Tensor:
        """One map a direction: cos · dx + sin · dy."""
        # Differences first: where a pixel's neighbours are equal, the derivative is exactly zero, so that
        # directions that lie symmetrically tie exactly and the first of them wins, as in VLFeat.
        dx = (images[..., 1:-1, 2:] - images[..., 1:-1, :-2]) / 2
        dy = (images[..., 2:, 1:-1] - images[..., :-2, 1:-1]) / 2
        gradient = torch.cat([dx, dy], 1)
        return (self.compass.T @ gradient.flatten(2)).view(-1, self.compass.shape[1], *dx.shape[-2:])


class Binning(nn.Module):
    """Derivatives (N, D, H, W) to the gradient's magnitude, in the nearest direction's map, zero elsewhere.

    ``bilinear`` shares it between the two nearest, by angle. The choice of the nearest has no derivative, so
    without ``bilinear`` the gradient passes through the magnitude alone, as the paper has it. A gradient of
    zero passes nothing."""

    compass: Tensor

    def __init__(self, directions: int, bilinear: bool) -> None:
        super().__init__()
        self.bilinear = bilinear
        self.register_buffer("compass", compass(directions))

    def forward(self, derivatives: Tensor) -> Tensor:
        """The same shape, not negative."""
        directions = derivatives.shape[1]
        # sum over o of (cos o, sin o) · derivative along o is D/2 times the gradient
        gradient = (self.compass * (2 / directions)) @ derivatives.flatten(2)
        dx, dy = gradient.reshape(-1, 2, *derivatives.shape[-2:]).chunk(2, dim=1)
        magnitude = length(dx, dy)
        turn = angle(dx, dy) * (directions / (2 * math.pi))  # in (-D/2, D/2]
        below = turn.detach().floor()
        # NaN has no direction; any will do to hand it on.
        first = below.long().clamp(-directions, directions) % directions
        second = (first + 1) % directions
        empty = torch.zeros_like(derivatives)
        if not self.bilinear:
            return empty.scatter(1, largest(derivatives.detach(), first, second), magnitude)
        share = turn - below
        return empty.scatter(1, first, (1 - share) * magnitude).scatter(1, second, share * magnitude)


def largest(derivatives: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Which of two channels (N, 1, H, W) is the larger one; the one that comes first if they are equal.

    The largest of all derivatives lies on either side of the gradient, so this is argmax, several times as
    quick."""
    one, other = derivatives.gather(1, first), derivatives.gather(1, second)
    return torch.where(one == other, torch.minimum(first, second), torch.where(one > other, first, second))


def gather(maps: Tensor, taps: Tensor, cell: int) -> Tensor:
    """Maps (N, C, H, W) weighted by the same taps along both axes and summed, one window a ``cell``.

    Windows are more than one and at most two cells wide, so that each is a cell and (part of) the next: a
    convolution without its detours."""
    return _along(_along(maps, taps, cell).mT, taps, cell).mT


def _along(maps: Tensor, taps: Tensor, cell: int) -> Tensor:
    *others, length = maps.shape
    cells = (length - len(taps)) // cell + 2
    parts = F.pad(maps, (0, cells * cell - length)).reshape(*others, cells, cell)
    halves = parts @ F.pad(taps, (0, 2 * cell - len(taps))).reshape(2, cell).T
    return halves[..., :-1, 0] + halves[..., 1:, 1]


def tent(cell: int, count: int) -> Tensor:
    """``count`` taps about a cell's middle, 1 - distance / ``cell``: what bilinear interpolation gives."""
    offsets = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    return (1 - offsets.abs() / cell).float()


class Clamp(nn.Module):
    """No number above 0.2."""

    def forward(self, values: Tensor) -> Tensor:
        """The same shape."""
        return values.clamp(max=0.2)


def compass(directions: int) -> Tensor:
    """Cosines and sines of the directions, (2, D)."""
    angles = torch.arange(directions, dtype=torch.float64) * (2 * math.pi / directions)
    return torch.stack([angles.cos(), angles.sin()]).float()


def length(x: Tensor, y: Tensor) -> Tensor:
    """√(x² + y²), whose derivative at zero is zero."""
    square = x.square() + y.square()
    nothing = square == 0
    root: Tensor = square.masked_fill(nothing, 1).sqrt().masked_fill(nothing, 0)
    return root


def angle(x: Tensor, y: Tensor) -> Tensor:
    """The angle of (x, y) in radians, within (-π, π], whose derivative at zero is zero."""
    nothing = (x == 0) & (y == 0)
    return torch.atan2(y, x.masked_fill(nothing, 1))


def refuse_weights(name: str, weights: str | None) -> None:
    """Raise NetworkError if there are any: these networks have none."""
    if weights is not None:
        raise NetworkError(f"{name} is computed as published and has no weights: leave --weights out")
