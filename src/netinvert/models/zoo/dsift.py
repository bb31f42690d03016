"""Dense SIFT (Lowe 2004) as a network: the code is VLFeat's vl_dsift with a flat window.

Mahendran & Vedaldi 2015, section 4.1, and their dsift_net, whose code is our layer ``clamp``; VLFeat divides
by the length once more. Theirs has bins between pixels, where VLFeat and we have them on pixels, and takes
the Gaussian in a bin's middle, where VLFeat and we take its mean over the bin. VLFeat's own atan2 is good to
0.01, so that codes differ in the third digit."""

from __future__ import annotations

from collections import OrderedDict

import torch
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

SIZE = 8
"""A bin's side in pixels."""
BINS = 4
"""OrientationBins of a descriptor along either axis."""
STEP = 3
"""OrientationBins from one descriptor to the next: neighbours share a row or column of bins."""
WINDOW = 1.5
"""Deviation of the Gaussian window, in bins."""
EPSILON = 1e-6
LAYERS = ("derivatives", "binning", "pooling", "blocks", "norm", "clamp", "renorm")


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

    def forward(self, bins: Tensor) -> Tensor:
        """(N, 16 D, rows, columns)."""
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
        return descriptors / (descriptors.square().sum(1, keepdim=True) + EPSILON).sqrt()


def side_of(size: int, most: int = 240) -> int:
    """The largest image side up to ``most`` of which descriptors with bins of ``size`` leave no pixel out."""
    period = STEP * size
    return most - (most - (BINS + 1) * size - 1) % period


def load_dsift(weights: str | None = None, size: int = SIZE) -> Network:
    """Dense SIFT with bins of ``size`` pixels: 8 as in Mahendran & Vedaldi 2016, 5 as in 2015.

    Raises NetworkError if weights are given."""
    refuse_weights("dsift", weights)
    side = side_of(size)
    grey = Preprocessing((side, side), mean=(128.0,), std=(1.0,), scale=255.0)
    return Network("dsift", DenseSift(size).eval(), grey, "MIT", "netinvert", LAYERS)
