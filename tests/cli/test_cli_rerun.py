from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from netinvert.io.files import write_json


@pytest.fixture
def first(cli, net, pictures, tmp_path):
    options = ["--steps", 6, "--restarts", 2, "--batch", 3, "--start", pictures / "b.png"]
    assert cli("invert", pictures / "a.png", *net, *options, "--out", tmp_path / "first").exit_code == 0
    return tmp_path / "first"


def test_the_same_to_the_last_bit(cli, first, tmp_path):
    said = cli("rerun", first / "manifest.json", "--trust", "--out", tmp_path / "again")
    assert said.exit_code == 0
    assert "\nbit-identical" in said.stdout
    manifest = json.loads((tmp_path / "again" / "manifest.json").read_text())
    assert manifest["rerun"]["identical"]
    for name in ("a.png", "a-2.png", "original-a.png", "losses.csv", "loss.png", "tensors.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (first / name).read_bytes()


def test_killed_before_its_last_write_it_still_compares(cli, first, tmp_path):
    words = ("rerun", first, "--trust", "--out", tmp_path / "again")
    assert cli(*words).exit_code == 0
    file = tmp_path / "again" / "manifest.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in whole.items() if name != "rerun"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", None)
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        with pytest.raises(TypeError):
            write_json(file, whole)
    said = cli(*words)
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []
    assert "bit-identical" in said.stdout
    assert json.loads(file.read_text()) == whole
    assert "nothing to do" in cli(*words).stderr


@pytest.mark.parametrize("fate", ["gone", "changed"])
def test_from_the_codes_it_kept(cli, first, pictures, tmp_path, fate):
    if fate == "gone":
        shutil.rmtree(pictures)
    else:
        (pictures / "a.png").write_bytes((pictures / "b.png").read_bytes())
    said = cli("rerun", first, "--trust", "--out", tmp_path / "again", "--json")
    assert "a.png is gone or has changed; going by tensors.safetensors" in said.stderr
    manifest = json.loads(said.stdout)
    assert manifest["rerun"]["identical"]
    before = json.loads((first / "manifest.json").read_text())
    assert {key: manifest[key] for key in ("errors", "psnr", "ssim", "samples")} == {
        key: before[key] for key in ("errors", "psnr", "ssim", "samples")
    }
    # and a rerun can be repeated in its turn
    assert json.loads(
        cli("rerun", tmp_path / "again", "--trust", "--out", tmp_path / "third", "--json").stdout
    )["rerun"]["identical"]


def test_a_difference_is_told(cli, first, tmp_path):
    manifest = json.loads((first / "manifest.json").read_text())
    manifest["command"]["steps"] = 4
    manifest["versions"]["torch"] = "1.0"
    (first / "manifest.json").write_text(json.dumps(manifest))
    said = cli("rerun", first, "--trust", "--out", tmp_path / "again")
    assert said.exit_code == 0
    assert "not bit-identical" in said.stdout
    assert "torch 1.0 →" in said.stdout


def test_refusals(cli, first, pictures, tmp_path):
    file = first / "manifest.json"
    whole = json.loads(file.read_text())

    def refused(says, **changes):
        file.write_text(json.dumps({**whole, **changes}))
        said = cli("rerun", file, "--trust", "--out", tmp_path / "again")
        assert said.exit_code == 2, said.output
        assert says in said.stderr
        assert not (tmp_path / "again").exists()

    refused("--steps is a whole number", command={**whole["command"], "steps": "many"})
    refused("lacks", command={"command": "invert", "input": "a.png"})
    refused("the weights of", weights_sha256="0")
    assert "--trust" in cli("rerun", file, "--out", tmp_path / "again").stderr
    (pictures / "a.png").unlink()
    (first / "tensors.safetensors").unlink()
    refused("a.png is gone")


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_codes_have_their_manifest_beside_them(cli, net, pictures, tmp_path, suffix):
    assert cli("encode", pictures, *net, "--out", tmp_path / f"codes.{suffix}").exit_code == 0
    manifest = tmp_path / f"codes.{suffix}.manifest.json"
    again = tmp_path / "new" / "again"
    said = cli("rerun", manifest, "--trust", "--out", again)
    assert said.exit_code == 0, said.output
    assert "\nbit-identical" in said.stdout
    assert json.loads((again / manifest.name).read_text())["rerun"]["identical"]
    assert (again / f"codes.{suffix}").read_bytes() == (tmp_path / f"codes.{suffix}").read_bytes()
    assert "nothing to do" in cli("rerun", manifest, "--trust", "--out", again).stderr
    assert cli("rerun", manifest, "--trust", "--out", again, "--overwrite").exit_code == 0
    (pictures / "a.png").write_bytes((pictures / "b.png").read_bytes())
    said = cli("rerun", manifest, "--trust", "--out", tmp_path / "third")
    assert "a.png is gone or has changed" in said.stderr
    assert not (tmp_path / "third").exists()
