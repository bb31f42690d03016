import math
from pathlib import Path

import numpy as np
import pytest
import torch

from netinvert import Encoder, NetworkError
from netinvert.models.registry import load_network
from netinvert.models.zoo import descriptors as gradients
from netinvert.models.zoo.descriptors import DenseSift, load_dsift, side_of

REFERENCE = np.load(Path(__file__).parent.parent / "data" / "vlfeat.npz")
"""Made by tools/make_vlfeat_reference.py."""
CASES = [key for key in REFERENCE.files if " dsift " in key]


def vlfeats_angle(x, y):
    """vl_fast_atan2_f of VLFeat's mathop.h: a cubic, wrong by up to 0.01."""
    height = y.abs() + torch.finfo(torch.float32).eps
    r = torch.where(x >= 0, (x - height) / (x + height), (x + height) / (height - x))
    angle = torch.where(x >= 0, math.pi / 4, 3 * math.pi / 4) + (0.1821 * r * r - 0.9675) * r
    return torch.where(y < 0, -angle, angle)


def code_and_expected(key):
    name, _, size = key.split()
    image = torch.from_numpy(REFERENCE[f"{name} image"].astype(np.float32))[None, None]
    code = DenseSift(int(size))(image / 255 if name == "faint" else image)[0]
    return code, torch.from_numpy(REFERENCE[key])


@pytest.mark.parametrize("size", [5, 8])
def test_images_without_room_for_a_descriptor_are_refused(size):
    least = 5 * size + 1
    assert DenseSift(size)(torch.rand(1, 1, least, least)).shape == (1, 128, 1, 1)
    for sides in ((least - 1, least), (least, least - 1), (4, 4)):
        with pytest.raises(NetworkError, match=f"images of {least} pixels"):
            DenseSift(size)(torch.rand(1, 1, *sides))


@pytest.mark.parametrize("key", CASES)
def test_the_code_is_vlfeats_with_vlfeats_atan2(key, monkeypatch):
    monkeypatch.setattr(gradients, "angle", vlfeats_angle)
    code, expected = code_and_expected(key)
    assert expected.max() > 0.1
    torch.testing.assert_close(code, expected, rtol=0, atol=4e-6)


@pytest.mark.parametrize("key", CASES)
def test_the_code_is_near_vlfeats_with_the_true_atan2(key):
    code, expected = code_and_expected(key)
    torch.testing.assert_close(code, expected, rtol=0, atol=0.01)
    assert (code - expected).norm() < 0.01 * expected.norm()


def test_a_ramp_by_hand():
    # dx = 1 and dy = 0 everywhere: every bin holds its window's weight in direction 0, nothing elsewhere.
    size = 8
    image = torch.arange(64.0).expand(1, 1, 64, 64)
    parts = dict(DenseSift(size).named_children())
    x = image
    for name in ("derivatives", "binning", "pooling", "blocks", "norm"):
        x = parts[name](x)
    pixels = np.arange(1 - size, size)
    bell = [np.exp(-0.5 * ((pixels / size - (k - 1.5)) / 1.5) ** 2).mean() for k in range(4)]
    window = np.outer(bell, bell)
    expected = np.zeros((4, 4, 8))
    expected[..., 0] = window / np.linalg.norm(window)
    torch.testing.assert_close(x[0, :, 0, 0].double().numpy(), expected.reshape(-1), rtol=0, atol=1e-6)


def test_the_papers_code_is_the_clamped_one():
    network = load_network("dsift")
    image = torch.rand(1, 1, 233, 233, generator=torch.Generator().manual_seed(0))
    image[..., 60:, :] = 0.1  # half of the picture is flat
    clamped, output = (Encoder(network, layer)(image) for layer in ("clamp", "output"))
    assert clamped.shape == (1, 128, 9, 9)
    assert clamped.max() == pytest.approx(0.2)
    lengths = clamped.norm(dim=1, keepdim=True)
    assert bool((lengths < 1.001).all())
    seen = lengths > 0.1
    assert bool(seen.any())
    assert not bool(seen.all())
    torch.testing.assert_close((output * lengths)[seen.expand_as(output)], clamped[seen.expand_as(output)])


@pytest.mark.parametrize("size", [5, 8])
def test_no_pixel_is_left_out(size):
    network = load_dsift(size=size)
    side = network.preprocessing.size[0]
    assert side == side_of(size) <= 240
    image = torch.rand(1, 1, side, side, requires_grad=True)
    (gradient,) = torch.autograd.grad(network.module(255 * image).square().sum(), image)
    # only central differences across the border's corners are missing
    assert gradient[..., 0, 1:-1].abs().min() > 0
    assert gradient[..., -1, 1:-1].abs().min() > 0
    assert gradient[..., 1:-1, -1].abs().min() > 0
    larger = torch.rand(1, 1, side + 1, side + 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(network.module(255 * larger).square().sum(), larger)
    assert bool((gradient[..., -1, :] == 0).all())
