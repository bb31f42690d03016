"""How far a reconstruction is from the original. One value a sample, (N,).

Three normalised code errors are in use in the papers; they are never mixed, and each goes by the name of
its paper: ``cvpr15``, ``ijcv16``, ``cvpr16``.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from netinvert.errors import CodeError, ConfigError, ImageError
from netinvert.inversion.codes import Code, code_error


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
    x, y = image.clamp(0, 1).double(), original.clamp(0, 1).double()
    channels = x.shape[1]
    size = min(11, *x.shape[-2:])
    size -= 1 - size % 2
    offsets = torch.arange(size, dtype=x.dtype, device=x.device) - size // 2
    bell = torch.exp(-offsets.square() / (2 * 1.5**2))
    bell = bell / bell.sum()

    def blur(z: Tensor) -> Tensor:
        z = conv2d(z, bell.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return conv2d(z, bell.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity.flatten(1).mean(1)


def spread(images: Tensor) -> dict[str, list[float]]:
    """How far several inversions (P, R, C, H, W) of P codes lie apart: the mean over pairs of one code.

    ``distance`` is the root mean square difference of pixels in [0, 1], ``ssim`` their likeness.
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
