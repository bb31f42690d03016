"""Priors and projections: numbers by hand, the papers' difference scheme, gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from netinvert import PRIORS, ConfigError, TotalVariation
from netinvert.inversion.priors import (
    SMOOTHING,
    AlphaNorm,
    HuberVariation,
    SecondOrderVariation,
    parse_prior,
    weigh_priors,
)
from netinvert.inversion.transforms import Ball, Box
from tiny import encoder, images

BETAS = [1.0, 1.5, 2.0]


def total_variation(x, beta=1.0, isotropic=True):
    return TotalVariation(beta, isotropic)(x, x)


def alpha_norm(x, alpha=6.0, colour=True):
    return AlphaNorm((0.0,), alpha, colour)(x, x)


def huber_variation(x, delta=0.02):
    return HuberVariation(delta)(x, x)


def second_order_variation(x):
    return SecondOrderVariation()(x, x)


def literal_tv(x: np.ndarray, beta: float, isotropic: bool = True) -> float:
    """The released code's scheme for one image (C, H, W): forward differences, 0 in the last row/column."""
    below = np.concatenate([x[:, 1:], x[:, -1:]], 1)  # x([2:end end], :)
    right = np.concatenate([x[:, :, 1:], x[:, :, -1:]], 2)
    d1, d2 = below - x, right - x
    terms = (d1**2 + d2**2) ** (beta / 2) if isotropic else np.abs(d1) ** beta + np.abs(d2) ** beta
    return terms.sum() / x[0].size


# --- total variation ----------------------------------------------------------------------------------


def test_total_variation_by_hand():
    x = torch.tensor([[0.0, 3.0], [4.0, 0.0]], dtype=torch.float64)[None, None]
    # (0,0): down 4, right 3; (0,1): down -3; (1,0): right -4; (1,1): nothing.
    assert total_variation(x, 2).item() == pytest.approx((16 + 9 + 9 + 16) / 4)
    assert total_variation(x, 1).item() == pytest.approx((5 + 3 + 4) / 4, abs=4e-3)
    assert total_variation(x, 1, isotropic=False).item() == pytest.approx((4 + 3 + 3 + 4) / 4, abs=4e-3)
    assert total_variation(x.expand(3, 2, 2, 2), 2).tolist() == pytest.approx([25, 25, 25])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 4),
    st.sampled_from(BETAS),
    st.booleans(),
    st.integers(0, 99),
)
def test_total_variation_is_the_papers_scheme(size, channels, beta, isotropic, seed):
    x = images(2, size, channels, seed)
    expected = [literal_tv(sample, beta, isotropic) for sample in x.numpy()]
    # For beta < 2 ours is smoothed by sqrt(1e-6) = 0.001 a difference, and twice that if anisotropic.
    slack = 1e-12 if beta == 2 else 2 * channels * SMOOTHING ** (beta / 2)
    assert total_variation(x, beta, isotropic).tolist() == pytest.approx(expected, abs=slack, rel=1e-12)


def test_isotropic_is_anisotropic_for_beta_2():
    x = images(2, (7, 5))
    assert torch.equal(total_variation(x, 2, True), total_variation(x, 2, False))
    assert not torch.allclose(total_variation(x, 1, True), total_variation(x, 1, False))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("isotropic", [True, False])
def test_total_variation_gradient(beta, isotropic):
    x = images(2, (4, 5)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: total_variation(x, beta, isotropic), (x,))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_image_has_no_variation_and_no_gradient(beta, isotropic, dtype):
    x = torch.full((2, 3, 6, 5), 0.3, dtype=dtype, requires_grad=True)
    value = total_variation(x, beta, isotropic)
    assert value.abs().max() <= 1e-6
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.floats(-1, 1), st.floats(-1, 1), st.sampled_from(BETAS))
def test_resolution_a_ramp(factor, down, right, beta):
    """What holds: on a ramp, k times finer sampling divides the mean by k^beta, up to the border.

    For beta = 1 (the default) times the resolution that is: the same edge weighs the same at any size.
    """

    def ramp(side):
        rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float64) / side] * 2, indexing="ij")
        return (down * rows + right * columns)[None, None]

    side = 200
    coarse, fine = (
        F.pad(ramp(s), (0, 1, 0, 1))[..., : s + 1, : s + 1][..., :-1, :-1] for s in (side, factor * side)
    )
    slope = (down**2 + right**2) ** 0.5 / side
    if slope < 3e-4:
        return
    low, high = total_variation(coarse, beta).item(), total_variation(fine, beta).item()
    smoothed = ((slope**2 + SMOOTHING) ** (beta / 2) - SMOOTHING ** (beta / 2)) if beta < 2 else slope**2
    finer = slope / factor
    expected = ((finer**2 + SMOOTHING) ** (beta / 2) - SMOOTHING ** (beta / 2)) if beta < 2 else finer**2
    assert low == pytest.approx(smoothed, rel=0.02)
    assert high == pytest.approx(expected, rel=0.02)


