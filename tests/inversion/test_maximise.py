"""Activation maximisation and caricatures: more of what was asked for, in units that mean something."""

import pytest
import torch
from torch import nn

import tiny
from netinvert import (
    Adam,
    CodeError,
    ConfigError,
    Encoder,
    Fourier,
    ImageError,
    Pixels,
    Preprocessing,
    load_network,
)
from netinvert.inversion.canvases import Phase
from netinvert.inversion.invert import caricature, maximise
from netinvert.inversion.objectives import Activate, Caricature, PoseTowards
from netinvert.inversion.presets import by_name as m
from netinvert.inversion.presets.by_name import MAXIMISING, maximising_recipe
from netinvert.inversion.presets.fitting import in_units_of_photographs
from netinvert.inversion.presets.yosinski15 import ProgressRate
from netinvert.inversion.priors import AlphaNorm
from netinvert.inversion.schedule import DecayingAdaGrad
from netinvert.inversion.transforms import Ball, RandomAffine, RandomNoise
from netinvert.inversion.units import channel, neuron
from netinvert.io.assets import photographs
from netinvert.scenes.cameras import angles_from_rotation, rotation_from_angles
from tiny import images, seeded

MEAN = (0.485, 0.456, 0.406)


def body() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1), nn.ReLU()
    )


@pytest.fixture(scope="module")
def cut() -> Encoder:
    form = Preprocessing((24, 20), mean=MEAN, std=(0.229, 0.224, 0.225))
    return Encoder(seeded(body), "2", form)


def blurred(count, size):
    """Pictures that a shift by a pixel changes little."""
    return nn.functional.interpolate(0.2 + 0.6 * images(count, (4, 4)), size, mode="bilinear")


def response(cut, image, index):
    return cut(image)[:, index].mean((1, 2))


# --- presets: the papers' constants -------------------------------------------------------------------


def test_simonyan13(cut):
    """argmax S - λ‖I‖² from the zero image, by gradient steps, with no more tricks (section 2)."""
    how = maximising_recipe("simonyan13", cut)
    ((weight, prior),) = how.priors
    assert prior == AlphaNorm(MEAN, alpha=2)
    assert weight == pytest.approx(m.SIMONYAN13_LAMBDA * (255 / 80) ** 2)
    (stage,) = how.stages
    assert (stage.steps, stage.jitter, stage.transforms, stage.projections) == (200, 1, (), ())
    assert isinstance(stage.optimizer, ProgressRate)
    canvas = how.canvas(cut, [1, 2], None)
    assert isinstance(canvas, Pixels)
    assert canvas.unit == 1 / 255
    assert not canvas.optimised()[0].any()  # the zero image, which is the mean
    assert canvas().shape == (2, 3, 24, 20)


def test_ijcv16(cut):
    """Section 4.2: B = 80, ball of 2 B, a quarter stride of jitter, 300 steps at 0.05 B² / α, 10⁴ / rf²."""
    how = maximising_recipe("ijcv16", cut)
    (stage,) = how.stages
    assert (stage.steps, stage.jitter) == (300, 1)
    assert isinstance(stage.optimizer, DecayingAdaGrad)
    assert stage.optimizer.learning_rate == pytest.approx(53.33, rel=1e-3)
    assert stage.projections == (Ball(MEAN, 160 / 255),)
    assert how.data_weight == pytest.approx(1e4 / 13**2)
    (tv_weight, tv), (alpha_weight, alpha) = how.priors
    assert (tv.beta, alpha.alpha, alpha.colour) == (2, 6, True)
    assert tv_weight == pytest.approx((6.5 / 80) ** 2 * 255**2)
    assert alpha_weight == pytest.approx((255 / 80) ** 6)


def test_maco(cut):
    """Phase alone, 256 steps, noise of 0.08, crops."""
    how = maximising_recipe("maco", cut)
    assert isinstance(how.canvas(cut, [1], None), Phase)
    assert how.steps == 256
    assert how.priors == ()
    (stage,) = how.stages
    assert stage.transforms == (m.MACO_CROP, RandomNoise(0.08))
    assert stage.averaged == 1  # the last image, not that of the luckiest crop


def test_the_default(cut):
    how = maximising_recipe("default", cut)
    assert isinstance(how.canvas(cut, [1], None), Fourier)
    assert all(isinstance(stage.optimizer, Adam) for stage in how.stages)
    first, last = how.stages
    assert isinstance(first.transforms[0], RandomAffine)
    assert (last.transforms, last.jitter <= first.jitter) == ((), True)
    assert how.prior == "tv-isotropic=1.0"


