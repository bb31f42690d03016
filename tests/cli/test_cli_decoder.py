from __future__ import annotations

import json

import pytest

from netinvert.cli.app import main
from netinvert.io.assets import chair
from netinvert.io.files import load_tensors
from netinvert.io.images import write_png
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import render_dataset

POSENET = ["--network", "posenet", "--layer", "fc8"]
QUICK = ["--samples", 16, "--batch", 8, "--threads", 1, "--every", 1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "data"
    render_dataset(DatasetConfig(identities=12, views=2, seed=5, splits=(0.6, 0.3, 0.1)), folder)
    return folder


@pytest.fixture
def picture(tmp_path):
    write_png(chair((64, 64)).image, tmp_path / "chair.png")
    return tmp_path / "chair.png"


@pytest.mark.slow
def test_train_and_decode(cli, data, picture, tmp_path):
    out = tmp_path / "out"
    words = ["decoder", "train", *POSENET, "--data", data, "--out", out, "--name", "mine", *QUICK]
    assert main([str(word) for word in words]) == 0
    file = out / "mine.safetensors"
    said = cli("decode", picture, "--decoder", file, "--out", tmp_path / "decoded", "--json")
    manifest = json.loads(said.stdout)
    assert manifest["decoder"]["name"] == "mine"
    assert (tmp_path / "decoded" / "chair.png").exists()


@pytest.mark.slow
@pytest.mark.drawn
def test_decode_codes_alone(cli, picture, tmp_path):
    code = tmp_path / "code.safetensors"
    assert cli("encode", picture, "--network", "posenet", "--layer", "relu7", "--out", code).exit_code == 0
    assert cli("decode", code, "-D", "posenet-fc7", "--out", tmp_path / "bare").exit_code == 0
    assert cli("decode", picture, "-D", "posenet-fc7", "--out", tmp_path / "seen").exit_code == 0
    bare, seen = (load_tensors(tmp_path / name / "tensors.safetensors")[0] for name in ("bare", "seen"))
    assert (bare["image"] == seen["image"]).all()
    wrong = cli("decode", code, "-D", "posenet-fc6", "--out", tmp_path / "wrong")
    assert wrong.exit_code == 2  # of the same shape, but the file says of which layer it is
    assert "relu7" in wrong.stderr
    said = cli("decode", code, "-D", "posenet-conv5", "--out", tmp_path / "refused")
    assert said.exit_code == 2
    assert not (tmp_path / "refused").exists()


@pytest.mark.slow
@pytest.mark.parametrize("canvas", [[], ["--canvas", "decoder"]])
def test_inversions_with_a_decoder_are_repeated_to_the_bit(cli, picture, tmp_path, canvas):
    options = ["--network", "posenet", "--layer", "relu7", "--decoder", "posenet-fc7", "--steps", 4, *canvas]
    said = cli("invert", picture, *options, "--out", tmp_path / "first", "--json")
    assert said.exit_code == 0, said.output
    manifest = json.loads(said.stdout)
    assert manifest["decoder_sha256"]
    assert manifest["recipe"]["canvas"] == ("DecoderPrior" if canvas else "Pixels")
    assert "\nbit-identical" in cli("rerun", tmp_path / "first", "--out", tmp_path / "again").stdout


def test_a_decoder_that_ships_is_begun_with_and_that_is_told(cli, picture, tmp_path):
    options = ["--network", "posenet", "--layer", "relu7", "--steps", 3]
    manifests = []
    for k, more in enumerate(([], ["--decoder", "posenet-fc7"], ["--preset", "default"], ["--restarts", 2])):
        said = cli("invert", picture, *options, *more, "--out", tmp_path / f"{k}", "--json")
        assert said.exit_code == 0, said.output
        told = "decoder posenet-fc7 fits and gives the images to start from"
        assert (told in said.stderr.replace("\n", " ")) == (not more)
        assert (told in (tmp_path / f"{k}" / "report.html").read_text()) == (not more)
        manifests.append(json.loads(said.stdout))
    assert [one["preset"] for one in manifests] == ["decoded", "decoded", "default", "default"]
    assert [one["decoder"] for one in manifests] == ["posenet-fc7", "posenet-fc7", None, None]
    assert manifests[0]["samples"] == manifests[1]["samples"]
    assert "\nbit-identical" in cli("rerun", tmp_path / "0", "--out", tmp_path / "again").stdout


def test_decoded_images_are_corrected_by_answers(cli, picture, tmp_path):
    errors = []
    for k, more in enumerate(([], ["--correct", 1], ["--correct", 6])):
        said = cli("decode", picture, "-D", "posenet-fc7", *more, "--out", tmp_path / f"{k}", "--json")
        assert said.exit_code == 0, said.output
        errors.append(json.loads(said.stdout)["samples"][0]["errors"]["ijcv16"])
    assert errors[0] == errors[1] > errors[2]
    assert "\nbit-identical" in cli("rerun", tmp_path / "2", "--out", tmp_path / "again").stdout
    said = cli("decode", picture, "-D", "posenet-fc7", "--correct", 0, "--out", tmp_path / "none")
    assert said.exit_code == 2
    assert "--correct is at least 1" in said.stderr


def test_a_decoders_canvas_needs_a_decoder_of_the_layer(cli, picture, tmp_path):
    options = ["--network", "posenet", "--layer", "relu7", "--out", tmp_path / "out"]
    for more, told in (
        (["--canvas", "decoder"], "Give --decoder"),
        (["--decoder", "posenet-fc6"], "belongs to layer 'relu6'"),
        (["--decoder", "posenet-fc7", "--start", picture], "leave out --start"),
    ):
        said = cli("invert", picture, *options, *more)
        assert said.exit_code == 2
        assert told in said.stderr
