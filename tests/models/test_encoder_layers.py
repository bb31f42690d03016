"""Several layers by one encoder, networks left as they are, images of all kinds."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tiny
from netinvert import CodeError, Encoder, ImageError, LayerError, load_network
from netinvert.io.images import write_png
from netinvert.models.layers import list_layers
from tiny import PLAIN, Counting, images, seeded

NETWORKS = {"plain": ("0", "1", "3", "4", "5", "7", "output", "input"), "smooth": ("0", "1", "2")}


def encoders(name, layers, **options):
    network = seeded(getattr(tiny, name))
    alone = [Encoder(network, layer, PLAIN, fast=False) for layer in layers]
    return Encoder(network, layers=layers, preprocessing=PLAIN, **options), alone


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_several_layers_are_each_alone(name, fast):
    """In-place ReLUs, BatchNorm and fused convolutions behind a layer do not change its code."""
    layers = NETWORKS[name]
    encoder, alone = encoders(name, layers, fast=fast)
    x = images(3).requires_grad_(True)
    codes = encoder(x)
    assert list(codes) == list(encoder.code_shape) == list(layers)
    for layer, one in zip(layers, alone, strict=True):
        y = x.detach().clone().requires_grad_(True)
        code = one(y)
        assert encoder.code_shape[layer] == one.code_shape
        torch.testing.assert_close(codes[layer], code, rtol=1e-9, atol=1e-10)
        (gradient,) = torch.autograd.grad(codes[layer].square().sum(), x, retain_graph=True)
        (expected,) = torch.autograd.grad(code.square().sum(), y)
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("layers", [("first", "second"), ("conv", "last"), ("relu:0", "relu:2", "convs.1")])
def test_functional_relus_residuals_and_calls(layers):
    build = {"first": tiny.Functional, "conv": tiny.Residual, "relu:0": tiny.Reused}[layers[0]]
    network = seeded(build)
    codes = Encoder(network, layers=layers, preprocessing=PLAIN)(images())
    for layer in layers:
        alone = Encoder(network, layer, PLAIN, fast=False)(images())
        torch.testing.assert_close(codes[layer], alone, rtol=1e-9, atol=1e-10)


def test_one_forward_pass_that_ends_at_the_last_layer():
    network = nn.Sequential(
        Counting("a"), nn.Conv2d(3, 2, 3), Counting("b"), nn.Tanh(), Counting("c")
    ).double()
    encoder = Encoder(network.eval(), layers=["3", "1"], preprocessing=PLAIN)
    Counting.calls.clear()
    encoder(images())
    assert Counting.calls == {"a": 1, "b": 1}
    assert (encoder.trace.layer.name, encoder.layer, encoder.layers) == ("3", "3, 1", ("3", "1"))


def test_codes_of_several_layers_are_checked():
    encoder, _ = encoders("plain", ("1", "5"))
    codes = encoder(images())
    checked = encoder.check_code({"5": codes["5"], "1": codes["1"]})
    assert list(checked) == ["1", "5"]
    assert encoder.check_code({"1": codes["1"][0], "5": codes["5"][0]})["5"].shape == (1, 8, 8, 8)
    for wrong, message in (
        (codes["1"], "is a dict of the codes of 1, 5, got a Tensor"),
        ({"1": codes["1"]}, "got the layers 1"),
        ({"1": codes["1"], "5": codes["1"]}, "layer '5'"),
        ({"1": codes["1"], "5": codes["5"][:1]}, "of the same images"),
    ):
        with pytest.raises(CodeError, match=message):
            encoder.check_code(wrong)
    with pytest.raises(CodeError, match="is a tensor, got the layers 1, 5"):
        Encoder(seeded(tiny.plain), "5", PLAIN).check_code(codes)


def test_layers_are_named_well():
    network = seeded(tiny.plain)
    for options in (
        {},
        {"layers": []},
        {"layers": ["1", "1"]},
        {"layers": "5"},
        {"layer": "1", "layers": ["5"]},
    ):
        with pytest.raises(LayerError, match="layers"):
            Encoder(network, preprocessing=PLAIN, **options)
    with pytest.raises(LayerError, match="no layer 'nine'"):
        Encoder(network, layers=["1", "nine"], preprocessing=PLAIN)


def test_fast_is_the_default_and_can_be_left():
    network = load_network("posenet")
    kinds = {type(part).__name__ for part in Encoder(network, "relu5").module.modules()}
    assert "FusedConvolution" in kinds
    plain = Encoder(network, "relu5", fast=False)
    assert "FusedConvolution" not in {type(part).__name__ for part in plain.module.modules()}
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        plain(x).float().square().sum().backward()
    (gradient,) = torch.autograd.grad(plain(x).square().sum(), x, create_graph=True)
    torch.autograd.grad(gradient.square().sum(), x)
    torch.testing.assert_close(
        torch.func.grad(lambda image: plain(image).square().sum())(x.detach()), gradient.detach()
    )


@pytest.mark.slow
def test_what_runs_behind_the_layer_is_not_kept():
    network = load_network("alexnet", "random")
    sizes = [
        sum(p.numel() for p in Encoder(network, "relu1", fast=fast).module.parameters()) for fast in (0, 1)
    ]
    assert max(sizes) < 30_000
    assert sum(p.numel() for p in network.module.parameters()) == 61_100_840


class Borrowing(nn.Module):
    """Uses the weights of its last module before that runs."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.last(self.first(x * self.last.weight.mean()))


