from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from netinvert import read_code, write_png
from netinvert.io.files import load_tensors

DATA = Path(__file__).parent.parent / "data"


def test_version_and_help(cli):
    assert cli("--version").stdout.startswith("netinvert ")
    for command in ("encode", "invert", "rerun"):
        shown = cli(command, "--help")
        assert shown.exit_code == 0
        assert command in shown.stdout


def test_help_is_quick_and_the_package_light():
    code = (
        "import sys, netinvert; assert not {'typer', 'rich', 'matplotlib'} & set(sys.modules);"
        "import netinvert.cli; assert not {'rich.progress', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_encode(cli, net, pictures, tmp_path, suffix):
    out = tmp_path / f"codes.{suffix}"
    said = cli("encode", pictures, *net, "--out", out, "--json")
    assert json.loads(said.stdout)["names"] == ["a", "b"]
    assert tuple(read_code(out).shape) == (2, 8, 10, 12)
    if suffix == "safetensors":
        assert json.loads(load_tensors(out)[1]["netinvert"])["layer"] == "2"
    else:
        assert np.load(out).dtype == np.float32


def test_encode_refuses(cli, net, pictures, tmp_path):
    (tmp_path / "there.npy").write_bytes(b"mine")
    np.save(tmp_path / "code.npy", np.ones(3))
    for source, out, text in (
        (pictures, "there.npy", "--overwrite"),
        (pictures, "codes.txt", ".safetensors or .npy"),
        (pictures, "no/codes.npy", "folder does not exist"),
        (tmp_path / "code.npy", "codes.npy", "holds a code already"),
    ):
        said = cli("encode", source, *net, "--out", tmp_path / out)
        assert said.exit_code == 2
        assert text in said.output
    said = cli("encode", pictures, *net, "--out", tmp_path / "there.npy", "--overwrite")
    assert "would be lost" in said.stderr
    assert (tmp_path / "there.npy").read_bytes() == b"mine"
    assert not (tmp_path / "codes.npy").exists()


@pytest.mark.slow
def test_preprocessing_that_was_assumed_is_told_and_kept(cli, tmp_path):
    pytest.importorskip("tflite")
    network = f"tflite:{DATA / 'face_detection_short_range.tflite'}"
    picture = tmp_path / "picture.png"
    write_png(torch.rand(3, 40, 40), picture)
    words = ("invert", picture, "--network", network, "--layer", "conv_0", "--steps", 2, "--prior", "none")
    said = cli(*words, "--out", tmp_path / "out")
    assert said.exit_code == 0, said.output
    assert said.output.count("assumed: images of 128 x 128 pixels, in [0, 1]") == 1
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert facts["preprocessing_assumed"]["size"] == [128, 128]
    said = cli(*words, "--size", 128, "--mean", "0.5,0.5,0.5", "--out", tmp_path / "told")
    assert said.exit_code == 0, said.output
    assert "assumed" not in said.output
    assert "preprocessing_assumed" not in json.loads((tmp_path / "told" / "manifest.json").read_text())
    assert "assumed: images" in cli("layers", network).output
