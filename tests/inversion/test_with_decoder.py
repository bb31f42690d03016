from __future__ import annotations

import math

import pytest
import torch

import netinvert as ni
from netinvert.inversion.canvases import decoded_start, on_decoder
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.by_name import DECODED_ERROR, DECODED_STEPS, recipe, usual_preset
from netinvert.io.assets import chair


@pytest.fixture(scope="module")
def decoder():
    return ni.load_decoder("posenet-fc7")


@pytest.fixture(scope="module")
def encoder(decoder):
    return decoder.encoder()


@pytest.fixture(scope="module")
def code(encoder):
    picture = chair((64, 64)).image
    return encoder(torch.cat([picture, picture.flip(-1)]))


def test_the_start_is_what_the_decoder_makes(decoder, encoder, code):
    start = decoded_start(decoder, encoder, code)
    assert torch.equal(start, decoder(code))
    assert not start.requires_grad


def test_a_few_steps_from_the_decoders_picture_are_nearer_than_as_many_from_noise(decoder, encoder, code):
    how = recipe("quick", encoder).with_steps(8)
    from_noise = ni.invert(encoder, code, preset=how)
    from_decoder = ni.invert(encoder, code, preset=how, start=decoder(code))
    assert from_decoder.error.mean() < from_noise.error.mean()


def test_moving_the_decoders_input_brings_the_code_nearer_and_leaves_the_decoder_as_it_was(
    decoder, encoder, code
):
    before = {name: value.clone() for name, value in decoder.module.state_dict().items()}
    how = on_decoder(recipe("default", encoder).with_steps(20), decoder, encoder, code)
    assert how.priors == ()
    result = ni.invert(encoder, code, preset=how)
    first = ni.Encoder(encoder.network, encoder.layer)(decoder(code))
    assert (result.error < (first - code).norm(dim=1) / code.norm(dim=1)).all()
    assert all(torch.equal(value, before[name]) for name, value in decoder.module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in decoder.module.parameters())


def test_a_decoder_that_fits_is_begun_with_unless_something_else_is_said(decoder, encoder, code):
    expected = ni.invert(encoder, code, preset="decoded", steps=3)
    assert expected.losses[0].sqrt().squeeze().tolist() == pytest.approx(
        code_error(encoder(decoder(code)), code).tolist(), rel=1e-4
    )
    assert torch.equal(ni.invert(encoder, code, steps=3).image, expected.image)
    assert torch.equal(ni.invert(encoder, code, decoder=decoder, steps=3).image, expected.image)
    usual = ni.invert(encoder, code, preset="default", steps=3)
    assert torch.equal(ni.invert(encoder, code, seed=(0, 0), steps=3).image, usual.image)
    named = (
        {"prior": "none"},
        {"canvas": "fourier"},
        {"data_weight": 2.0},
        {"seed": 5},
        {"start": decoder(code)},
        {"objective": ["match", (0.1, "channel:2")]},
    )
    for said in named:
        other = ni.invert(encoder, code, preset="default", steps=3, **said)
        assert torch.equal(ni.invert(encoder, code, steps=3, **said).image, other.image), said
    random = ni.Encoder(ni.load_network("posenet", "random"), "relu7")
    assert usual_preset(random) == ("default", None)
    assert usual_preset(ni.Encoder(encoder.network, layers=["relu6", "relu7"])) == ("default", None)
    with pytest.raises(ni.ConfigError, match="no shipped decoder fits layer 'relu7' of posenet"):
        ni.invert(random, code, preset="decoded")
    with pytest.raises(ni.ConfigError, match="leave out start or decoder"):
        ni.invert(encoder, code, decoder=decoder, start=decoder(code))


def test_from_a_decoders_image_few_steps_are_enough_and_the_picture_stays(decoder, encoder, code):
    result = ni.invert(encoder, code)
    first = code_error(encoder(decoder(code)), code)
    assert (result.error < 0.4 * first).all()
    assert result.steps <= DECODED_STEPS
    assert (result.image - decoder(code)).abs().mean() < 0.01
    wide = ni.invert(encoder, code, stop=ni.EarlyStopping(below=0.1**2))
    assert (wide.error < 0.1).all()
    assert wide.steps < result.steps
    how = recipe("decoded", encoder)
    assert how.below == pytest.approx(DECODED_ERROR**2)
    assert how.with_steps(30).below == -math.inf


def test_samples_on_a_decoders_canvas_are_independent(decoder, encoder, code):
    how = recipe("default", encoder).with_steps(5)
    changed = torch.cat([code[:1], code[1:] * 2])
    one, other = (
        ni.invert(encoder, some, preset=on_decoder(how, decoder, encoder, some)) for some in (code, changed)
    )
    assert torch.equal(one.image[0], other.image[0])
    assert not torch.equal(one.image[1], other.image[1])


def test_what_does_not_fit_is_refused(decoder, encoder, code):
    other = ni.Encoder(encoder.network, "relu6")
    with pytest.raises(ni.CodeError, match="belongs to layer 'relu7'"):
        decoded_start(decoder, other, code)
    with pytest.raises(ni.CodeError, match="belongs to layer 'relu7'"):
        on_decoder(recipe("default", encoder), decoder, other, code)
    with pytest.raises(ni.ConfigError, match="nothing but zeros"):
        on_decoder(recipe("default", encoder), decoder, encoder, torch.zeros_like(code))
    how = on_decoder(recipe("default", encoder), decoder, encoder, code)
    with pytest.raises(ni.ConfigError, match="starts from the code"):
        ni.invert(encoder, code, preset=how, start=chair((64, 64)).image)
