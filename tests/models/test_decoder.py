"""A decoder as its user has it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import netinvert.models.decoder as decoder_module
from netinvert import Encoder
from netinvert.errors import CodeError, NetworkError
from netinvert.models.decoder import Decoder
from netinvert.models.network import Network, built
from netinvert.models.upconv import Architecture, UpConvolutional, made_quick
from tiny import PLAIN, plain, seeded

SHAPE = (8, 8, 8)


def network(seed=0):
    return Network("tiny", seeded(plain, seed, torch.float32), PLAIN)


def decoder(code_shape=SHAPE, **more):
    architecture = Architecture(code_shape, (16, 16), mask=more.get("has_mask", False))
    made = made_quick(built(lambda: UpConvolutional(architecture)))
    return Decoder("small", "tiny", "5", code_shape, (16, 16), made, **more)


def codes(count=3):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_one_code_and_many():
    one = decoder()
    images = one(codes())
    assert images.shape == (3, 3, 16, 16)
    assert images.min() >= 0
    assert images.max() <= 1
    torch.testing.assert_close(one(codes()[1]), images[1:2], rtol=0, atol=1e-6)
    other = codes()
    other[0] *= 3
    assert torch.equal(one(other)[1:], images[1:])
    torch.testing.assert_close(one(codes().double()), images, rtol=0, atol=1e-6)


def test_masks():
    one = decoder(has_mask=True)
    assert one(codes()).shape == (3, 3, 16, 16)
    mask = one.mask(codes())
    assert mask.shape == (3, 1, 16, 16)
    assert bool(((mask > 0) & (mask < 1)).all())
    assert mask.std() > 0.01
    with pytest.raises(NetworkError, match="masks"):
        decoder().mask(codes())


def test_images_have_a_gradient_where_codes_have_one():
    one = decoder()
    assert not one(codes()).requires_grad
    code = codes().requires_grad_()
    (gradient,) = torch.autograd.grad(one(code).sum(), code)
    assert bool((gradient.abs().sum((1, 2, 3)) > 0).all())
    with torch.no_grad():
        assert not one(code).requires_grad
    assert all(parameter.grad is None for parameter in one.module.parameters())


def test_the_module_is_frozen_and_in_eval_mode():
    module = nn.Sequential(nn.Conv2d(8, 3, 1), nn.BatchNorm2d(3)).train()
    one = Decoder("own", "tiny", "5", SHAPE, (8, 8), module)
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(one(codes()), one(codes()))  # no statistics move


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (torch.zeros(3, 8, 8), r"\(8, 8, 8\) or \(N, 8, 8, 8\); got \(3, 8, 8\)"),
        (torch.zeros(2, 8, 8, 4), "got"),
        (torch.zeros(2, 1, 8, 8, 8), "got"),
        (torch.zeros(0, 8, 8, 8), "got"),
        (torch.zeros(8), "layer '5' of tiny"),
        (torch.zeros(()), "got"),
        (torch.zeros(SHAPE, dtype=torch.int64), r"code.float\(\)"),
        (torch.zeros(SHAPE, dtype=torch.complex64), "floating-point"),
        (torch.full(SHAPE, float("nan")), "NaN"),
        (torch.full(SHAPE, float("inf")), "infinite"),
        (torch.full(SHAPE, 1e300, dtype=torch.float64), "float32"),
    ],
    ids=str,
)
def test_codes_that_cannot_be_decoded(code, words):
    with pytest.raises(CodeError, match=words):
        decoder()(code)


def test_encoders_it_belongs_to():
    encoder = Encoder(network(), "5")
    own = decoder(network_sha256=encoder.weights_sha256())
    own.check_encoder(encoder)
    decoder().check_encoder(Encoder(network(1), "5"))  # nothing is known of the weights
    for other, words in [
        (Encoder(network(), "2"), "decoder train"),
        (Encoder(network(1), "5"), "other weights"),
        (Encoder(replace(network(), name="large"), "5"), "layer '5' of large"),
        (Encoder(network(), "5", size=(32, 32)), r"\(8, 16, 16\)"),
    ]:
        with pytest.raises(CodeError, match=words):
            own.check_encoder(other)


def test_the_encoder_comes_with_the_networks_own_weights(monkeypatch):
    monkeypatch.setattr(decoder_module, "load_network", lambda name, *_: {"tiny": network()}[name])
    own = decoder(network_sha256=Encoder(network(), "5").weights_sha256())
    assert own(own.encoder()(torch.rand(2, 3, 16, 16))).shape == (2, 3, 16, 16)
    monkeypatch.setattr(decoder_module, "load_network", lambda name, *_: {"tiny": network(1)}[name])
    with pytest.raises(CodeError, match="other weights"):
        own.encoder()


def test_a_copy_on_a_device():
    one = decoder()
    moved = one.to("meta")
    assert moved.device.type == "meta"
    assert one.device.type == "cpu"
    assert (moved.name, moved.code_shape) == (one.name, one.code_shape)
