"""The papers' constants, and their energies and steps ported literally, in 0..255 units as they have them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tiny
from netinvert import (
    PRESETS,
    PRIORS,
    Adam,
    ConfigError,
    Encoder,
    Energy,
    Fourier,
    Match,
    Pixels,
    Preprocessing,
    Recipe,
    Run,
    Stage,
    invert,
    optimize,
    prepare,
    recipe,
)
from netinvert.inversion.canvases import CANVASES, with_canvas
from netinvert.inversion.presets import mahendran15 as m15
from netinvert.inversion.presets import mahendran16 as m16
from netinvert.inversion.priors import AlphaNorm, Exposure
from netinvert.inversion.schedule import DecayingAdaGrad, Momentum
from netinvert.inversion.transforms import Ball
from netinvert.io.running import generators, shifts
from tiny import images, seeded

MEAN = (0.485, 0.456, 0.406)
LOUD = "cvpr15-shallow"
"""Its σ is the same whatever the size: on tiny images its noise lies far outside the range of pixels."""


def strided(stride=8):
    return lambda: nn.Sequential(
        nn.Conv2d(3, 5, 5, stride=stride, padding=2), nn.Tanh(), nn.Conv2d(5, 4, 1), nn.Tanh()
    )


def encoder_of(size=(24, 20), layer="output", build=None):
    form = Preprocessing(size, mean=MEAN, std=(0.229, 0.224, 0.225))
    return Encoder(seeded(build or strided()), layer, form)


# --- constants ----------------------------------------------------------------------------------------


def test_cvpr15_constants():
    assert pytest.approx(27098.1157) == m15.CVPR15_SIGMA
    paper_tv, paper_alpha = zip(
        *[m15.cvpr15_paper_lambdas(tv, m15.CVPR15_LAMBDA_ALPHA) for tv in (1, 10, 100)], strict=True
    )
    assert paper_tv == (0.5, 5, 50)
    assert paper_alpha == (pytest.approx(2.157e8, rel=2e-4),) * 3
    assert m15.CVPR15_LAMBDA_TV == (1, 10, 100)
    assert m15.CVPR15_LAMBDA_ALPHA == 8e-10


def test_cvpr15_schedule_restarts_the_momentum():
    cut = encoder_of((227, 227))
    how = recipe("cvpr15", cut)
    assert [stage.steps for stage in how.stages] == [100, 200, 100]
    assert how.steps == 400
    rates = [stage.optimizer.learning_rate / m15.CVPR15_SIGMA**2 for stage in how.stages]
    assert rates == pytest.approx([0.004, 0.0004, 0.00004])
    assert all(isinstance(stage.optimizer, Momentum) for stage in how.stages)
    assert all(stage.optimizer.momentum == 0.9 for stage in how.stages)
    assert all(stage.jitter == 1 and stage.projections == () for stage in how.stages)


def test_ijcv16_constants():
    lambda_alpha, lambda_tv = m16.ijcv16_lambdas()
    assert lambda_alpha == pytest.approx(3.815e-12, rel=1e-3)
    assert lambda_tv == pytest.approx(6.60e-3, rel=1e-3)
    assert m16.ijcv16_lambdas(beta=1)[1] == pytest.approx(6.5 / 80)
    assert pytest.approx(53.33, rel=1e-3) == m16.IJCV16_RATE
    assert (m16.IJCV16_SIGMA, m16.IJCV16_BOUND, m16.IJCV16_ALPHA) == (80, 160, 6)


def test_ijcv16_stages():
    cut = encoder_of()
    how = recipe("ijcv16", cut)
    fast, slow = how.stages
    assert (fast.steps, slow.steps) == (300, 50)
    assert fast.optimizer.learning_rate == pytest.approx(53.33, rel=1e-3)
    assert slow.optimizer.learning_rate == pytest.approx(5.333, rel=1e-3)
    for stage in how.stages:
        assert isinstance(stage.optimizer, DecayingAdaGrad)
        assert (stage.optimizer.decay, stage.optimizer.pixels) == (0.9, 24 * 20)
        assert stage.projections == (Ball(MEAN, 160 / 255),)
    assert (fast.jitter, slow.jitter) == (2, 1)
    assert how.data_weight == m16.IJCV16_C
    assert m16.IJCV16_C in (1, 20, 100, 300)


@pytest.mark.parametrize(("stride", "jitter"), [(1, 1), (2, 1), (4, 1), (8, 2), (16, 4), (32, 8)])
def test_jitter_is_a_quarter_of_the_stride(stride, jitter):
    cut = encoder_of((64, 64), build=strided(stride))
    assert cut.stride == stride
    assert recipe("ijcv16", cut).stages[0].jitter == jitter


def test_depth_chooses_the_lambda_of_cvpr15():
    """Their net has 20 layers: up to the 6th λ1, up to the 12th λ2, above λ3."""

    def build():
        layers = [nn.Conv2d(3, 3, 3, padding=1) if i % 2 == 0 else nn.Tanh() for i in range(20)]
        return nn.Sequential(*layers)

    found = []
    for index in range(20):
        cut = encoder_of(layer=str(index), build=build)
        ((weight, _), _) = recipe("cvpr15", cut).priors
        found.append(weight)
    first = found[0]
    assert np.array(found) / first == pytest.approx([1] * 6 + [10] * 6 + [100] * 8)


# --- where they start ---------------------------------------------------------------------------------


def parameters_at_start(preset, cut, seeds):
    canvas = recipe(preset, cut).canvas(cut, seeds, None)
    assert isinstance(canvas, Pixels)
    assert canvas.unit == 1 / 255
    return canvas.optimised()[0].detach()


def test_cvpr15_starts_at_sigma():
    start = parameters_at_start("cvpr15", encoder_of((227, 227)), [1, 2])
    assert start.shape == (2, 3, 227, 227)
    assert start.flatten(1).norm(dim=1).tolist() == pytest.approx([27098.1157] * 2, rel=1e-5)
    assert abs(start.mean().item()) < 0.2
    kurtosis = (start / start.std()).pow(4).mean().item()
    assert kurtosis == pytest.approx(3, abs=0.05)  # a normal distribution
    smaller = parameters_at_start("cvpr15", encoder_of((24, 20)), [1])
    per_pixel = 27098.1157 / math.sqrt(227 * 227)
    assert smaller.norm().item() / math.sqrt(24 * 20) == pytest.approx(per_pixel, rel=1e-5)


def test_ijcv16_starts_within_its_quantile():
    cut = encoder_of((60, 50))
    start = parameters_at_start("ijcv16", cut, [1, 2])
    assert start.shape == (2, 3, 61, 51)  # jitter of 2
    for sample in start:
        quantile = torch.quantile(sample.flatten(), 0.95).item()
        assert quantile == pytest.approx(80 / math.sqrt(3), rel=2e-3)
        assert sample.max().item() == pytest.approx(80 / math.sqrt(3) / 0.9, rel=0.02)
        assert sample.min().item() == pytest.approx(-80 / math.sqrt(3) / 0.9, rel=0.02)


@pytest.mark.parametrize("preset", PRESETS)
def test_starts_are_the_seeds_and_independent_of_the_batch(preset):
    cut = encoder_of()
    how = recipe(preset, cut)
    together = how.canvas(cut, [3, 4], None)()
    assert torch.equal(how.canvas(cut, [4], None)()[0], together[1])
    assert not torch.equal(together[0], together[1])
    torch.manual_seed(99)
    assert torch.equal(how.canvas(cut, [3, 4], None)(), together)


@pytest.mark.parametrize("preset", PRESETS)
def test_starts_from_an_image(preset):
    cut = encoder_of()
    start = 0.1 + 0.8 * images(2, (24, 20))
    canvas = recipe(preset, cut).canvas(cut, [1, 2], start)
    torch.testing.assert_close(canvas.view(canvas(), None), start)


# --- literal ports ------------------------------------------------------------------------------------


def literal_tv2(x):
    """Their tv() for beta 2 of x (H, W, 3): sums of squares, and the gradient."""
    d1 = x[[*range(1, x.shape[0]), -1]] - x
    d2 = x[:, [*range(1, x.shape[1]), -1]] - x
    gradient = np.zeros_like(x)
    gradient -= 2 * (d1 + d2)
    gradient[1:] += 2 * d1[:-1]
    gradient[:, 1:] += 2 * d2[:, :-1]
    return (d1**2 + d2**2).sum(), gradient


def code_and_pull(cut, x, target):
    """‖Φ(x) - Φ0‖² and its gradient for x (H, W, 3) in 0..255 around the mean."""
    image = torch.from_numpy(x / 255 + np.array(MEAN)).permute(2, 0, 1)[None].requires_grad_(True)
    error = (cut(image) - target).square().sum()
    (gradient,) = torch.autograd.grad(error, image)
    return error.item(), gradient[0].permute(1, 2, 0).numpy() / 255


def as_canvas_parameter(x):
    return torch.from_numpy(x).permute(2, 0, 1)[None]


def literal_cvpr15(cut, x, target, lambda_tv, lambda_alpha):
    """Energy and gradient in the released code's convention (invert_nn.m)."""
    sigma2 = m15.CVPR15_SIGMA**2
    error, pull = code_and_pull(cut, x, target)
    norm2 = target.square().sum().item()
    tv, tv_pull = literal_tv2(x)
    energy = error / norm2 + lambda_tv / 2 * tv / sigma2 + lambda_alpha / 2 * (x**6).sum() / sigma2
    regulariser = lambda_tv / 2 * tv_pull + lambda_alpha / 2 * 6 * x**5
    return energy, regulariser, sigma2 / norm2 * pull


