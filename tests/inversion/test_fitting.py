import pytest
import torch
from torch import nn

from netinvert import Encoder, Preprocessing, invert, load_network, recipe
from netinvert.inversion.lbfgs import LBFGS
from netinvert.inversion.presets.fitting import (
    Contrast,
    contrast_of,
    is_vector,
    reference_images,
)
from netinvert.inversion.schedule import Adam
from netinvert.io.assets import photographs

FORM = Preprocessing((32, 32), (0.0,) * 3, (1.0,) * 3)


def loud(bias):
    """A code with so large a constant in it that little of its norm is about the image."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 12, 5, stride=2)
    nn.init.constant_(layer.bias, bias)
    return nn.Sequential(layer, nn.Identity()).eval()


def one(module, form=FORM):
    return Encoder(module, "0", form)


def test_the_sensitivity_by_hand():
    cut = one(loud(1.0))
    names, images = photographs((32, 32))
    chosen = images[[names.index("raccoon")]]
    mean = chosen.mean((1, 2, 3), keepdim=True)
    codes, fainter = cut(chosen), cut(mean + 0.8 * (chosen - mean))
    expected = (fainter - codes).flatten(1).square().sum(1) / codes.flatten(1).square().sum(1)
    assert contrast_of(cut).sensitivity == pytest.approx(expected.mean().item(), rel=1e-4)


def test_constants_in_a_code_make_it_insensitive_and_priors_light():
    quiet, deaf = contrast_of(one(loud(0.0))), contrast_of(one(loud(1.0)))
    assert deaf.sensitivity < quiet.sensitivity / 5
    how = recipe("default", one(loud(1.0)))
    (weight, _), (alpha, _) = how.priors
    assert weight == pytest.approx(0.1 * deaf.share)
    assert how.prior == f"tv-isotropic={weight!r}"
    full = recipe("default", one(loud(0.0)))
    assert alpha / full.priors[1][0] == pytest.approx(deaf.share / quiet.share)


@pytest.mark.parametrize("preset", ["default", "quick", "coarse-to-fine", "fourier-adam"])
def test_weights_of_the_user_are_taken_to_the_letter(preset):
    how = recipe(preset, one(loud(1.0)), "tv-huber=0.3")
    assert how.priors[0][0] == 0.3
    assert recipe(preset, one(loud(1.0)), "none").priors == ()


def test_images_keep_their_contrast_and_brightness():
    cut = one(loud(1.0))
    images = photographs((32, 32))[1][:3]

    def ratios(prior):
        found = invert(cut, cut(images), prior=prior, steps=120).image.clamp(0, 1)
        contrast = found.mean(1).flatten(1).std(1) / images.mean(1).flatten(1).std(1)
        return contrast, found.mean((1, 2, 3)) / images.mean((1, 2, 3))

    contrast, brightness = ratios(None)
    assert (contrast - 1).abs().max() < 0.2
    assert (brightness - 1).abs().max() < 0.2
    flat, _ = ratios("tv-isotropic=0.3")  # what was every network's weight once
    assert flat.max() < 0.7


@pytest.mark.parametrize(
    ("reshape", "vector"),
    [((-1,), True), ((-1, 1, 1), True), ((1, 1, -1), True), ((3, -1), False), ((4, 7, -1), False)],
)
def test_what_a_vector_is(reshape, vector):
    module = nn.Sequential(nn.Conv2d(3, 12, 5, stride=2), nn.Flatten(), nn.Unflatten(1, reshape)).eval()
    cut = Encoder(module, "2", FORM)
    assert is_vector(cut) is vector
    stages = recipe("default", cut).stages
    assert bool(stages[0].transforms) is vector
    assert isinstance(stages[-1].optimizer, LBFGS)


def test_several_layers_and_other_channels():
    torch.manual_seed(0)
    many = nn.Sequential(nn.Conv2d(5, 6, 3), nn.ReLU()).eval()
    cut = Encoder(many, layers=["0", "1"], preprocessing=Preprocessing((8, 8), (0.0,) * 5, (1.0,) * 5))
    assert reference_images(cut).shape == (8, 5, 8, 8)
    assert 0 < contrast_of(cut).sensitivity < 1
    assert not is_vector(cut)


def test_a_large_constant_is_not_taken_for_blindness():
    assert contrast_of(one(loud(30.0))).known
    assert recipe("default", one(loud(30.0))).priors[0][0] < 1e-5
    assert not Contrast(1e-6, 1.0).known
    assert Contrast(0.0, 0.0).known  # codes of nothing but zeros say nothing of either


def test_another_photograph_is_asked_where_one_leaves_it_open():
    clear, open_ = contrast_of(one(loud(0.0))), contrast_of(one(loud(30.0)))
    assert clear.sensitivity > 4e-3
    assert clear.other == 0
    cut = one(loud(30.0))
    names, images = photographs((32, 32))
    code, other = (cut(images[[names.index(name)]]) for name in ("raccoon", "coffee"))
    assert open_.sensitivity < 4e-3
    assert open_.other == pytest.approx(float((other - code).norm() / code.norm()) ** 2, rel=1e-3)


@pytest.mark.slow
def test_the_default_of_vectors_ends_near_the_error_of_quick():
    cut = Encoder(load_network("posenet"), "relu7")
    image = photographs(cut.size)[1][:1]
    found = {
        name: invert(cut, cut(image), preset=recipe(name, cut).with_steps(150)).error.item()
        for name in ("default", "quick", "robust")
    }
    assert found["default"] < 0.75 * found["robust"]
    assert found["default"] < 6 * found["quick"]


def test_coarse_maps_by_what_they_say_of_contrast():
    edges = nn.Conv2d(3, 4, 9, stride=32, bias=False)
    edges.weight.data -= edges.weight.data.mean((1, 2, 3), keepdim=True)
    much = Encoder(edges.eval(), "output", Preprocessing((96, 96)))
    assert (much.stride, contrast_of(much).share) == (32, 1.0)
    first, last = recipe("default", much).stages
    assert (first.steps, first.jitter, type(first.optimizer)) == (100, 32 // 8, Adam)
    assert (last.steps, last.jitter, type(last.optimizer)) == (200, 1, LBFGS)
    little = Encoder(load_network("objectron-cup"), "blocks.14")  # on which the threshold was not chosen
    assert contrast_of(little).share < 0.45
    assert recipe("default", little).stages == recipe("quick", little).stages
    module = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 4, 1)).eval()
    first, last = recipe("default", Encoder(module, "0", Preprocessing((64, 64)))).stages
    assert (first.steps, first.jitter, type(first.optimizer)) == (3, 1, Adam)
    assert (last.steps, last.jitter, type(last.optimizer)) == (297, 1, LBFGS)