def test_resolution_of_a_repeated_image():
    """Tiling an image leaves every prior's value as it is, but for the seams: they are means, not sums."""
    x = 0.2 * images(1, (20, 20))
    tiled = torch.cat([torch.cat([x, x.flip(-1)], -1), torch.cat([x, x.flip(-1)], -1).flip(-2)], -2)
    for beta in BETAS:  # mirrored tiles have no seam, but twice the last row
        assert total_variation(tiled, beta).item() == pytest.approx(total_variation(x, beta).item(), rel=0.06)
    for alpha in (2.0, 6.0):
        assert alpha_norm(tiled, alpha).item() == pytest.approx(alpha_norm(x, alpha).item())


# --- alpha norm ---------------------------------------------------------------------------------------


def test_alpha_norm_by_hand():
    x = torch.tensor([[[[3.0, 0.0]], [[-4.0, 2.0]]]], dtype=torch.float64)  # (1, 2, 1, 2)
    assert alpha_norm(x, 6).item() == pytest.approx((5**6 + 2**6) / 2)
    assert alpha_norm(x, 6, colour=False).item() == pytest.approx((3**6 + 4**6 + 2**6) / 2)
    assert alpha_norm(x, 3, colour=False).item() == pytest.approx((3**3 + 4**3 + 2**3) / 2)
    assert alpha_norm(x, 1).item() == pytest.approx((5 + 2) / 2, abs=1e-3)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0, 3.0, 6.0])
@pytest.mark.parametrize("colour", [True, False])
def test_alpha_norm_gradient_also_at_zero(alpha, colour):
    x = (images(2, (3, 4)) - 0.5).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: alpha_norm(x, alpha, colour), (x,))
    zero = torch.zeros(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    value = alpha_norm(zero, alpha, colour)
    assert value.item() == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(value.sum(), zero)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_terms():
    x = images()
    centre = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(AlphaNorm((0.1, 0.2, 0.3), 6)(x, x), alpha_norm(x - centre, 6))
    assert (TotalVariation().name, AlphaNorm((0.0,)).name) == ("tv", "alpha")


# --- projections --------------------------------------------------------------------------------------

wide = st.integers(0, 999).map(lambda seed: 4 * images(2, (3, 4), seed=seed) - 1.5)


@settings(max_examples=50, deadline=None)
@given(wide, st.floats(0.01, 3))
def test_ball(x, radius):
    ball = Ball((0.3, 0.5, 0.6), radius)
    centre = torch.tensor(ball.centre, dtype=torch.float64).view(3, 1, 1)
    once = ball(x, x, 1)
    norm = (x - centre).norm(dim=1, keepdim=True)
    assert ((once - centre).norm(dim=1) <= radius * (1 + 1e-12)).all()
    torch.testing.assert_close(ball(once, x, 1), once, rtol=1e-12, atol=1e-14)
    inner = (norm <= radius).expand_as(x)
    assert torch.equal(once[inner], x[inner])
    # Straight towards the centre.
    torch.testing.assert_close(
        (once - centre) * norm, (x - centre) * (once - centre).norm(dim=1, keepdim=True)
    )


def test_ball_at_its_centre():
    x = torch.full((1, 3, 2, 2), 0.5)
    assert torch.equal(Ball((0.5, 0.5, 0.5), 0.1)(x, x, 1), x)


@settings(max_examples=50, deadline=None)
@given(wide)
def test_box(x):
    once = Box()(x, x, 1)
    assert torch.equal(Box()(once, x, 1), once)
    inner = (x >= 0) & (x <= 1)
    assert torch.equal(once[inner], x[inner])
    assert torch.equal(once[x > 1], torch.ones_like(once[x > 1]))
    assert torch.equal(once[x < 0], torch.zeros_like(once[x < 0]))
    assert Box(-1, 2)(x, x, 1).max() <= 2


# --- shading: Huber and second order ------------------------------------------------------------------


def test_huber_variation_by_hand():
    x = torch.tensor([[0.0, 0.3], [0.4, 0.0]], dtype=torch.float64)[None, None]
    # (0,0): √(0.16 + 0.09) = 0.5; (0,1): 0.3; (1,0): 0.4; (1,1): nothing.
    assert huber_variation(x, 0.1).item() == pytest.approx((0.5 + 0.3 + 0.4 - 3 * 0.05) / 4)
    assert huber_variation(x, 1.0).item() == pytest.approx((0.25 + 0.09 + 0.16) / 2 / 4)
    assert huber_variation(x, 0.35).item() == pytest.approx(((0.5 - 0.175) + 0.09 / 0.7 + (0.4 - 0.175)) / 4)
    assert huber_variation(x.expand(2, 3, 2, 2), 0.1).tolist() == pytest.approx([3 * 1.05 / 4] * 2)


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(1, 4), st.integers(0, 99))
def test_huber_lies_between_total_variation_and_its_square(size, channels, seed):
    x = images(2, size, channels, seed)
    variation = torch.tensor([literal_tv(sample, 1.0) for sample in x.numpy()])
    squared = torch.tensor([literal_tv(sample, 2.0) for sample in x.numpy()])
    for delta in (1e-3, 0.02, 0.5):
        value = huber_variation(x, delta)
        assert (value <= variation + 1e-12).all()
        assert (value >= variation - channels * delta / 2 - 1e-12).all()
        assert (value <= squared / (2 * delta) + 1e-12).all()
    torch.testing.assert_close(huber_variation(x, 2.0), squared / 4)  # no difference is above 2