@pytest.fixture(scope="module")
def at_227():
    cut = encoder_of((227, 227))
    target = cut(images(1, (227, 227))).detach()
    x = np.random.default_rng(5).normal(0, 60, (227, 227, 3))
    return cut, target, x


def test_cvpr15_energy_in_both_conventions(at_227):
    cut, target, x = at_227
    lambda_tv = m15.CVPR15_LAMBDA_TV[2]  # the cut is at the output
    expected, _, _ = literal_cvpr15(cut, x, target, lambda_tv, 8e-10)
    # The paper's: of an image in units of σ.
    paper_tv, paper_alpha = m15.cvpr15_paper_lambdas(lambda_tv, 8e-10)
    unit = x / m15.CVPR15_SIGMA
    error, _ = code_and_pull(cut, x, target)
    paper = (
        error / target.square().sum().item()
        + paper_tv * literal_tv2(unit)[0]
        + paper_alpha * (np.abs(unit) ** 6).sum()
    )
    assert paper == pytest.approx(expected, rel=1e-9)
    inversion = prepare(cut, target, recipe("cvpr15", cut))
    image = as_canvas_parameter(x) / 255 + torch.tensor(MEAN, dtype=torch.float64).view(3, 1, 1)
    rows = inversion.energy(image, cut(image))
    assert rows.sum(0).item() == pytest.approx(expected, rel=1e-9)
    assert inversion.energy.names == ("code", "tv", "alpha")
    assert rows[1].item() == pytest.approx(paper_tv * literal_tv2(unit)[0], rel=1e-9)


