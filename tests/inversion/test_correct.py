"""Correction by a decoder, without gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import netinvert as ni
from netinvert.inversion.correct import corrected
from netinvert.inversion.objectives import code_error

SIDE, COUNT = 4, 3
NUMBERS = 3 * SIDE * SIDE


class Flat(nn.Module):
    """Images as vectors around grey, so many times as strong."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, images):
        return self.gain * (images.flatten(1) - 0.5)


class Pale(nn.Module):
    """Their inverse, but for the contrast."""

    def forward(self, code):
        return 0.5 + 0.8 * code.view(-1, 3, SIDE, SIDE)


def decoder_of(encoder):
    shape, size = encoder.code_shape, encoder.size
    return ni.Decoder(
        "pale", encoder.network.name, "output", shape, size, Pale(), 3, False, encoder.weights_sha256()
    )


def encoder_of(gain=1.0):
    network = ni.Network("flat", Flat(gain).eval(), ni.Preprocessing((SIDE, SIDE)))
    return ni.Encoder(network, "output")


def codes(count=COUNT, seed=1):
    return 0.6 * (torch.rand(count, NUMBERS, generator=torch.Generator().manual_seed(seed)) - 0.5)


class BlackBox:
    """Answers without gradients, counts, and from one answer on does what it is told to."""

    def __init__(self, spoils=None, at=1):
        self.spoils, self.at, self.images, self.calls = spoils, at, 0, 0

    def __call__(self, images):
        self.calls, self.images = self.calls + 1, self.images + len(images)
        code = torch.from_numpy(images.flatten(1).numpy() - 0.5)
        return code if self.spoils is None or self.calls < self.at else self.spoils(code)


def test_answers_alone_bring_the_code_as_near_as_the_rate_says():
    encoder, code = encoder_of(), codes()
    decoder, box = decoder_of(encoder), BlackBox()
    result = ni.correct(box, code, decoder, steps=6)
    # Φ(g(y)) is 0.8 y: what is left of an error is 1 - 0.7 * 0.8 a step.
    expected = torch.tensor([0.2 * 0.44**step for step in range(6)])
    torch.testing.assert_close(
        result.losses[:, 0].sqrt(), expected[:, None].expand(-1, COUNT), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(result.error, result.losses[-1, 0].sqrt().double())
    assert (box.calls, box.images, result.steps) == (6, 6 * COUNT, 6)
    assert result.status == ("all steps done",) * COUNT
    assert result.best_step.tolist() == [5] * COUNT
    by_encoder = ni.correct(encoder, code, decoder, steps=6)
    torch.testing.assert_close(by_encoder.image, result.image)


def test_one_step_is_the_decoders_own_image():
    encoder = encoder_of()
    decoder = decoder_of(encoder)
    assert torch.equal(ni.correct(encoder, codes(), decoder, steps=1).image, decoder(codes()))


def test_samples_are_independent_each_with_its_own_rate():
    encoder = encoder_of(4.0)  # where the full rate overshoots
    decoder, code = decoder_of(encoder), 0.05 * codes()
    together = ni.correct(encoder, code, decoder)
    other = torch.cat([code[:1], -2 * code[1:]])
    assert torch.equal(ni.correct(encoder, other, decoder).image[0], together.image[0])
    for k in range(COUNT):
        alone = ni.correct(encoder, code[k], decoder)
        torch.testing.assert_close(alone.image[0], together.image[k])


def test_the_rate_falls_where_the_error_rises():
    """At the full rate an error grows by the factor 0.7 * 0.8 * 4 - 1 = 1.24 a step."""
    encoder = encoder_of(4.0)
    code = 0.05 * codes()
    result = ni.correct(encoder, code, decoder_of(encoder), steps=10)
    first = result.losses[0, 0].sqrt()
    assert (result.losses[1, 0].sqrt() > first).all()
    assert (result.error < 0.05 * first).all()


def test_what_was_best_is_kept():
    wrong = BlackBox(lambda code: code + 9, at=4)
    result = ni.correct(wrong, codes(), decoder_of(encoder_of()), steps=6)
    assert result.best_step.tolist() == [2] * COUNT
    torch.testing.assert_close(result.code, result.image.flatten(1) - 0.5)
    assert (result.error < 0.05).all()


def test_an_answer_that_is_no_number_ends_its_sample_alone():
    def spoil(code):
        code[1] = torch.nan
        return code

    encoder, code = encoder_of(), codes()
    decoder = decoder_of(encoder)
    result = ni.correct(BlackBox(spoil, at=3), code, decoder, steps=6)
    whole = ni.correct(BlackBox(), code, decoder, steps=6)
    assert result.status == ("all steps done", "diverged (NaN)", "all steps done")
    assert torch.equal(result.image[[0, 2]], whole.image[[0, 2]])
    assert torch.equal(result.image[1], ni.correct(BlackBox(), code, decoder, steps=2).image[1])


def fails(code):
    raise RuntimeError("quota is used up")


@pytest.mark.parametrize("spoil", [fails, lambda code: code[:, :5], lambda code: None])
def test_a_black_box_that_fails_later_loses_nothing(spoil):
    decoder, code = decoder_of(encoder_of()), codes()
    with pytest.warns(UserWarning, match="failed at answer 4: .*the best until then is kept"):
        result = ni.correct(BlackBox(spoil, at=4), code, decoder)
    assert torch.equal(result.image, ni.correct(BlackBox(), code, decoder, steps=3).image)
    assert (result.steps, set(result.status)) == (3, {"the network failed at answer 4"})


def test_ctrl_c_loses_nothing():
    def interrupts(code):
        raise KeyboardInterrupt

    decoder, code = decoder_of(encoder_of()), codes()
    result = ni.correct(BlackBox(interrupts, at=3), code, decoder)
    assert (result.interrupted, result.steps) == (True, 2)
    with pytest.raises(KeyboardInterrupt):  # what keeps only whole results
        corrected(BlackBox(interrupts, at=3), code, decoder)
    with pytest.raises(KeyboardInterrupt):
        ni.correct(BlackBox(interrupts), code, decoder)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (fails, ni.NetworkError, "quota is used up"),
        (lambda code: code[:, :5], ni.CodeError, r"answers \(3, 5\) for 3 images, the codes are \(3, 48\)"),
        (lambda code: code.numpy(), ni.CodeError, "answers a ndarray"),
        (lambda code: code * torch.nan, ni.NetworkError, "no finite numbers"),
    ],
)
def test_a_black_box_that_cannot_answer(spoil, error, words):
    with pytest.raises(error, match=words):
        ni.correct(BlackBox(spoil), codes(), decoder_of(encoder_of()))


