"""The BatchNorm prior: zero for an image with the statistics kept, and nothing left behind."""

import pytest
import torch
from torch import nn

import tiny
from netinvert import ConfigError, Encoder, invert, recipe
from netinvert.inversion.priors import BatchNormStatistics
from tiny import images, seeded


def first() -> nn.Module:
    """The statistics are those of the image itself."""
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Tanh())
    tiny.liven(network)
    return network


def cut_of(build=first, layer="output"):
    return Encoder(seeded(build), layer, tiny.PLAIN)


def with_statistics(norm, seed=7):
    """An image of these means and variances."""
    x = images(1, seed=seed)
    spread, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    wanted = norm.running_mean.view(-1, 1, 1), norm.running_var.view(-1, 1, 1)
    return wanted[0] + (x - mean) * (wanted[1] / spread).sqrt()


def test_zero_for_the_statistics_kept():
    cut = cut_of()
    prior = BatchNormStatistics(cut)
    norm = cut.network.module[0]
    image = with_statistics(norm).requires_grad_(True)
    value = prior(image, image)
    assert value.item() == pytest.approx(0, abs=1e-20)
    (gradient,) = torch.autograd.grad(value.sum(), image)
    assert gradient.abs().max() < 1e-9


def test_by_hand():
    """One deviation off the mean is 1 a channel; twice the deviation is 1, too."""
    cut = cut_of()
    norm = cut.network.module[0]
    norm.eps = 1e-12  # torch 2.10 wants more than 0
    cut = Encoder(cut.network.module, "output", tiny.PLAIN)
    prior = BatchNormStatistics(cut)
    image = with_statistics(norm)
    mean, deviation = norm.running_mean.view(-1, 1, 1), norm.running_var.sqrt().view(-1, 1, 1)
    assert prior(image + deviation, image).item() == pytest.approx(1)
    assert prior(mean + 2 * (image - mean), image).item() == pytest.approx(1)
    one = image.clone()
    one[:, 0] += 3 * deviation[0]
    assert prior(one, image).item() == pytest.approx(9 / 3)


def test_the_mean_over_layers():
    """Of what every BatchNorm before the layer sees, with the same for each."""

    def build():
        network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Tanh())
        tiny.liven(network)
        return network

    module = seeded(build)
    image = images(2)
    expected = []
    for norm, x in ((module[0], image), (module[2], module[:2](image))):
        deviation = (norm.running_var + norm.eps).sqrt()
        spread = (x.var((2, 3), correction=0) + norm.eps).sqrt()
        off = ((x.mean((2, 3)) - norm.running_mean) / deviation) ** 2 + (spread / deviation - 1) ** 2
        expected.append(off.mean(1))
    both = BatchNormStatistics(Encoder(module, "output", tiny.PLAIN))(image, image)
    torch.testing.assert_close(both, (expected[0] + expected[1]) / 2)
    early = BatchNormStatistics(Encoder(module, "1", tiny.PLAIN))(image, image)
    torch.testing.assert_close(early, expected[0])


def test_gradient_and_independence():
    prior = BatchNormStatistics(cut_of(tiny.plain, "5"))
    x = images(1).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: prior(x, x), (x,))
    batch = images(3)
    before = prior(batch, batch)
    batch[1] = 0.3
    after = prior(batch, batch)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert after[1] != before[1]
    flat = torch.full((1, 3, *tiny.SIZE), 0.5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(prior(flat, flat).sum(), flat)
    assert gradient.isfinite().all()


class Failing(nn.Module):
    fails = False

    def forward(self, x):
        if Failing.fails:
            raise RuntimeError("out of order")
        return x


@pytest.mark.parametrize("fails", [False, True])
def test_no_hooks_are_left(fails, monkeypatch):
    network = seeded(lambda: nn.Sequential(nn.BatchNorm2d(3), Failing(), nn.Conv2d(3, 4, 3)))
    cut = Encoder(network, "output", tiny.PLAIN)
    prior = BatchNormStatistics(cut)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr(Failing, "fails", fails)
    if fails:
        with pytest.raises(RuntimeError, match="out of order"):
            prior(images(), images())
    else:
        prior(images(), images())
    for module in (network, cut.module, prior._tap.module):
        for part in module.modules():
            assert not part._forward_hooks
            assert not part._forward_pre_hooks
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert network[0].num_batches_tracked == 0


def test_networks_without_statistics():
    with pytest.raises(ConfigError, match="choose another prior"):
        BatchNormStatistics(tiny.encoder())
    with pytest.raises(ConfigError, match="before layer '2'"):
        BatchNormStatistics(cut_of(tiny.plain, "2"))
    bare = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)))
    with pytest.raises(ConfigError, match="no BatchNorm"):
        BatchNormStatistics(Encoder(bare, "output", tiny.PLAIN))


def test_a_wrapped_network():
    prior = BatchNormStatistics(Encoder(nn.DataParallel(seeded(first)).eval(), "1", tiny.PLAIN))
    assert prior(images(), images()).shape == (2,)


def test_as_a_prior_of_a_preset():
    cut = cut_of(tiny.plain, "5")
    code = cut(images(1)).detach()
    with_it = recipe("fourier-adam", cut, "batchnorm=10").with_steps(12)
    result = invert(cut, code, preset=with_it)
    assert "batchnorm" in result.terms
    prior = BatchNormStatistics(cut)
    without = invert(cut, code, preset=recipe("fourier-adam", cut, "none").with_steps(12))
    assert prior(result.image, code).item() < prior(without.image, code).item()
