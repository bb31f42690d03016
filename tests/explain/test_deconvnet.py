"""The deconvnet against one written by hand, window by window, in numpy."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert import ConfigError, Encoder, ImageError, NetworkError, Preprocessing
from netinvert.explain.deconvnet import around_grey, deconvnet, strongest, unpool
from tiny import seeded

SIZE = (11, 11)


def encoder_of(network: nn.Module, form: Preprocessing | None = None) -> Encoder:
    return Encoder(network.double().eval(), "output", form or Preprocessing(SIZE))


def image(seed: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- by hand -------------------------------------------------------------------------------------------


def taps(side: int, part: nn.Conv2d | nn.MaxPool2d, out: int):
    """(output, input, tap) along one axis, where the input is inside."""

    def one(value: int | tuple[int, ...]) -> int:
        return value if isinstance(value, int) else value[0]

    kernel, stride, padding, dilation = map(one, (part.kernel_size, part.stride, part.padding, part.dilation))
    for o, k in product(range(out), range(kernel)):
        i = o * stride - padding + k * dilation
        if 0 <= i < side:
            yield o, i, k


def transposed(signal: np.ndarray, conv: nn.Conv2d, size: tuple[int, int]) -> np.ndarray:
    """Each number of the signal times its filter, added where the filter lay."""
    weight = conv.weight.detach().numpy()
    found = np.zeros((conv.in_channels, *size))
    per = conv.out_channels // conv.groups
    for c in range(conv.out_channels):
        first = (c // per) * weight.shape[1]
        for (a, y, i), (b, x, j) in product(
            taps(size[0], conv, signal.shape[1]), taps(size[1], conv, signal.shape[2])
        ):
            found[first : first + weight.shape[1], y, x] += signal[c, a, b] * weight[c, :, i, j]
    return found


def unpooled(signal: np.ndarray, maps: np.ndarray, pool: nn.MaxPool2d, overlaps: str) -> np.ndarray:
    """Window by window, row by row: the signal where the window's first maximum is."""
    found = np.zeros_like(maps)
    for c, a, b in product(*map(range, signal.shape)):
        rows = [y for o, y, _ in taps(maps.shape[1], pool, signal.shape[1]) if o == a]
        columns = [x for o, x, _ in taps(maps.shape[2], pool, signal.shape[2]) if o == b]
        place = max(product(rows, columns), key=lambda at: (maps[c][at], -at[0], -at[1]))
        found[c][place] = signal[c, a, b] + (found[c][place] if overlaps == "sum" else 0)
    return found


@pytest.mark.parametrize("overlaps", ["place", "sum"])
@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.MaxPool2d(2, 1, dilation=2)],
)
@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.Conv2d(4, 6, 2, padding=1, dilation=2), nn.Conv2d(4, 6, 1)],
)
def test_it_is_the_one_written_by_hand(pool, conv, overlaps):
    torch.manual_seed(0)
    conv = copy.deepcopy(conv).float()  # drawn when tests were collected, from any seed
    conv.reset_parameters()
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), pool, conv, nn.ReLU6())
    encoder, x = encoder_of(network), image()
    network = network.double()
    maps = network[:2](x)
    code = network(x)
    found = deconvnet(encoder, x, None, overlaps)
    with torch.no_grad():
        signal = np.maximum(code[0].numpy(), 0)
        signal = transposed(signal, conv, tuple(network[:3](x).shape[-2:]))
        signal = np.maximum(unpooled(signal, maps[0].numpy(), pool, overlaps), 0)
        signal = transposed(signal, network[0], SIZE)
    torch.testing.assert_close(found[0], torch.from_numpy(signal))


def test_overlapping_windows_place_once_or_add_up():
    """One peak that all nine windows of a 3 × 3 pooling share: autograd gives it nine times the signal."""
    peak = torch.zeros(1, 1, 5, 5)
    peak[0, 0, 2, 2] = 1
    value, switches = F.max_pool2d_with_indices(peak, 3, 1)
    assert unpool(torch.ones_like(value), switches, (5, 5)).sum() == 1
    network = nn.Sequential(nn.Identity(), nn.MaxPool2d(3, 1))
    encoder = encoder_of(network, form=Preprocessing((5, 5), mean=(0.0,)))
    signals = [deconvnet(encoder, peak, torch.ones_like, overlaps) for overlaps in ("place", "sum")]
    assert [one.sum().item() for one in signals] == [1, 9]
    assert torch.equal(signals[1], 9 * signals[0])


@pytest.mark.parametrize("how", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_unpooling_is_torch_s_own(how):
    maps = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    value, switches = F.max_pool2d_with_indices(maps, *how)
    own = F.max_unpool2d(value, switches, *how, output_size=(8, 8))
    assert torch.equal(unpool(value, switches, (8, 8)), own)


def test_a_pooled_map_comes_back_at_its_maxima():
    maps = torch.rand(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    value, switches = F.max_pool2d_with_indices(maps, 3, 2)
    back = unpool(value, switches, (9, 9))
    assert torch.equal(F.max_pool2d(back, 3, 2), value)
    assert torch.equal(back[back > 0], maps[back > 0])


def test_windows_side_by_side_make_no_difference():
    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(4, 4, 2))
    )
    encoder = encoder_of(network)
    assert torch.equal(deconvnet(encoder, image()), deconvnet(encoder, image(), None, "sum"))


