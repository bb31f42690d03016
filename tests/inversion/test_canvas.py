"""Canvases: what goes in comes out, at every size and channel count, and jitter keeps the middle."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netinvert import ConfigError, Fourier, Pixels
from netinvert.io.running import draw, generators, shifts
from tiny import images

sizes = st.tuples(st.integers(1, 17), st.integers(1, 17))


def inside(count, size, channels, seed=7):
    return 0.005 + 0.99 * images(count, size, channels, seed)


# --- Fourier ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 4), st.sampled_from([(torch.float64, 1e-10), (torch.float32, 1e-4)]))
def test_fourier_round_trip(size, channels, precision):
    dtype, tolerance = precision
    x = inside(2, size, channels).to(dtype)
    canvas = Fourier(x)
    shown = canvas()
    assert shown.shape == x.shape
    assert shown.dtype == dtype
    assert (shown - x).abs().max() <= tolerance
    assert canvas.optimised()[0].shape == (2, channels, size[0], size[1] // 2 + 1, 2)
    other = inside(2, size, channels, seed=8).to(dtype)
    parameter = canvas.optimised()[0]
    canvas.replace(other)
    assert (canvas() - other).abs().max() <= tolerance
    assert canvas.optimised()[0] is parameter


def test_fourier_stays_inside_and_shows_black_and_white_nearly():
    extremes = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 8, 9)
    shown = Fourier(extremes)().detach()
    assert shown.min() > 0
    assert shown.max() < 1
    assert (shown - extremes).abs().max() <= 1.001e-3
    wild = Fourier.noise((3, 16, 15), [0], torch.empty(0, dtype=torch.float64))
    with torch.no_grad():
        wild.optimised()[0].mul_(500)
    assert ((wild() > 0) & (wild() < 1)).all()
    assert wild().std() > 0.2


@pytest.mark.parametrize("channels", [1, 3])
def test_fourier_gradient(channels):
    canvas = Fourier(inside(1, (5, 4), channels))
    value = canvas.spectrum.detach().clone().requires_grad_(True)
    del canvas.spectrum

    def image_of(spectrum):
        canvas.spectrum = spectrum
        return canvas()

    assert torch.autograd.gradcheck(image_of, (value,))


def test_fourier_spectrum_is_that_of_natural_images():
    """The same step in every parameter changes low frequencies more, by 1/f."""
    canvas = Fourier(torch.full((1, 1, 32, 32), 0.5, dtype=torch.float64))
    power = []
    for frequency in (1, 2, 4, 8):
        with torch.no_grad():
            canvas.spectrum.zero_()
            canvas.spectrum[0, 0, 0, frequency, 0] = 1e-3
        power.append((canvas() - 0.5).std().item())
    ratios = [a / b for a, b in itertools.pairwise(power)]
    assert ratios == pytest.approx([2, 2, 2], rel=1e-3)


def test_noise_is_the_seed_s_alone():
    like = torch.empty(0, dtype=torch.float64)
    torch.manual_seed(1)
    several = Fourier.noise((3, 9, 8), [5, 6, 7], like)()
    torch.manual_seed(2)
    assert torch.equal(Fourier.noise((3, 9, 8), [6], like)()[0], several[1])
    assert not torch.equal(several[0], several[1])
    assert (several - 0.5).abs().max() < 0.2
    before = torch.get_rng_state()
    Fourier.noise((3, 9, 8), [6], like)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_does_not_depend_on_the_default_dtype():
    like = torch.empty(0, dtype=torch.float64)
    single = Fourier.noise((3, 9, 8), [5], like)()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(Fourier.noise((3, 9, 8), [5], like)(), single)
    finally:
        torch.set_default_dtype(torch.float32)


def test_fourier_jitter_rolls_each_sample():
    canvas = Fourier(inside(2, (6, 7), 3))
    canvas.set_jitter(4)
    image = canvas().detach()
    view = canvas.view(image, [(1, 2), (0, 3)])
    # shifts count from the middle of 0 … 3, which is 1
    assert torch.equal(view[0], image[0].roll((0, 1), (-2, -1)))
    assert torch.equal(view[1], image[1].roll((-1, 2), (-2, -1)))
    assert torch.equal(canvas.view(image, None), image)


# --- pixels -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 4), st.sampled_from([1.0, 1 / 255]))
def test_pixels_round_trip(size, channels, unit):
    centre = tuple(0.1 * (c + 1) for c in range(channels))
    x = 3 * images(2, size, channels) - 1  # pixels know no bounds
    canvas = Pixels(x, centre, unit)
    torch.testing.assert_close(canvas(), x)
    expected = (x - torch.tensor(centre, dtype=torch.float64).view(-1, 1, 1)) / unit
    torch.testing.assert_close(canvas.optimised()[0].detach(), expected)
    other = images(2, size, channels, seed=9)
    canvas.replace(other)
    torch.testing.assert_close(canvas(), other)


def test_pixels_do_not_share_memory_with_the_start():
    x = images()
    before = x.clone()
    canvas = Pixels(x, (0.0, 0.0, 0.0))
    with torch.no_grad():
        canvas.optimised()[0].add_(1)
    assert torch.equal(x, before)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 7), sizes)
def test_set_jitter_keeps_the_middle(amounts, margin, size):
    start = images(2, (size[0] + margin, size[1] + margin))
    canvas = Pixels(start, (0.5, 0.5, 0.5), size=size)
    middle = canvas.view(canvas(), None).detach()
    assert middle.shape[-2:] == size
    top = margin // 2
    torch.testing.assert_close(middle, start[..., top : top + size[0], top : top + size[1]])
    for amount in amounts:
        canvas.set_jitter(amount)
        image = canvas().detach()
        assert image.shape[-2:] == (size[0] + amount - 1, size[1] + amount - 1)
        assert canvas.optimised()[0].requires_grad
        assert canvas.optimised()[0].is_leaf
        torch.testing.assert_close(canvas.view(image, None), middle)


def test_a_grown_canvas_repeats_its_border():
    canvas = Pixels(images(1, (4, 4)), (0.0, 0.0, 0.0))
    canvas.set_jitter(4)
    image = canvas().detach()
    assert torch.equal(image[..., 0, 1:5], image[..., 1, 1:5])
    assert torch.equal(image[..., 6, 1:5], image[..., 4, 1:5])


def test_windows_are_the_crops_at_the_shifts():
    canvas = Pixels(images(2, (9, 10)), (0.0, 0.0, 0.0), size=(5, 6))
    image = canvas().detach()
    view = canvas.view(image, [(0, 4), (3, 1)])
    assert torch.equal(view[0], image[0, :, 0:5, 4:10])
    assert torch.equal(view[1], image[1, :, 3:8, 1:7])


def test_pixels_need_the_same_room_on_both_sides():
    with pytest.raises(ConfigError, match="margin"):
        Pixels(images(1, (9, 9)), (0.0, 0.0, 0.0), size=(5, 6))
    with pytest.raises(ConfigError, match="margin"):
        Pixels(images(1, (4, 4)), (0.0, 0.0, 0.0), size=(5, 5))


def test_pixels_gradient_is_the_unit():
    canvas = Pixels(images(1, (4, 4)), (0.0, 0.0, 0.0), unit=1 / 255)
    (gradient,) = torch.autograd.grad(canvas().sum(), canvas.parameters())
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / 255))


# --- seeds --------------------------------------------------------------------------------------------


def test_shifts_are_each_generator_s_own_and_cover_their_range():
    together = [shifts(sources, 4) for sources in [generators([1, 2])] for _ in range(200)]
    (source,) = generators([2])
    alone = [shifts([source], 4)[0] for _ in range(200)]
    assert [pair[1] for pair in together] == alone
    assert {row for row, _ in alone} == {column for _, column in alone} == {0, 1, 2, 3}


def test_draw_stacks_one_sample_a_seed():
    drawn = draw([3, 4], lambda source: torch.rand(5, generator=source))
    assert drawn.shape == (2, 5)
    assert torch.equal(drawn[1], torch.rand(5, generator=torch.Generator().manual_seed(4)))
    assert math.isfinite(drawn.sum().item())


# --- coarse stages ------------------------------------------------------------------------------------


def moved(canvas, by=0.5, seed=3):
    """Every parameter moved at random."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in canvas.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=source, dtype=parameter.dtype))


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 3), st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
def test_a_change_of_detail_leaves_a_spectrum_s_image_as_it_is(size, channels, shares):
    canvas = Fourier(inside(2, size, channels))
    image = canvas().detach()
    for share in (*shares, 1.0):
        canvas.set_resolution(share)
        assert (canvas() - image).abs().max() < 1e-12
        (parameter,) = canvas.parameters()
        assert parameter.shape[0] == 2
        assert parameter.is_leaf
        (gradient,) = torch.autograd.grad(canvas().square().sum(), parameter)
        assert gradient.abs().max() > 0
    assert parameter.shape[2:4] == (size[0], size[1] // 2 + 1)


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (16, 9)])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_coarse_stage_changes_low_frequencies_only(size, share):
    canvas = Fourier(inside(1, size, 1))
    before = torch.fft.rfft2(torch.logit(canvas().detach()))
    canvas.set_resolution(share)
    moved(canvas)
    after = torch.fft.rfft2(torch.logit(canvas().detach()))
    down = torch.fft.fftfreq(size[0], 1 / size[0]).abs()[:, None]
    right = torch.fft.rfftfreq(size[1], 1 / size[1])[None, :]
    low = (down <= max(1, int(share * size[0] / 2))) & (right <= max(1, int(share * size[1] / 2)))
    change = (after - before).abs()[0, 0]
    assert change[~low].max() < 1e-9
    assert (change[low] > 1e-6).sum() > 0.9 * low.sum()
    moved_image = canvas().detach()
    canvas.set_resolution(1.0)
    torch.testing.assert_close(canvas(), moved_image)


