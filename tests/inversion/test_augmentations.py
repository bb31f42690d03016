"""Random transforms: shapes, bounds, and randomness of each sample's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert import Adam, ConfigError, Energy, Match, Run, Stage, optimize
from netinvert.inversion.canvas import Fourier
from netinvert.inversion.transforms import (
    RandomAffine,
    RandomCrop,
    RandomDownsample,
    RandomErasing,
    RandomNoise,
)
from netinvert.io.running import generators
from tiny import encoder, images

TRANSFORMS = {
    "view": RandomAffine(20, 0.2, 0.1),
    "crop": RandomCrop(0.4, 0.9),
    "noise": RandomNoise(0.1),
    "cover": RandomErasing(1.0, 0.5),
    "coarseness": RandomDownsample(1.0),
}
every = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())


@every
def test_each_sample_has_its_own_numbers(transform):
    x = images(1, (12, 9)).expand(3, -1, -1, -1)
    together = transform(x, generators([1, 2, 1]))
    assert together.shape == x.shape
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[0], together[1]) == isinstance(transform, RandomDownsample)  # always, here
    assert torch.equal(transform(x[:1], generators([2]))[0], together[1])


@every
def test_the_gradient_reaches_the_image(transform):
    x = images(2, (12, 9)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(transform(x, generators([3, 4])).square().sum(), x)
    assert gradient.isfinite().all()
    assert (gradient != 0).flatten(1).any(1).all()


def test_no_change_is_none():
    x = images(2, (12, 9))
    for still in (
        RandomAffine(0, 0, 0),
        RandomCrop(1, 1),
        RandomNoise(0),
        RandomErasing(0),
        RandomDownsample(0),
    ):
        torch.testing.assert_close(still(x, generators([1, 2])), x)


def test_a_turned_image_of_any_shape_is_turned_not_sheared():
    """A round blob stays round, wherever it goes."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(64.0), indexing="ij")
    blob = torch.exp(-((rows - 12) ** 2 + (columns - 40) ** 2) / 18)[None, None].double()
    turned = RandomAffine(45, 0, 0)(blob, generators([5]))
    weight = turned / turned.sum()
    middle = [(weight * grid).sum() for grid in (rows, columns)]
    spread = [(weight * (grid - m) ** 2).sum() for grid, m in zip((rows, columns), middle, strict=True)]
    assert abs(middle[0] - 12) > 1
    assert spread[0] == pytest.approx(spread[1].item(), rel=0.05)
    distance = ((middle[0] - 19.5) ** 2 + (middle[1] - 31.5) ** 2).sqrt()
    assert distance.item() == pytest.approx((7.5**2 + 8.5**2) ** 0.5, rel=0.02)


@given(st.integers(0, 2**31))
def test_a_crop_holds_only_what_lies_inside(seed):
    """A crop of a ramp is a ramp between values of it."""
    ramp = torch.linspace(0, 1, 50, dtype=torch.float64).expand(1, 1, 50, 50)
    crop = RandomCrop(0.3, 0.6)(ramp, generators([seed]))
    assert crop.min() >= -1e-9
    assert crop.max() <= 1 + 1e-9
    width = (crop[0, 0, 25, -1] - crop[0, 0, 25, 0]).item()
    assert 0.25 < width < 0.65
    assert (crop[0, 0, 25].diff() >= -1e-9).all()


def test_a_cover_is_one_rectangle_of_one_colour():
    x = images(1, (30, 30))
    covered = RandomErasing(1.0, 0.5)(x, generators([8]))
    changed = (covered != x).any(1)[0]
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert len(rows) <= 15
    assert len(columns) <= 15
    assert (covered[0][:, changed].std(1) < 1e-12).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RandomAffine(scale=1.0), "less than 1"),
        (lambda: RandomCrop(0.9, 0.5), "share of the image"),
        (lambda: RandomCrop(0.5, 1.5), "share of the image"),
        (lambda: RandomErasing(2), "probability"),
    ],
)
def test_bad_settings(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_the_image_found_is_of_the_last_stage_not_a_lucky_view():
    """What was best while the view changed at random is forgotten where it no longer does."""
    cut = encoder()
    target = cut(images(1)).detach()
    stages = (Stage(6, Adam(0.1), transforms=(RandomNoise(0.3),)), Stage(4, Adam(0.001)))
    canvas = Fourier.noise((3, 16, 16), [1], torch.empty(0, dtype=torch.float64))
    result = optimize(canvas, Energy(((1.0, Match(target)),)), cut, stages, Run(seed=1))
    assert result.best_step.item() >= 6
    losses = result.losses[6:].sum(1)[:, 0]
    torch.testing.assert_close(result.error.item() ** 2, losses.min().item())


def test_transforms_and_a_line_search_do_not_go_together():
    from netinvert import LBFGS

    with pytest.raises(ConfigError, match="transforms"):
        Stage(5, LBFGS(), transforms=(RandomNoise(),))


def test_no_transform_depends_on_the_default_dtype():
    x = images(2)
    for transform in (RandomAffine(), RandomCrop(), RandomNoise(), RandomErasing(1.0)):
        once = transform(x, generators([1, 2]))
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(transform(x, generators([1, 2])), once)
        finally:
            torch.set_default_dtype(torch.float32)


def test_the_mean_of_the_last_images_counts_where_a_stage_says_so():
    cut = encoder()
    target = cut(images(2)).detach()
    seen = []
    stage = Stage(8, Adam(0.05), transforms=(RandomNoise(0.1),), averaged=3)
    canvas = Fourier.noise((3, 16, 16), [1, 2], torch.empty(0, dtype=torch.float64))
    run = Run(seed=1, callback=lambda snapshot: seen.append(snapshot.image.clone()))
    result = optimize(canvas, Energy(((1.0, Match(target)),)), cut, [stage], run)
    torch.testing.assert_close(result.image, torch.stack(seen[-3:]).mean(0))
    torch.testing.assert_close(result.code, cut(result.image))
    assert result.best_step.tolist() == [7, 7]


def test_what_is_counted_in_steps_goes_with_them():
    stage = Stage(300, Adam(0.05, halving=90), averaged=100).with_steps(30)
    assert (stage.steps, stage.optimizer.halving, stage.averaged) == (30, 9, 10)
    with pytest.raises(ConfigError, match="cannot average"):
        Stage(5, Adam(), averaged=6)
