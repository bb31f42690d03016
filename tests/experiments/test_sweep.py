import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import netinvert.experiments.sweep as module
from netinvert import ConfigError, Encoder, Network
from netinvert.evaluation.evaluate import shipped_reference
from netinvert.evaluation.metrics import gradient_naturalness, gradient_statistics, histogram_intersection
from netinvert.experiments import inversions
from netinvert.experiments.configs.looks import Sweep
from netinvert.experiments.inputs import Inputs
from netinvert.experiments.inversions import PresetChoice, Reconstructions, Targets, Wanted, invert_all
from netinvert.experiments.sweep import (
    FACTORS,
    Setting,
    Trial,
    marked,
    recommended,
    recommended_for_all,
    settings_of,
)
from netinvert.experiments.sweep_report import sweep_page, tradeoff
from netinvert.inversion.canvases import CANVASES
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.priors import PRIORS
from netinvert.io.assets import photographs
from netinvert.io.files import fingerprint
from netinvert.io.rundir import RunDir
from tiny import PLAIN, encoder, images, plain, seeded

NEEDED = {"input": "photos/", "network": "tiny", "layers": ("1", "5"), "out": Path("out")}
GRID = Sweep(
    **NEEDED,
    priors=("tv-isotropic", "none"),
    prior_weights=(0.03, 3.0),
    canvases=("fourier", "pixels"),
    steps=12,
)
NETWORK = Network("tiny", seeded(plain), PLAIN)


def trial(error: float | None, natural: float | None, name: str = "none", layer: str = "one") -> Trial:
    return Trial(layer, Setting(name, None, None), Reconstructions(None, {}), error, natural)


def cut(layer: str = "1") -> Encoder:
    return Encoder(NETWORK, layer)


def inputs(layer: str = "1") -> Inputs:
    return Inputs(cut(layer)(images(2)), ("a", "b"), images(2), ())


# -- settings --------------------------------------------------------------------------------------------


def test_the_grid_is_every_combination_once():
    found = settings_of(GRID, encoder())
    assert [(one.prior, one.weight, one.canvas) for one in found] == [
        (prior, weight, canvas)
        for canvas in ("fourier", "pixels")
        for prior, weight in (("tv-isotropic", 0.03), ("tv-isotropic", 3.0), ("none", None))
    ]
    twice = replace(
        GRID, priors=GRID.priors * 2, prior_weights=GRID.prior_weights * 2, canvases=GRID.canvases * 2
    )
    assert settings_of(twice, encoder()) == found


def test_without_names_everything_in_the_registry_is_tried_about_its_own_weight():
    found = settings_of(Sweep(**NEEDED), cut("5"), {})
    assert {one.prior for one in found} == {*PRIORS, "none"}
    assert {one.canvas for one in found} == {None}
    own = recipe("default", cut("5"), "tv-isotropic").priors[0][0]
    weights = [one.weight for one in found if one.prior == "tv-isotropic"]
    assert weights == pytest.approx([factor * own for factor in FACTORS])


def test_a_weighted_prior_stays_and_of_several_the_first_is_varied():
    config = Sweep(
        **NEEDED, priors=("tv-isotropic=0.5", "tv-isotropic+tv-quadratic"), prior_weights=(0.1, 0.2)
    )
    found = settings_of(config, encoder())
    assert [one.text for one in found] == [
        "tv-isotropic=0.5",
        "tv-isotropic=0.1+tv-quadratic",
        "tv-isotropic=0.2+tv-quadratic",
    ]
    weights = [one.choice(config).recipe(encoder()).priors[0][0] for one in found]
    assert weights == pytest.approx([0.5, 0.1, 0.2])


def test_the_recipe_is_what_the_options_say():
    setting = Setting("tv-anisotropic", 0.07, "pixels")
    how = setting.choice(GRID).recipe(encoder())
    assert how.priors[0] == recipe("default", encoder(), "tv-anisotropic=0.07").priors[0]
    assert type(how.canvas(encoder(), (0,), None)).__name__ == "Pixels"
    assert how.steps == 12
    assert setting.options == "--prior tv-anisotropic=0.07 --canvas pixels"


def test_random_draws_repeat_and_stay_between_the_extremes():
    config = replace(GRID, random=200, seed=3)
    found = settings_of(config, encoder())
    assert found == settings_of(config, encoder())
    assert found != settings_of(replace(config, seed=4), encoder())
    assert len(found) == 200
    weights = [one.weight for one in found if one.weight is not None]
    assert min(weights) >= 0.03 * (1 - 1e-9)
    assert max(weights) <= 3.0 * (1 + 1e-9)
    logarithms = [math.log(weight / 0.3) for weight in weights]
    assert abs(sum(logarithms) / len(logarithms)) < 0.3  # even in the logarithm: 0.3 is the middle
    for choices, part in ((GRID.priors, "prior"), (GRID.canvases, "canvas")):
        counts = [sum(getattr(one, part) == name for one in found) for name in choices]
        assert min(counts) > 70


