"""Saliencies against their definitions, written out by hand; and what they leave behind: nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tiny
from netinvert.errors import ConfigError, ImageError, LayerError, NetworkError
from netinvert.experiments.explain.saliency import half_in
from netinvert.explain.saliency import METHODS, Saliency
from netinvert.explain.targets import parse_target
from netinvert.models.network import Network, Preprocessing
from netinvert.models.registry import load_network

FORM = Preprocessing(tiny.SIZE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
MEAN, STD = (torch.tensor(values).double()[:, None, None] for values in (FORM.mean, FORM.std))
TINY = Network("tiny", tiny.seeded(tiny.plain), FORM)
CLASS = parse_target(TINY, "class:2")
IMAGES = tiny.images(3)
OF_MAPS = [one for one in METHODS if one not in ("rollout", "attention-gradient")]  # these: test_tokens.py


def logit(images):
    """By the user's own network."""
    return TINY.module(((images - MEAN) / STD).clone())[:, 2]


def slope(images, function=logit):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(function(images).sum(), images)[0]


def test_gradient_is_the_largest_over_colours():
    torch.testing.assert_close(Saliency()(CLASS, IMAGES), slope(IMAGES).abs().amax(1))


def test_gradient_times_input_is_that_of_what_the_network_sees():
    seen = ((IMAGES - MEAN) / STD).requires_grad_()
    (gradient,) = torch.autograd.grad(TINY.module(seen.clone())[:, 2].sum(), seen)
    expected = (gradient * seen).sum(1).detach()
    torch.testing.assert_close(Saliency("gradient-input")(CLASS, IMAGES), expected)


def test_integrated_gradients_sum_to_what_the_image_adds():
    """Sundararajan et al. 2017, proposition 1; and the path, point by point."""
    found = Saliency("integrated", samples=300)(CLASS, IMAGES)
    added = logit(IMAGES) - logit(MEAN.expand_as(IMAGES))
    torch.testing.assert_close(found.sum((1, 2)), added, rtol=2e-3, atol=1e-3)
    points = [slope(MEAN + share * (IMAGES - MEAN)) for share in (0.25, 0.75)]
    expected = ((points[0] + points[1]) / 2 * (IMAGES - MEAN)).sum(1)
    torch.testing.assert_close(Saliency("integrated", samples=2)(CLASS, IMAGES), expected)


def test_smoothgrad_is_the_mean_gradient_of_noisy_images():
    found = Saliency("smoothgrad", samples=2, noise=0.3, seed=5)(CLASS, IMAGES)
    source = torch.Generator().manual_seed(5)
    span = (IMAGES.amax((1, 2, 3)) - IMAGES.amin((1, 2, 3)))[:, None, None, None]
    noises = [0.3 * span * torch.randn(3, 16, 16, generator=source).double() for _ in range(2)]
    mean = sum(slope(IMAGES + noise) for noise in noises) / 2
    torch.testing.assert_close(found, mean.abs().amax(1))
    assert not torch.equal(found, Saliency("smoothgrad", samples=2, noise=0.3, seed=6)(CLASS, IMAGES))


def test_guided_backpropagation_by_hand():
    """Linear, ReLU, linear, ReLU, linear: gradients pass where input and gradient are above zero."""
    parts = tiny.seeded(lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(12, 7), nn.ReLU(inplace=True), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2)
    ))  # fmt: skip
    network = Network("hand", parts, Preprocessing((2, 2)))
    image = tiny.images(2, (2, 2))
    first = parts[1](image.flatten(1))
    second = parts[3](first.relu())
    back = parts[5].weight[1].expand(2, -1).clamp_min(0) * (second > 0)
    back = (back @ parts[3].weight).clamp_min(0) * (first > 0)
    expected = (back @ parts[1].weight).view(2, 3, 2, 2).abs().amax(1)
    torch.testing.assert_close(Saliency("guided")(parse_target(network, "class:1"), image), expected)