# -- what it starts from, and units ----------------------------------------------------------------------


def test_a_unit_starts_at_its_maximum_alone():
    codes = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    kept = strongest(2, 0)(codes)
    assert torch.equal(kept[:, 1], torch.zeros(2, 4, 4))
    for k, c in product(range(2), (0, 2)):
        assert kept[k, c].count_nonzero() == 1
        assert kept[k, c].sum() == codes[k, c].max()
    vector = torch.tensor([[1.0, 5.0, 2.0]])
    assert strongest(1)(vector).tolist() == [[0, 5, 0]]
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 1.0]]])
    assert strongest(0)(tokens).tolist() == [[[0, 0], [3, 0]]]


def test_a_unit_reaches_no_further_than_its_receptive_field():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))

    def corner(codes: Tensor) -> Tensor:
        kept = torch.zeros_like(codes)
        kept[:, 0, 0, 0] = codes[:, 0, 0, 0].abs()
        return kept

    signal = deconvnet(encoder_of(network), image(), corner)
    assert signal[..., :5, :5].abs().sum() > 0
    assert signal[..., 5:, :].abs().sum() + signal[..., 5:].abs().sum() == 0


def test_the_signal_is_in_the_network_s_units_and_red_first():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    mean, std = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)
    encoder = encoder_of(network, form=Preprocessing(SIZE, mean, std, 255.0, "BGR"))
    signal = F.conv_transpose2d(encoder(image()), network[2].weight).clamp_min(0)
    own = F.conv_transpose2d(signal, network[0].weight).flip(1).detach()
    torch.testing.assert_close(deconvnet(encoder, image()), own)


def test_pictures_are_about_grey():
    signal = torch.tensor([[-1.0, 0.0, 0.5]])[None, None]
    assert around_grey(signal).flatten().tolist() == [0, 0.5, 0.75]
    assert around_grey(torch.zeros(1, 3, 2, 2)).unique().tolist() == [0.5]


# -- networks --------------------------------------------------------------------------------------------


class Branches(nn.Module):
    def __init__(self, join: str) -> None:
        super().__init__()
        self.first, self.second, self.join = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), join
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        one, other = F.relu(self.first(x)), self.second(x).relu_()
        if self.join == "sum":
            return one + other
        return one * other if self.join == "product" else one * self.gate(other)


def test_a_sum_sends_the_signal_down_both_branches():
    encoder = encoder_of(seeded(lambda: Branches("sum")))
    parts = encoder.module
    found = deconvnet(encoder, image())
    signal = encoder(image()).detach()
    own = F.conv_transpose2d(signal, parts.first.weight, padding=1) + F.conv_transpose2d(
        signal, parts.second.weight
    )
    torch.testing.assert_close(found, own)


def test_batchnorm_scales_and_response_normalisation_passes():
    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LocalResponseNorm(3), nn.Dropout(0.5))
    )
    network[1].running_var.fill_(4.0)
    network[1].weight.data.fill_(3.0)
    encoder = encoder_of(network)
    signal = encoder(image()).detach() * 3 / (4 + network[1].eps) ** 0.5
    torch.testing.assert_close(
        deconvnet(encoder, image()), F.conv_transpose2d(signal, network[0].weight.detach())
    )


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 1)), "1 (GELU: GeluBackward0)"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU()), "1 (LeakyReLU"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.AdaptiveMaxPool2d(2))),
            "1.0 (AdaptiveMaxPool2d",
        ),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), "1 (GroupNorm"),
        (lambda: nn.Sequential(Branches("product")), "0 (Branches: MulBackward0)"),
        (lambda: nn.Sequential(Branches("gate")), "0.gate (Sigmoid"),
    ],
)
def test_what_has_no_rule_is_named(build, named):
    encoder = encoder_of(seeded(build))
    with pytest.raises(NetworkError) as caught:
        deconvnet(encoder, image())
    assert f"no rule for {named}" in str(caught.value)


def test_bad_input_is_refused():
    encoder = encoder_of(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())))
    with pytest.raises(ConfigError, match="0 to 3"):
        deconvnet(encoder, image(), strongest(4))
    with pytest.raises(ConfigError, match="place or sum"):
        deconvnet(encoder, image(), None, "both")
    with pytest.raises(ConfigError, match="the code's shape"):
        deconvnet(encoder, image(), lambda codes: codes[:, :1])
    with pytest.raises(ImageError):
        deconvnet(encoder, encoder(image()))


def test_without_poolings_every_image_gets_the_same_picture():
    """Which is why it says little of such networks."""
    encoder = encoder_of(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))))
    one, other = (deconvnet(encoder, image(seed), torch.ones_like) for seed in (1, 2))
    assert torch.equal(one, other)
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3))
    one, other = (
        deconvnet(encoder_of(seeded(lambda: pooled)), image(seed), torch.ones_like) for seed in (1, 2)
    )
    assert not torch.equal(one, other)
