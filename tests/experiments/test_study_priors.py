"""Priors at equal code error, and what may be said of them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch

from netinvert import write_png
from netinvert.cli.app import main
from netinvert.experiments.configs.studies import StudyPriors
from netinvert.experiments.inversions import Reconstructions
from netinvert.experiments.prior_measures import (
    NEAREST_ONE,
    NINE,
    Curve,
    at_error,
    claims,
    common_place,
    winner,
)
from netinvert.experiments.prior_report import PriorStudy
from netinvert.experiments.priors import curves_of
from netinvert.experiments.registered import ENOUGH
from netinvert.experiments.sweep import NONE, Setting
from netinvert.io.files import read_json

ONE = torch.ones(1)


def test_a_measure_is_read_off_between_the_weights_and_never_beyond():
    errors, values = torch.tensor([[0.1], [0.2], [0.4]]), torch.tensor([[0.0], [1.0], [3.0]])
    for level, value in ((0.1, 0), (0.2, 1), (0.4, 3), (0.08**0.5, 2)):
        assert at_error(errors, values, level * ONE).item() == pytest.approx(value, abs=1e-5)
    assert at_error(errors, values, 0.09 * ONE).isnan().all()
    assert at_error(errors, values, 0.41 * ONE).isnan().all()


def test_a_curve_that_comes_back_is_met_in_the_mean():
    errors, values = torch.tensor([[0.1], [0.4], [0.1]]), torch.tensor([[0.0], [2.0], [8.0]])
    assert at_error(errors, values, 0.2 * ONE).item() == pytest.approx((1 + 5) / 2)
    assert at_error(errors[:1], values[:1], 0.1 * ONE).item() == 0  # a single point
    flat = torch.full((2, 1), 0.3)
    assert at_error(flat, values[1:], 0.3 * ONE).item() == pytest.approx(5)


def curve(
    prior: str, gain: float, count: int = 2 * ENOUGH, reach: float = 1.0, layer: str = "relu7"
) -> Curve:
    """SSIM falls with the weight and the code error, as of all; ``gain`` above the reference's."""
    source = torch.Generator().manual_seed(len(prior))
    own = 0.1 * torch.rand(count, generator=torch.Generator().manual_seed(0))
    errors = torch.tensor([0.05, 0.1, 0.2, 0.4])[:, None] * (1 + own) * reach
    noise = 0.004 * torch.randn(4, count, generator=source)
    values = 0.6 - (errors / reach).log() * 0.01 + own + gain + noise
    return Curve(layer, prior, "fourier", (0, 1, 2, 3), errors, {"ssim": values}, torch.arange(count))


def test_verdicts():
    curves = [curve("tv", 0), curve("best", 0.06), curve("good", 0.03), curve("same", 0), curve("bad", -0.05)]
    found = claims({"relu7": [*curves, curve("far", 0, reach=100)]}, "ssim")
    said = {one.curve.prior: one.verdict for one in found}
    assert said == {
        "best": "better", "good": "better", "same": "equivalent", "bad": "worse", "far": "not enough",
    }  # fmt: skip
    level = curves[0].errors[common_place(curves)]
    best = winner(found, level)
    assert best.curve.prior == "best"
    assert best.comparison.apart.low < 0.06 < best.comparison.apart.high
    assert winner([one for one in found if one.curve.prior in ("same", "bad", "far")], level) is None


def test_of_two_that_are_alike_neither_is_best(tmp_path):
    curves = [curve("tv", 0), curve("one", 0.06), curve("other", 0.0605), curve("good", 0.03)]
    found = claims({"relu7": curves}, "ssim")
    assert [one.verdict for one in found] == ["better"] * 3
    assert winner(found, curves[0].errors[2]) is None
    config = StudyPriors(network="posenet", layers=("relu7",), out=tmp_path)
    said = PriorStudy(config, {"relu7": curves}, {}).verdict("relu7", "ssim")
    assert said == (
        "`relu7`, ssim: surely better than `tv, fourier`: `one, fourier`, `other, fourier` and "
        "`good, fourier`; which of them is best is undecided."
    )


def test_weights_of_one_code_error_have_columns_of_their_own(tmp_path):
    few = replace(curve("tv", 0), errors=torch.full((4, 2 * ENOUGH), 0.0021))
    table = PriorStudy(
        StudyPriors(network="posenet", layers=("relu7",), out=tmp_path), {"relu7": [few]}, {}
    ).levels("relu7")
    assert [column.name for column in table.columns][1:] == [f"at 0.002 ({weight})" for weight in (1, 2, 3)]


