"""The phase canvas: natural magnitudes for good, whatever the phases are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netinvert import ConfigError
from netinvert.inversion.canvas import colour_matrix, to_logits
from netinvert.inversion.canvases import SPREAD, Phase, natural_magnitude
from tiny import images

LIKE = torch.empty(0, dtype=torch.float64)


def noise(size=(12, 15), seeds=(1, 2), channels=3):
    return Phase.noise((channels, *size), list(seeds), LIKE)


def values_of(image):
    """Before the sigmoid, in decorrelated colours."""
    return to_logits(image.detach(), colour_matrix(image) if image.shape[1] == 3 else None)


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(2, 17), st.integers(2, 17)), st.integers(1, 4))
def test_any_size_and_channel_count(size, channels):
    canvas = noise(size, channels=channels)
    image = canvas()
    assert image.shape == (2, channels, *size)
    assert ((image > 0) & (image < 1)).all()
    (parameter,) = canvas.parameters()
    assert parameter.shape == (2, channels, size[0], size[1] // 2 + 1)
    (gradient,) = torch.autograd.grad(image.square().sum(), parameter)
    assert gradient.isfinite().all()


def test_values_are_standardised_a_sample():
    values = values_of(noise()())
    spread, mean = torch.std_mean(values, dim=(1, 2, 3))
    assert mean.tolist() == pytest.approx([0, 0], abs=1e-9)
    assert spread.tolist() == pytest.approx([SPREAD, SPREAD])


def test_magnitudes_stay_natural():
    """Whatever happens to the phases: but for column 0, where a real image's spectrum mirrors itself."""
    canvas = noise((16, 17))
    with torch.no_grad():
        canvas.phase.mul_(7).add_(1)
    found = torch.fft.rfft2(values_of(canvas()), norm="ortho").abs()[..., 1:]
    ratio = found / canvas.magnitude[..., 1:]
    for sample in ratio:
        assert sample.std() / sample.mean() < 1e-6


def test_the_phases_of_an_image_are_taken_over():
    first = noise((16, 17))
    image = first().detach()
    for second in (Phase.of(image), noise((16, 17), (8, 9))):
        second.replace(image)
        parameter = second.optimised()[0]
        turn = torch.polar(torch.ones_like(parameter), parameter - first.phase).detach()[..., 1:]
        assert (turn - 1).abs().max() < 1e-6
    assert torch.equal(Phase.of(image).phase, second.phase)


def test_replace_keeps_the_parameter():
    canvas = noise()
    parameter = canvas.optimised()[0]
    canvas.replace(images(2, (12, 15)))
    assert canvas.optimised()[0] is parameter
    assert parameter.requires_grad
    assert parameter.is_leaf


def test_noise_is_the_seed_s_alone():
    both = noise(seeds=(5, 6))
    torch.manual_seed(3)
    assert torch.equal(noise(seeds=(6,)).phase[0], both.phase[1])
    torch.testing.assert_close(noise(seeds=(6,))()[0], both()[1])
    assert not torch.equal(both.phase[0], both.phase[1])


def test_samples_are_independent_to_the_bit():
    canvas = noise(seeds=(1, 2, 3))
    before = canvas().detach()
    with torch.no_grad():
        canvas.phase[1] += 1
    after = canvas()
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    (gradient,) = torch.autograd.grad(after[1].square().sum(), canvas.phase)
    assert not gradient[[0, 2]].any()
    assert gradient[1].abs().max() > 0


def test_gradient():
    canvas = noise((4, 5), (1,))
    value = canvas.phase.detach().clone().requires_grad_(True)
    del canvas.phase

    def image_of(phase):
        canvas.phase = phase
        return canvas()

    assert torch.autograd.gradcheck(image_of, (value,))


def test_jitter_rolls_and_there_is_no_coarse_stage():
    canvas = noise()
    image = canvas().detach()
    canvas.set_jitter(4)
    assert torch.equal(canvas(), image)
    assert torch.equal(canvas.view(image, [(1, 2), (0, 0)])[0], image[0].roll((1, 2), (-2, -1)))
    assert torch.equal(canvas.view(image, None), image)
    canvas.set_resolution(1.0)
    with pytest.raises(ConfigError, match="no coarse stage"):
        canvas.set_resolution(0.5)


def test_natural_magnitude_is_a_power_law():
    """And that of photographs: near 1/f, most in lightness and least in hue."""
    for channels in (1, 3):
        magnitude = natural_magnitude((channels, 64, 64))
        assert magnitude.shape == (channels, 64, 33)
        along = magnitude[:, 0, 1:].log2()
        slopes = along[:, [1, 3, 7, 15]].diff(dim=1)  # from octave to octave
        for channel in slopes:
            assert channel.tolist() == pytest.approx([channel[0].item()] * 3, abs=1e-3)
            assert -2 < channel[0] < -0.7
        if channels == 3:
            assert magnitude[0, 0, 4] > magnitude[1, 0, 4] > magnitude[2, 0, 4]
        else:
            assert slopes[0, 0].item() == pytest.approx(-1, abs=1e-3)


def test_magnitude_at_another_size_is_of_the_same_pictures():
    """A frequency in cycles a picture is as strong relative to others at any size."""
    small, large = (natural_magnitude((3, side, side)) for side in (32, 64))
    ratio = small[:, 0, 1:9] / large[:, 0, 1:9]
    assert (ratio.std(1) / ratio.mean(1) < 1e-4).all()
    assert math.isfinite(large.sum().item())