@pytest.mark.parametrize("preset", ["default", "simonyan13", "ijcv16", "maco"])
def test_priors_of_one_s_own(preset, cut):
    how = maximising_recipe(preset, cut, "tv-huber=0.25+second-order")
    assert [term.name for _, term in how.priors[:2]] == ["tv-huber", "second-order"]
    assert how.priors[0][0] == 0.25
    assert maximising_recipe(preset, cut, how.prior).priors == how.priors
    with pytest.raises(ConfigError, match="no prior 'tv'"):
        maximising_recipe(preset, cut, "tv")
    with pytest.raises(ConfigError, match="no preset 'best'; choose from default"):
        maximising_recipe("best", cut)


# --- maximise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["default", "simonyan13", "ijcv16", "maco"])
def test_the_activation_rises(preset, cut):
    how = maximising_recipe(preset, cut)
    how = how.with_steps(60)
    start = how.canvas(cut, [0, 1], None)
    before = response(cut, start.view(start(), None).detach(), 2)
    result = maximise(cut, Activate(channel(cut, 2)), preset=how, seed=(0, 1))
    assert result.image.shape == (2, 3, 24, 20)
    after = response(cut, result.image, 2)
    assert (after > before + 0.1 * before.abs()).all()
    assert result.target is None
    assert result.terms[0] == "activation"


def test_the_activation_is_in_units_of_photographs(cut):
    _, pictures = photographs(cut.size)
    for objective in (Activate(channel(cut, 1)), Activate(neuron(cut, 3)), Activate(50 * channel(cut, 1))):
        scaled = in_units_of_photographs(cut, objective)
        values = -scaled(pictures.double(), cut(pictures.double()))
        raw = -objective(pictures.double(), cut(pictures.double()))
        if raw.max() > 0:
            assert values.max().item() == pytest.approx(1)
        else:
            assert values.std().item() == pytest.approx(1)
        cosine = torch.nn.functional.cosine_similarity(
            scaled.direction.flatten(), objective.direction.flatten(), dim=0
        )
        assert cosine.item() == pytest.approx(1)
    low = Activate(torch.cat([channel(cut, 1), -channel(cut, 1)]))
    both = in_units_of_photographs(cut, low).direction
    assert both.shape == (2, *cut.code_shape)


def test_units_of_dead_directions_and_of_grey_images():
    def dead():
        network = body()
        nn.init.constant_(network[2].bias, -1e4)
        return network

    cut = Encoder(seeded(body), "3", tiny.PLAIN)
    silent = Encoder(seeded(lambda: nn.Sequential(*[*dead()][:3])), "2", tiny.PLAIN)
    for one in (cut, silent):
        assert in_units_of_photographs(one, Activate(channel(one, 0))).direction.isfinite().all()
    grey = Encoder(seeded(lambda: nn.Conv2d(1, 2, 3)), "output", Preprocessing((8, 8), (0.0,), (1.0,)))
    assert in_units_of_photographs(grey, Activate(channel(grey, 0))).direction.isfinite().all()
    result = maximise(
        grey, Activate(channel(grey, 0)), preset=maximising_recipe("default", grey).with_steps(10)
    )
    assert result.image.shape == (1, 1, 8, 8)


def test_the_scale_of_a_direction_does_not_matter(cut):
    how = maximising_recipe("default", cut).with_steps(6)
    one = maximise(cut, Activate(channel(cut, 1)), preset=how)
    other = maximise(cut, Activate(8.0 * channel(cut, 1)), preset=how)
    assert torch.equal(one.image, other.image)  # 8 is a power of two, so even the rounding is the same


def test_images_are_their_seeds_and_independent(cut):
    how = maximising_recipe("default", cut).with_steps(8)
    both = Activate(torch.cat([channel(cut, 0), channel(cut, 1)]))
    other = Activate(torch.cat([channel(cut, 0), channel(cut, 3)]))
    first, second = (maximise(cut, objective, preset=how, seed=(4, 5)) for objective in (both, other))
    assert torch.equal(first.image[0], second.image[0])
    assert not torch.equal(first.image[1], second.image[1])
    alone = maximise(cut, Activate(channel(cut, 0)), preset=how, seed=4)
    torch.testing.assert_close(alone.image[0], first.image[0], rtol=1e-6, atol=1e-6)
    assert not torch.equal(alone.image, maximise(cut, Activate(channel(cut, 0)), preset=how, seed=5).image)


