"""Objectives by hand: activations, caricatures, poses, groups that drift apart."""

import math

import pytest
import torch

from netinvert import CodeError, ConfigError
from netinvert.inversion.objectives import Activate, Caricature, PairwiseDiversity, PoseTowards
from netinvert.scenes.cameras import geodesic_degrees, rotation_from_angles
from tiny import images

GREY = (0.5, 0.5, 0.5)


def codes(count=3, seed=1):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, 5, generator=source, dtype=torch.float64)


def test_activate_by_hand():
    code = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    one = Activate(torch.tensor([[2.0, 1.0]]))
    assert one(images(), code).tolist() == [-4, -2]
    each = Activate(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert each(images(), code).tolist() == [-1, 4]
    x = codes().requires_grad_(True)
    direction = codes(1, 2)
    (gradient,) = torch.autograd.grad(Activate(direction)(x, x).sum(), x)
    torch.testing.assert_close(gradient, -direction.expand_as(x))


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, "zero everywhere"), (math.nan, "NaN"), (math.inf, "NaN")]
)
def test_directions_that_say_nothing(value, message):
    direction = codes()
    direction[1] = value
    with pytest.raises(CodeError, match=message):
        Activate(direction)


@pytest.mark.parametrize("power", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("scale", [1.0, 1e25, 1e-25])
def test_a_caricature_of_the_image_itself(power, scale):
    code = (codes().abs() * scale).float()
    assert Caricature(code, power)(code, code).tolist() == pytest.approx([-1, -1, -1])
    assert Caricature(code)(code, 3 * code).tolist() == pytest.approx([-3, -3, -3])


def test_a_caricature_by_hand():
    target = torch.tensor([[3.0, -1.0, 4.0]])  # w = (3, 0, 4) / 25
    code = torch.tensor([[1.0, 7.0, 2.0]])
    assert Caricature(target)(code, code).item() == pytest.approx(-11 / 25)
    cosine = (3 - 7 + 8) / math.sqrt(26 * 54)
    assert Caricature(target, 2.0)(code, code).item() == pytest.approx(-11 / 25 * cosine**2)
    away = torch.tensor([[5.0, 100.0, 0.0]])  # the cosine is below 0.1
    assert Caricature(target, 3.0)(away, away).item() == pytest.approx(-15 / 25 * 1e-3)


def test_a_caricature_wants_something_above_zero():
    target = codes()
    target[1] = -target[1].abs()
    with pytest.raises(CodeError, match="before its activation"):
        Caricature(target)


@pytest.mark.parametrize("power", [0.0, 4.0])
def test_a_caricature_s_gradient_and_independence(power):
    target, x = codes(), (codes(seed=2) + codes()).requires_grad_(True)
    term = Caricature(target, power)
    assert torch.autograd.gradcheck(lambda x: term(x, x), (x,))
    (gradient,) = torch.autograd.grad(term(x, x)[1], x)
    assert not gradient[[0, 2]].any()
    zero = torch.zeros_like(x).requires_grad_(True)
    (gradient,) = torch.autograd.grad(term(zero, zero).sum(), zero)
    assert gradient.isfinite().all()


def rotations(*azimuths):
    angles = torch.tensor(azimuths, dtype=torch.float64)
    return rotation_from_angles(angles, torch.full_like(angles, 20), torch.zeros_like(angles))


def test_a_pose_is_an_error_in_the_network_s_own_terms():
    found = rotations(30, 40, 130)
    term = PoseTowards(rotations(40), geodesic_degrees)
    errors = term(images(3), found)
    assert errors.shape == (3,)
    assert errors[1] == pytest.approx(0, abs=1e-6)
    assert errors[1] < errors[0] < errors[2]
    each = PoseTowards(found, geodesic_degrees)
    assert each(images(3), found).tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_apart_by_hand():
    """Two groups of two: opposite images are at -1, those that share half of it at √½."""
    up = torch.full((1, 3, 8, 8), 0.6, dtype=torch.float64)
    half = up.clone()
    half[..., :4] = 0.5  # 1 / √2 of the way
    batch = torch.cat([up, 1 - up, up, half])
    expected = [-1, -1, math.sqrt(0.5), math.sqrt(0.5)]
    assert PairwiseDiversity(2, GREY)(batch, batch).tolist() == pytest.approx(expected)
    three = PairwiseDiversity(3, GREY)(torch.cat([up, up, 1 - up]), batch)
    assert three.tolist() == pytest.approx([0, 0, -1])


def test_apart_couples_groups_only():
    batch = images(6).requires_grad_(True)
    term = PairwiseDiversity(3, GREY)
    before = term(batch, batch)
    other = batch.detach().clone()
    other[4] = images(1, seed=3)[0]
    after = term(other, other)
    assert torch.equal(after[:3], before[:3])
    assert (after[3:] != before[3:]).all()
    # Every sample's value moves that sample alone.
    (gradient,) = torch.autograd.grad(before[1], batch)
    assert gradient[1].any()
    assert not gradient[[0, 2, 3, 4, 5]].any()


def test_apart_does_not_see_noise():
    """A checkerboard averages out in blocks of 4."""
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).repeat(8, 8).expand(1, 3, 16, 16)
    batch = 0.8 * images(2)
    noisy = torch.cat([batch[:1] + 0.1 * board, batch[1:] - 0.1 * board])
    torch.testing.assert_close(
        PairwiseDiversity(2, GREY)(noisy, noisy), PairwiseDiversity(2, GREY)(batch, batch)
    )
    fine = PairwiseDiversity(2, GREY, blur=1)
    assert (fine(noisy, noisy) - fine(batch, batch)).abs().max() > 1e-3
    assert PairwiseDiversity(2, GREY, blur=99)(batch, batch).shape == (2,)


def test_groups_that_cannot_be():
    with pytest.raises(ConfigError, match="two images or more"):
        PairwiseDiversity(1, GREY)
    with pytest.raises(ConfigError, match="no whole groups of 2"):
        PairwiseDiversity(2, GREY)(images(3), images(3))
