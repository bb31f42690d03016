"""Fused convolutions: the same function and the same gradient, whatever else the network does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import tiny
from netinvert import Encoder
from netinvert.models.cut import LayerCut, LayerName
from netinvert.models.fused_conv import FusedConvolution, SameConv2d
from netinvert.models.rewrite import fuse_convolutions
from tiny import images, seeded

ACTS = {"none": None, "relu": nn.ReLU(), "relu in place": nn.ReLU(inplace=True), "relu6": nn.ReLU6()}


def convolution(kind, groups, stride, bias):
    def build():
        if kind == "same":
            return SameConv2d(4, 6, 3, stride, groups=groups, bias=bias)
        kernel, padding, dilation = {
            "1 x 1": (1, 0, 1),
            "1 x 1, padded": (1, 1, 1),
            "3 x 3": (3, 1, 1),
            "dilated": (3, 2, 2),
            "oblong": ((3, 2), (1, 0), (2, 1)),
            "no padding": (3, 0, 1),
        }[kind]
        return nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias)

    return seeded(build).requires_grad_(False)


KINDS = ["same", "1 x 1", "1 x 1, padded", "3 x 3", "dilated", "oblong", "no padding"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2, 3, (2, 1)]),
    st.booleans(),
    st.sampled_from(list(ACTS)),
    st.tuples(st.integers(5, 9), st.integers(5, 9)),
)
def test_value_and_gradient_are_those_of_the_parts(kind, groups, stride, bias, act, size):
    if isinstance(stride, tuple) and kind == "same":
        stride = 2
    conv, act = convolution(kind, groups, stride, bias), ACTS[act]
    fused = FusedConvolution(conv, act)
    x = (9 * images(2, size, 4) - 4.5).requires_grad_(True)
    plain = conv(x) if act is None else act(conv(x))
    found = fused(x)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    pull = images(1, (1, found.numel()), 1, seed=3).view_as(found) - 0.5
    gradients = [torch.autograd.grad(y, x, pull)[0] for y in (found, plain)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("act", list(ACTS))
def test_gradcheck(kind, act):
    fused = FusedConvolution(convolution(kind, 2, 2, True), ACTS[act])
    x = (3 * images(1, (5, 6), 4) - 1.5).requires_grad_(True)
    assert torch.autograd.gradcheck(fused, (x,))


def test_no_weights_are_left_to_train():
    assert list(FusedConvolution(nn.Conv2d(3, 4, 1), None).parameters()) == []


class Pointwise(nn.Module):
    """Changes what a 1 x 1 convolution gives, in place: the product must not be a view."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x):
        y = F.relu_(self.first(x))
        z = self.last(y)
        z += 1
        return z


class Skipping(nn.Module):
    """Residuals: of the ReLU's output, and of what is before a ReLU that can be fused."""

    def __init__(self, before):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.before = before

    def forward(self, x):
        y = self.first(x)
        z = self.relu(y)
        return self.second(z) + (y if self.before else z)


class Twice(nn.Module):
    """One convolution, run twice."""

    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.acts = nn.ModuleList([nn.ReLU(), nn.ReLU()])

    def forward(self, x):
        x = self.first(x)
        for act in self.acts:
            x = act(self.conv(x))
        return x


class Scaled(nn.Module):
    """Changes the ReLU6's output in place, which its gradient does not need: the fused one's does."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU6()

    def forward(self, x):
        y = self.act(self.first(x))
        y *= y.mean((2, 3), keepdim=True).sigmoid()
        return self.second(y)


class Patched(nn.Module):
    """Adds to the convolution's output in place, before the ReLU module sees the same tensor."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()

    def forward(self, x):
        y = self.conv(x)
        y += 0.3
        return self.relu(y)


