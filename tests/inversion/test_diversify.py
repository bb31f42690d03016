"""Diverse images of one code: unlike each other, and as near to the code."""

import pytest
import torch
from torch import nn

import tiny
from netinvert import ConfigError, Encoder, Run, recipe
from netinvert.evaluation.metrics import spread
from netinvert.inversion.diversify import PRESET, diversify, measured, prepare_diverse
from tiny import images, seeded


def pooled() -> nn.Module:
    """Leaves much open: where things are, for one."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4), nn.Tanh(), nn.Conv2d(8, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


@pytest.fixture(scope="module")
def cut() -> Encoder:
    return Encoder(seeded(pooled), "output", tiny.PLAIN)


@pytest.fixture(scope="module")
def code(cut):
    return cut(0.2 + 0.6 * images(2)).detach()


@pytest.fixture(scope="module")
def short(cut):
    return recipe(PRESET, cut).with_steps(60)


def test_more_spread_at_as_small_an_error(cut, code, short):
    plain, diverse = (diversify(cut, code, 3, weight, short) for weight in (0.0, 0.3))
    for before, after in zip(plain.distance, diverse.distance, strict=True):
        assert after > 1.3 * before
    for before, after in zip(plain.ssim, diverse.ssim, strict=True):
        assert after < before
    assert diverse.result.error.mean() < plain.result.error.mean() + 0.05
    assert diverse.result.terms == (*plain.result.terms, "alike")


def test_no_weight_is_plain_restarts(cut, code, short):
    found = diversify(cut, code[0], 3, 0.0, short, seed=5)
    assert found.size == 3
    assert found.result.image.shape == (3, 3, *tiny.SIZE)
    expected = recipe(PRESET, cut).canvas([5, 6, 7], None)
    start = prepare_diverse(cut, code[:1], short, (3, 0.0), Run(seed=[5, 6, 7])).canvas
    assert torch.equal(start(), expected())
    assert not torch.equal(found.result.image[0], found.result.image[1])


def test_images_of_other_codes_are_not_seen(cut, code, short):
    how = short.with_steps(10)
    both = diversify(cut, code, 2, 0.3, how).result
    other = code.clone()
    other[1] = cut(images(1, seed=3))[0].detach()
    again = diversify(cut, other, 2, 0.3, how).result
    assert torch.equal(again.image[:2], both.image[:2])
    assert not torch.equal(again.image[2:], both.image[2:])
    assert torch.equal(both.target, code.repeat_interleave(2, 0))


def test_spreads_are_those_of_groups(cut, code, short):
    found = diversify(cut, code, 2, 0.1, short.with_steps(4))
    groups = found.result.image.view(2, 2, 3, *tiny.SIZE)
    assert found.distance == spread(groups)["distance"]
    assert found.ssim == spread(groups)["ssim"]
    again = measured(found.result, 4)
    assert len(again.distance) == len(again.ssim) == 1


@pytest.mark.parametrize(
    ("count", "weight"), [(1, 0.1), (0, 0.1), (2, -0.1), (2, float("nan")), (2, float("inf"))]
)
def test_bad_numbers(cut, code, count, weight):
    with pytest.raises(ConfigError, match="2 images or more, and a weight of 0 or more"):
        diversify(cut, code, count, weight)


def test_line_searches_are_refused():
    maps = Encoder(seeded(pooled), "2", tiny.PLAIN)
    target = maps(images(1)).detach()
    with pytest.raises(ConfigError, match=f"use the preset {PRESET}"):
        diversify(maps, target, 2, 0.1, "default")
    assert diversify(maps, target, 2, 0.0, recipe("default", maps).with_steps(6)).size == 2