def test_priors_are_compared_where_most_of_them_are():
    tv = curve("tv", 0)
    assert common_place([tv]) == common_place([tv, curve("same", 0)]) == 2
    assert common_place([tv, curve("accurate", 0, reach=0.4)]) == 1
    assert common_place([tv, curve("rough", 0, reach=5)]) == 3


def test_nothing_is_claimed_of_few_pictures():
    found = claims({"relu7": [curve("tv", 0, ENOUGH - 1), curve("best", 0.06, ENOUGH - 1)]}, "ssim")
    assert [one.verdict for one in found] == ["not enough"]


def test_all_layers_are_one_family():
    def layers(count):
        return {
            str(k): [curve("tv", 0, layer=str(k)), curve("best", 0.06, layer=str(k))] for k in range(count)
        }

    one, many = claims(layers(1), "ssim")[0], claims(layers(20), "ssim")[0]
    assert many.p == pytest.approx(20 * one.p)


def test_every_curve_begins_with_what_no_prior_makes_on_its_canvas():
    settings = [
        Setting(prior, weight, canvas)
        for canvas in ("fourier", "pixels")
        for prior, weight in (("tv", 3.0), ("tv", 1.0), ("bad", 1.0), (NONE, None))
    ]
    judged = []
    for k, one in enumerate(settings):
        images = None if one.prior == "bad" else torch.zeros(2, 3, 4, 4)
        found = Reconstructions(images, {"ijcv16": [k + 1.0, k + 1.0]})
        judged.append((one, found, {"ssim": torch.full((2,), float(k))}))
    curves = curves_of("relu7", judged, torch.arange(2))
    assert [(one.prior, one.canvas, one.weights) for one in curves] == [
        ("tv", "fourier", (0.0, 1.0, 3.0)),
        ("tv", "pixels", (0.0, 1.0, 3.0)),
    ]
    assert curves[0].values["ssim"][:, 0].tolist() == [3, 1, 0]
    judged[0] = (settings[0], Reconstructions(torch.zeros(2, 3, 4, 4), {"ijcv16": [1.0, None]}), judged[0][2])
    unknown = curves_of("relu7", judged, torch.arange(2))[0]
    assert unknown.errors[2].isnan().tolist() == [False, True]
    assert unknown.at("ssim", unknown.errors[2]).isnan().tolist() == [False, True]
    assert (
        curves_of("relu7", [(settings[2], Reconstructions(None, {}, failure="flat"), {})], torch.arange(2))
        == []
    )
    assert curves[1].nearest(torch.tensor([8.0, 5.1])).tolist() == [0, 2]


NET = """
import torch
from torch import nn
from netinvert import Network, Preprocessing

def good():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh()).eval()
    return Network("tiny", module, Preprocessing((16, 16)))
"""


@pytest.mark.slow
@pytest.mark.drawn
def test_the_whole_run_leaves_its_folder(tmp_path, capsys):
    """Of photographs, of which no pose and no part is known."""
    (tmp_path / "nets.py").write_text(NET)
    images = tmp_path / "images"
    images.mkdir()
    source = torch.Generator().manual_seed(0)
    for k in range(12):
        write_png(
            torch.rand(3, 4, 4, generator=source).repeat_interleave(4, 1).repeat_interleave(4, 2),
            images / f"{k:02d}.png",
        )
    net = f"module:{tmp_path}/nets.py:good"
    text = f"study priors --network {net} --layers 0 --images {images} --canvases fourier --steps 6 --priors "
    words = [*text.split(), "tv-isotropic", "second-order", "none", "--prior-weights", "0.1", "1"]
    few = [*words, "--count", "4", "--out", str(tmp_path / "few")]
    words += ["--count", "2", "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    assert "not enough" in capsys.readouterr().out
    facts = read_json(tmp_path / "out" / "manifest.json")
    assert len(facts["shown"]) == 2 * 3
    assert all((tmp_path / "out" / one["file"]).is_file() for one in facts["shown"])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "images.csv").read_text())))
    assert len(rows) == 2 * 2 * 3 * 2  # restarts, pictures, weights, priors
    assert {row["mobilenet-v2 chooses"] for row in rows} <= {"0.0", "0.5", "1.0"}
    assert "No person has judged" in (tmp_path / "out" / "report.md").read_text()
    assert main(few) == 2
    assert "12 images, and 4 to invert and 9 others are needed" in capsys.readouterr().err
    assert main(["rerun", str(tmp_path / "out"), "--trust", "--out", str(tmp_path / "again"), "--json"]) == 0
    assert '"identical": true' in capsys.readouterr().out