def test_cvpr15_steps(at_227):
    """Six steps, over a drop of the rate, where the momentum starts anew."""
    cut, target, _ = at_227
    how = recipe("cvpr15", cut)
    how = replace(how, stages=tuple(replace(stage, steps=3) for stage in how.stages[:2]))
    inversion = prepare(cut, target, how)
    canvas = inversion.canvas()
    x = canvas.optimised()[0].detach()[0].permute(1, 2, 0).numpy().copy()
    for factor in (1, 0.1):
        mu = 0.0
        for _ in range(3):
            _, regulariser, pull = literal_cvpr15(cut, x, target, 100, 8e-10)
            mu = 0.9 * mu - 0.004 * factor * regulariser - 0.004 * factor * pull
            x = x + mu
    optimize(canvas, inversion.energy, cut, how.stages)
    found = canvas.optimised()[0].detach()
    torch.testing.assert_close(found, as_canvas_parameter(x), rtol=1e-9, atol=1e-8)


def literal_ijcv16(cut, x, view, target):
    """C/Z ‖Φ - Φ0‖² + λ_α (1/HW) Σ ‖x‖⁶ + λ_β (1/HW) Σ TV², on the whole canvas; and the gradient."""
    top, left, height, width = view
    error, pull = code_and_pull(cut, x[top : top + height, left : left + width], target)
    norm2 = target.square().sum().item()
    lambda_alpha, lambda_beta = (1 / 80) ** 6, (6.5 / 80) ** 2
    pixels = x.shape[0] * x.shape[1]
    colour = (x**2).sum(2, keepdims=True)
    tv, tv_pull = literal_tv2(x)
    energy = 100 * error / norm2 + lambda_alpha * (colour**3).sum() / pixels + lambda_beta * tv / pixels
    gradient = lambda_alpha * 6 * colour**2 * x / pixels + lambda_beta * tv_pull / pixels
    gradient[top : top + height, left : left + width] += 100 / norm2 * pull
    return energy, gradient


