"""HOG and dense SIFT as networks."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.models.network import Network, Preprocessing


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
        raise NetworkError(f"{name} is computed as published and has no weights: leave them out")


HOG_SIDE = 224
HOG_LAYERS = ("derivatives", "binning", "pooling", "blocks", "norm", "clamp", "cells")
GREY = Preprocessing((HOG_SIDE, HOG_SIDE), mean=(128.0,), std=(1.0,), scale=255.0)
"""One channel, as the authors have it: luminance (BT.601) in 0..255, less 128 (which no derivative sees)."""
HOG_EPSILON = 1e-4 / 4
"""VLFeat adds 1e-4 to a block's square, of differences that are not halved."""


class Hog(nn.Sequential):
    """Grey images (N, 1, H, W) to HOG, (N, 3 · ``orientations``, h, w), with (H + cell/2) // cell rows.

    A cell's numbers: the directed histogram (angle o · 180°/orientations, clockwise from the x axis, for o up
    to twice ``orientations``), then the undirected one. ``bilinear`` shares a gradient between the two
    nearest directions (the paper's HOGb)."""

    def __init__(self, cell: int = 8, orientations: int = 9, bilinear: bool = False) -> None:
        super().__init__(
            OrderedDict(
                derivatives=Derivatives(2 * orientations),
                binning=Binning(2 * orientations, bilinear),
                pooling=HistogramCells(cell),
                blocks=Blocks(),
                norm=BlockNorm(orientations),
                clamp=Clamp(),
                cells=Unblock(),
            )
        )


class HistogramCells(nn.Module):
    """Maps (N, D, H - 2, W - 2) gathered by cells that tile the image from its upper left corner.

    A pixel is shared among the four nearest cells. The last row and column of cells lie at least half within
    the image of H × W."""

    taps: Tensor

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.cell = cell
        # centred between two pixels, or on one if the cell is odd
        self.register_buffer("taps", tent(cell, 2 * cell - cell % 2))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, D, h, w)."""
        cell, half = self.cell, self.cell // 2
        before = half + 1  # the first cell reaches half a cell out of the image, whose border has no gradient
        reach = len(self.taps) - cell - before
        right, below = ((size + 2 + half) // cell * cell + reach - size for size in maps.shape[:1:-1])
        return gather(F.pad(maps, (before, right, before, below)), self.taps, cell)


class Blocks(nn.Module):
    """Stacks cells (N, 2 K, h, w) into blocks of 2 × 2, (N, 4 · 3 K, h + 1, w + 1), that overlap.

    Column by column, in each cell the directed histogram and then its undirected sum. The cells of the border
    are repeated around it, as VLFeat does for the norms."""

    def forward(self, cells: Tensor) -> Tensor:
        """One block a corner of the cells."""
        one, other = cells.chunk(2, dim=1)
        around = F.pad(torch.cat([cells, one + other], 1), (1, 1, 1, 1), mode="replicate")
        height, width = around.shape[-2] - 1, around.shape[-1] - 1
        return torch.cat(
            [around[..., y : y + height, x : x + width] for x in (0, 1) for y in (0, 1)],
            dim=1,
        )


class BlockNorm(nn.Module):
    """Divides a block by the length of its undirected histograms."""

    def __init__(self, orientations: int) -> None:
        super().__init__()
        self.orientations = orientations

    def forward(self, blocks: Tensor) -> Tensor:
        """The same shape."""
        count, _, height, width = blocks.shape
        cells = blocks.view(count, 4, 3 * self.orientations, height, width)
        undirected = cells[:, :, 2 * self.orientations :]
        square = undirected.square().sum((1, 2)).unsqueeze(1)
        return blocks / (square + HOG_EPSILON).sqrt()


class Unblock(nn.Module):
    """Half the sum of what the four blocks around a cell hold of it.

    (N, 4 C, h + 1, w + 1) to (N, C, h, w)."""

    def forward(self, blocks: Tensor) -> Tensor:
        """One histogram a cell."""
        count, _, rows, columns = blocks.shape
        parts = blocks.view(count, 2, 2, -1, rows, columns)
        height, width = rows - 1, columns - 1
        # a cell that comes first in a block is the last one of the block before
        shares = [
            parts[:, x, y, :, 1 - y : 1 - y + height, 1 - x : 1 - x + width] for x in (0, 1) for y in (0, 1)
        ]
        return 0.5 * torch.stack(shares).sum(0)


def load_hog(name: str, weights: str | None = None) -> Network:
    """``hog``, or ``hogb`` with bilinear orientations. Raises NetworkError if weights are given."""
    refuse_weights(name, weights)
    return Network(name, Hog(bilinear=name == "hogb").eval(), GREY, "MIT", "netinvert", HOG_LAYERS)


SIZE = 8
"""A bin's side in pixels."""
BINS = 4
"""OrientationBins of a descriptor along either axis."""
STEP = 3
"""OrientationBins from one descriptor to the next: neighbours share a row or column of bins."""
WINDOW = 1.5
"""Deviation of the Gaussian window, in bins."""
DSIFT_EPSILON = 1e-6
DSIFT_LAYERS = ("derivatives", "binning", "pooling", "blocks", "norm", "clamp", "renorm")