def small_run(tmp_path, monkeypatch, fails):
    """Of two layers; what ``fails`` of a layer and prior cannot be inverted."""
    (tmp_path / "nets.py").write_text(NET)
    source = torch.Generator().manual_seed(0)
    for k in range(11):
        write_png(torch.rand(3, 16, 16, generator=source), tmp_path / f"{k:02d}.png")
    values = {"mobilenet-v2 chooses": torch.ones(2), "ssim": torch.ones(2), "alike": torch.ones(2)}
    values["alike_other"] = torch.ones(2)
    baselines = dict.fromkeys((NINE, NEAREST_ONE), values)
    judges = Mock(other=torch.tensor([1, 0]), **{"measured.return_value": values})

    def made(run, config, targets, wanted, progress):
        return [
            Reconstructions(None, {}, failure="no gradient")
            if fails(one.layer, one.how.prior)
            else Reconstructions(torch.zeros(2, 3, 16, 16), {"ijcv16": [0.1 + k, None]})
            for k, one in enumerate(wanted)
        ]

    monkeypatch.setattr("netinvert.experiments.priors.judges_of", lambda *_: judges)
    monkeypatch.setattr("netinvert.experiments.priors.baselines_of", lambda *_: baselines)
    monkeypatch.setattr("netinvert.experiments.priors.invert_all", made)
    words = ["study", "priors", "--network", f"module:{tmp_path}/nets.py:good", "--layers", "0", "1"]
    words += ["--images", str(tmp_path), "--canvases", "fourier", "--count", "2", "--restarts", "1"]
    words += ["--priors", "tv-isotropic", "second-order", "--prior-weights", "1", "2"]
    return main([*words, "--out", str(tmp_path / "out")])


def test_a_layer_where_nothing_can_be_inverted_is_named(tmp_path, monkeypatch, capsys):
    def fails(layer, prior):
        return layer == "0" or prior.startswith("tv-isotropic")

    assert small_run(tmp_path, monkeypatch, fails) == 0
    assert "0: nothing is claimed, for no prior could be tried" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.md").read_text()
    for part in (
        "`second-order, fourier` with 2 at `1`",
        "- `0`: nothing is claimed",
        "tv-isotropic=1, fourier at 1: no gradient",
    ):
        assert part in page
    assert {one["layer"] for one in read_json(tmp_path / "out" / "manifest.json")["shown"]} == {"1"}


def test_where_nothing_at_all_can_be_inverted(tmp_path, monkeypatch, capsys):
    assert small_run(tmp_path, monkeypatch, lambda *_: True) == 2
    assert (
        "no prior could be tried at any layer: tv-isotropic=1, fourier at 0: no gradient"
        in capsys.readouterr().err
    )


def test_bad_input(tmp_path, capsys):
    for words, message in (
        ("posenet --layers relu99", "relu99"),
        ("posenet --layers fc8 --count 1", "--count is at least 2"),
        ("posenet --layers fc8 --priors none", "no prior is left to compare"),
        ("posenet --layers fc8 --priors tv-round", "tv-round"),
        ("posenet --layers fc8 --canvases oil", "oil"),
        ("hog --layers output --canvases fourier --priors tv-isotropic", "colours"),
    ):
        assert main(["study", "priors", "--network", *words.split(), "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert StudyPriors(network="posenet", layers=("fc8",), out=tmp_path).images == "chairs"


def test_what_the_page_says(tmp_path):
    config = StudyPriors(network="posenet", layers=("relu7",), out=tmp_path, count=2 * ENOUGH, restarts=1)
    curves = [
        curve("tv", 0),
        curve("best", 0.06),
        curve("good", 0.03),
        curve("same", 0),
        curve("far", 0, reach=100),
    ]
    said = PriorStudy(config, {"relu7": curves}, {}).verdict("relu7", "ssim")
    assert said.startswith("`relu7`, ssim: **best, fourier** is best, by 0.0")
    for part in ("surely better, too: `good, fourier`", "surely the same within 0.010: `same, fourier`"):
        assert part in said
    assert said.endswith("not enough pictures for a claim: `far, fourier`.")
    tied = PriorStudy(config, {"relu7": [curves[0], curves[3]]}, {}).verdict("relu7", "ssim")
    assert tied.endswith(
        "is surely better than `tv, fourier`; surely the same within 0.010: `same, fourier`."
    )