def test_a_coarse_spectrum_can_be_replaced():
    canvas = Fourier(inside(2, (12, 13), 3))
    canvas.set_resolution(0.4)
    parameter, other = canvas.optimised()[0], inside(2, (12, 13), 3, seed=9)
    canvas.replace(other)
    torch.testing.assert_close(canvas(), other)
    assert canvas.optimised()[0] is parameter
    assert torch.equal(
        canvas.rest[:, :, : parameter.shape[2] // 2], canvas._whole()[:, :, : parameter.shape[2] // 2]
    )
    canvas.set_resolution(1.0)
    assert canvas.rest is None


def test_fourier_gradient_in_a_coarse_stage():
    canvas = Fourier(inside(1, (6, 5), 3))
    canvas.set_resolution(0.5)
    value = canvas.spectrum.detach().clone().requires_grad_(True)
    del canvas.spectrum

    def image_of(spectrum):
        canvas.spectrum = spectrum
        return canvas()

    assert torch.autograd.gradcheck(image_of, (value,))


@settings(max_examples=40, deadline=None)
@given(sizes, st.floats(0.01, 1), st.integers(1, 4))
def test_coarse_pixels(size, share, amount):
    canvas = Pixels(images(2, size), (0.5,) * 3)
    canvas.set_jitter(amount)
    full = [length + amount - 1 for length in size]
    canvas.set_resolution(share)
    (parameter,) = canvas.parameters()
    assert canvas().shape[-2:] == tuple(full)
    for length, whole in zip(parameter.shape[-2:], full, strict=True):
        assert length == (whole if share == 1 else min(whole, max(2, round(share * whole))))
    canvas.replace(torch.full((2, 3, *full), 0.25, dtype=torch.float64))
    torch.testing.assert_close(canvas(), torch.full_like(canvas(), 0.25))
    moved(canvas, 0.1)
    coarse = canvas().detach()
    canvas.set_resolution(1.0)
    torch.testing.assert_close(canvas(), coarse)
    canvas.set_resolution(0.5)
    canvas.set_jitter(1)
    assert canvas().shape[-2:] == size


def test_coarse_pixels_are_smooth():
    canvas = Pixels(images(1, (16, 16)), (0.0,) * 3)
    rough = canvas().detach().diff(dim=-1).diff(dim=-1).abs().mean()
    canvas.set_resolution(0.25)
    assert canvas.optimised()[0].shape[-2:] == (4, 4)
    assert canvas().diff(dim=-1).diff(dim=-1).abs().mean() < 0.2 * rough


@pytest.mark.parametrize("amount", [1, 2, 3, 4, 7])
def test_shifts_of_a_spectrum_count_from_their_middle(amount):
    """On the average the picture stays: views that lean one way would push it the other way."""
    canvas = Fourier(inside(1, (9, 9), 1))
    canvas.set_jitter(amount)
    image = canvas().detach()
    middle = (amount - 1) // 2
    assert torch.equal(canvas.view(image, [(middle, middle)]), image)
    first = canvas.view(image, [(0, 0)])
    assert torch.equal(first, image.roll((-middle, -middle), (-2, -1)))
