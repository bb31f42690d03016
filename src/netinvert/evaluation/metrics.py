"""How far a reconstruction is from the original. One value a sample, (N,).

Three normalised code errors are in use in the papers; they are never mixed, and each goes by the name of
its paper: ``cvpr15``, ``ijcv16``, ``cvpr16``.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.errors import CodeError, ConfigError, ImageError
from netinvert.inversion.objectives import Code, code_error


def error_cvpr15(code: Tensor, target: Tensor, reference: Tensor) -> Tensor:
    """‖Φ - Φ0‖² over the mean squared distance of all pairs of reference codes (R, ...).

    Mahendran & Vedaldi 2015, section 5, as their released code has it (the pairs include the equal ones).
    """
    flat = _several(reference)
    # The mean over all R² pairs of ‖a - b‖² is twice the variance about the mean code.
    normaliser = 2 * (flat - flat.mean(0)).square().sum(1).mean()
    error: Tensor = (code.double() - target.double()).flatten(1).square().sum(1) / normaliser
    return error


def error_cvpr16(code: Tensor, target: Tensor, reference: Tensor) -> Tensor:
    """‖Φ - Φ0‖ over the mean distance of distinct pairs of reference codes (Dosovitskiy & Brox, CVPR 2016).

    The same with images in place of codes is their image-space error.
    """
    normaliser = torch.nn.functional.pdist(_several(reference)).mean()
    error: Tensor = _norms(code.double() - target.double()) / normaliser
    return error


def code_errors(code: Code, target: Code, reference: Tensor | None) -> dict[str, Tensor]:
    """The normalised code errors by name; those over pairs only where there are reference codes."""
    errors = {"ijcv16": code_error(code, target)}
    if reference is not None and isinstance(code, Tensor) and isinstance(target, Tensor):
        errors["cvpr15"] = error_cvpr15(code, target, reference)
        errors["cvpr16"] = error_cvpr16(code, target, reference)
    return errors


def _norms(codes: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(codes.flatten(1), dim=1)
    return norms


def _several(reference: Tensor) -> Tensor:
    flat = reference.double().flatten(1)
    if flat.shape[0] < 2 or bool((flat == flat[0]).all()):
        raise CodeError("an error over pairwise distances needs at least two different reference codes")
    return flat


def psnr(image: Tensor, original: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images (N, C, H, W) in [0, 1]; values outside are clipped."""
    _same_shape(image, original)
    mse = (image.clamp(0, 1).double() - original.clamp(0, 1).double()).square().flatten(1).mean(1)
    return -10 * torch.log10(mse)


