import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinvert import ConfigError, Encoder, Network
from netinvert.evaluation.naturalness import gradient_naturalness, gradient_statistics, histogram_intersection
from netinvert.experiments.inversions import Outcome
from netinvert.experiments.sweep import (
    FACTORS,
    Draw,
    Settings,
    Subject,
    Trial,
    draws,
    marked,
    perform,
    plan,
    recipe_of,
    recommended,
    recommended_for_all,
)
from netinvert.experiments.sweep_report import Report, html, tradeoff
from netinvert.inversion.canvases import CANVASES
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.prior_spec import PRIORS
from netinvert.io.assets import photographs
from tiny import PLAIN, encoder, images, plain, seeded

GRID = Settings(("tv-isotropic", "none"), (0.03, 3.0), ("fourier", "pixels"), steps=12)


def trial(error: float | None, natural: float | None, name: str = "none", layer: str = "one") -> Trial:
    return Trial(layer, Draw(name, None, None), Outcome(None, {}), error, natural)


def subject(layer: str = "1") -> Subject:
    cut = Encoder(Network("tiny", seeded(plain), PLAIN), layer)
    return Subject(cut, cut(images(2)), images(2))


# -- settings --------------------------------------------------------------------------------------------


def test_the_grid_is_every_combination_once():
    found = draws(GRID, encoder())
    assert [(one.prior, one.weight, one.canvas) for one in found] == [
        (prior, weight, canvas)
        for canvas in ("fourier", "pixels")
        for prior, weight in (("tv-isotropic", 0.03), ("tv-isotropic", 3.0), ("none", None))
    ]
    twice = replace(GRID, priors=GRID.priors * 2, weights=GRID.weights * 2, canvases=GRID.canvases * 2)
    assert draws(twice, encoder()) == found


def test_without_names_everything_in_the_registry_is_tried_about_its_own_weight():
    cut = Encoder(Network("tiny", seeded(plain), PLAIN), "5")
    found = draws(Settings(), cut)
    assert {one.prior for one in found} == {*PRIORS, "none"}
    assert {one.canvas for one in found} == {None}
    own = recipe("default", cut, "tv-isotropic").priors[0][0]
    weights = [one.weight for one in found if one.prior == "tv-isotropic"]
    assert weights == pytest.approx([factor * own for factor in FACTORS])


def test_a_weighted_prior_stays_and_of_several_the_first_is_varied():
    found = draws(Settings(("tv-isotropic=0.5", "tv-isotropic+tv-quadratic"), (0.1, 0.2)), encoder())
    assert [one.text for one in found] == [
        "tv-isotropic=0.5",
        "tv-isotropic=0.1+tv-quadratic",
        "tv-isotropic=0.2+tv-quadratic",
    ]
    weights = [recipe_of(Settings(), one, encoder()).priors[0][0] for one in found]
    assert weights == pytest.approx([0.5, 0.1, 0.2])


def test_the_recipe_is_what_the_options_say():
    how = recipe_of(GRID, Draw("tv-anisotropic", 0.07, "pixels"), encoder())
    assert how.priors[0] == recipe("default", encoder(), "tv-anisotropic=0.07").priors[0]
    assert type(how.canvas(encoder(), (0,), None)).__name__ == "Pixels"
    assert how.steps == 12
    assert Draw("tv-anisotropic", 0.07, "pixels").options == "--prior tv-anisotropic=0.07 --canvas pixels"


def test_random_draws_repeat_and_stay_between_the_extremes():
    settings = replace(GRID, draws=200, seed=3)
    found = draws(settings, encoder())
    assert found == draws(settings, encoder())
    assert found != draws(replace(settings, seed=4), encoder())
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
    settings = replace(GRID, draws=9, weights=())
    one, other = (
        draws(replace(settings, preset="cvpr15", canvases=()), subject(layer).encoder) for layer in ("0", "5")
    )
    assert [(a.prior, a.canvas) for a in one] == [(b.prior, b.canvas) for b in other]
    ratios = {a.weight / b.weight for a, b in zip(one, other, strict=True) if a.weight is not None}
    assert max(ratios) == pytest.approx(min(ratios))  # λ differs with the depth, the factor does not


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": (0.0,)}, "above 0"),
        ({"weights": (float("nan"),)}, "above 0"),
        ({"canvases": ("oils",)}, "no canvas 'oils'"),
        ({"draws": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"measure": "beauty"}, "gradients"),
    ],
)
def test_bad_settings(change, text):
    with pytest.raises(ConfigError, match=text):
        replace(GRID, **change)


