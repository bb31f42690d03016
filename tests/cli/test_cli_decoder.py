from __future__ import annotations

import json

import pytest

from netinvert.io.assets import chair
from netinvert.io.files import load_tensors
from netinvert.io.images import write_png


@pytest.fixture
def picture(tmp_path):
    write_png(chair((64, 64)).image, tmp_path / "chair.png")
    return tmp_path / "chair.png"


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


@pytest.mark.parametrize("canvas", [[], ["--canvas", "decoder"]])
def test_inversions_with_a_decoder_are_repeated_to_the_bit(cli, picture, tmp_path, canvas):
    options = ["--network", "posenet", "--layer", "relu7", "--decoder", "posenet-fc7", "--steps", 4, *canvas]
    said = cli("invert", picture, *options, "--out", tmp_path / "first", "--json")
    assert said.exit_code == 0, said.output
    manifest = json.loads(said.stdout)
    assert manifest["decoder_sha256"]
    assert manifest["recipe"]["canvas"] == ("DecoderPrior" if canvas else "Fourier")
    assert "\nbit-identical" in cli("rerun", tmp_path / "first", "--out", tmp_path / "again").stdout


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