def ssim(image: Tensor, original: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004: Gaussian window of 11, σ = 1.5) of images (N, C, H, W).

    In [0, 1], values outside clipped; the mean over channels and all windows that fit. The window shrinks
    for images smaller than it.
    """
    _same_shape(image, original)
    size = min(11, *image.shape[-2:])
    size -= 1 - size % 2
    offsets = torch.arange(size, dtype=torch.double, device=image.device) - size // 2
    bell = torch.exp(-offsets.square() / (2 * 1.5**2))
    down, across = (_window(bell / bell.sum(), n) for n in image.shape[-2:])

    def blur(z: Tensor) -> Tensor:
        # Products of matrices take a tenth of the time of torch's convolutions in float64.
        return torch.bmm(torch.bmm(down.expand(len(z), -1, -1), z), across.mT.expand(len(z), -1, -1))

    def likeness(image: Tensor, original: Tensor) -> Tensor:
        x, y = (one.clamp(0, 1).double() for one in (image, original))
        mean_x, mean_y = blur(x), blur(y)
        variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        c1, c2 = 0.01**2, 0.03**2
        similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
            (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
        )
        return similarity.mean()

    # One by one, for many maps in float64 do not stay in the cache.
    each = [likeness(*pair) for pair in zip(image, original, strict=True)]
    return torch.stack(each) if each else offsets.new_zeros(0)


def _window(bell: Tensor, length: int) -> Tensor:
    """(length - size + 1, length): each row has the window (size,) at its place."""
    places = length - len(bell) + 1
    rows = bell.new_zeros(places, length)
    for k, value in enumerate(bell):
        rows.diagonal(k)[:places] = value
    return rows


def spread(images: Tensor) -> dict[str, list[float]]:
    """How far several inversions (P, R, C, H, W) of P codes lie apart: the mean over pairs of one code.

    ``distance`` is the root mean square difference of pixels in [0, 1], ``ssim`` their likeness. Raises
    ConfigError for less than two of each.

    >>> spread(torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])[None])["distance"]
    [1.0]
    """
    clipped = images.clamp(0, 1)
    pairs = list(itertools.combinations(range(images.shape[1]), 2))
    if not pairs:
        raise ConfigError("a spread is that of two inversions at least; give more restarts")
    both = [(clipped[:, a], clipped[:, b]) for a, b in pairs]
    distances = [(a - b).double().square().flatten(1).mean(1).sqrt() for a, b in both]
    likeness = [ssim(a, b) for a, b in both]
    return {
        name: torch.stack(values).mean(0).tolist()
        for name, values in (("distance", distances), ("ssim", likeness))
    }


def _same_shape(image: Tensor, original: Tensor) -> None:
    if image.shape != original.shape or image.ndim != 4:
        raise ImageError(f"images to compare are both (N, C, H, W), got {image.shape} and {original.shape}")


BINS = 18
LUMA = (0.2989, 0.5870, 0.1140)
"""MATLAB's rgb2gray."""
SOBEL = 8.0
"""What Sobel's kernel makes of a slope of 1 a pixel."""
STRENGTHS = tuple(2.0**power for power in range(-9, -1))
"""Lower ends of the ranges of strength, in shares of the range of values a pixel: from half a grey level of
256 up, each twice the one before."""


def gradient_histogram(images: Tensor) -> Tensor:
    """How much of the gradients' magnitude points in which direction: (N, C, H, W) in [0, 1] -> (N, BINS).

    Sobel, the border repeated; directions from -180 to 180 degrees, counterclockwise from the right, in
    equal bins of which each holds its upper edge. Each histogram sums to 1; that of a constant image, which
    has no gradients, is all zero. Values outside [0, 1] are clipped, 3 channels become grey. Float64.
    Raises ImageError.
    """
    magnitude, direction = _gradients(images)
    histogram = magnitude.new_zeros(images.shape[0], BINS).scatter_add_(1, direction, magnitude)
    total = histogram.sum(1, keepdim=True)
    return histogram / torch.where(total > 0, total, torch.ones_like(total))


def gradient_statistics(images: Tensor) -> Tensor:
    """How many pixels have gradients of which strength and direction: (N, C, H, W) -> (N, 1 + 8 BINS).

    The first share is that of pixels without a visible gradient (below the first of STRENGTHS), then come the
    directions of each range of strengths, as in :func:`gradient_histogram`. Each row sums to 1. Raises
    ImageError.
    """
    magnitude, direction = _gradients(images)
    strength = torch.bucketize(magnitude / SOBEL, magnitude.new_tensor(STRENGTHS), right=True)
    index = torch.where(strength == 0, strength, 1 + (strength - 1) * BINS + direction)
    histogram = magnitude.new_zeros(images.shape[0], 1 + len(STRENGTHS) * BINS)
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


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's magnitudes (N, H * W) in float64, and the bins of their directions."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ImageError(f"gradients are those of images (N, 1 or 3, H, W), got {tuple(images.shape)}")
    right, down = _sobel(_grey(images.detach().clamp(0, 1).double()))
    # As MATLAB's imgradient: rows count downwards, angles upwards.
    direction = torch.rad2deg(torch.atan2(-down, right))
    edges = torch.linspace(-180, 180, BINS + 1, dtype=direction.dtype, device=direction.device)
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