class DenseSift(nn.Sequential):
    """Grey images (N, 1, H, W) to descriptors (N, 16 · ``directions``, h, w), one every three bins.

    A descriptor's numbers: row by row of its 4 × 4 bins, in each bin the directions. Bins are ``size`` pixels
    wide and share gradients bilinearly, in space and angle. The first bin's middle is at pixel ``size`` on
    either axis, so that no bin reaches out of the image."""

    def __init__(self, size: int = SIZE, directions: int = 8) -> None:
        super().__init__(
            OrderedDict(
                derivatives=Derivatives(directions),
                binning=Binning(directions, bilinear=True),
                pooling=OrientationBins(size),
                blocks=Descriptors(size),
                norm=Norm(),
                clamp=Clamp(),
                renorm=Norm(),
            )
        )


class OrientationBins(nn.Module):
    """Maps (N, D, H - 2, W - 2) gathered by bins centred on every ``size``-th pixel."""

    taps: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("taps", tent(size, 2 * size - 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, D, h, w)."""
        return gather(maps, self.taps, self.size)


class Descriptors(nn.Module):
    """Stacks bins (N, D, h, w) into descriptors of 4 × 4 under a Gaussian window, every three bins."""

    window: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        pixels = torch.arange(1 - size, size, dtype=torch.float64)
        middles = size * (torch.arange(BINS, dtype=torch.float64) - (BINS - 1) / 2)
        bell = torch.exp(-0.5 * ((pixels - middles[:, None]) / (WINDOW * size)).square())
        self.register_buffer("window", bell.mean(1).float())
        self.least = (BINS + 1) * size + 1

    def forward(self, bins: Tensor) -> Tensor:
        """(N, 16 D, rows, columns). Raises NetworkError: the image has no room for a descriptor."""
        if min(bins.shape[-2:]) < BINS:
            raise NetworkError(f"dense SIFT takes images of {self.least} pixels a side or more")
        rows, columns = ((size - BINS) // STEP * STEP + 1 for size in bins.shape[-2:])
        return torch.cat(
            [
                self.window[y] * self.window[x] * bins[..., y : y + rows : STEP, x : x + columns : STEP]
                for y in range(BINS)
                for x in range(BINS)
            ],
            dim=1,
        )


class Norm(nn.Module):
    """Divides a descriptor by its length."""

    def forward(self, descriptors: Tensor) -> Tensor:
        """The same shape."""
        return descriptors / (descriptors.square().sum(1, keepdim=True) + DSIFT_EPSILON).sqrt()


def side_of(size: int, most: int = 240) -> int:
    """The largest image side up to ``most`` of which descriptors with bins of ``size`` leave no pixel out."""
    period = STEP * size
    return most - (most - (BINS + 1) * size - 1) % period


def load_dsift(name: str = "dsift", weights: str | None = None, size: int = SIZE) -> Network:
    """Dense SIFT with bins of ``size`` pixels: 8 as in Mahendran & Vedaldi 2016, 5 as in 2015. Raises
    NetworkError if weights are given."""
    refuse_weights(name, weights)
    side = side_of(size)
    grey = Preprocessing((side, side), mean=(128.0,), std=(1.0,), scale=255.0)
    return Network(name, DenseSift(size).eval(), grey, "MIT", "netinvert", DSIFT_LAYERS)