def test_second_order_variation_by_hand():
    side = 7
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    inner, pixels = (side - 2) ** 2, side**2
    for image, norm in (
        (0.05 * rows**2, 0.1),  # the second difference of t² / 20
        (0.05 * columns**2, 0.1),
        (0.05 * rows * columns, 0.05 * 2**0.5),
        (0.05 * (rows**2 + columns**2), 0.1 * 2**0.5),
        (0.3 * rows - 0.2 * columns, 0.0),  # linear shading costs nothing
    ):
        value = second_order_variation(image.expand(1, 2, side, side)).item()
        assert value == pytest.approx(2 * norm * inner / pixels, abs=1.5e-3)
        assert total_variation(image[None, None]).item() > 0.02
    for size in ((1, 1), (2, 9), (9, 2)):
        assert second_order_variation(images(2, size)).tolist() == [0, 0]


@pytest.mark.parametrize("prior", [huber_variation, second_order_variation])
def test_shading_gradients_and_constant_images(prior):
    x = (0.1 * images(2, (5, 4))).requires_grad_(True)  # differences on both sides of delta
    assert torch.autograd.gradcheck(prior, (x,))
    for dtype in (torch.float32, torch.float64):
        flat = torch.full((2, 3, 6, 5), 0.3, dtype=dtype, requires_grad=True)
        value = prior(flat)
        assert value.abs().max() <= 1e-9
        (gradient,) = torch.autograd.grad(value.sum(), flat)
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("prior", [huber_variation, second_order_variation])
def test_shading_does_not_depend_on_the_resolution(prior):
    """Means over pixels: the same differences weigh the same in an image of any size."""
    x = 0.2 * images(1, (30, 30))
    tiled = torch.cat([torch.cat([x, x.flip(-1)], -1), torch.cat([x, x.flip(-1)], -1).flip(-2)], -2)
    assert prior(tiled).item() == pytest.approx(prior(x).item(), rel=0.1)
    batch = images(3)
    before = prior(batch)
    batch[1] = 0
    assert torch.equal(prior(batch)[[0, 2]], before[[0, 2]])


# --- priors by name -----------------------------------------------------------------------------------


def test_the_weights_of_priors_by_name():
    assert {name: PRIORS[name].weight for name in PRIORS} == {
        "tv-isotropic": 0.1,
        "tv-anisotropic": 0.1,
        "tv-quadratic": 0.1,
        "tv-huber": 0.1,
        "second-order": 0.1,
        "batchnorm": 0.01,
    }


def test_choices_are_read_and_written():
    given = "tv-huber=0.5+second-order"
    assert [part[:2] for part in parse_prior(given)] == [("tv-huber", 0.5), ("second-order", None)]
    terms, text = weigh_priors(given, encoder(), 10.0)
    assert [(weight, type(term)) for weight, term in terms] == [
        (0.5, HuberVariation),
        (10 * PRIORS["second-order"].weight, SecondOrderVariation),
    ]
    assert text == f"tv-huber=0.5+second-order={10 * PRIORS['second-order'].weight!r}"
    assert weigh_priors(text, encoder()) == (terms, text)
    assert weigh_priors("none", encoder()) == weigh_priors([], encoder()) == ((), "none")
    own, _ = weigh_priors("tv-quadratic+tv-huber", encoder(), 1.0, lambda tv: 7.0 * tv.beta)
    assert [weight for weight, _ in own] == [14.0, PRIORS["tv-huber"].weight]


@pytest.mark.parametrize("text", ["", "+", "tv", "none+tv-huber", "tv-huber+", "tv-huber 0.5"])
def test_names_that_are_no_priors(text):
    with pytest.raises(ConfigError, match="no prior"):
        parse_prior(text)


@pytest.mark.parametrize("text", ["tv-huber=", "tv-huber=much", "tv-huber=1=2"])
def test_weights_that_are_no_numbers(text):
    with pytest.raises(ConfigError, match="the weight a number"):
        parse_prior(text)


@pytest.mark.parametrize("text", ["tv-huber=-1", "tv-huber=nan", "tv-huber=inf", "tv-huber=1+batchnorm=-0.1"])
def test_weights_below_zero(text):
    with pytest.raises(ConfigError, match="at least 0"):
        parse_prior(text)


def test_shading_terms():
    assert (HuberVariation().name, SecondOrderVariation().name) == ("tv-huber", "second-order")