def test_what_cannot_be_tried_is_refused_if_named_and_left_out_if_not(monkeypatch):
    def refuse(cut: Encoder) -> None:
        raise ConfigError("not for this network")

    kind = replace(PRIORS["tv-isotropic"], make=refuse)
    monkeypatch.setitem(PRIORS._things, "choosy", kind)
    found = plan(Settings(steps=12), [subject("5")])
    assert any("choosy" in text and "not for this network" in text for text in found.left_out)
    assert "choosy" not in {draw.prior for _, pairs in found.rows for draw, _ in pairs}
    with pytest.raises(ConfigError, match="not for this network"):
        plan(Settings(("choosy", "none"), steps=12), [subject()])
    with pytest.raises(ConfigError, match="no prior 'tv'"):
        plan(Settings(("tv",)), [subject()])


def test_ssim_needs_originals():
    with pytest.raises(ConfigError, match="originals"):
        plan(replace(GRID, measure="ssim"), [replace(subject(), originals=None)])


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


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept")
    planned = plan(GRID, [subject("1"), subject("5")])
    lines: list[str] = []
    return planned, perform(planned, lambda digest: kept / f"{digest}.safetensors", lines.append), lines, kept


def test_trials_are_measured_and_kept(swept, monkeypatch):
    planned, trials, lines, kept = swept
    assert planned.trials == len(trials) == len(lines) == 12
    for one in trials:
        assert one.outcome.images.shape == (2, 3, 16, 16)
        natural = gradient_naturalness(one.outcome.images, images(2))
        assert one.outcome.measured["gradients"] == pytest.approx(natural.tolist())
        assert one.naturalness == pytest.approx(natural.mean().item())
        assert one.error == pytest.approx(sum(one.outcome.measured["ijcv16"]) / 2)
    from netinvert.experiments import inversions

    monkeypatch.setattr(inversions, "prepare", None)
    again = perform(planned, lambda digest: kept / f"{digest}.safetensors", lines.append)
    assert [one.error for one in again] == [one.error for one in trials]
    assert [one.on_front for one in again] == [one.on_front for one in trials]


def test_a_stronger_prior_gives_a_greater_error(swept):
    _, trials, _, _ = swept
    for layer in ("1", "5"):
        error = {one.draw.options: one.error for one in trials if one.layer == layer}
        for canvas in ("fourier", "pixels"):
            weak, strong = (error[f"--prior tv-isotropic={w} --canvas {canvas}"] for w in ("0.03", "3"))
            assert weak < strong


def test_codes_without_originals_are_held_against_photographs(tmp_path):
    bare = replace(subject(), originals=None)
    settings = replace(GRID, priors=("none",), canvases=())
    (one,) = perform(
        plan(settings, [bare]), lambda digest: tmp_path / f"{digest}.safetensors", lambda text: None
    )
    mean = gradient_statistics(photographs((16, 16))[1]).mean(0, keepdim=True)
    wanted = histogram_intersection(gradient_statistics(one.outcome.images), mean)
    assert one.outcome.measured["gradients"] == pytest.approx(wanted.tolist())
    assert one.outcome.measured["ssim"] == [None, None]


def test_the_page_shows_everything(swept):
    planned, trials, _, _ = swept
    plots = {
        layer: tradeoff([one for one in trials if one.layer == layer], layer, "gradients")
        for layer in ("1", "5")
    }
    assert all(plot.startswith(b"\x89PNG") for plot in plots.values())
    broken = replace(trials[0], outcome=Outcome(None, {}, failure="no gradient <here>"), error=None)
    everything = [replace(broken, naturalness=None, on_front=False), *trials[1:]]
    text = html(Report("tiny", planned, everything, plots, ("a", "b"), "netinvert sweep …"))
    for one in trials:
        assert one.draw.text in text
    assert "no gradient &lt;here&gt;" in text
    assert "★ recommended" in text
    assert text.count("data:image/png") == 2
    pictures = sum(2 * (1 + one.on_front) for one in everything if one.outcome.images is not None)
    originals = 2 * 2 * (1 + len({one.draw.curve for one in trials}))
    assert text.count("data:image/jpeg") == pictures + originals
    assert "http" not in text.replace("http-equiv", "")
    assert "<script" not in text


def test_a_figure_of_nothing_and_of_one():
    assert tradeoff([trial(None, None)], "nothing", "ssim").startswith(b"\x89PNG")
    assert tradeoff(marked([trial(0.2, 0.5)]), "one", "ssim").startswith(b"\x89PNG")


def test_every_canvas_of_the_registry_can_be_swept():
    settings = replace(GRID, priors=("none",), canvases=tuple(CANVASES))
    assert [draw.canvas for draw in draws(settings, encoder())] == list(CANVASES)
