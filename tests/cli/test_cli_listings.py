from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from netinvert import read_code
from netinvert.io.files import load_tensors


def test_networks(cli):
    listed = json.loads(cli("networks", "--json").stdout)
    assert {"objectron-chair", "mobilenet-v2"} <= {card["name"] for card in listed}
    assert all(card["licence"] for card in listed)
    assert "objectron-cup" in cli("networks").stdout


def test_layers(cli, nets):
    listed = json.loads(cli("layers", nets("good"), "--json").stdout)
    assert listed["size"] == [20, 24]
    third = next(layer for layer in listed["layers"] if layer["name"] == "2")
    assert third == {
        "name": "2",
        "type": "Conv2d",
        "code_shape": [8, 10, 12],
        "stride": 2,
        "receptive_field": 5,
    }
    assert "8×10×12" in cli("layers", nets("good")).stdout


def test_version_and_help(cli):
    assert cli("--version").stdout.startswith("netinvert ")
    for command in ("networks", "layers", "encode", "invert", "rerun", "demo"):
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
    assert (tmp_path / "there.npy").read_bytes() == b"mine"
    assert not (tmp_path / "codes.npy").exists()


def test_demo_says_where_its_report_is(cli, tmp_path, monkeypatch):
    from netinvert.experiments import demo

    monkeypatch.setattr(demo, "run", lambda out, overwrite, progress: out / "report.html")
    assert cli("demo", "--out", tmp_path / "demo").stdout.strip().endswith("report.html")
