"""``netinvert decoder evaluate`` and ``netinvert pose evaluate``."""

import shutil

import pytest
import torch
from PIL import Image

import netinvert as ni
from netinvert.cli.app import main
from netinvert.errors import ConfigError
from netinvert.experiments.configs.training import DecoderEvaluate, PoseEvaluate
from netinvert.experiments.evaluations import decoder_rows
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.experiments.runs import figures_table
from netinvert.io.files import read_json
from netinvert.models.decoder import DecoderFile, decoder_file, save_decoder
from netinvert.models.zoo.pose import load_pose_file, save_pose_network


def call(*words):
    return main([str(word) for word in words])


@pytest.fixture
def stored(tmp_path):
    """A shipped decoder as a file of its own, with the facts of a training."""
    content = decoder_file("posenet-pose")
    path = tmp_path / "mine.safetensors"
    facts = {**content.facts, "plan": {"loss": "pixel=1", "samples": 8, "seed": 0}}
    save_decoder(path, DecoderFile(content.module, "posenet", "fc8", content.network_sha256, facts))
    return path


def test_a_decoder_beside_its_ceiling_and_its_floors():
    decoder, chairs = ni.load_decoder("posenet-pose"), fresh_chairs(4)
    rows = decoder_rows(decoder, decoder.encoder(), chairs.images, chairs)
    assert list(rows) == ["decoded", "originals", "mean image", "another image"]
    assert rows["originals"]["image_error"] == rows["originals"]["code_error"] == 0
    assert rows["decoded"]["code_error"] < rows["another image"]["code_error"]
    assert rows["originals"]["judge_median_deg"] < rows["another image"]["judge_median_deg"]
    assert 0 < rows["decoded"]["mask_iou"] <= 1


@pytest.mark.slow
def test_evaluate_a_decoder_and_write_its_card(stored, tmp_path, capsys):
    out = tmp_path / "out"
    assert call("decoder", "evaluate", stored, "--chairs", 3, "--card", "--out", out) == 0
    assert "mean image" in capsys.readouterr().out
    figures = read_json(out / "manifest.json")["figures"]
    assert figures["image_error"] > 0
    assert 0 <= figures["judge_median_deg"] <= 180
    card = stored.with_suffix(".md").read_text()
    stored.with_suffix(".md").write_text("killed before it was written")
    capsys.readouterr()
    assert call("decoder", "evaluate", stored, "--chairs", 3, "--card", "--out", out) == 0
    assert stored.with_suffix(".md").read_text() == card
    assert "netinvert decoder evaluate mine.safetensors --chairs 3 --seed 404" in card
    assert f"{figures['image_error']:.4g}" in card
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.height > 300
    page = (out / "report.html").read_text()
    assert f"{figures['code_error']:.3f}" in page
    assert call("rerun", out, "--out", tmp_path / "again") == 0
    assert "\nbit-identical" in capsys.readouterr().out


@pytest.mark.slow
def test_evaluate_a_decoder_on_a_folder_of_images(tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    command = ("decoder", "evaluate", "posenet-fc7", "--images", folder, "--out", tmp_path / "out")
    assert call(*command) == 2
    assert "holds 0 images" in capsys.readouterr().err
    for name, image in zip(
        "abc", torch.rand(3, 3, 40, 50, generator=torch.Generator().manual_seed(0)), strict=True
    ):
        ni.write_png(image, folder / f"{name}.png")
    assert call(*command) == 0
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert [one["option"] for one in manifest["inputs"]] == ["images"] * 3
    assert "judge_median_deg" not in manifest["figures"]
    shutil.rmtree(folder)
    assert call("rerun", tmp_path / "out", "--out", tmp_path / "again") == 2
    assert "bring it back" in capsys.readouterr().err


def test_evaluate_a_pose_network(tmp_path, capsys):
    out = tmp_path / "out"
    assert call("pose", "evaluate", "--network", "posenet", "--chairs", 3, "--views", 2, "--out", out) == 0
    figures = read_json(out / "manifest.json")["figures"]
    assert figures["views"] == 6
    assert figures["median_geodesic_deg"] < 25
    for name in ("acc_30", "azimuth_flip_rate", "relative_median_deg", "fpr_at_95_recall"):
        assert figures[name] >= 0
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 500
    page = (out / "report.html").read_text()
    assert f"the median geodesic error is {figures['median_geodesic_deg']:.1f}°" in page
    assert "no fair test" not in page
    assert call("rerun", out, "--out", tmp_path / "again") == 0
    assert "\nbit-identical" in capsys.readouterr().out


@pytest.mark.slow
def test_evaluate_own_weights_and_write_their_card(tmp_path, capsys):
    weights = tmp_path / "posenet.safetensors"
    content = load_pose_file("posenet")
    save_pose_network(weights, content, half=True)
    few = ("--chairs", 2, "--views", 2)
    command = ("pose", "evaluate", "--weights", weights, *few, "--card", "--out", tmp_path / "out")
    assert call(*command) == 0
    card = weights.with_suffix(".md").read_text()
    weights.with_suffix(".md").unlink()
    assert call(*command) == 0
    assert weights.with_suffix(".md").read_text() == card
    assert "`netinvert pose evaluate --network posenet --chairs 2 --views 2 --seed 1`" in card
    other = (
        "pose",
        "evaluate",
        "--network",
        "posenet-judge",
        "--weights",
        weights,
        "--out",
        tmp_path / "other",
    )
    assert call(*other) == 2
    assert "load it under that name" in capsys.readouterr().err


def test_seeds_that_were_trained_on_are_no_fair_test(tmp_path, capsys):
    out = tmp_path / "out"
    assert call("pose", "evaluate", "--chairs", 1, "--views", 2, "--seed", 0, "--out", out) == 0
    assert "no fair test" in capsys.readouterr().err
    assert "no fair test" in (out / "report.html").read_text()


def test_a_single_view_has_no_pairs(tmp_path):
    out = tmp_path / "out"
    assert call("pose", "evaluate", "--chairs", 1, "--views", 1, "--out", out) == 0
    figures = read_json(out / "manifest.json")["figures"]
    assert figures["views"] == 1
    assert "match_accuracy" not in figures


def test_bad_input(tmp_path, capsys):
    assert call("pose", "evaluate", "--network", "mobilenet-v2", "--out", tmp_path / "out") == 2
    assert "reads no poses" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="not a name"):
        DecoderEvaluate(decoder="posenet-pose", card=True, out=tmp_path / "out")
    with pytest.raises(ConfigError, match="give that too"):
        PoseEvaluate(card=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_figures_are_told_in_words():
    table = figures_table({"median_geodesic_deg": 5.25, "acc_30": 1.0, "dead_code_units": 31.0})
    assert [line.split("  ")[0] for line in table.text().splitlines()[1:]] == [
        "median geodesic (°)",
        "within 30°",
        "dead code units",
    ]
    assert table.text().split()[-1] == "31"
    assert "median_geodesic_deg" in table.csv()