def test_ijcv16_energy_and_steps():
    """Jittered steps with projection, then the second stage; energies as recorded."""
    cut = encoder_of((24, 20))
    target = cut(images(1, (24, 20))).detach()
    how = recipe("ijcv16", cut)
    how = replace(how, stages=tuple(replace(stage, steps=4) for stage in how.stages))
    inversion = prepare(cut, target, how)
    canvas = inversion.canvas(Run(seed=3))
    x = canvas.optimised()[0].detach()[0].permute(1, 2, 0).numpy().copy()
    assert x.shape == (25, 21, 3)
    sources = generators([3])
    energies = []
    for rate, jittered in ((0.05 * 80**2 / 6, True), (0.1 * 0.05 * 80**2 / 6, False)):
        if not jittered:
            x = x[:24, :20]
        squares, mu, eta = 0.0, 0.0, 24 * 20 * rate
        for _ in range(4):
            ((top, left),) = shifts(sources, 2) if jittered else ((0, 0),)
            energy, gradient = literal_ijcv16(cut, x, (top, left, 24, 20), target)
            energies.append(energy)
            squares = 0.9 * squares + gradient**2
            mu = 0.9 * mu - gradient / (1 / eta + np.sqrt(squares))
            x = x + mu
            norm = np.linalg.norm(x, axis=2, keepdims=True)
            x = x * np.minimum(1, 160 / norm)
    result = optimize(canvas, inversion.energy, cut, how.stages, Run(seed=3))
    assert result.losses.sum(1)[:, 0].tolist() == pytest.approx(energies, rel=1e-9)
    found = canvas.optimised()[0].detach()
    torch.testing.assert_close(found, as_canvas_parameter(x), rtol=1e-8, atol=1e-7)


def test_ijcv16_pixels_stay_in_the_ball():
    cut = encoder_of((24, 20))
    target = cut(images(1, (24, 20))).detach()
    inversion = prepare(cut, target, recipe("ijcv16", cut).with_steps(40))
    canvas = inversion.canvas()
    with torch.no_grad():
        canvas.optimised()[0].mul_(5)
    longest = []

    def callback(snapshot):
        parameter = canvas.optimised()[0].detach()
        longest.append(parameter.norm(dim=1).max().item())

    optimize(canvas, inversion.energy, cut, inversion.recipe.stages, Run(callback=callback))
    assert max(longest) <= 160 * (1 + 1e-9)
    assert max(longest) > 150


# --- recipes as objects -------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.integers(1, 1000))
def test_steps_are_shared_among_the_stages(lengths, steps):
    stages = tuple(Stage(length, Adam()) for length in lengths)
    how = Recipe("mine", lambda encoder, seeds, start: None, 1.0, (), stages)
    if steps < len(lengths):
        with pytest.raises(ConfigError, match="needs as many steps"):
            how.with_steps(steps)
        return
    scaled = how.with_steps(steps)
    assert scaled.steps == steps
    for stage, before in zip(scaled.stages, lengths, strict=True):
        assert abs(stage.steps - before * steps / sum(lengths)) <= len(lengths)
    assert how.with_steps(how.steps) == how


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "prior",
    [None, "none", *sorted(set(PRIORS) - {"batchnorm"}), "tv-isotropic=0.7", "tv-quadratic=0+second-order"],
)
def test_every_preset_with_every_prior(preset, prior):
    cut = encoder_of()
    how = recipe(preset, cut, prior)
    assert how.name == preset
    if prior == "none":
        assert how.priors == ()
        assert how.prior == "none"
    elif prior is not None:
        parts = [part.partition("=") for part in prior.split("+")]
        assert [term.name for _, term in how.priors[:-1]] == [
            PRIORS[name].make(cut).name for name, _, _ in parts
        ]
        assert isinstance(how.priors[-1][1], AlphaNorm | Exposure)
        for (weight, _), (_, _, wanted) in zip(how.priors, parts, strict=False):
            assert not wanted or weight == float(wanted)
        again = recipe(preset, cut, how.prior)
        assert [weight for weight, _ in again.priors] == pytest.approx([weight for weight, _ in how.priors])
    target, start = cut(images(2, (24, 20))).detach(), images(2, (24, 20), seed=8)
    result = prepare(cut, target, how.with_steps(len(how.stages)), start).run(Run())
    assert result.image.shape == (2, 3, 24, 20)
    assert result.losses.isfinite().all() or preset == LOUD


