"""Diverse images of one code: unlike each other, and as near to the code."""

import pytest
import torch
from torch import nn

import tiny
from netinvert import ConfigError, Encoder, Run, recipe
from netinvert.evaluation.metrics import spread
from netinvert.inversion.invert import PRESET, diversify, prepare_diverse
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


def spread_of(result, size):
    return spread(result.image.view(-1, size, *result.image.shape[1:]))


def test_more_spread_at_as_small_an_error(cut, code, short):
    plain, diverse = (diversify(cut, code, 3, weight=weight, preset=short) for weight in (0.0, 0.3))
    before, after = spread_of(plain, 3), spread_of(diverse, 3)
    assert all(b > 1.3 * a for a, b in zip(before["distance"], after["distance"], strict=True))
    assert all(b < a for a, b in zip(before["ssim"], after["ssim"], strict=True))
    assert diverse.error.mean() < plain.error.mean() + 0.05
    assert diverse.terms == (*plain.terms, "alike")


def test_no_weight_is_plain_restarts(cut, code, short):
    found = diversify(cut, code[0], 3, weight=0.0, preset=short, seed=5)
    assert found.image.shape == (3, 3, *tiny.SIZE)
    expected = recipe(PRESET, cut).canvas(cut, [5, 6, 7], None)
    start = prepare_diverse(cut, code[:1], short, (3, 0.0)).canvas(Run(seed=[5, 6, 7]))
    assert torch.equal(start(), expected())
    assert not torch.equal(found.image[0], found.image[1])


def test_images_of_other_codes_are_not_seen(cut, code, short):
    how = short.with_steps(10)
    both = diversify(cut, code, 2, weight=0.3, preset=how)
    other = code.clone()
    other[1] = cut(images(1, seed=3))[0].detach()
    again = diversify(cut, other, 2, weight=0.3, preset=how)
    assert torch.equal(again.image[:2], both.image[:2])
    assert not torch.equal(again.image[2:], both.image[2:])
    assert torch.equal(both.target, code.repeat_interleave(2, 0))


@pytest.mark.parametrize(
    ("count", "weight"), [(1, 0.1), (0, 0.1), (2, -0.1), (2, float("nan")), (2, float("inf"))]
)
def test_bad_numbers(cut, code, count, weight):
    with pytest.raises(ConfigError, match="2 images or more, and a weight of 0 or more"):
        diversify(cut, code, count, weight=weight)


def test_line_searches_are_refused():
    maps = Encoder(seeded(pooled), "2", tiny.PLAIN)
    target = maps(images(1)).detach()
    with pytest.raises(ConfigError, match=f"use the preset {PRESET}"):
        diversify(maps, target, 2, weight=0.1, preset="default")
    assert (
        diversify(maps, target, 2, weight=0.0, preset=recipe("default", maps).with_steps(6)).image.shape[0]
        == 2
    )