def test_random_draws_are_the_same_at_every_layer():
    config = replace(GRID, random=9, prior_weights=(), preset="cvpr15", canvases=())
    one, other = (settings_of(config, cut(layer)) for layer in ("0", "5"))
    assert [(a.prior, a.canvas) for a in one] == [(b.prior, b.canvas) for b in other]
    ratios = {a.weight / b.weight for a, b in zip(one, other, strict=True) if a.weight is not None}
    assert max(ratios) == pytest.approx(min(ratios))  # λ differs with the depth, the factor does not


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"prior_weights": (0.0,)}, "above 0"),
        ({"prior_weights": (float("nan"),)}, "a number"),
        ({"canvases": ("oils",)}, "'oils'"),
        ({"random": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"measure": "beauty"}, "gradients"),
        ({"priors": ("tv",)}, "'tv'"),
    ],
)
def test_bad_settings(change, text):
    with pytest.raises(ConfigError, match=text):
        replace(GRID, **change)


def test_what_cannot_be_tried_is_refused_if_named_and_left_out_if_not():
    left_out: dict[str, None] = {}
    found = module.planned_settings(Sweep(**NEEDED, steps=12), cut("1"), inputs("1"), left_out)
    assert [text.partition(" ")[0] for text in left_out] == ["batchnorm"]
    assert "batchnorm" not in {one.prior for one in found}
    with pytest.raises(ConfigError, match="BatchNorm"):
        module.planned_settings(replace(GRID, priors=("batchnorm",), canvases=()), cut("1"), inputs("1"), {})


def test_ssim_needs_originals():
    with pytest.raises(ConfigError, match="originals"):
        module.planned_settings(replace(GRID, measure="ssim"), cut(), replace(inputs(), originals=None), {})


# -- the front -------------------------------------------------------------------------------------------


def test_the_front_holds_what_nothing_beats():
    trials = marked(
        [
            trial(0.1, 0.5),
            trial(0.2, 0.7),
            trial(0.2, 0.6),  # beaten in one, equal in the other
            trial(0.3, 0.65),  # beaten in both
            trial(0.5, 0.8),
            trial(None, None),
            trial(0.1, 0.5),  # equals do not beat one another
        ]
    )
    assert [one.on_front for one in trials] == [True, True, False, False, True, False, True]
    assert trials[5].score is None


def test_the_score_weighs_naturalness_against_error():
    trials = marked([trial(0.1, 0.4), trial(0.15, 0.75), trial(0.6, 0.8), trial(0.5, 0.3), trial(0.3, -0.5)])
    assert trials[1].score == pytest.approx(0.75 / 0.2)
    assert recommended(trials) is trials[1]
    assert 0 < trials[4].score < trials[3].score
    assert recommended(marked([trial(None, None)])) is None
    # errors far below the floor are as good as none
    assert recommended(marked([trial(1e-4, 0.5), trial(1e-2, 0.7)])).naturalness == 0.7


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_recommended_setting_has_the_best_score_of_all(pairs):
    trials = marked([trial(error, natural) for error, natural in pairs])
    assert recommended(trials).on_front
    assert recommended(trials).score == max(one.score for one in trials)


def test_recommended_for_all_has_the_greatest_mean_score():
    first = marked([trial(0.1, 0.5, "a"), trial(0.12, 0.6, "b"), trial(0.4, 0.61, "c")])
    second = marked([trial(0.3, 0.5, "a", "two"), trial(0.32, 0.7, "b", "two"), trial(0.3, 0.7, "c", "two")])
    draw, score = recommended_for_all([*first, *second])
    means = [math.sqrt(a.score * b.score) for a, b in zip(first, second, strict=True)]
    assert score == pytest.approx(max(means))
    assert draw.prior == "abc"[means.index(max(means))]
    assert recommended_for_all([*first, *second[:2]]) is None
    other = [trial(0.3, 0.5, name, "two") for name in "acb"]
    assert recommended_for_all([*first, *marked(other)]) is None


# -- all together ----------------------------------------------------------------------------------------


def tried(config: Sweep, folder: Path, known: bool = True) -> tuple[list[Trial], list[Targets]]:
    """As the command does it, on a network that is no file."""
    trials, targets, wanted, settings = [], [], [], []
    for layer in config.layers:
        originals = images(2) if known else None
        targets.append(
            Targets.of(cut(layer), cut(layer)(images(2)), originals, shipped_reference(cut(layer)))
        )
        for setting in settings_of(config, cut(layer)):
            wanted.append(Wanted(layer, setting.choice(config), (0, 1), (config.seed,) * 2))
            settings.append(setting)
    with RunDir(folder, {"test": 1}) as run:
        found = invert_all(run, config, targets, wanted, "settings")
    for layer in config.layers:
        rows = zip(wanted, settings, found, strict=True)
        some = [module.trial_of(layer, s, one, config.measure) for w, s, one in rows if w.layer == layer]
        trials += marked(some)
    return trials, targets


