"""The random search over the regularisers of Yosinski et al. 2015."""

import math
import re

import numpy as np
import pytest
import torch
from netinvert.experiments.deepvis_draws import RANGES, Search, drawn, trials

import tiny
from netinvert import ConfigError, Encoder, Preprocessing
from netinvert.experiments import deepvis as deepvis_search
from netinvert.experiments.deepvis import roughness, run
from netinvert.inversion.optimizers import ProgressRate
from netinvert.inversion.presets.yosinski15 import DEEPVIS
from netinvert.io.files import read_json

SEARCH = Search((1, 3), draws=3, steps=4, published_steps=3, factor=5.0)


def cut(layer="output", dtype=torch.float32) -> Encoder:
    return Encoder(
        tiny.seeded(tiny.smooth, dtype=dtype), layer, Preprocessing(tiny.SIZE, mean=(0.4, 0.5, 0.5))
    )


def quiet(done, total, share):
    pass


def test_the_published_sets_come_first_and_as_they_are():
    found = trials(Search((0,), draws=2))
    assert [trial.name for trial in found] == [
        *(name + more for name in DEEPVIS for more in ("", "-x30")),
        "draw-0001",
        "draw-0002",
    ]
    assert [trial.settings for trial in found[:8:2]] == list(DEEPVIS.values())
    assert found[1].settings.optimizer == ProgressRate(60.0, 3000.0)
    assert [trial.name for trial in trials(Search((0,), draws=0, factor=1.0))] == list(DEEPVIS)
    assert {trial.settings.steps for trial in trials(SEARCH)} == {3, 4}


def test_draws_are_fixed_by_the_seed_and_go_on():
    few, many = (trials(Search((0,), draws=draws, seed=5)) for draws in (3, 300))
    assert many[: len(few)] == few
    assert trials(Search((0,), draws=3, seed=6))[8:] != few[8:]


def test_draws_are_within_their_ranges_and_half_of_them_have_each():
    settings = [trial.settings for trial in trials(Search((0,), draws=300))[8:]]
    for name in ("decay", "blur", "small_norm", "small_contribution"):
        values = [getattr(one.regularisers, name) for one in settings]
        some = [value for value in values if value]
        assert 110 < len(some) < 190
        low, high = RANGES[name]
        assert low <= min(some) <= max(some) <= high
        assert max(some) - min(some) > 0.9 * (high - low)
    assert {one.regularisers.blur_every for one in settings} == {0, *RANGES["blur_every"]}
    assert all(bool(one.regularisers.blur) == bool(one.regularisers.blur_every) for one in settings)
    rates = [one.optimizer.desired for one in settings]
    assert RANGES["desired"][0] <= min(rates) <= max(rates) <= RANGES["desired"][1]
    assert np.median(rates) == pytest.approx(math.sqrt(2 * 200), rel=0.3)


def test_the_ends_of_the_ranges_can_be_drawn():
    for number in (0.0, 1 - 1e-12):
        one = drawn([0.0] * 4 + [number] * 6, 10)
        ends = {name: values[0 if number == 0 else -1] for name, values in RANGES.items()}
        assert one.optimizer.desired == pytest.approx(ends.pop("desired"))
        for name, value in ends.items():
            assert getattr(one.regularisers, name) == pytest.approx(value)
        one.regularisers.projections((0.5,) * 3)


