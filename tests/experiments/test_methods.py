"""The experiment that compares ways to invert a code."""

from __future__ import annotations

import pytest
from PIL import Image

import netinvert as ni
from netinvert.cli.app import main
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.experiments.methods import BASELINES, METHODS, LayerProblem
from netinvert.io.files import read_json


@pytest.fixture(scope="module")
def problem():
    decoder = ni.load_decoder("posenet-pose")
    encoder = decoder.encoder()
    return LayerProblem(decoder, encoder, fresh_chairs(2), 12, (encoder, decoder))


@pytest.mark.slow
def test_the_methods_of_a_layer(problem):
    figures = {name: problem.figures(name, problem.images(name)) for name in (*METHODS, *BASELINES)}
    for name in ("image_error", "code_error", "judge"):
        assert getattr(figures["decode"], name) == getattr(figures["autoencoder"], name)
    for name in ("decoder as prior", "decode, then correct", "decode, then optimise"):
        assert figures[name].code_error < figures["decode"].code_error
    assert figures["the original"].image_error == figures["the original"].code_error == 0
    assert figures["the original"].ssim == pytest.approx(1)
    assert figures["another chair"].image_error == pytest.approx(1)  # of two, the mean distance of pairs
    assert figures["another chair"].code_error == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.drawn
def test_the_whole_run_leaves_its_folder(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["study", "methods", "--decoders", "posenet-pose", "--chairs", "2", "--steps", "4"]
    assert main([*words, "--out", str(out)]) == 0
    rows = read_json(out / "manifest.json")["rows"]
    assert [row["method"] for row in rows] == [*(one for one in METHODS if one != "autoencoder"), *BASELINES]
    assert read_json(out / "report.json")["data"]["methods"]["rows"] == rows
    for name in ("crossover.png", "overview.png", "fc8.png"):
        with Image.open(out / name) as image:
            assert image.width > 500
    assert "The decoder that" not in capsys.readouterr().out
    assert main(["rerun", str(out), "--out", str(tmp_path / "again"), "--json"]) == 0
    assert '"identical": true' in capsys.readouterr().out


def test_bad_input(tmp_path, capsys):
    for words, message in (
        (["--decoders", "posenet-fc9"], "no decoder"),
        (["--chairs", "1"], "--chairs is at least 2"),
    ):
        assert main(["study", "methods", *words, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