@pytest.mark.parametrize("build", [tiny.plain, tiny.Functional, tiny.Reused])
def test_guided_backpropagation_reaches_functional_relus(build):
    network = Network("one", tiny.seeded(build), tiny.PLAIN)
    target = parse_target(network, "channel:0")
    assert not torch.allclose(Saliency("guided")(target, IMAGES), Saliency()(target, IMAGES))


def test_grad_cam_weighs_maps_by_their_mean_gradients():
    body, head = TINY.module[:5], TINY.module[6:]
    maps = F.relu(body(((IMAGES - MEAN) / STD).clone())).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(head(maps)[:, 2].sum(), maps)
    cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).clamp_min(0).detach()
    expected = F.interpolate(cam[:, None], tiny.SIZE, mode="bilinear")[:, 0]
    torch.testing.assert_close(Saliency("grad-cam")(CLASS, IMAGES), expected)
    torch.testing.assert_close(Saliency("grad-cam", layer="5")(CLASS, IMAGES), expected)
    assert not torch.allclose(Saliency("grad-cam", layer="1")(CLASS, IMAGES), expected)


def test_distances_have_the_norm_of_their_components_gradients():
    posenet = load_network("posenet")
    target = parse_target(posenet, "pose:geodesic")
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    fixed = target.fixed(image)
    rows = [
        slope(image, lambda images, k=k: target.components(images, fixed)[:, k]).square() for k in range(3)
    ]
    torch.testing.assert_close(Saliency()(target, image), sum(rows).sqrt().amax(1))


def test_one_pixel_turns_the_pose_as_fast_as_its_saliency_says():
    """The geodesic distance itself has no gradient where the pose is read."""
    target = parse_target(load_network("posenet"), "pose:geodesic")
    image = 0.2 + 0.6 * torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    fixed, found = target.fixed(image), Saliency()(target, image)[0]
    place = divmod(int(found.argmax()), 128)
    moved = []
    for colour in range(3):
        other = image.clone()
        other[0, colour, place[0], place[1]] += 0.02
        moved.append(-target(other, fixed).item() / 0.02)
    assert max(moved) == pytest.approx(found.max().item(), rel=0.1)


@pytest.mark.parametrize("method", OF_MAPS)
def test_samples_are_independent_and_signs_are_where_they_are_told(method):
    how = Saliency(method, samples=3)
    both, other = how(CLASS, IMAGES[:2]), how(CLASS, torch.stack([IMAGES[0], IMAGES[2]]))
    assert both.shape == (2, *tiny.SIZE)
    assert torch.equal(both[0], other[0])
    assert not torch.equal(both[1], other[1])
    signed = method in ("gradient-input", "integrated")
    assert bool((both < 0).any()) == signed
    assert not (how(parse_target(TINY, "match"), IMAGES) < 0).any()


def test_grad_cam_of_a_layer_that_the_target_does_not_depend_on_is_refused():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.aside, self.head = nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 1), nn.Linear(2, 3)

        def forward(self, x):
            x = self.first(x)
            self.aside(x)
            return self.head(x.mean((2, 3)))

    target = parse_target(Network("aside", tiny.seeded(Aside), tiny.PLAIN), "class:1")
    with pytest.raises(LayerError, match="does not depend on"):
        Saliency("grad-cam", layer="aside")(target, IMAGES)


def test_crops_are_put_back_where_they_were():
    """Of a linear network the gradient is the same at every place of an image, whatever is cropped."""
    network = Network("mean", tiny.seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )), tiny.PLAIN)  # fmt: skip
    target = parse_target(network, "class:1")
    torch.testing.assert_close(Saliency(crops=True)(target, IMAGES), Saliency()(target, IMAGES))
    left = IMAGES.clone()
    left[..., 8:] = 0.5  # the grey of this network
    found = Saliency("gradient-input", crops=True)(target, left)
    assert found[..., :6].abs().sum() > 0.0
    assert found[..., 10:].abs().max() < 1e-12