def test_a_prior_by_name_keeps_the_paper_s_own_weight():
    cut = encoder_of()
    for preset in ("cvpr15", "ijcv16"):
        assert recipe(preset, cut, "tv-quadratic").priors == recipe(preset, cut).priors


@pytest.mark.parametrize(
    ("preset", "prior", "message"),
    [
        ("nonesuch", None, "no preset 'nonesuch'; choose from default"),
        ("default", "nonesuch", "no prior 'nonesuch'; choose from none"),
        ("default", "tv-isotropic=much", "the weight a number"),
        ("default", "tv-isotropic=-1", "at least 0, got -1"),
        ("default", "tv-isotropic=nan", "at least 0, got nan"),
        ("default", "tv-isotropic=inf", "at least 0, got inf"),
        ("default", "tv-isotropic=", "the weight a number"),
    ],
)
def test_unknown_names(preset, prior, message):
    with pytest.raises(ConfigError, match=message):
        recipe(preset, encoder_of(), prior)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_data_weights_that_make_no_sense(weight):
    cut = encoder_of()
    with pytest.raises(ConfigError, match="a number above 0, got"):
        invert(cut, cut(images(1, (24, 20))), preset="ijcv16", data_weight=weight)


def test_the_default_is_l_bfgs_on_a_fourier_canvas():
    cut = encoder_of()
    how = recipe("default", cut)
    assert isinstance(how.canvas(cut, [1], None), Fourier)
    assert how.stages[-1].optimizer.needs_fixed_objective
    assert isinstance(recipe("fourier-adam", cut).stages[0].optimizer, Adam)


def test_other_canvases():
    cut = encoder_of()
    how = recipe("default", cut)
    pixels = with_canvas(how, "pixels").canvas(cut, [1, 2], None)
    assert isinstance(pixels, Pixels)
    assert pixels().shape == (2, 3, 24, 20)
    assert (pixels() - torch.tensor(MEAN, dtype=torch.float64).view(3, 1, 1)).std() < 0.1
    assert isinstance(with_canvas(how, "fourier").canvas(cut, [1], None), Fourier)
    for preset in ("cvpr15", "ijcv16"):
        assert with_canvas(recipe(preset, cut), "pixels").name == preset
        with pytest.raises(ConfigError, match=r"made for pixels in 0\.\.255"):
            with_canvas(recipe(preset, cut), "fourier")
    with pytest.raises(ConfigError, match="no canvas 'oil'"):
        with_canvas(how, "oil")


@pytest.mark.parametrize("name", CANVASES)
def test_every_canvas_keeps_samples_apart(name):
    """One result a sample, to the bit; and the sample first in every parameter."""
    cut = encoder_of()
    how = with_canvas(recipe("fourier-adam", cut), name).with_steps(10)
    canvas = how.canvas(cut, [3, 4, 5], None)
    assert canvas().shape == (3, 3, 24, 20)
    assert all(parameter.shape[0] == 3 and parameter.is_leaf for parameter in canvas.parameters())
    alone = how.canvas(cut, [4], None)
    for one, many in zip(alone.parameters(), canvas.parameters(), strict=True):
        assert torch.equal(one[0], many[1])
    torch.testing.assert_close(alone()[0], canvas()[1])
    code = cut(images(3, (24, 20))).detach()
    other = code.clone()
    other[1] = code[2]
    first, second = (prepare(cut, c, how).run(run) for run in [Run(seed=[3, 4, 5])] for c in (code, other))
    assert torch.equal(first.image[[0, 2]], second.image[[0, 2]])
    assert torch.equal(first.losses[..., [0, 2]], second.losses[..., [0, 2]])
    assert not torch.equal(first.image[1], second.image[1])


