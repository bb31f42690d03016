"""The regularisers, step rules and published sets of Yosinski et al. 2015."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

import tiny
from netinvert import ConfigError, Encoder, Preprocessing, Run
from netinvert.inversion.canvas import Pixels
from netinvert.inversion.canvases import with_canvas
from netinvert.inversion.invert import maximise, prepare_maximising
from netinvert.inversion.objectives import Activate
from netinvert.inversion.presets.by_name import MAXIMISING, maximising_recipe
from netinvert.inversion.presets.yosinski15 import (
    DEEPVIS,
    Blur,
    ClipSmallContribution,
    ClipSmallNorm,
    ConstantRate,
    Decay,
    DeepVis,
    Progress01Rate,
    ProgressRate,
    Regularisers,
    deepvis,
    percentile,
    stretched,
)
from netinvert.inversion.transforms import Box
from netinvert.inversion.units import channel

CENTRE = (0.2, 0.5, 0.6)
COLOUR = torch.tensor(CENTRE, dtype=torch.float64).view(3, 1, 1)


def gradients(seed: int = 3) -> torch.Tensor:
    return tiny.images(seed=seed) - 0.5


# -- the projections ------------------------------------------------------------------------------------


def test_decay_shrinks_the_difference_from_the_mean():
    image = tiny.images()
    found = Decay(CENTRE, 0.3)(image, gradients(), 1)
    torch.testing.assert_close(found - COLOUR, 0.7 * (image - COLOUR))


def test_blur_is_scipys_and_leaves_channels_apart():
    image = tiny.images(2, (9, 14))
    for std in (0.5, 1.0, 3.0):  # the widest reaches over the whole image
        found = Blur(std)(image, image, 1)
        for sample in range(2):
            for index in range(3):
                expected = gaussian_filter(image[sample, index].numpy(), std)
                np.testing.assert_allclose(found[sample, index].numpy(), expected, atol=1e-12)


def test_blur_of_the_image_is_blur_around_the_mean():
    image = tiny.images()
    blur = Blur(1.0)
    torch.testing.assert_close(blur(image, image, 1), COLOUR + blur(image - COLOUR, image, 1))


def test_blur_every_so_many_steps_and_in_the_first():
    image = tiny.images()
    blur = Blur(0.5, 4)
    changed = [step for step in range(1, 11) if not torch.equal(blur(image, image, step), image)]
    assert changed == [1, 5, 9]  # their steps 0, 4, 8


def test_percentiles_are_numpys_and_each_samples_own():
    values = torch.cat([tiny.images(1), 100 * tiny.images(1, seed=1)])[:, :1]
    for percent in (0, 12.3, 50, 90, 99.99, 100):
        found = percentile(values, percent)
        assert found.shape == (2, 1, 1, 1)
        expected = [np.percentile(one.numpy(), percent) for one in values]
        np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-12)


def test_small_norms_become_the_mean_colour():
    lengths = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4) / 100
    image = COLOUR + lengths * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64).view(1, 3, 1, 1)
    found = ClipSmallNorm(CENTRE, 50)(image, image, 1)
    gone = lengths.expand(1, 3, 4, 4) < 0.075  # the median of 0 to 15 is 7.5
    assert torch.equal(found, torch.where(gone, COLOUR, image))


def test_clipping_twice_is_clipping_once():
    """The first clip leaves zeros, which are the smallest again: nothing else falls below."""
    image = tiny.images()
    for clip in (ClipSmallNorm(CENTRE, 40), ClipSmallContribution(CENTRE, 90)):
        once = clip(image, gradients(), 1)
        assert not torch.equal(once, image)
        assert torch.equal(clip(once, gradients(), 2), once)
    box = Box()
    assert torch.equal(box(box(3 * image - 1, image, 1), image, 1), box(3 * image - 1, image, 1))


def test_small_contributions_become_the_mean_colour():
    image, energy_gradient = tiny.images(), gradients()
    found = ClipSmallContribution(CENTRE, 90)(image, energy_gradient, 1)
    signed = ClipSmallContribution(CENTRE, 30, signed=True)(image, energy_gradient, 1)
    for sample in range(2):
        # As their code: grad is that of the activation, the energy's negated; x is around the mean.
        x, grad = (image - COLOUR)[sample].numpy(), -energy_gradient[sample].numpy()
        benefit = (grad * -x).sum(0)
        small = np.abs(benefit) < np.percentile(np.abs(benefit), 90)
        assert small.sum() == math.ceil(0.9 * 255)
        np.testing.assert_array_equal(found[sample].numpy(), np.where(small, COLOUR.numpy(), image[sample]))
        small = benefit < np.percentile(benefit, 30)
        np.testing.assert_array_equal(signed[sample].numpy(), np.where(small, COLOUR.numpy(), image[sample]))


def test_pixels_without_contribution_are_those_that_a_linear_activation_does_not_miss():
    """⟨w, x⟩ loses exactly what the contribution says when pixels become the mean."""
    image, weights = tiny.images(), gradients()
    found = ClipSmallContribution(CENTRE, 60)(image, -weights, 1)
    lost = ((image - found) * weights).sum((1, 2, 3))
    expected = torch.where(found == image, 0.0, (image - COLOUR) * weights).sum((1, 2, 3))
    torch.testing.assert_close(lost, expected)


PROJECTIONS = (
    Decay(CENTRE, 0.1),
    Blur(1.0),
    ClipSmallNorm(CENTRE, 50),
    ClipSmallContribution(CENTRE, 50),
    ClipSmallContribution(CENTRE, 50, signed=True),
)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_samples_do_not_see_one_another(projection):
    image, gradient = tiny.images(3), tiny.images(3, seed=5) - 0.5
    together = projection(image, gradient, 1)
    alone = [projection(image[k : k + 1], gradient[k : k + 1], 1) for k in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_units_do_not_matter(projection):
    """In 0..255 around a mean of zero, as their code has it, the same."""
    image, gradient = tiny.images(), gradients()
    found = projection(image, gradient, 1)
    centred = projection
    if hasattr(projection, "centre"):
        fields = {name: getattr(projection, name) for name in projection.__dataclass_fields__}
        centred = type(projection)(**{**fields, "centre": (0.0, 0.0, 0.0)})
    theirs = centred(255 * (image - COLOUR), gradient / 255, 1)
    torch.testing.assert_close(found, COLOUR + theirs / 255)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Decay(CENTRE, 1.0), "less than 1, got 1.0"),
        (lambda: Blur(0.2), "narrower than 0.3 pixels"),
        (lambda: Blur(math.nan), "narrower than 0.3 pixels"),
        (lambda: Blur(1.0, 0), "1 or more, got 0"),
        (lambda: ClipSmallNorm(CENTRE, 101), "from 0 to 100, got 101"),
        (lambda: ClipSmallContribution(CENTRE, -1), "from 0 to 100, got -1"),
        (lambda: ConstantRate(0.0), "rate of ConstantRate is a number above 0"),
        (lambda: ProgressRate(-1.0, 1.0), "desired of ProgressRate is a number above 0"),
        (lambda: ProgressRate(1.0, 0.0), "most of ProgressRate is a number above 0"),
        (lambda: Progress01Rate(0.1, 0.0, 1.0), "late of Progress01Rate is a number above 0"),
    ],
)
def test_settings_that_make_no_sense(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_stretched_is_how_their_code_saves_pictures():
    """norm01c: the mean colour becomes grey, the largest difference 0 or 1."""
    image = COLOUR + torch.tensor([0.01, 0.5]).view(2, 1, 1, 1) * (tiny.images() - 0.4)
    found = stretched(image, CENTRE)
    for sample in range(2):
        x = (image[sample] - COLOUR).numpy()
        np.testing.assert_allclose(found[sample].numpy(), x / max(2 * x.max(), -2 * x.min()) + 0.5)
    grey = COLOUR.expand(1, 3, 4, 4)
    assert torch.equal(stretched(grey, CENTRE), torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64))


# -- the step rules -------------------------------------------------------------------------------------


def stepped(rule, losses, gradient):
    parameter = nn.Parameter(torch.zeros_like(gradient))
    going = rule.start([parameter]).update(losses, [gradient])
    assert going.all()
    return parameter.detach()


def test_step_rules():
    gradient = gradients() * torch.tensor([1.0, 1e-3], dtype=torch.float64).view(2, 1, 1, 1)
    squares = gradient.square().sum((1, 2, 3)).tolist()
    losses = torch.tensor([-0.2, -0.9], dtype=torch.float64)
    late = [min(0.05, 0.1 * 0.8), min(0.05, 0.1 * (1 - 0.9))]
    expected = {
        ConstantRate(100.0): (100.0, 100.0),
        ProgressRate(2.0, 100.0): (min(100.0, 2.0 / squares[0]), 100.0),
        ProgressRate(2.0, 1e8): (2.0 / squares[0], 2.0 / squares[1]),
        Progress01Rate(0.05, 0.1, 1e8): (late[0] / squares[0], late[1] / squares[1]),
    }
    assert 2.0 / squares[1] > 100  # so that the second sample is held by the highest rate
    for rule, rates in expected.items():
        found = stepped(rule, losses, gradient)
        for sample, rate in enumerate(rates):
            torch.testing.assert_close(found[sample], -rate * gradient[sample])


def test_a_linear_activation_gains_the_desired_progress():
    weights = gradients()
    moved = stepped(ProgressRate(2.0, 1e8), torch.zeros(2, dtype=torch.float64), -weights)
    torch.testing.assert_close((moved * weights).sum((1, 2, 3)), torch.full((2,), 2.0, dtype=torch.float64))


def test_no_gradient_is_no_step():
    nothing = torch.zeros(2, 3, 4, 4)
    for rule in (ConstantRate(1.0), ProgressRate(2.0, 100.0), Progress01Rate(0.1, 0.1, 100.0)):
        assert torch.equal(stepped(rule, torch.tensor([0.0, -1.0]), nothing), nothing)


# -- the published sets ---------------------------------------------------------------------------------

# decay, blur, every, small norm, small contribution, steps, rule: table 1 and doc/running-optimize-image.md
TABLE_1 = {
    "deepvis-1": (0, 0.5, 4, 50, 0, 500, ProgressRate(2.0, 100.0)),
    "deepvis-2": (0.3, 0, 0, 20, 0, 750, ConstantRate(100.0)),
    "deepvis-3": (0.0001, 1.0, 4, 0, 0, 1000, ConstantRate(100.0)),
    "deepvis-4": (0, 0.5, 4, 0, 90, 1000, ProgressRate(2.0, 1e8)),
}


def cut(dtype=torch.float64) -> Encoder:
    form = Preprocessing(tiny.SIZE, mean=CENTRE, std=(0.25, 0.25, 0.25))
    return Encoder(tiny.seeded(tiny.smooth, dtype=dtype), "output", form)


@pytest.mark.parametrize("name", TABLE_1)
def test_presets_are_the_published_sets(name):
    decay, blur, every, norm, contribution, steps, rule = TABLE_1[name]
    how = maximising_recipe(name, cut())
    (stage,) = how.stages
    projections = []
    if decay:
        projections.append(Decay(CENTRE, decay))
    if blur:
        projections.append(Blur(blur, every))
    if norm:
        projections.append(ClipSmallNorm(CENTRE, norm))
    if contribution:
        projections.append(ClipSmallContribution(CENTRE, contribution))
    assert stage.projections == (*projections, Box(0.0, 1.0))
    assert (stage.steps, stage.optimizer, stage.jitter) == (steps, rule, 1)
    assert (how.name, how.data_weight, how.priors, how.prior, how.unnormalised) == (
        name,
        1.0,
        (),
        "none",
        True,
    )


def test_all_sets_are_presets():
    assert set(TABLE_1) == set(DEEPVIS) <= set(MAXIMISING)


def test_the_order_is_that_of_their_code():
    kinds = [type(one) for one in Regularisers(0.1, 1.0, 4, 50, 50).projections(CENTRE)]
    assert kinds == [Decay, Blur, ClipSmallNorm, ClipSmallContribution, Box]
    assert Regularisers().projections(CENTRE) == (Box(),)


def test_the_start_is_noise_of_10_around_the_mean_by_seed():
    encoder = Encoder(tiny.seeded(tiny.smooth), "output", Preprocessing((64, 64), mean=(0.5, 0.4, 0.6)))
    how = maximising_recipe("deepvis-3", encoder)
    canvas = how.canvas(encoder, [4, 5, 4], None)
    assert isinstance(canvas, Pixels)
    x = canvas.optimised()[0].detach()  # mean-subtracted, in 0..255
    assert abs(x.mean()) < 0.3
    assert abs(x.std() - 10) < 0.2
    assert torch.equal(x[0], x[2])
    assert not torch.equal(x[0], x[1])
    start = tiny.images(1, (64, 64))
    assert torch.allclose(how.canvas(encoder, [0], start)(), start)


def test_the_first_steps_are_those_of_their_code():
    """Their loop, written out in numpy on a linear network, with its gradient known."""
    encoder = cut()
    steps = 7
    settings = Regularisers(0.01, 0.5, 4, 20, 30)
    how = deepvis(encoder, DeepVis(steps, ProgressRate(20.0, 1e8), settings))
    direction = channel(encoder, 1)
    mean = 255 * COLOUR.numpy()

    def activation(x):
        image = torch.from_numpy((x + mean) / 255)[None].requires_grad_(True)
        value = (encoder(image) * direction).sum()
        (gradient,) = torch.autograd.grad(value, image)
        return value.item(), gradient[0].numpy() / 255

    x = how.canvas(encoder, [0], None).optimised()[0].detach()[0].numpy().copy()
    history, seen = [], []
    for ii in range(steps):
        x = np.minimum(255.0, np.maximum(0.0, x + mean)) - mean
        value, grad = activation(x)
        history.append(value)
        seen.append(x.copy())
        if ii == steps - 1:
            break
        x += min(1e8, 20.0 / np.linalg.norm(grad) ** 2) * grad
        x *= 1 - 0.01
        if ii % 4 == 0:
            x = np.stack([gaussian_filter(plane, 0.5) for plane in x])
        norms = np.linalg.norm(x, axis=0)
        x = x - x * (norms < np.percentile(norms, 20))
        benefit = np.abs((grad * -x).sum(0))
        x = x - x * (benefit < np.percentile(benefit, 30))
    images = []
    run = Run(seed=[0], callback=lambda snapshot: images.append(snapshot.image.clone()))
    result = prepare_maximising(encoder, Activate(direction), how, None, 1).run(run)
    np.testing.assert_allclose((-result.losses[:, 0, 0]).numpy(), history, rtol=1e-9)
    for ours, theirs in zip(images, seen, strict=True):
        np.testing.assert_allclose(255 * ours[0].numpy() - mean, theirs, atol=1e-7)
    assert result.best_step.item() == int(np.argmax(history))
    assert torch.equal(result.image, images[int(np.argmax(history))])


def test_raw_recipes_keep_the_activation_as_it_is():
    """Twice the direction is twice the gradient, and other steps; elsewhere units make them the same."""
    encoder = cut()
    direction = channel(encoder, 0)
    for preset, same in (("deepvis-3", False), ("simonyan13", True)):
        how = maximising_recipe(preset, encoder).with_steps(3)
        found = [maximise(encoder, Activate(k * direction), preset=how).image for k in (1, 2)]
        assert torch.allclose(*found, atol=1e-12) is same


def test_their_steps_are_for_pixels():
    encoder = cut()
    how = maximising_recipe("deepvis-1", encoder)
    assert with_canvas(how, "pixels") is how
    with pytest.raises(ConfigError, match=r"made for pixels in 0\.\.255"):
        with_canvas(how, "fourier")


@pytest.mark.parametrize("name", DEEPVIS)
def test_presets_maximise(name):
    encoder = cut()
    how = maximising_recipe(name, encoder).with_steps(20)
    # The constants are for networks whose activations differ by some tens.
    zero, one, two = (10000 * channel(encoder, index) for index in range(3))
    result = maximise(encoder, Activate(torch.cat([zero, one])), preset=how, seed=[0, 1])
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    if name in ("deepvis-2", "deepvis-3"):  # the others leave too few of these few pixels
        assert (result.losses.sum(1).amin(0) < result.losses[0].sum(0) - 1).all()
    changed = maximise(encoder, Activate(torch.cat([zero, two])), preset=how, seed=[0, 7])
    assert torch.equal(result.image[0], changed.image[0])
    assert not torch.equal(result.image[1], changed.image[1])
