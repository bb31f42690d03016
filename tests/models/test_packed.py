"""Packed convolutions: the same function and gradient as torch's, the same bits every time, and torch's own
way where they are not to be had."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tiny
from netinvert import Encoder, NetworkError
from netinvert.models import encoder as encoders
from netinvert.models import packed
from netinvert.models.fused_conv import FusedConvolution
from tiny import images, seeded

RELUS = {"none": None, "relu": nn.ReLU(), "relu6": nn.ReLU6()}
GRADIENT = 1e-5


def convolution(kernel=3, stride=1, padding=1, groups=1, channels=4, dilation=1):
    return seeded(
        lambda: nn.Conv2d(channels, 8, kernel, stride, padding, dilation, groups), dtype=torch.float32
    ).requires_grad_(False)


def pictures(count=2, size=tiny.SIZE, channels=3, seed=7):
    return images(count, size, channels, seed).float()


def packs_of(module):
    """Whether each fused convolution of a module has been packed for what it has run."""
    fused = [part for part in module.modules() if isinstance(part, FusedConvolution)]
    return [bool(one._packs) and None not in one._packs.values() for one in fused]


def both(function, x):
    x = x.clone().requires_grad_(True)
    y = function(x)
    pull = images(1, (1, y.numel()), 1, seed=3).view_as(y).to(y) - 0.5
    return y.detach(), torch.autograd.grad(y, x, pull)[0]


def assert_near(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= GRADIENT * theirs.norm()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(1, 0), (1, 1), (2, 0), (3, 1), (3, 0), ((3, 2), (1, 0)), (5, 2), (7, 3)]),
    st.sampled_from([1, 2, 3, (2, 1)]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
    st.sampled_from(list(RELUS)),
    st.tuples(st.integers(14, 17), st.integers(14, 17)),
)
def test_value_and_gradient_are_torch_s(kernel, stride, groups, dilation, act, size):
    conv = convolution(kernel[0], stride, kernel[1], groups, dilation=dilation)
    fused = FusedConvolution(conv, RELUS[act])
    x = (9 * pictures(2, size, 4) - 4.5).contiguous(memory_format=torch.channels_last)
    plain = conv if RELUS[act] is None else nn.Sequential(conv, RELUS[act])
    assert_near(both(fused, x), both(plain, x))
    assert packs_of(fused) == [True]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(11, 4, 5), (11, 4, 0), (7, 2, 3), (5, 2, 1), (4, 4, 0)]
)
@pytest.mark.parametrize("size", [(32, 32), (35, 30)])
def test_an_image_s_gradient_pixel_by_pixel(kernel, stride, padding, size, monkeypatch):
    """As of a transposed convolution, also where the last rows and columns are not looked at."""
    called = []
    shuffled = packed._shuffled
    monkeypatch.setattr(packed, "_shuffled", lambda *args: called.append(1) or shuffled(*args))
    conv = convolution(kernel, stride, padding, channels=3)
    assert_near(both(FusedConvolution(conv, None), pictures(2, size)), both(conv, pictures(2, size)))
    assert called


def test_only_float32_is_packed():
    fused = FusedConvolution(convolution(), None)
    fused(pictures(channels=4))
    assert packs_of(fused) == [True]
    fused.double()(images(channels=4))
    assert fused._packs == {}


def test_what_is_copied_and_changed_packs_anew():
    fused = FusedConvolution(convolution(), nn.ReLU())
    x = pictures(channels=4)
    expected = fused(x)
    for copied in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert copied._packs == {}
        assert torch.equal(copied(x), expected)
        copied._apply(lambda weight: 2 * weight)
        assert torch.equal(copied(x), 2 * expected)
    assert packs_of(fused) == [True]


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU6(),
        nn.Conv2d(8, 6, 1),
    )


def encoder(**options):
    return Encoder(seeded(network, dtype=torch.float32), "output", tiny.PLAIN, **options)


def test_an_encoder_is_packed_and_its_copies_are_too():
    cut, x = encoder(), pictures()
    expected = both(cut, x)
    assert packs_of(cut.module) == [True] * 3
    for copied in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert all(map(torch.equal, both(copied, x), expected))
    assert_near(expected, both(encoder(fast=False), x))


def missing(*args):
    raise AttributeError("no such operator")


def wrong(weight, bias, how, size, high):
    found = packed_as_ever(weight, bias, how, size, high)
    return packed.Packed(found.forward, lambda y: 1.1 * found.backward(y))


packed_as_ever = packed.pack


@pytest.mark.parametrize("broken", ["missing", "switched off", "wrong"])
def test_torch_s_own_way_where_packing_fails(broken, monkeypatch):
    if broken == "missing":
        monkeypatch.setattr(packed, "_convolution", missing)
    elif broken == "wrong":
        monkeypatch.setattr("netinvert.models.fused_conv.pack", wrong)
    else:
        monkeypatch.setattr(torch._C, "_get_mkldnn_enabled", lambda: False)
    cut = encoder()
    assert_near(both(cut, pictures()), both(encoder(fast=False), pictures()))
    assert packs_of(cut.module) == [False] * 3


def test_a_gradient_of_the_gradient():
    fused, x = FusedConvolution(convolution(), nn.ReLU()), pictures(channels=4).requires_grad_(True)
    (gradient,) = torch.autograd.grad(fused(x).square().sum(), x, create_graph=True)
    found = torch.autograd.grad(gradient.square().sum(), x)
    double = FusedConvolution(convolution().double(), nn.ReLU())
    y = x.detach().double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(double(y).square().sum(), y, create_graph=True)
    assert_near(found, torch.autograd.grad(gradient.square().sum(), y))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_image_that_is_not_finite_has_a_code_of_nan_and_the_others_theirs(value):
    cut, x = encoder(), pictures(3)
    broken = x.clone()
    broken[1, 0, 4, 4] = value
    found = cut(broken)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], cut(x)[[0, 2]])


def test_weights_of_nan_are_refused():
    broken = seeded(network, dtype=torch.float32)
    with torch.no_grad():
        broken[2].weight[0] = torch.nan
    with pytest.raises(NetworkError, match="NaN or infinite values; check the network's weights"):
        Encoder(broken, "output", tiny.PLAIN)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_in_slices_is_the_batch_to_the_bit(threads, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        cut, x = encoder(), pictures(7)
        whole = both(cut, x)
        assert cut.trace.largest == 4 * 8 * 8 * 8
        sizes = []
        monkeypatch.setattr(cut._cut, "module", Noting(cut._cut.module, sizes))
        monkeypatch.setattr(encoders, "CACHED", 3 * cut.trace.largest)
        assert all(map(torch.equal, both(cut, x), whole))
        assert sizes == [3, 2, 2]
        changed = x.clone()
        changed[1] = 0
        assert torch.equal(cut(changed)[[0, *range(2, 7)]], whole[0][[0, *range(2, 7)]])
    finally:
        torch.set_num_threads(before)


class Noting(nn.Module):
    """Notes how many images it is given at once."""

    def __init__(self, inner, sizes):
        super().__init__()
        self.inner, self.sizes = inner, sizes

    def forward(self, x):
        self.sizes.append(len(x))
        return self.inner(x)
