"""Histograms of oriented gradients (Felzenszwalb et al. 2010) as a network: the code is VLFeat's UoCTTI HOG.

Mahendran & Vedaldi 2015, section 4.1, and their hog_net. Theirs differs from VLFeat in the outermost cells,
which ours does not; the four texture channels are left out, as there."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.models.network import Network, Preprocessing
from netinvert.models.zoo.orientation_histograms import (
    Binning,
    Clamp,
    Derivatives,
    gather,
    refuse_weights,
    tent,
)

SIZE = 224
LAYERS = ("derivatives", "binning", "pooling", "blocks", "norm", "clamp", "cells")
GREY = Preprocessing((SIZE, SIZE), mean=(128.0,), std=(1.0,), scale=255.0)
"""One channel, as the authors have it: luminance (BT.601) in 0..255, less 128 (which no derivative sees)."""
EPSILON = 1e-4 / 4
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
        return blocks / (square + EPSILON).sqrt()


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
    return Network(name, Hog(bilinear=name == "hogb").eval(), GREY, "MIT", "netinvert", LAYERS)
