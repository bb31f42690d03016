"""Boxes by saliency, correspondence and invariance: definitions, on images whose answer is known."""

import pytest
import torch
from torch import nn

from netinvert import CodeError, ConfigError, Encoder
from netinvert.explain.codes import (
    CHANGES,
    correspondence,
    covering_centres,
    invariance,
    random_centres,
    transformed,
    with_squares,
)
from netinvert.explain.locate import box_iou, box_of, locate
from tiny import PLAIN, images, plain, seeded


def scene(noise: float = 0.03) -> torch.Tensor:
    """A bright object (8..20, 10..24) before a dark ground, and a spot of its colour far away."""
    image = torch.full((3, 40, 40), 0.2)
    image[:, 8:20, 10:24] = 0.8
    image[:, 35:38, 35:38] = 0.8
    return (image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def saliency() -> torch.Tensor:
    """High in a part of the object alone."""
    down, right = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    return (-((down - 13) ** 2 + (right - 15) ** 2) / 50).exp()


def test_an_object_is_found_whole_by_a_part_of_it_and_its_likes_are_left_out():
    found = locate(scene(), saliency())
    assert box_iou(found.box, (8, 10, 20, 24)) > 0.9
    assert not found.mask[30:].any()
    assert found.box == box_of(found.mask)


def test_locating_is_the_same_again_and_changes_nothing():
    image, map_ = scene(), saliency()
    before = image.clone(), map_.clone()
    masks = [locate(image, map_).mask for _ in range(2)]
    assert torch.equal(*masks)
    assert torch.equal(image, before[0])
    assert torch.equal(map_, before[1])


@pytest.mark.parametrize(
    ("image", "map_", "above", "says"),
    [
        (scene(), saliency()[:-1], 0.95, "by a map"),
        (scene()[:1], saliency(), 0.95, "by a map"),
        (scene(), torch.zeros(40, 40), 0.95, "same everywhere"),
        (scene(), saliency(), 0.2, "quantiles"),
    ],
)
def test_what_points_at_nothing_is_refused(image, map_, above, says):
    with pytest.raises(ConfigError, match=says):
        locate(image, map_, above)
    with pytest.raises(ConfigError, match="empty"):
        box_of(torch.zeros(3, 3, dtype=torch.bool))


def test_overlaps_of_boxes():
    assert box_iou((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    assert box_iou((0, 0, 2, 2), (2, 2, 4, 4)) == 0
    assert box_iou((0, 0, 4, 4), (1, 1, 3, 3)) == pytest.approx(4 / 16)


# -- correspondence --------------------------------------------------------------------------------------


def test_correspondence_is_the_paper_s_sum_over_pairs():
    source = torch.Generator().manual_seed(0)
    bare, hidden = torch.randn(2, 5, 3, 4, 4, generator=source).unbind()
    found = correspondence(bare, hidden)
    signs = (bare - hidden).flatten(1).sign()
    pairs = [(signs[i] != signs[j]).double().mean() for i in range(5) for j in range(5) if i != j]
    assert found.mean() == pytest.approx(sum(pairs).item() / 20)
    assert correspondence(bare, bare - 1).tolist() == [0] * 5  # all change alike
    assert correspondence(bare, bare).tolist() == [0] * 5
    with pytest.raises(CodeError, match="same images"):
        correspondence(bare, hidden[:2])
    with pytest.raises(ConfigError, match="two or more"):
        correspondence(bare[:1], hidden[:1])


def test_squares_lie_about_their_centres():
    found = with_squares(torch.zeros(2, 1, 6, 6), torch.tensor([[2.0, 3.0], [0.0, 5.0]]), 3, 1.0)
    assert box_of(found[0, 0] > 0) == (1, 2, 4, 5)
    assert found[0].sum() == 9
    assert box_of(found[1, 0] > 0) == (0, 4, 2, 6)  # cut at the border


def test_centres_are_of_the_mask():
    masks = torch.zeros(2, 6, 6, dtype=torch.bool)
    masks[0, 1:4, 2:5] = True
    masks[1, 5, 0] = True
    for window in (2, 3, 4):
        hidden = with_squares(torch.zeros(2, 1, 6, 6), covering_centres(masks, window), window, 1.0)[:, 0]
        assert (hidden * masks).sum((1, 2)).tolist() == [min(9, window**2), 1]
    arms = torch.zeros(1, 9, 9, dtype=torch.bool)
    arms[0, 3:6, [0, 1, 7]] = True
    assert covering_centres(arms, 3)[0, 1] <= 1  # the larger of two, not between them
    for seed in range(5):
        row, column = random_centres(masks, seed)[0].long().tolist()
        assert masks[0, row, column]
    assert not torch.equal(random_centres(masks, 0), random_centres(masks, 1))
    for centres in (random_centres, covering_centres):
        with pytest.raises(ConfigError, match="empty"):
            centres(masks & False, 1)


# -- invariance ------------------------------------------------------------------------------------------


def test_changes_move_pixels_as_they_say():
    image = images(1, (20, 20))
    for change, nothing in (("shift", 0.0), ("scale", 1.0), ("turn", 0.0), ("turn", 360.0)):
        torch.testing.assert_close(transformed(image, change, nothing), image, atol=1e-6, rtol=0)
    down = transformed(image, "shift", 0.25)
    torch.testing.assert_close(down[..., 5:, :], image[..., :15, :], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        transformed(image, "turn", 90.0), torch.rot90(image, 1, (2, 3)), atol=1e-6, rtol=0
    )
    wide = transformed(images(1, (8, 16)), "turn", 180.0)
    torch.testing.assert_close(wide, images(1, (8, 16)).flip(2, 3), atol=1e-6, rtol=0)
    square = torch.zeros(1, 1, 20, 20)
    square[..., 8:12, 8:12] = 1
    assert transformed(square, "scale", 2.0).sum() == pytest.approx(4 * square.sum().item(), rel=0.05)
    for change, amount in (("flip", 1.0), ("scale", 0.0)):
        with pytest.raises(ConfigError, match="changes are"):
            transformed(image, change, amount)


def test_layers_that_forget_places_do_not_see_shifts():
    """A mean over the map stays as it is when all that there is moves inside; the map itself does not."""
    mean = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder = Encoder(seeded(lambda: mean), layers=["0", "2"], preprocessing=PLAIN)
    image = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    image[..., 6:10, 6:10] = images(2, (4, 4))
    found = invariance(encoder, image, "shift", [0.0, 0.125, 0.25])
    assert found["2"].max() < 1e-6
    assert found["0"][0].max() < 1e-6
    assert found["0"][1].min() > 0.5


def test_errors_are_by_layer_amount_and_image():
    one = Encoder(seeded(plain), "5", PLAIN)
    found = invariance(one, images(3), "turn")
    assert {name: error.shape for name, error in found.items()} == {"5": (len(CHANGES["turn"]), 3)}
    with pytest.raises(ConfigError, match="changes are"):
        invariance(one, images(1), "flip")