@pytest.fixture(autouse=True)
def own_network(monkeypatch):
    """``tiny`` is the network of this file, for the cells too."""
    monkeypatch.setattr(inversions, "open_network", lambda config, device: NETWORK)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inversions, "open_network", lambda config, device: NETWORK)
        return tried(GRID, tmp_path_factory.mktemp("sweep") / "out")


def test_trials_are_measured(swept):
    trials, _ = swept
    assert len(trials) == 12
    for one in trials:
        assert one.found.images.shape == (2, 3, 16, 16)
        natural = gradient_naturalness(one.found.images, images(2))
        assert one.found.measured["gradients"] == pytest.approx(natural.tolist())
        assert one.naturalness == pytest.approx(natural.mean().item())
        assert one.error == pytest.approx(sum(one.found.measured["ijcv16"]) / 2)


def test_batches_are_cells_of_their_own(swept, tmp_path):
    trials, _ = swept
    config = replace(GRID, batch=1, layers=("1",))
    alone, _ = tried(config, tmp_path / "out")
    for one, other in zip(alone, trials[:6], strict=True):
        assert torch.allclose(one.found.images, other.found.images, atol=1e-6)  # rounds as its batch


def test_a_stronger_prior_gives_a_greater_error(swept):
    trials, _ = swept
    for layer in ("1", "5"):
        error = {one.setting.options: one.error for one in trials if one.layer == layer}
        for canvas in ("fourier", "pixels"):
            weak, strong = (error[f"--prior tv-isotropic={w} --canvas {canvas}"] for w in ("0.03", "3"))
            assert weak < strong


def test_codes_without_originals_are_held_against_photographs(tmp_path):
    config = replace(GRID, priors=("none",), canvases=(), layers=("1",))
    (one,), _ = tried(config, tmp_path / "out", known=False)
    mean = gradient_statistics(photographs((16, 16))[1]).mean(0, keepdim=True)
    wanted = histogram_intersection(gradient_statistics(one.found.images), mean)
    assert one.found.measured["gradients"] == pytest.approx(wanted.tolist())
    assert one.found.measured["ssim"] == [None, None]


def page(trials, targets) -> str:
    encoders = [cut(one.layer) for one in targets]
    return sweep_page(GRID, encoders, targets, trials, ("a", "b"), ("some <prior>: no",)).html()


def test_the_page_shows_everything(swept):
    trials, targets = swept
    broken = replace(trials[0], found=Reconstructions(None, {}, failure="no gradient <here>"), error=None)
    everything = [*marked([replace(broken, naturalness=None), *trials[1:6]]), *trials[6:]]
    text = page(everything, targets)
    for one in trials:
        assert one.setting.text in text
    for words in (
        "no gradient &lt;here&gt;",
        "some &lt;prior&gt;",
        "★ recommended",
        "grey image",
        "Pareto front",
    ):
        assert words in text
    assert "netinvert invert photos/ --network tiny --layer 1" in re.sub("</?span>", "", text)
    assert ", the greatest score (" in text


def test_the_page_says_how_many_codes_it_shows(swept, monkeypatch):
    trials, targets = swept
    assert "Images of the first" not in page(trials, targets)
    monkeypatch.setattr("netinvert.experiments.sweep_report.SHOWN", 1)
    assert "Images of the first 1 of 2 codes" in page(trials, targets)


def test_of_one_setting_there_is_no_front_to_draw(swept):
    trials, targets = swept
    text = page(marked(trials[:1]), targets[:1])
    assert "The Pareto front" not in text
    assert "the better half" not in text
    assert ", the greatest score (" not in text


def test_the_page_says_which_setting_is_most_like_the_originals(swept):
    trials, targets = swept
    text = re.sub("</?span>", "", page(trials, targets))
    for layer in ("1", "5"):
        some = [one for one in trials if one.layer == layer]
        likest = max(some, key=lambda one: one.found.mean("ssim"))
        differs = likest.found.mean("ssim") > recommended(some).found.mean("ssim")
        assert (f"alone it would be <code>{likest.setting.options}" in text) == differs


def test_a_figure_of_nothing_and_of_few():
    assert tradeoff([trial(None, None)], "nothing", "ssim") is None
    assert tradeoff(marked([trial(0.2, 0.5)]), "one", "ssim") is None
    assert tradeoff(marked([trial(0.2, 0.5), trial(0.3, 0.6)]), "two", "ssim").png().startswith(b"\x89PNG")


def test_every_canvas_of_the_registry_can_be_swept():
    config = replace(GRID, priors=("none",), canvases=tuple(CANVASES))
    assert [one.canvas for one in settings_of(config, encoder())] == list(CANVASES)


def test_a_recipe_is_told_apart_by_its_choice():
    names = {fingerprint(PresetChoice(*given)) for given in (("default",), ("quick",), ("default", "none"))}
    assert len(names) == 3