NETWORKS = {
    "plain": tiny.plain,
    "functional": tiny.Functional,
    "residual": tiny.Residual,
    "reused": tiny.Reused,
    "tokens": tiny.Tokens,
    "pointwise": Pointwise,
    "skip": lambda: Skipping(before=False),
    "skip before": lambda: Skipping(before=True),
    "twice": Twice,
    "patched": Patched,
    "scaled": Scaled,
    "relu6": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.Conv2d(4, 2, 1), nn.ReLU6()),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_encoder_s_code_and_gradient_are_the_network_s(name, dtype):
    network = seeded(NETWORKS[name], dtype=dtype)
    cut = Encoder(network, "output", tiny.PLAIN)
    x = images(2).to(dtype).requires_grad_(True)
    found = []
    for function in (cut, network):
        y = function(x)
        pull = (images(1, (1, y.numel()), 1, seed=3).view_as(y) - 0.5).to(dtype)
        found.append((y, torch.autograd.grad(y, x, pull)[0]))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def fused_in(cut):
    return [name for name, part in cut.module.named_modules() if isinstance(part, FusedConvolution)]


def test_what_is_fused():
    """Where it can be; a network that would come out different keeps its own parts."""
    cut = Encoder(seeded(tiny.plain), "8", tiny.PLAIN)
    assert fused_in(cut) == ["0", "3"]
    assert [type(cut.module[k]) for k in (1, 4, 5)] == [nn.Identity] * 3
    early = Encoder(seeded(tiny.plain), "0", tiny.PLAIN)
    assert fused_in(early) == ["0"]
    assert early.module[0].act is None  # the code is what it is before the ReLU
    reused = Encoder(seeded(tiny.Reused), "convs.2", tiny.PLAIN)
    assert fused_in(reused) == ["convs.0", "convs.1", "convs.2"]
    assert isinstance(reused.module.relu, nn.ReLU)
    assert fused_in(Encoder(seeded(Twice), "output", tiny.PLAIN)) == ["first"]
    for broken in (Patched, lambda: Skipping(before=True)):
        cut = Encoder(seeded(broken), "output", tiny.PLAIN)
        assert not any(isinstance(part, FusedConvolution) and part.act for part in cut.module.modules())


def test_convolutions_of_other_kinds_stay():
    network = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 3, padding="same")
        )
    )
    assert fused_in(Encoder(network, "output", tiny.PLAIN)) == []


def test_the_network_itself_is_left_alone():
    network = seeded(tiny.plain)
    before = [type(part) for part in network.modules()]
    Encoder(network, "output", tiny.PLAIN)
    assert [type(part) for part in network.modules()] == before
    assert not any(part._forward_hooks for part in network.modules())
    cut = LayerCut(seeded(tiny.Functional), LayerName("output"))
    fuse_convolutions(cut, images(1))
    assert not any(part._forward_hooks for part in cut.module.modules())


@pytest.mark.parametrize("name", ["plain", "reused", "relu6", "pointwise"])
def test_relus_leak_still(name):
    cut = Encoder(seeded(NETWORKS[name]), "output", tiny.PLAIN)
    x = images(2).requires_grad_(True)
    plain = cut(x)
    (shut,) = torch.autograd.grad(plain.sum(), x)
    with cut.leaky_relu_gradients(0.5):
        leaky = cut(x)
        (gradient,) = torch.autograd.grad(leaky.sum(), x)
    torch.testing.assert_close(leaky, plain, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(gradient, shut)
    assert torch.equal(torch.autograd.grad(cut(x).sum(), x)[0], shut)


def test_a_dead_convolution_gets_a_gradient_by_leaking():
    def build():
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1))
        nn.init.constant_(network[0].bias, 0.5)
        return network

    cut = Encoder(seeded(build), "output", tiny.PLAIN)
    x = torch.full((1, 3, *tiny.SIZE), -99.0, dtype=torch.float64).requires_grad_(True)
    with torch.no_grad():
        x *= cut.module[0].weight.sum((0, 2, 3)).sign().view(1, 3, 1, 1)
    dead = (cut.module[0](x) == 0).all((0, 2, 3)).sum().item()
    assert dead >= 1
    with cut.leaky_relu_gradients():
        (gradient,) = torch.autograd.grad(cut(x).sum(), x)
    assert gradient.abs().max() > 0
