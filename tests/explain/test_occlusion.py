"""Occlusion against one square at a time, by hand."""

import pytest
import torch

from netinvert import ConfigError, Encoder, ImageError, LayerError, Network
from netinvert.explain.occlusion import FILLS, Occluder, inpainted
from netinvert.explain.targets import parse_target
from netinvert.models.registry import load_network
from tiny import PLAIN, images, plain, seeded


@pytest.fixture(scope="module")
def network():
    return Network("plain", seeded(plain), PLAIN)


def hidden(image, top, left, window, colour):
    changed = image.clone()
    changed[:, :, top : top + window, left : left + window] = colour
    return changed


@pytest.mark.parametrize("fill", ["grey", "mean", "border"])
def test_three_views_are_those_of_each_square(network, fill):
    image = images(1)
    found = Occluder(5, 4, fill, batch=3)(parse_target(network, "class"), image, "5")
    assert found.tops == found.lefts == (0, 4, 8, 11)  # the last ends at the border
    logits, maps = Encoder(network, "output"), Encoder(network, "5")
    likeliest = logits(image).argmax().item()
    channel = maps(image).sum((2, 3)).argmax().item()
    assert (found.bare_answer, found.channel) == (likeliest, channel)
    assert found.bare == pytest.approx(logits(image)[0, likeliest].item())
    assert found.bare_strength == pytest.approx(maps(image)[0, channel].sum().item())
    colour = 0.5 if fill == "grey" else image.mean((2, 3), keepdim=True)
    if fill == "border":
        sides = [image[..., 0, :], image[..., -1, :], image[..., :, 0], image[..., :, -1]]
        colour = torch.cat(sides, 2).mean(2)[..., None, None]
    for row, top in enumerate(found.tops):
        for column, left in enumerate(found.lefts):
            changed = hidden(image, top, left, 5, colour)
            assert found.values[row, column] == pytest.approx(logits(changed)[0, likeliest].item())
            assert found.strengths[row, column] == pytest.approx(maps(changed)[0, channel].sum().item())
            assert found.answers[row, column] == logits(changed).argmax()


def test_a_pixel_has_the_mean_of_the_squares_that_hide_it(network):
    found = Occluder(6, 5)(parse_target(network, "channel:1"), images(1))
    own = torch.zeros(16, 16, dtype=torch.float64)
    falls = (found.bare - found.values).tolist()
    for y in range(16):
        for x in range(16):
            here = [
                falls[row][column]
                for row, top in enumerate(found.tops)
                for column, left in enumerate(found.lefts)
                if top <= y < top + 6 and left <= x < left + 6
            ]
            own[y, x] = sum(here) / len(here)
    torch.testing.assert_close(found.importance, own)
    assert (
        Occluder(2, 5)(parse_target(network, "channel:1"), images(1)).importance[3, 3] == 0
    )  # hidden by none


def test_batches_change_nothing(network):
    target = parse_target(network, "1/channel:2")
    one, many = (Occluder(4, 4, batch=count)(target, images(1)) for count in (1, 64))
    assert torch.equal(one.values, many.values)
    assert one.answers is None  # a map says nothing
    assert one.strengths is None


def test_the_pose_that_is_kept_is_that_of_the_bare_image():
    network = load_network("posenet", "random")
    target = parse_target(network, "pose:geodesic")
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    found = Occluder(64, 64)(target, image)
    fixed = target.fixed(image)
    own = [target(hidden(image, top, left, 64, 0.5), fixed).item() for top in (0, 64) for left in (0, 64)]
    torch.testing.assert_close(found.values.flatten().float(), torch.tensor(own), rtol=1e-3, atol=1e-3)
    assert found.bare == pytest.approx(0, abs=0.1)
    assert found.answers.shape == (2, 2)  # azimuths


def test_squares_are_a_seventh_of_the_image_by_default():
    assert Occluder().squares((224, 280))[0] == 32
    assert Occluder().squares((224, 280))[1] == tuple(range(0, 193, 8))
    assert Occluder().squares((3, 3))[0] == 1


def test_inpainting_goes_by_the_surroundings_alone():
    flat = torch.full((3, 16, 16), 0.2)
    flat[:, 4:9, 4:9] = 1
    filled = inpainted(flat, 4, 4, 5)
    assert (filled - 0.2).abs().max() < 0.01
    image = images(1)[0]
    changed = inpainted(image, 0, 3, 6) != inpainted(image, 10, 10, 1)
    assert changed[:, 6:, :9].sum() == 0
    assert inpainted(image[:1], 0, 3, 6).shape == (1, 16, 16)
    with pytest.raises(ConfigError, match="2 channels"):
        inpainted(image[:2], 0, 0, 2)


def test_every_fill_runs(network):
    maps = [Occluder(8, 8, fill)(parse_target(network, "class"), images(1)).values for fill in FILLS]
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[1], maps[2])


@pytest.mark.parametrize(
    ("how", "image", "layer", "error", "says"),
    [
        (Occluder(17), images(1), None, ConfigError, "at most the image's side, 16"),
        (Occluder(), images(2), None, ConfigError, "one image at a time"),
        (Occluder(), images(1), "7", ConfigError, "without rows and columns"),
        (Occluder(), images(1), "6", ConfigError, "without rows and columns"),
        (Occluder(), images(1), "nowhere", LayerError, "no layer"),
        (Occluder(), torch.zeros(1, 512), None, ImageError, "images must be"),
    ],
)
def test_bad_input_is_refused(network, how, image, layer, error, says):
    with pytest.raises(error, match=says):
        how(parse_target(network, "class"), image, layer)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="no fill 'black'"):
        Occluder(fill="black")
    with pytest.raises(ConfigError, match="1 or more"):
        Occluder(stride=0)
