"""The errors by hand, and SSIM and PSNR against scikit-image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from netinvert import CodeError, ImageError
from netinvert.evaluation.metrics import code_errors, error_cvpr15, error_cvpr16, psnr, ssim
from netinvert.inversion.objectives import code_error
from tiny import images

CODE = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
TARGET = torch.tensor([[0.0, 4.0], [1.0, 2.0]])
REFERENCE = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]])  # distances 5, 4, 3


def test_ijcv16_by_hand():
    assert code_error(CODE, TARGET).tolist() == pytest.approx([5 / 4, 1 / 5**0.5])


def test_cvpr15_by_hand():
    """All nine pairs, as in the released code: the mean of (0, 25, 16, 25, 0, 9, 16, 9, 0)."""
    normaliser = 2 * (25 + 16 + 9) / 9
    assert error_cvpr15(CODE, TARGET, REFERENCE).tolist() == pytest.approx([25 / normaliser, 1 / normaliser])


def test_cvpr16_by_hand():
    """The three distinct pairs."""
    assert error_cvpr16(CODE, TARGET, REFERENCE).tolist() == pytest.approx([5 / 4, 1 / 4])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.integers(0, 99))
def test_pairwise_normalisers_are_literal(count, seed):
    reference = images(count, (3, 2), seed=seed)
    target, code = images(2, (3, 2), seed=seed + 1), images(2, (3, 2), seed=seed + 2)
    flat = reference.flatten(1).numpy()
    distances = np.array([[np.linalg.norm(a - b) for b in flat] for a in flat])
    error = np.linalg.norm((code - target).flatten(1).numpy(), axis=1)
    np.testing.assert_allclose(error_cvpr15(code, target, reference), error**2 / (distances**2).mean())
    distinct = distances[np.triu_indices(count, 1)]
    np.testing.assert_allclose(error_cvpr16(code, target, reference), error / distinct.mean())


def test_all_errors_by_name():
    found = code_errors(CODE, TARGET, REFERENCE)
    assert set(found) == {"cvpr15", "ijcv16", "cvpr16"}
    assert set(code_errors(CODE, TARGET, None)) == {"ijcv16"}
    for value in found.values():
        assert value.shape == (2,)
    for value in code_errors(TARGET, TARGET, REFERENCE).values():
        assert value.tolist() == [0, 0]


def test_references_have_to_differ():
    for reference in (REFERENCE[:1], REFERENCE[:1].expand(4, 2)):
        for error in (error_cvpr15, error_cvpr16):
            with pytest.raises(CodeError, match="two different reference codes"):
                error(CODE, TARGET, reference)


def skimage_ssim(x, y):
    """The mean over the windows that fit: skimage's own mean crops by half a window, too."""
    pairs = zip(x.numpy(), y.numpy(), strict=True)
    return [
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=0
        )
        for a, b in pairs
    ]


@settings(max_examples=20, deadline=None)
@given(st.tuples(st.integers(11, 30), st.integers(11, 30)), st.sampled_from([1, 3]), st.integers(0, 99))
def test_ssim_is_skimage_s(size, channels, seed):
    x = images(2, size, channels, seed)
    y = (0.7 * x + 0.3 * images(2, size, channels, seed + 1)).clamp(0, 1)
    np.testing.assert_allclose(ssim(x, y), skimage_ssim(x, y), atol=1e-9)


def test_ssim_s_ends():
    x = images(1, (20, 20))
    assert ssim(x, x).item() == pytest.approx(1)
    assert ssim(x, 1 - x).item() < 0
    assert ssim(x, images(1, (20, 20), seed=1)).item() < 0.2
    assert ssim(2 * x - 0.5, (2 * x - 0.5).clamp(0, 1)).item() == pytest.approx(1)


def test_ssim_of_no_images():
    assert ssim(torch.rand(0, 3, 20, 20), torch.rand(0, 3, 20, 20)).shape == (0,)


def test_ssim_s_window_is_symmetric_when_it_shrinks():
    x, y = images(1, (10, 8)), images(1, (10, 8), seed=1)
    assert ssim(x.flip(-1, -2), y.flip(-1, -2)).item() == pytest.approx(ssim(x, y).item())


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (10, 40), (5, 5)])
def test_ssim_of_images_smaller_than_its_window(size):
    x = images(1, size)
    assert ssim(x, x).item() == pytest.approx(1)
    assert math.isfinite(ssim(x, images(1, size, seed=2)).item())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99))
def test_psnr_is_skimage_s(seed):
    x, y = images(2, seed=seed), images(2, seed=seed + 1)
    expected = [
        peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(x.numpy(), y.numpy(), strict=True)
    ]
    np.testing.assert_allclose(psnr(y, x), expected)


def test_psnr_s_ends():
    x = torch.full((1, 3, 4, 4), 0.5)
    assert psnr(x, x).item() == math.inf
    assert psnr(x + 0.1, x).item() == pytest.approx(20, abs=1e-4)
    assert psnr(x + 9, x + 0.5).item() == math.inf  # clipped


def test_shapes_have_to_agree():
    for metric in (psnr, ssim):
        for other in (images(1), images(2, (16, 15)), images(2)[:, :1]):
            with pytest.raises(ImageError, match=r"both \(N, C, H, W\)"):
                metric(images(2), other)
        with pytest.raises(ImageError):
            metric(images(1)[0], images(1)[0])
