"""``netinvert decoder evaluate``."""

import shutil

import pytest
import torch
from PIL import Image

import netinvert as ni
from netinvert.cli.app import main
from netinvert.errors import ConfigError
from netinvert.experiments.configs.training import DecoderEvaluate
from netinvert.experiments.evaluations import decoder_rows
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.experiments.runs import figures_table
from netinvert.io.files import read_json
from netinvert.models.decoder import DecoderFile, decoder_file, save_decoder


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


@pytest.mark.slow
def test_a_decoder_beside_its_ceiling_and_its_floors():
    decoder, chairs = ni.load_decoder("posenet-pose"), fresh_chairs(4, size=128)
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


def test_bad_input(tmp_path):
    with pytest.raises(ConfigError, match="not a name"):
        DecoderEvaluate(decoder="posenet-pose", card=True, out=tmp_path / "out")


def test_figures_are_told_in_words():
    table = figures_table({"median_geodesic_deg": 5.25, "acc_30": 1.0, "dead_code_units": 31.0})
    assert [line.split("  ")[0] for line in table.text().splitlines()[1:]] == [
        "median geodesic (°)",
        "within 30°",
        "dead code units",
    ]
    assert table.text().split()[-1] == "31"
    assert "median_geodesic_deg" in table.csv()