def test_weights_that_are_used_before_their_module_runs_are_kept():
    network = seeded(Borrowing)
    x = images()
    expected = network.first(x * network.last.weight.mean())
    torch.testing.assert_close(Encoder(network, "first", PLAIN)(x), expected)


def test_files_pillow_images_and_bytes_are_images(tmp_path):
    encoder = Encoder(load_network("posenet"), "relu5")
    image = (torch.rand(3, 64, 64) * 255).round() / 255
    expected = encoder(image)
    write_png(image, tmp_path / "a.png")
    array = (image * 255).round().byte().permute(1, 2, 0).numpy()
    for same in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array), array, array[None]):
        torch.testing.assert_close(encoder(same), expected)
    assert encoder(np.stack([array, array])).shape == (2, 112, 8, 8)
    assert encoder(array[..., 0]).shape == (1, 112, 8, 8)  # grey
    grey = Encoder(load_network("hog"), "cells")
    assert grey(array).shape == grey(image.mean(0, keepdim=True)).shape
    with pytest.raises(ImageError, match="does not exist"):
        encoder("nothing.png")
    with pytest.raises(ImageError, match="bytes are"):
        encoder(np.zeros((3, 64, 64), dtype=np.uint8))


def test_the_weights_are_hashed_once(monkeypatch):
    encoder = Encoder(load_network("posenet"), "relu5")
    first = encoder.weights_sha256()
    monkeypatch.setattr("netinvert.models.encoder.weights_sha256", None)
    assert encoder.weights_sha256() == first


@pytest.mark.parametrize("several", [False, True])
def test_encoders_and_networks_say_what_they_are_in_a_line(several):
    network = load_network("posenet")
    options = {"layers": ["relu3", "relu7"]} if several else {"layer": "relu7"}
    text = repr(Encoder(network, **options))
    assert "\n" not in text
    assert ("(N, 144, 8, 8), (N, 512)" if several else "to codes (N, 512)") in text
    assert repr(network) == "<Network posenet: PoseNet of images (3, 128, 128), 1,728,610 parameters>"


@pytest.mark.slow
def test_layers_of_a_name_need_no_weights(monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)
    found = list_layers("torchvision:squeezenet1_1")
    assert found[0].name == "features.0"
    assert list_layers("hog")[0].name == "derivatives"
