"""The list of layers: strides and receptive fields by measurement, against the formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tiny
from netinvert import Encoder, Network, NetworkError, Preprocessing
from netinvert.models import layers
from netinvert.models.layers import list_layers
from tiny import encoder, seeded


def layers_of(build, size=(64, 64), dtype=torch.float64):
    return list_layers(Network("tiny", seeded(build, dtype=dtype), Preprocessing(size)))


@st.composite
def stacks(draw):
    """(kind, kernel, stride, dilation) of each layer, padded so that sizes divide by the strides."""
    layers = []
    total = 1
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "max", "mean"]))
        stride = draw(st.sampled_from([1, 2] if total < 8 else [1]))
        dilation = draw(st.sampled_from([1, 2])) if kind == "conv" and stride == 1 else 1
        # With even kernels, padding cannot be the same on both sides; an odd one never skips a pixel.
        kernel = draw(st.sampled_from([1, 3, 5] if stride == 1 else [3, 5]))
        layers.append((kind, kernel, stride, dilation))
        total *= stride
    return layers


def build_stack(layers):
    parts, channels = [], 3
    for kind, kernel, stride, dilation in layers:
        padding = dilation * (kernel - 1) // 2
        if kind == "conv":
            parts.append(nn.Conv2d(channels, 2, kernel, stride, padding, dilation))
            channels = 2
        else:
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            parts.append(pool(kernel, stride, padding))
    return nn.Sequential(*parts)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(stacks())
def test_stride_and_receptive_field_equal_the_formulas(layers):
    found = layers_of(lambda: build_stack(layers), (128, 128), torch.float32)
    field, jump = 1, 1
    for info, (_, kernel, stride, dilation) in zip(found, layers, strict=False):
        field += (kernel - 1) * dilation * jump
        jump *= stride
        assert info.stride == jump
        assert info.receptive_field == field, (info, layers)


def test_valid_convolutions():
    found = layers_of(lambda: nn.Sequential(nn.Conv2d(3, 2, 5), nn.MaxPool2d(2), nn.Conv2d(2, 2, 5)))
    assert [(info.stride, info.receptive_field) for info in found[:3]] == [(1, 5), (2, 6), (2, 14)]


def test_strides_beyond_the_rows_that_are_marked():
    (conv, *_) = layers_of(lambda: nn.Conv2d(3, 2, 64, stride=64), (256, 256), torch.float32)
    assert (conv.stride, conv.receptive_field) == (64, 64)


def test_strided_valid_convolutions_on_a_small_image():
    """64 → 60 → 56 → … : the size shrinks, but the stride is still 1."""
    found = layers_of(lambda: nn.Sequential(*[nn.Conv2d(3, 3, 7) for _ in range(5)]))
    assert [(info.stride, info.receptive_field) for info in found[:5]] == [(1, 6 * i + 7) for i in range(5)]


def test_global_pooling_sees_the_whole_image():
    found = {info.name: info for info in layers_of(tiny.plain)}
    assert found["6"].code_shape == (8, 1, 1)
    for name in ("6", "7", "8", "output"):
        assert (found[name].stride, found[name].receptive_field) == (None, None)
    assert found["5"].receptive_field == 3 + 1 + 2 * 2

    class Spread(nn.Module):
        def forward(self, x):
            return x - x.mean((-2, -1), keepdim=True)

    (spread, *_) = layers_of(lambda: nn.Sequential(Spread(), nn.Conv2d(3, 2, 1)))
    assert (spread.stride, spread.receptive_field) == (1, 64)


def test_every_name_is_one_that_the_encoder_takes():
    for build in (
        tiny.plain,
        tiny.Reused,
        tiny.Tokens,
        tiny.Residual,
        *[lambda kind=kind: tiny.Several(kind) for kind in ("tuple", "dict", "dataclass", "single")],
    ):
        network = Network("tiny", seeded(build), tiny.PLAIN)
        found = list_layers(network)
        assert len({info.name for info in found}) == len(found)
        for info in found:
            assert Encoder(network, info.name).code_shape == info.code_shape, info


def test_names_of_calls_and_items():
    names = [info.name for info in layers_of(tiny.Reused)]
    assert names == ["convs.0", "relu:0", "convs.1", "relu:1", "convs.2", "relu:2", "output"]
    names = [info.name for info in layers_of(lambda: tiny.Several("dict"))]
    assert names == ["body.conv", "body[features]", "body[pooled]", "output"]


def test_non_square_images_and_types():
    (conv, *_) = layers_of(lambda: nn.Conv2d(3, 2, 3, stride=4, padding=1), (64, 32))
    assert (conv.name, conv.type, conv.code_shape) == ("output", "Conv2d", (2, 16, 8))
    assert (conv.stride, conv.receptive_field) == (4, 3)


def test_a_network_that_no_image_passes():
    with pytest.raises(NetworkError, match="64, 64"):
        layers_of(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(7, 2)))


def test_the_encoder_s_stride_is_the_list_s():
    network = seeded(lambda: build_stack([("conv", 3, 2, 1), ("max", 3, 2, 1), ("conv", 3, 2, 1)]))
    cut = Encoder(network, "2", Preprocessing((64, 64)))
    assert cut.stride == 8
    assert encoder(tiny.smooth).stride == 2


class Turned(nn.Module):
    """Rows become columns: a strip has others than the whole image."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.last(self.first(x).transpose(2, 3))


class Gated(nn.Module):
    """A gate by the mean of the whole map, and a vector at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 5, 2)
        self.pool, self.flat, self.head = nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 5)

    def forward(self, x):
        y = self.last(self.first(x))
        return self.head(self.flat(self.pool(y * y.mean((2, 3), keepdim=True).sigmoid())))


STRIPS = {
    "flat at the end": (
        lambda: nn.Sequential(*build_stack([("conv", 3, 2, 1)]), nn.Flatten(), nn.Linear(4608, 3)),
        1,
    ),
    "gated": (Gated, 1),
    "too narrow": (lambda: nn.Sequential(nn.Conv2d(3, 4, 40, 4), nn.Conv2d(4, 4, 3)), 2),
    "turned": (Turned, 2),
    "tokens": (tiny.Tokens, 2),
}


@pytest.mark.parametrize("name", STRIPS)
def test_a_strip_shows_what_whole_images_show(name, monkeypatch):
    """Or is given up, for images that are marked as a whole."""
    build, runs = STRIPS[name]
    network = Network("tiny", seeded(build, dtype=torch.float32), Preprocessing((96, 96)))
    if name == "tokens":
        network = Network("tiny", seeded(build, dtype=torch.float32), tiny.PLAIN)
        monkeypatch.setattr(layers, "STRIP", 8)
    run, shapes = layers._seen, []

    def noting(encoder, images, *more):
        shapes.append(tuple(images.shape))
        return run(encoder, images, *more)

    monkeypatch.setattr(layers, "_seen", noting)
    found = list_layers(network)
    whole = [shape for shape in shapes if shape[0] != layers.COUNT and shape[3] > layers.STRIP]
    assert len(whole) == runs - 1
    monkeypatch.setattr(layers, "STRIP", 96)
    assert list_layers(network) == found