def test_it_starts_from_an_image(cut):
    how = maximising_recipe("default", cut).with_steps(2)
    start = blurred(1, (24, 20))
    result = maximise(cut, Activate(channel(cut, 0)), preset=how, start=start, seed=(1, 2))
    assert (result.image - start).abs().mean() < 0.1
    assert not torch.equal(result.image[0], result.image[1])  # jitter is each seed's own


def test_directions_that_do_not_fit(cut):
    shape = tuple(cut.code_shape)
    with pytest.raises(CodeError, match="codes of shape"):
        maximise(cut, Activate(torch.ones(1, shape[0], dtype=torch.float64)))
    with pytest.raises(ConfigError, match="3 directions for 1 seeds"):
        maximise(cut, Activate(torch.ones(3, *shape, dtype=torch.float64)))
    plain = maximise(
        cut,
        Activate(torch.ones(shape, dtype=torch.float64)),
        preset=maximising_recipe("maco", cut).with_steps(4),
    )
    assert plain.image.shape == (1, 3, 24, 20)  # without the first dimension, as codes may be


def test_bad_input(cut):
    objective = Activate(channel(cut, 0))
    with pytest.raises(ConfigError, match="no preset"):
        maximise(cut, objective, preset="best")
    with pytest.raises(ConfigError, match="a Recipe brings its priors"):
        maximise(cut, objective, preset=maximising_recipe("maco", cut), prior="tv-huber")
    with pytest.raises(ImageError, match="channels"):
        maximise(cut, objective, start=images(1, channels=1))
    with pytest.raises(ConfigError, match="2 start images"):
        maximise(cut, objective, start=images(2), seed=(1, 2, 3))
    with pytest.raises(ConfigError, match="made for activations, not for 'caricature'"):
        maximise(cut, Caricature(torch.ones(1, *cut.code_shape, dtype=torch.float64)), preset="deepvis-1")
    assert set(MAXIMISING) == {
        "default",
        "simonyan13",
        "ijcv16",
        "maco",
        *(f"deepvis-{k}" for k in range(1, 5)),
    }


# --- caricatures --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_caricature_says_more_of_the_same():
    cut = Encoder(seeded(body), "3", tiny.PLAIN)  # codes of at least zero
    x = blurred(2, tiny.SIZE)
    code = cut(x).detach()
    how = maximising_recipe("default", cut).with_steps(60)
    for power in (0.0, 4.0):
        result = caricature(cut, x, preset=how, power=power)
        assert result.image.shape == x.shape
        term = Caricature(code, power)
        assert term(x, code).tolist() == pytest.approx([-1, -1])
        assert (term(result.image, cut(result.image)) < -1.1).all()
    alone = caricature(cut, x[0], preset=how)
    assert alone.image.shape == (1, 3, *tiny.SIZE)
    noise = caricature(cut, x, preset=how, from_image=False)
    assert (noise.image - x).square().mean() > (result.image - x).square().mean()


def test_a_caricature_of_nothing():
    def build():
        network = body()
        nn.init.constant_(network[2].bias, 5.0)
        network.append(nn.Softplus())
        network.append(nn.Conv2d(4, 4, 1))
        nn.init.constant_(network[5].weight, -1.0)
        nn.init.zeros_(network[5].bias)
        return network

    cut = Encoder(seeded(build), "5", tiny.PLAIN)
    with pytest.raises(CodeError, match="nowhere above zero"):
        caricature(cut, images(1))


# --- poses --------------------------------------------------------------------------------------------


def test_posenet_reads_the_pose_that_was_asked_for():
    network = load_network("posenet")
    cut = Encoder(network, network.layers[-1])
    wanted = rotation_from_angles(*(torch.tensor([angle]) for angle in (60.0, 20.0, 0.0)))
    how = maximising_recipe("default", cut).with_steps(24)
    result = maximise(cut, PoseTowards(wanted, network.pose_error), preset=how, seed=1)
    start = how.canvas(cut, [1], None)()
    errors = [network.pose_error(cut(image.detach()), wanted).item() for image in (start, result.image)]
    assert errors[1] < 0.3 * errors[0]
    azimuth, _, _ = angles_from_rotation(network.read_pose(cut(result.image)).rotation)
    assert abs((azimuth.item() - 60 + 180) % 360 - 180) < 15
