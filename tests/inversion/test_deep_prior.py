"""Canvases that are networks: one network a sample, none of which sees another."""

import pytest
import torch
from torch import nn

import tiny
from netinvert import Adam, ConfigError, Energy, Match, Run, Stage, optimize
from netinvert.inversion.canvases import WIDTHS, DecoderPrior, DeepPrior
from tiny import encoder, images

LIKE = torch.empty(0, dtype=torch.float64)


def prior(seeds=(1, 2, 3), size=(16, 12), channels=3, like=LIKE):
    return DeepPrior((channels, *size), list(seeds), like, widths=(4, 6))


@pytest.mark.parametrize("size", [(3, 3), (5, 4), (16, 12), (13, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size(size, channels):
    canvas = DeepPrior((channels, *size), [1, 2], LIKE)
    image = canvas()
    assert image.shape == (2, channels, *size)
    assert ((image > 0) & (image < 1)).all()
    assert all(parameter.shape[0] == 2 and parameter.is_leaf for parameter in canvas.parameters())
    gradients = torch.autograd.grad(image.square().sum(), canvas.optimised())
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(gradient.abs().amax() > 0 for gradient in gradients)


def test_scales_go_with_the_size():
    assert DeepPrior((3, 16, 64), [1], LIKE).widths == WIDTHS[:2]
    assert DeepPrior((1, 128, 128), [1], LIKE).widths == WIDTHS
    with pytest.raises(ConfigError, match="another canvas"):
        DeepPrior((3, 2, 9), [1], LIKE)


def test_start_is_the_seed_s_alone():
    torch.manual_seed(1)
    several = prior((5, 6, 7))
    torch.manual_seed(2)
    alone = prior((6,))
    for one, many in zip(alone.parameters(), several.parameters(), strict=True):
        assert torch.equal(one[0], many[1])
    assert torch.equal(alone.input[0], several.input[1])
    torch.testing.assert_close(alone()[0], several()[1], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(several()[0], several()[1])
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(prior((6,))(), alone())
    finally:
        torch.set_default_dtype(torch.float32)


def test_networks_are_initialised_as_torch_s():
    canvas = prior()
    for parameter in canvas.optimised()[:-1]:
        bound = parameter[0, 0].numel() ** -0.5
        assert 0.8 * bound < parameter.abs().max() <= bound
    assert not canvas.optimised()[-1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_independent_to_the_bit(dtype):
    canvas = prior(like=torch.empty(0, dtype=dtype))
    before = canvas().detach()
    with torch.no_grad():
        for parameter in canvas.parameters():
            parameter[1].add_(0.1)
    after = canvas()
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])
    for gradient in torch.autograd.grad(after[1].square().sum(), canvas.optimised()):
        assert not gradient[[0, 2]].any()


def test_gradient():
    canvas = DeepPrior((1, 4, 5), [1], LIKE, widths=(2,))
    names, parameters = zip(*canvas.named_parameters(), strict=True)
    values = [parameter.detach().clone().requires_grad_(True) for parameter in parameters]

    def image_of(*values):
        return torch.func.functional_call(canvas, dict(zip(names, values, strict=True)))

    assert torch.autograd.gradcheck(image_of, values)


def descent(target, seeds=(1, 2), steps=60):
    canvas = DeepPrior((3, *tiny.SIZE), list(seeds), LIKE, widths=(4, 6))
    energy = Energy(((1.0, Match(target)),))
    return optimize(canvas, energy, encoder(), [Stage(steps, Adam(0.02), jitter=2)], Run(seed=list(seeds)))


def test_a_descent_finds_codes_and_no_sample_sees_another():
    target = encoder()(images(2)).detach()
    found = descent(target)
    losses = found.losses.sum(1)
    assert (losses.amin(0) < 0.6 * losses[0]).all()
    other = target.clone()
    other[1] = encoder()(images(1, seed=9))[0].detach()
    again = descent(other)
    assert torch.equal(again.image[0], found.image[0])
    assert torch.equal(again.losses[..., 0], found.losses[..., 0])
    assert not torch.equal(again.image[1], found.image[1])


@pytest.mark.parametrize("canvas", [prior(), DecoderPrior(torch.sigmoid, images(2))])
def test_what_cannot_be_done(canvas):
    image = canvas().detach()
    with pytest.raises(ConfigError, match="cannot be set to an image"):
        canvas.replace(image)
    canvas.set_resolution(1.0)
    with pytest.raises(ConfigError, match=r"coarse"):
        canvas.set_resolution(0.5)
    canvas.set_jitter(3)
    assert torch.equal(canvas(), image)
    shift = [(1, 2)] * len(image)
    assert torch.equal(canvas.view(image, shift), image.roll((1, 2), (-2, -1)))
    assert torch.equal(canvas.view(image, None), image)


def test_a_decoder_s_input():
    decoder = tiny.seeded(
        lambda: nn.Sequential(nn.Linear(5, 3 * 16 * 16), nn.Sigmoid(), nn.Unflatten(1, (3, 16, 16)))
    ).requires_grad_(False)
    latent = torch.zeros(2, 5, dtype=torch.float64)
    canvas = DecoderPrior(decoder, latent)
    assert torch.equal(canvas(), decoder(latent))
    target = encoder()(decoder(images(2, (1, 5), 1)[:, 0, 0])).detach()
    result = optimize(canvas, Energy(((1.0, Match(target)),)), encoder(), [Stage(60, Adam(0.1))])
    assert (result.losses.sum(1)[-1] < 0.3 * result.losses.sum(1)[0]).all()
    assert not latent.any()  # the start is left as it was
    torch.testing.assert_close(result.image, decoder(canvas.optimised()[0]).detach(), atol=0.05, rtol=0)


def test_decoders_that_give_no_images():
    with pytest.raises(ConfigError, match="one for each of 2 inputs"):
        DecoderPrior(lambda x: x, torch.zeros(2, 5))
    with pytest.raises(ConfigError, match="one for each of 2 inputs"):
        DecoderPrior(lambda x: x[:1], images(2))