def test_a_mirrored_pose_is_read_anew():
    """So that its distance is about itself; a class stays."""
    target = parse_target(load_network("posenet"), "pose:geodesic")
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    found, mirrored = Saliency(crops=True)(target, torch.cat([image, image.flip(-1)]))
    torch.testing.assert_close(found, mirrored.flip(-1), rtol=1e-3, atol=1e-3 * found.max().item())


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (lambda: Saliency("magic"), ConfigError),
        (lambda: Saliency("smoothgrad", samples=0), ConfigError),
        (lambda: Saliency("smoothgrad", noise=0.0), ConfigError),
        (lambda: Saliency("grad-cam", layer="9")(CLASS, IMAGES), LayerError),
        (lambda: Saliency("grad-cam", layer="8")(CLASS, IMAGES), LayerError),
        (lambda: Saliency()(CLASS, torch.zeros(2, 5)), ImageError),
    ],
)
def test_what_makes_no_sense_is_refused(how, error):
    with pytest.raises(error):
        how()


@pytest.mark.parametrize("act", [nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Softplus])
def test_guided_backpropagation_has_no_rule_for_other_rectifiers(act):
    smooth = tiny.seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), act(), nn.Flatten(), nn.Linear(392, 3)))
    with pytest.raises(NetworkError, match="guided backpropagation has a rule for ReLUs"):
        Saliency("guided")(parse_target(Network("n", smooth, tiny.PLAIN), "class:0"), IMAGES)


class Raising(nn.Module):
    """Raises what it is told to, from the call on that it is told."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(784, 3)
        self.error = None

    def forward(self, x):
        x = self.relu(self.conv(x))
        if self.error is not None:
            raise self.error
        return self.head(x.flatten(1))


def state(*modules):
    return [
        (name, part.training, *(dict(vars(part)[one]) for one in vars(part) if one.endswith("_hooks")))
        for module in modules
        for name, part in module.named_modules()
    ] + [(one.requires_grad, one.grad) for module in modules for one in module.parameters()]


@pytest.mark.parametrize("method", OF_MAPS)
@pytest.mark.parametrize("error", [None, ValueError("broken"), KeyboardInterrupt()])
def test_nothing_is_left_behind(method, error):
    network = Network("raising", tiny.seeded(Raising), tiny.PLAIN)
    target = parse_target(network, "class:1")
    inner = [cut.module for cut in target.encoder._cuts]
    before, images, mode = state(network.module, *inner), IMAGES.clone(), torch.is_grad_enabled()
    cut = target.encoder._cut
    fixed = target.fixed(images)
    for part in inner:
        part.error = error
    if error is None:
        Saliency(method, samples=2)(target, images, fixed)
    else:
        with pytest.raises(type(error)):
            Saliency(method, samples=2)(target, images, fixed)
    assert state(network.module, *inner) == before
    assert target.encoder._cut is cut
    assert images.grad is None
    assert not images.requires_grad
    assert torch.equal(images, IMAGES)
    assert torch.is_grad_enabled() == mode
    value = torch.tensor([-1.0, 1.0], requires_grad=True)
    assert torch.autograd.grad(value.relu().sum(), value)[0].tolist() == [0.0, 1.0]
    x = torch.tensor([2.0], requires_grad=True)  # no guided gradients
    assert torch.autograd.grad(-x.relu(), x)[0].item() == -1.0


def test_images_of_nan_and_half_samples_are_refused():
    target = parse_target(load_network("posenet"), "pose")
    with pytest.raises(ImageError, match="NaN"):
        Saliency("gradient")(target, torch.full((1, 3, 128, 128), torch.nan))
    with pytest.raises(ConfigError, match="samples are 1, 2, 3"):
        Saliency("smoothgrad", samples=1.5)


def test_a_map_of_nothing_has_no_half():
    assert half_in(torch.zeros(4, 4)) is None
    assert half_in(torch.ones(4, 4)) == 0.5
