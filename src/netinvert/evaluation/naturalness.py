"""How natural an image looks by its gradients, one value a sample, (N,).

By their directions: the measure of Mahendran & Vedaldi 2016, section 5, as their code has it
(aravindhm/nnpreimage, experiments/exp_naturalness.m). And by their strength and directions together, which is
ours: natural images are flat in most places with few strong edges, while directions alone can hardly tell
noise, whose gradients point everywhere, from an image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.errors import ImageError

BINS = 18
LUMA = (0.2989, 0.5870, 0.1140)
"""MATLAB's rgb2gray."""
SOBEL = 8.0
"""What Sobel's kernel makes of a slope of 1 a pixel."""
STRENGTHS = tuple(2.0**power for power in range(-9, -1))
"""Lower ends of the ranges of strength, in shares of the range of values a pixel: from half a grey level of
256 up, each twice the one before."""


def gradient_histogram(images: Tensor, bins: int = BINS) -> Tensor:
    """How much of the gradients' magnitude points in which direction: (N, C, H, W) in [0, 1] -> (N, bins).

    Sobel, the border repeated; directions from -180 to 180 degrees, counterclockwise from the right, in
    equal bins of which each holds its upper edge. Each histogram sums to 1; that of a constant image, which
    has no gradients, is all zero. Values outside [0, 1] are clipped, 3 channels become grey. Float64.
    Raises ImageError.
    """
    magnitude, direction = _gradients(images, bins)
    histogram = magnitude.new_zeros(images.shape[0], bins).scatter_add_(1, direction, magnitude)
    total = histogram.sum(1, keepdim=True)
    return histogram / torch.where(total > 0, total, torch.ones_like(total))


def gradient_statistics(images: Tensor, bins: int = BINS) -> Tensor:
    """How many pixels have gradients of which strength and direction: (N, C, H, W) -> (N, 1 + 8 bins).

    The first share is that of pixels without a visible gradient (below the first of STRENGTHS), then come the
    directions of each range of strengths, as in :func:`gradient_histogram`. Each row sums to 1. Raises
    ImageError.
    """
    magnitude, direction = _gradients(images, bins)
    strength = torch.bucketize(magnitude / SOBEL, magnitude.new_tensor(STRENGTHS), right=True)
    index = torch.where(strength == 0, strength, 1 + (strength - 1) * bins + direction)
    histogram = magnitude.new_zeros(images.shape[0], 1 + len(STRENGTHS) * bins)
    return histogram.scatter_add_(1, index, torch.ones_like(magnitude)) / magnitude.shape[1]


def histogram_intersection(histogram: Tensor, other: Tensor) -> Tensor:
    """The sum over bins of the smaller share, (N, bins) -> (N,): 1 for equal histograms, 0 for disjoint."""
    shared: Tensor = torch.minimum(histogram, other).sum(1)
    return shared


def naturalness(image: Tensor, original: Tensor) -> Tensor:
    """The intersection of the gradient histograms of image and original (both (N, C, H, W)), (N,)."""
    if image.shape != original.shape:
        raise ImageError(f"images to compare have one shape, got {image.shape} and {original.shape}")
    return histogram_intersection(gradient_histogram(image), gradient_histogram(original))


def gradient_naturalness(image: Tensor, original: Tensor) -> Tensor:
    """The intersection of the gradient statistics of image and original (both (N, C, H, W)), (N,)."""
    if image.shape != original.shape:
        raise ImageError(f"images to compare have one shape, got {image.shape} and {original.shape}")
    return histogram_intersection(gradient_statistics(image), gradient_statistics(original))


def _gradients(images: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Sobel's magnitudes (N, H * W) in float64, and the bins of their directions."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ImageError(f"gradients are those of images (N, 1 or 3, H, W), got {tuple(images.shape)}")
    right, down = _sobel(_grey(images.detach().clamp(0, 1).double()))
    # As MATLAB's imgradient: rows count downwards, angles upwards.
    direction = torch.rad2deg(torch.atan2(-down, right))
    edges = torch.linspace(-180, 180, bins + 1, dtype=direction.dtype, device=direction.device)
    index = torch.bucketize(direction, edges[1:-1])  # edge[i - 1] < direction <= edge[i]
    return torch.hypot(right, down), index


def _grey(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W)."""
    if images.shape[1] == 1:
        return images[:, 0]
    red, green, blue = images.unbind(1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _sobel(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right and downwards, each (N, H * W)."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    # Differences before sums, so that those of equal pixels are exactly zero and have no direction.
    across = padded[..., 2:] - padded[..., :-2]
    along = padded[..., 2:, :] - padded[..., :-2, :]
    right = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = along[..., :-2] + 2 * along[..., 1:-1] + along[..., 2:]
    return right.flatten(1), down.flatten(1)