def test_roughness_is_1_for_noise_and_0_for_nothing():
    noise = torch.rand(2, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(roughness(noise), torch.ones(2, dtype=torch.float64), atol=0.02, rtol=0)
    slope = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert roughness(slope) < 0.01
    assert roughness(torch.full((1, 3, 8, 8), 0.3)) == 0
    checks = torch.arange(8).view(-1, 1).add(torch.arange(8)).remainder(2).double().expand(1, 3, 8, 8)
    assert roughness(checks) == pytest.approx(2)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def test_a_search_leaves_pictures_a_page_and_all_figures(tmp_path):
    encoder = cut()
    page = run(encoder, SEARCH, tmp_path / "out", False, quiet)
    manifest = read_json(tmp_path / "out/manifest.json")
    assert [row["name"] for row in manifest["results"]] == [trial.name for trial in trials(SEARCH)]
    first = manifest["results"][0]
    assert first["rule"] == "ProgressRate"
    assert first["optimizer"] == {"desired": 2.0, "most": 100.0}
    assert first["regularisers"]["small_norm"] == 50.0
    for row in manifest["results"]:
        for part in row["channels"]:
            assert (tmp_path / "out" / part["picture"]).is_file()
            assert math.isfinite(part["activation"])
            assert 0 <= part["naturalness"] <= 1
    assert [part["channel"] for part in first["channels"]] == [1, 3]
    assert not list((tmp_path / "out").glob("checkpoint*"))
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!data:)', text)  # all in one file
    assert text.count('<figure data-number="') == 8 + 3 * 3 + 3  # published, three tops, all
    assert "draw-0003" in text
    assert 'id="all"' in text or "id=all" in text


def test_the_activation_is_that_of_the_picture_before_it_is_stretched(tmp_path):
    """Channel 3 of the middle neuron, at the best step of the run."""
    encoder = cut()
    seen = deepvis_search.unit_directions(encoder, (1, 3))
    assert seen.shape == (2, *encoder.code_shape)
    assert [tuple(place.tolist()) for place in seen.nonzero()] == [(0, 1, 4, 4), (1, 3, 4, 4)]
    vector = Encoder(tiny.seeded(tiny.plain), "output", Preprocessing(tiny.SIZE))
    assert torch.equal(
        deepvis_search.unit_directions(vector, (2, 0)), torch.eye(5, dtype=torch.float64)[[2, 0]]
    )


def test_a_stopped_search_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    encoder = cut()
    run(encoder, SEARCH, tmp_path / "whole", False, quiet)

    def stop(done, total, share):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(encoder, SEARCH, tmp_path / "parts", False, stop)
    assert not (tmp_path / "parts").exists()
    again = []
    tried = deepvis_search._tried
    monkeypatch.setattr(
        deepvis_search, "_tried", lambda *given: (again.append(given[1].name), tried(*given))[1]
    )
    run(encoder, SEARCH, tmp_path / "parts", False, quiet)
    assert again == [trial.name for trial in trials(SEARCH)][6:]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    whole, parts = (read_json(tmp_path / name / "manifest.json") for name in ("whole", "parts"))
    assert parts["results"] == whole["results"]
    assert (whole["resumed"], parts["resumed"]) == (False, True)


def test_no_draws_and_no_photographs(tmp_path):
    """Only the published sets, for a network that sees no colours."""
    grey = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Tanh()).eval()
    form = Preprocessing((16, 16), mean=(0.4, 0.5), std=(1.0, 1.0))
    encoder = Encoder(grey, "output", form)
    search = Search((0,), draws=0, published_steps=2, factor=1.0)
    page = run(encoder, search, tmp_path / "out", False, quiet)
    rows = read_json(tmp_path / "out/manifest.json")["results"]
    assert [row["channels"][0]["naturalness"] for row in rows] == [None] * 4
    assert "All draws" not in page.read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": ()}, "at least one channel"),
        ({"draws": -1}, "draws: at least 1"),
        ({"steps": 0}, "steps: at least 1"),
        ({"published_steps": 0}, "published steps: at least 1"),
        ({"factor": 0.0}, "factor of the learning rates is a number above 0"),
        ({"seed": -1}, "a seed is a whole number"),
    ],
)
def test_searches_that_make_no_sense(given, message):
    with pytest.raises(ConfigError, match=message):
        Search(**{"channels": (0,), **given})


def test_a_channel_that_is_not_there_stops_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="has channels 0 to 3, got 4"):
        run(cut(), Search((4,)), tmp_path / "out", False, quiet)
    assert not list(tmp_path.iterdir())
