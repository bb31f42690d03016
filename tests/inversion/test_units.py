"""Directions and masks: sums by hand, in maps, tokens and vectors."""

import pytest
import torch

import tiny
from netinvert import ConfigError, Encoder, invert, recipe
from netinvert.inversion.objectives import Match
from netinvert.inversion.schedule import Recipe
from netinvert.inversion.units import centre_mask, channel, channel_mask, neuron, parse_mask, space_mask
from tiny import encoder, images, seeded


@pytest.fixture(scope="module")
def cuts():
    return {
        "maps": encoder(layer="0"),  # (5, 8, 8)
        "vector": Encoder(seeded(tiny.plain), "8", tiny.PLAIN),  # (5,)
        "tokens": Encoder(seeded(tiny.Tokens), "block", tiny.PLAIN),  # (16, 8)
    }


def test_a_channel_is_its_mean(cuts):
    for name, index in (("maps", 4), ("vector", 2), ("tokens", 7)):
        cut = cuts[name]
        direction = channel(cut, index)
        assert direction.shape == (1, *cut.code_shape)
        assert direction.sum().item() == pytest.approx(1)
        code = cut(images(2))
        means = {
            "maps": lambda code: code[:, 4].mean((1, 2)),
            "vector": lambda code: code[:, 2],
            "tokens": lambda code: code[..., 7].mean(1),
        }
        found = (code * direction).flatten(1).sum(1)
        torch.testing.assert_close(found, means[name](code))


def test_a_neuron_is_one_number(cuts):
    for name, index, place, expected in (
        ("maps", 3, None, (3, 4, 4)),
        ("maps", 3, (0, 7), (3, 0, 7)),
        ("vector", 4, None, (4,)),
        ("vector", 4, (), (4,)),
        ("tokens", 5, None, (8, 5)),
        ("tokens", 5, (15,), (15, 5)),
    ):
        direction = neuron(cuts[name], index, place)
        assert direction.shape == (1, *cuts[name].code_shape)
        assert direction.nonzero().tolist() == [[0, *expected]]
        assert direction[0][expected] == 1


@pytest.mark.parametrize("index", [-1, 5])
def test_channels_that_are_not_there(cuts, index):
    for make in (channel, neuron):
        with pytest.raises(ConfigError, match=f"channels 0 to 4, got {index}"):
            make(cuts["maps"], index)


def test_places_that_are_not_there(cuts):
    with pytest.raises(ConfigError, match="places 0 to 7, got 8"):
        neuron(cuts["maps"], 0, (0, 8))
    with pytest.raises(ConfigError, match="places 0 to 7, got -1"):
        neuron(cuts["maps"], 0, (-1, 0))
    with pytest.raises(ConfigError, match="has 2 numbers, got 1"):
        neuron(cuts["maps"], 0, (1,))
    with pytest.raises(ConfigError, match="has 0 numbers, got 2"):
        neuron(cuts["vector"], 0, (1, 2))


def test_masks_by_hand(cuts):
    cut = cuts["maps"]
    mask = space_mask(cut, slice(2, 4), slice(5, None))
    assert mask.shape == (1, 5, 8, 8)
    assert mask.sum() == 5 * 2 * 3
    assert mask[..., 2:4, 5:].all()
    middle = centre_mask(cut, 4)
    assert torch.equal(middle, space_mask(cut, slice(2, 6), slice(2, 6)))
    assert centre_mask(cut, 8).all()
    some = channel_mask(cut, slice(1, 3))
    assert some[:, 1:3].all()
    assert some.sum() == 2 * 64
    tokens = channel_mask(cuts["tokens"], slice(0, 3))
    assert tokens[..., :3].all()
    assert tokens.sum() == 16 * 3
    assert channel_mask(cuts["vector"], slice(4, None)).tolist() == [[0, 0, 0, 0, 1]]


def test_masks_that_cannot_be(cuts):
    for name in ("vector", "tokens"):
        with pytest.raises(ConfigError, match="no rows and columns"):
            space_mask(cuts[name], slice(0, 2), slice(0, 2))
        with pytest.raises(ConfigError, match="no rows and columns"):
            centre_mask(cuts[name], 2)
    for side in (0, 9):
        with pytest.raises(ConfigError, match="a side of up to that"):
            centre_mask(cuts["maps"], side)
    with pytest.raises(ConfigError, match="leaves nothing"):
        channel_mask(cuts["maps"], slice(5, 9))
    with pytest.raises(ConfigError, match="leaves nothing"):
        space_mask(cuts["maps"], slice(3, 3), slice(0, 2))


def masked(cut, code, mask) -> torch.Tensor:
    how = recipe("fourier-adam", cut).with_steps(8)
    how = Recipe(how.name, how.canvas, how.data_weight, how.priors, how.stages, how.prior, mask)
    return invert(cut, code, preset=how).image


def test_outside_the_mask_the_code_is_free(cuts):
    cut = cuts["maps"]
    code = cut(images(2)).detach()
    for mask in (centre_mask(cut, 4), channel_mask(cut, slice(0, 2))):
        other = torch.where(mask.bool(), code, code + 3)
        assert torch.equal(masked(cut, code, mask), masked(cut, other, mask))
        assert not torch.equal(masked(cut, code, mask), masked(cut, code, None))
        inside = torch.where(mask.bool(), code + 0.1, code)
        assert not torch.equal(masked(cut, code, mask), masked(cut, inside, mask))


def test_a_mask_is_of_error_and_norm(cuts):
    cut = cuts["maps"]
    code = cut(images(2)).detach()
    mask = channel_mask(cut, slice(0, 2))
    other = cut(images(2, seed=1)).detach()
    found = Match(code, mask)(images(2), other)
    part = (other - code)[:, :2].flatten(1).square().sum(1) / code[:, :2].flatten(1).square().sum(1)
    torch.testing.assert_close(found, part)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("centre=4", 5 * 16),
        ("channels=1:3", 2 * 64),
        ("channels=3:", 2 * 64),
        ("rows=2:4,columns=5:", 5 * 2 * 3),
        ("columns=:-6", 5 * 8 * 2),
        ("rows=0:1", 5 * 8),
    ],
)
def test_masks_as_text(cuts, text, count):
    assert parse_mask(cuts["maps"], text).sum() == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "all",
        "centre",
        "centre=",
        "centre=two",
        "centre=2,rows=0:1",
        "rows=3",
        "channels=0:4:2",
        "rows=a:b",
    ],
)
def test_texts_that_are_no_masks(cuts, text):
    with pytest.raises(ConfigError, match="is not a mask; write centre=SIDE"):
        parse_mask(cuts["maps"], text)
    with pytest.raises(ConfigError, match="leaves nothing"):
        parse_mask(cuts["maps"], "channels=9:12")