def test_decoders_that_cannot_correct():
    encoder, code = encoder_of(), codes()
    decoder = decoder_of(encoder)
    with pytest.raises(ni.CodeError, match="other weights of flat"):
        ni.correct(encoder_of(2.0), code, decoder)
    with pytest.raises(ni.CodeError, match="belongs to layer 'fc6' of flat"):
        ni.correct(encoder, code, dataclasses.replace(decoder, layer="fc6"))
    with pytest.raises(ni.CodeError, match="decodes codes"):
        ni.correct(BlackBox(), torch.rand(2, 5), decoder)
    with pytest.warns(UserWarning, match="is it a decoder of this network"):
        ni.correct(BlackBox(lambda code: -code.flip(1)), code, decoder)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"steps": 0}, ni.ConfigError, "1 step or more"),
        ({"rate": 0.0}, ni.ConfigError, "a rate above 0"),
        ({"rate": float("nan")}, ni.ConfigError, "a rate above 0"),
        ({"code": torch.zeros(1, NUMBERS)}, ni.CodeError, "nothing but zeros"),
        ({"code": torch.full((1, NUMBERS), torch.nan)}, ni.CodeError, "NaN"),
    ],
)
def test_what_makes_no_sense_is_refused(how, error, words):
    with pytest.raises(error, match=words):
        ni.correct(BlackBox(), how.pop("code", codes()), decoder_of(encoder_of()), **how)


def test_invert_corrects_by_a_given_or_a_shipped_decoder():
    decoder = ni.load_decoder("posenet-fc7")
    encoder = decoder.encoder()
    code = encoder(ni.sample("chair"))
    expected = ni.correct(encoder, code, decoder, steps=3)
    for more in ({}, {"decoder": decoder}):
        result = ni.invert(encoder, code, method="correct", steps=3, **more)
        assert torch.equal(result.image, expected.image)
    torch.testing.assert_close(expected.error, code_error(encoder(expected.image), code))
    assert expected.error < code_error(encoder(decoder(code)), code)
    for wrong in ({"preset": "quick"}, {"objective": "tv-huber"}, {"start": decoder(code)}):
        with pytest.raises(ni.ConfigError, match="takes steps, a decoder and progress"):
            ni.invert(encoder, code, method="correct", **wrong)
    with pytest.raises(ni.ConfigError, match="method is 'optimise' or 'correct'"):
        ni.invert(encoder, code, method="corect")
    other = encoder_of()
    with pytest.raises(ni.ConfigError, match="no shipped decoder fits layer 'output' of flat"):
        ni.invert(other, codes(), method="correct")
