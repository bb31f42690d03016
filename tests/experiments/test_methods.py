"""The experiment that compares ways to invert a code."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

import netinvert as ni
from netinvert.cli.app import main
from netinvert.experiments import methods, registered
from netinvert.experiments.floors import (
    FLOORS,
    MEAN,
    MEAN_CODE,
    NEAREST,
    ORIGINAL,
    OTHER,
    POSED,
    ViewBank,
    floor_images,
)
from netinvert.experiments.held_out_chairs import chair_errors, fresh_chairs
from netinvert.experiments.method_report import MEASURES, MethodRow, Ranking, methods_report, methods_table
from netinvert.experiments.methods import ALL_METHODS, OPTIMISERS, LayerProblem
from netinvert.io.cells import Piece
from netinvert.io.files import read_json
from netinvert.scenes.seeds import POSENET

READERS = ["posenet-judge", "objectron-chair", "HOG, nearest views", "own pose"]
PIECE = Piece(None, lambda share, text: None)


@pytest.fixture(scope="module")
def problem():
    decoder = ni.load_decoder("posenet-pose")
    encoder = decoder.encoder()
    return LayerProblem(decoder, encoder, fresh_chairs(2, size=128), 12, (encoder, decoder))


@pytest.mark.slow
def test_the_methods_of_a_layer(problem):
    figures = {name: problem.measured(name, problem.images(name, PIECE), [], {}) for name in ALL_METHODS}
    assert all(torch.equal(figures["decode"][name], figures["autoencoder"][name]) for name in MEASURES)
    for name in ("decode, then correct", "decode, then optimise"):
        assert figures[name]["code"].mean() < figures["decode"]["code"].mean()
    assert figures["decoder as prior"]["code"].mean() < 0.3  # after 12 steps; another chair's code: about 1
    presets = [figures[name]["code"] for name in OPTIMISERS]
    assert not torch.equal(presets[0], presets[1])
    assert not torch.equal(presets[0], presets[2])


def test_floors_and_the_ceiling(problem):
    """The bank holds the chairs themselves, and others: the nearest codes are their own."""
    chairs, others = problem.chairs, fresh_chairs(6, seed=101, size=128)
    images = torch.cat([others.images, chairs.images])
    rows = [torch.cat([getattr(one, name) for one in (others, chairs)]) for name in ("rotation", "symmetry")]
    bank = ViewBank((255 * images).round().byte(), *rows)
    found = floor_images(problem.decoder, problem.encoder, chairs, bank)
    assert set(found) == {ORIGINAL, *FLOORS}
    assert (found[NEAREST] - chairs.images).abs().max() < 0.01
    torch.testing.assert_close(found[MEAN][0], bank.images.float().mean(0) / 255)
    torch.testing.assert_close(found[POSED], found[MEAN])  # so few views are all near
    assert torch.equal(found[OTHER], problem.decoder(problem.codes.roll(1, 0)))
    figures = {name: problem.measured(name, each, [], {}) for name, each in found.items()}
    assert float(figures[ORIGINAL]["image"].max()) == float(figures[ORIGINAL]["code"].max()) == 0
    assert float(figures[ORIGINAL]["ssim"].min()) == pytest.approx(1)
    assert figures[MEAN_CODE]["code"].min() > 0
    blind = LayerProblem(None, problem.encoder, chairs)
    assert OTHER not in floor_images(blind.decoder, blind.encoder, chairs, bank)


def test_errors_on_the_chair_forget_the_background():
    chairs = fresh_chairs(3)
    outside = torch.where(chairs.masks > 0, chairs.images, torch.rand_like(chairs.images))
    assert chair_errors(outside, chairs.images, chairs.masks).max() == 0
    other = chair_errors(chairs.images.roll(1, 0), chairs.images, chairs.masks)
    assert 0.5 < other.mean() < 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["decode", "optimise (quick)"])
def test_a_piece_of_the_chairs_gives_what_all_give(problem, method, monkeypatch):
    monkeypatch.setattr(methods, "AT_ONCE", 1)
    pieces = [problem.part(k).images(method, PIECE, k) for k in range(2)]
    torch.testing.assert_close(torch.cat(pieces), problem.images(method, PIECE), atol=1e-3, rtol=0)


def row(method, values, share=()):
    known = dict.fromkeys(MEASURES, torch.tensor(values, dtype=torch.float64))
    asked = torch.tensor(share or values, dtype=torch.float64)
    return MethodRow("relu7", method, {**known, "HOG": asked}, None, ("HOG",))


def test_only_what_is_surely_better_is_marked():
    level = torch.rand(40, generator=torch.Generator().manual_seed(0))
    noise = 0.5 * torch.randn(40, generator=torch.Generator().manual_seed(1))
    best, near = (
        row("decode", level.tolist()),
        row("optimise", (level + noise - noise.mean() + 0.01).tolist()),
    )
    surely = row("optimise (quick)", (level + 0.2).tolist())
    assert not Ranking.of([best, near, surely], "code").sure
    assert Ranking.of([best, surely], "code").sure
    assert methods_table([best, near]).marked == set()
    floor = row(MEAN, (level - 1).tolist())
    marked = methods_table([best, surely, floor]).marked
    assert (0, 2) in marked
    assert all(place != 2 for place, _ in marked)


def told(config, floor=2.0):
    """The text of a report of decoded images whose error is 1, and of a floor."""
    rows = [row("decode", [1.0] * 5), row("optimise", [3.0] * 5), row(MEAN, [floor] * 5)]
    page = methods_report(rows, {"relu7": {ORIGINAL: torch.zeros(5, 3, 8, 8)}}, config)
    return " ".join(page.html().split())


def test_the_primary_figure_is_a_share_of_the_best_floor():
    assert "decoded images have 0.50 (0.50 to 0.50) of the error of" in told(registered.METHODS)
    assert "decoded images have 0.25 (0.25 to 0.25) of the error of" in told(registered.METHODS, 4.0)


def test_what_is_no_registered_test_is_called_a_trial():
    assert "This is the registered test." in told(registered.METHODS)
    assert "a trial, not the registered test (200 chairs of the seed 9001" in told(
        replace(registered.METHODS, chairs=40)
    )
    assert "no fair test" in told(replace(registered.METHODS, seed=POSENET))


def test_a_limited_reader_is_asked_about_what_it_can_read():
    one = row("decode", [0.1] * 4, [10.0, 50.0, float("nan"), 20.0])
    assert one.figure("HOG").value == pytest.approx(2 / 3)
    assert row("decode", [0.1] * 2, [float("nan")] * 2).figure("HOG") is None


@pytest.mark.slow
@pytest.mark.drawn
def test_the_whole_run_leaves_its_folder(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["study", "methods", "--decoders", "posenet-pose", "--chairs", "3", "--steps", "4", "--control"]
    words += ["--bank", "12", "--learned", "20"]
    assert main([*words, "--out", str(out)]) == 0
    rows = read_json(out / "manifest.json")["rows"]
    decoded = [one for one in ALL_METHODS if one != "autoencoder"]
    blind = [one for one in FLOORS if one not in (OTHER, MEAN_CODE)]
    assert [row["method"] for row in rows] == [
        *decoded, *FLOORS, ORIGINAL, *OPTIMISERS, *blind, ORIGINAL,
    ]  # fmt: skip
    assert [key for key in rows[0] if key in READERS] == READERS
    assert rows[0]["layer"] == "fc8"
    assert rows[-1]["layer"] == "fc8 (random weights)"
    chairs = list(csv.DictReader(io.StringIO((out / "chairs.csv").read_text())))
    assert len(chairs) == 3 * len(rows)
    assert read_json(out / "report.json")["data"]["methods"]["rows"] == rows
    for name in ("crossover.png", "overview.png", "fc8.png"):
        with Image.open(out / name) as image:
            assert image.width > 500
    capsys.readouterr()
    assert main(["rerun", str(out), "--out", str(tmp_path / "again"), "--json"]) == 0
    assert '"identical": true' in capsys.readouterr().out


def test_bad_input(tmp_path, capsys):
    for words, message in (
        (["--decoders", "posenet-fc9"], "no decoder"),
        (["--chairs", "1"], "--chairs is at least 2"),
        (["--bank", "1"], "--bank is at least 2"),
    ):
        assert main(["study", "methods", *words, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
