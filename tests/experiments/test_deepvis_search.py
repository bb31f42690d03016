"""The random search over the regularisers of Yosinski et al. 2015."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from netinvert import ConfigError, Encoder, Network, Preprocessing
from netinvert.experiments import deepvis as deepvis_search
from netinvert.experiments.configs.looks import Deepvis
from netinvert.experiments.deepvis import RANGES, candidates, drawn, roughness, run_deepvis, unit_directions
from netinvert.inversion.presets.yosinski15 import DEEPVIS, ProgressRate
from netinvert.io.files import read_json


def search(out: Path = Path("out"), **options) -> Deepvis:
    return Deepvis(network="tiny", **{"layer": "output", "channel": (1, 3), "out": out, **options})


def small(out: Path) -> Deepvis:
    return search(out, draws=3, steps=4, published_steps=3, factor=5.0)


def quiet(text: str) -> None:
    pass


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """The network of the searches."""
    made = Network("tiny", tiny.seeded(tiny.smooth, dtype=torch.float32), FORM)
    monkeypatch.setattr(deepvis_search, "open_network", lambda config, device, tell: made)


FORM = Preprocessing(tiny.SIZE, mean=(0.4, 0.5, 0.5))


def test_the_published_sets_come_first_and_as_they_are():
    found = candidates(search(draws=2))
    assert [one.name for one in found] == [
        *(name + more for name in DEEPVIS for more in ("", "-x30")),
        "draw-0001",
        "draw-0002",
    ]
    assert [one.settings for one in found[:8:2]] == list(DEEPVIS.values())
    assert found[1].settings.optimizer == ProgressRate(60.0, 3000.0)
    assert [one.name for one in candidates(search(draws=0, factor=1.0))] == list(DEEPVIS)
    assert {one.settings.steps for one in candidates(small(Path("out")))} == {3, 4}


def test_draws_are_fixed_by_the_seed_and_go_on():
    few, many = (candidates(search(draws=draws, seed=5)) for draws in (3, 300))
    assert many[: len(few)] == few
    assert candidates(search(draws=3, seed=6))[8:] != few[8:]


def test_draws_are_within_their_ranges_and_half_of_them_have_each():
    settings = [one.settings for one in candidates(search(draws=300))[8:]]
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


def test_a_search_leaves_images_a_page_and_all_figures(tmp_path):
    config = small(tmp_path / "out")
    done = run_deepvis(config, quiet)
    manifest = read_json(tmp_path / "out/manifest.json")
    assert done.facts == manifest
    assert [row["name"] for row in manifest["results"]] == [one.name for one in candidates(config)]
    first = manifest["results"][0]
    assert first["rule"] == "ProgressRate"
    assert first["optimizer"] == {"desired": 2.0, "most": 100.0}
    assert first["regularisers"]["small_norm"] == 50.0
    for row in manifest["results"]:
        for part in row["channels"]:
            assert (tmp_path / "out" / part["image"]).is_file()
            assert math.isfinite(part["activation"])
            assert 0 <= part["naturalness"] <= 1
    assert [part["channel"] for part in first["channels"]] == [1, 3]
    text = (tmp_path / "out/report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)  # all in one file
    names = re.findall(r"<b>(d[\w-]+)</b>", text) or re.findall(r"(draw-\d{4}|deepvis-\d(?:-x5)?)</", text)
    assert names.count("draw-0003") == 4  # three tops, all
    assert names.count("deepvis-1-x5") == 1


def test_the_directions_are_those_of_the_units():
    encoder = Encoder(tiny.seeded(tiny.smooth, dtype=torch.float32), "output", FORM)
    seen = unit_directions(encoder, (1, 3))
    assert seen.shape == (2, *encoder.code_shape)
    assert [tuple(place.tolist()) for place in seen.nonzero()] == [(0, 1, 4, 4), (1, 3, 4, 4)]
    vector = Encoder(tiny.seeded(tiny.plain), "output", Preprocessing(tiny.SIZE))
    assert torch.equal(unit_directions(vector, (2, 0)), torch.eye(5, dtype=torch.float64)[[2, 0]])


@pytest.mark.drawn
def test_a_stopped_search_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    run_deepvis(small(tmp_path / "whole"), quiet)
    tried, made = deepvis_search._tried, []

    def counted(*given):
        if len(made) == 6:
            raise KeyboardInterrupt
        made.append(given[1].name)
        return tried(*given)

    monkeypatch.setattr(deepvis_search, "_tried", counted)
    with pytest.raises(KeyboardInterrupt, match="6 of 11 settings are done"):
        run_deepvis(small(tmp_path / "parts"), quiet)
    assert not (tmp_path / "parts").exists()
    again = []
    monkeypatch.setattr(
        deepvis_search, "_tried", lambda *given: (again.append(given[1].name), tried(*given))[1]
    )
    run_deepvis(small(tmp_path / "parts"), quiet)
    assert again == [one.name for one in candidates(small(tmp_path))][6:]
    whole, parts = (contents(tmp_path / name) for name in ("whole", "parts"))
    assert parts == whole
    whole, parts = (read_json(tmp_path / name / "manifest.json")["results"] for name in ("whole", "parts"))
    assert parts == whole


def test_no_draws_and_no_photographs(tmp_path, monkeypatch):
    """Only the published sets, for a network that sees no colours."""
    grey = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Tanh()).eval()
    made = Network("grey", grey, Preprocessing((16, 16), mean=(0.4, 0.5), std=(1.0, 1.0)))
    monkeypatch.setattr(deepvis_search, "open_network", lambda config, device, tell: made)
    run_deepvis(search(tmp_path / "out", channel=(0,), draws=0, published_steps=2, factor=1.0), quiet)
    rows = read_json(tmp_path / "out/manifest.json")["results"]
    assert [row["channels"][0]["naturalness"] for row in rows] == [None] * 4
    assert "All draws" not in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channel": ()}, "--channel takes at least one value"),
        ({"draws": -1}, "--draws is at least 0"),
        ({"steps": 0}, "--steps is at least 1"),
        ({"published_steps": 0}, "--published-steps is at least 1"),
        ({"factor": 0.0}, "--factor is above 0"),
        ({"pixels": 4}, "--pixels is at least 16"),
        ({"seed": -1}, "--seed is at least 0"),
    ],
)
def test_searches_that_make_no_sense(given, message):
    with pytest.raises(ConfigError, match=message):
        search(**given)


def test_a_channel_that_is_not_there_stops_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="has channels 0 to 3, got 4"):
        run_deepvis(search(tmp_path / "out", channel=(4,)), quiet)
    assert not list(tmp_path.iterdir())