def test_what_canvases_cannot_do():
    cut = encoder_of()
    code = cut(images(1, (24, 20))).detach()
    deep = with_canvas(recipe("default", cut), "deep-prior")
    (stage,) = deep.stages
    assert stage.steps == recipe("default", cut).steps
    assert isinstance(stage.optimizer, Adam)
    with pytest.raises(ConfigError, match="use another canvas"):
        prepare(cut, code, deep, images(1, (24, 20))).run()
    phase = with_canvas(recipe("fourier-adam", cut), "phase")
    assert prepare(cut, code, phase, images(1, (24, 20))).canvas()().shape == (1, 3, 24, 20)
    for how, says in ((deep, "no coarse stage"), (phase, "no coarse stage")):
        with pytest.raises(ConfigError, match=says):
            prepare(cut, code, replace(how, stages=(Stage(4, Adam(), resolution=0.5),))).run(Run())


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, math.nan])
def test_resolutions_that_are_no_share(share):
    with pytest.raises(ConfigError, match="a share of the resolution"):
        Stage(4, Adam(), resolution=share)


@pytest.mark.parametrize("name", ["fourier", "pixels"])
def test_a_coarse_stage_finds_the_coarse_code_first(name):
    cut = encoder_of(build=tiny.smooth)
    code = cut(nn.functional.interpolate(images(1, (4, 4)), (24, 20), mode="bicubic")).detach()
    how = with_canvas(recipe("fourier-adam", cut, "none"), name)
    how = replace(how, stages=(Stage(20, Adam(0.05), resolution=0.25), Stage(20, Adam(0.02))))
    inversion = prepare(cut, code, how)
    shapes = []
    canvas = inversion.canvas()
    run = Run(callback=lambda _: shapes.append(canvas.optimised()[0].shape))
    result = optimize(canvas, inversion.energy, cut, how.stages, run)
    assert shapes[19].numel() < 0.2 * shapes[20].numel()
    losses = result.losses.sum(1)[:, 0]
    assert losses[39] < losses[19] < 0.5 * losses[0]


def test_projections_count_a_stage_s_steps():
    cut = encoder_of()
    code = cut(images(1, (24, 20))).detach()
    seen = []

    def projection(image, gradient, step):
        seen.append(step)
        assert gradient.shape == image.shape
        assert gradient.abs().amax() > 0
        return image

    stages = (Stage(3, Adam(), projections=(projection,)), Stage(2, Adam(), projections=(projection,)))
    prepare(cut, code, replace(recipe("fourier-adam", cut), stages=stages)).run(Run())
    assert seen == [1, 2, 3, 1, 2]


def test_presets_invert():
    """Each comes near the code, from noise; on a tiny network, with fewer steps than usual."""
    cut = encoder_of((24, 20), build=tiny.smooth)
    target = cut(0.25 + 0.5 * images(1, (24, 20))).detach()
    for preset in set(PRESETS) - {LOUD, "decoded"}:
        how = recipe(preset, cut, "none").with_steps(100)
        result = prepare(cut, target, how).run(Run())
        start = Energy(((1.0, Match(target)),))(
            result.image,
            cut(how.canvas(cut, [0], None).view(how.canvas(cut, [0], None)(), None)),
        )
        bar = 0.9 if preset == "robust" else 0.5  # whose image is for views that change
        assert result.error.item() < bar * start.sum().sqrt().item(), preset


def test_optimize_takes_a_recipe_s_parts():
    cut = encoder_of()
    target = cut(images(1, (24, 20))).detach()
    how = recipe("ijcv16", cut).with_steps(6)
    energy = Energy(((how.data_weight, Match(target)), *how.priors))
    direct = optimize(how.canvas(cut, [0], None), energy, cut, how.stages)
    assert torch.equal(prepare(cut, target, how).run(Run()).image, direct.image)
