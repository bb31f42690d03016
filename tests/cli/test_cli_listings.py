from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from netinvert import read_code
from netinvert.io.files import load_tensors


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
    assert (tmp_path / "there.npy").read_bytes() == b"mine"
    assert not (tmp_path / "codes.npy").exists()
