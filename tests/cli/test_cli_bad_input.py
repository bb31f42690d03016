"""What bad input gets: one line that says what to do, exit code 2, and nothing written."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def refused(cli, tmp_path):
    def check(*arguments, says):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        said = cli("invert", *arguments, "--out", tmp_path / "out")
        assert said.exit_code == 2, said.output
        assert said.stdout == ""
        assert says in said.output
        assert said.stderr.startswith("netinvert: ")
        assert said.stderr.count("\n") == 1
        new = {p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts} - set(before)
        assert not new

    return check


def test_images_of_the_package(refused, cli, nets, tmp_path):
    refused(
        "sample:dog", "--network", nets("good"), "--layer", "2", says="choose from astronaut, camera, chair"
    )
    out = tmp_path / "out"
    said = cli("invert", "sample:chelsea", "-n", nets("good"), "-l", "2", "--steps", 2, "--out", out)
    assert said.exit_code == 0, said.output
    assert (out / "chelsea.png").exists()
    again = cli("rerun", out, "--out", tmp_path / "again", "--trust")
    assert "bit-identical" in again.output


def test_network_and_layer(refused, nets, pictures):
    a = pictures / "a.png"
    refused(a, "--network", "objectron-chiar", "--layer", "0", says="did you mean objectron-chair")
    refused(a, "--network", nets("good"), "--layer", "22", says="the nearest are 2")
    refused(a, "--network", nets("training"), "--layer", "2", says="training mode")
    refused(a, "--network", nets("detached"), "--layer", "1", says="no gradient")
    refused(a, "--network", nets("constant"), "--layer", "1", says="same code")
    refused(a, "--network", nets("mixed"), "--layer", "2", says="mixes dtypes")
    refused(a, "--network", nets("half"), "--layer", "2", says="float16")
    refused(a, "--network", nets("good"), "--layer", "2", "--device", "nowhere", says="--device cpu")
    refused(a, "--network", nets("good"), "--layer", "2", "--device", "meta", says="meta device")
    refused(a, "--network", nets("good"), "--layer", "2", "--weights", "no.pt", says="no.pt")


def test_codes(refused, net, tmp_path):
    code = tmp_path / "code.npy"
    for values, says in (
        (np.ones((8, 10, 11)), "codes of shape (8, 10, 12)"),
        (np.full((8, 10, 12), np.nan), "NaN"),
        (np.zeros((8, 10, 12)), "zero everywhere"),
        (np.ones((0, 8, 10, 12)), "empty code"),
    ):
        np.save(code, values)
        refused(code, *net, says=says)
    refused(tmp_path / "none.npy", *net, says="does not exist")


def test_images(refused, net, pictures, tmp_path):
    whole = (pictures / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "cut.png", *net, says="damaged or cut off")
    refused(tmp_path / "text.png", *net, says="not an image")
    refused(tmp_path / "none.png", *net, says="does not exist")
    refused(tmp_path / "empty", *net, says="holds no images")
    refused(f"{tmp_path}/*.webp", *net, says="no file matches")
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    refused(tmp_path / "bomb.png", *net, says="million pixels")
    (pictures / "c.png").write_text("hello")
    refused(pictures, *net, says="c.png")  # one bad image of many


def test_options(refused, net, pictures):
    a = pictures / "a.png"
    refused(a, *net, "--preset", "best", says="there is no 'best'")
    refused(a, *net, "--prior", "tv", says="no prior 'tv'")
    refused(a, *net, "--prior", "tv-isotropic=much", says="not a prior")
    refused(a, *net, "--prior", "tv-isotropic=-1", says="at least 0")
    refused(a, *net, "--canvas", "oil", says="--canvas: there is no 'oil'")
    refused(a, *net, "--canvas", "fourier", "--preset", "ijcv16", says="another preset")
    refused(a, *net, "--data-weight", "0", says="above 0")
    refused(a, *net, "--steps", "0", says="--steps is at least 1")
    refused(a, *net, "--steps", "1", "--preset", "ijcv16", says="2 stages")
    refused(a, *net, "--restarts", "0", says="--restarts")
    refused(a, *net, "--batch", "0", says="--batch")
    refused(a, *net, "--threads", "0", says="--threads")
    refused(a, *net, "--seed", "-1", says="--seed is at least 0")
    refused(a, *net, "--start", "none.png", says="none.png does not exist")
    refused(a, *net, "--reference", a, says="fewer than two")


def test_usage_errors_are_2_too(cli, net):
    assert cli("invert", "a.png", *net).exit_code == 2  # no --out
    assert cli("invert", "a.png", *net, "--out", "x", "--steps", "many").exit_code == 2
    assert cli("paint").exit_code == 2


@pytest.mark.parametrize("kind", ["transparent", "palette", "cmyk", "16 bit", "grey"])
def test_unusual_images_are_read(cli, net, tmp_path, kind):
    rgb = Image.fromarray(np.arange(20 * 24 * 3, dtype=np.uint8).reshape(20, 24, 3))
    modes = {"transparent": "RGBA", "palette": "P", "cmyk": "CMYK", "16 bit": "I;16", "grey": "L"}
    path = tmp_path / f"image.{'tiff' if kind == 'cmyk' else 'png'}"
    if kind == "16 bit":
        Image.fromarray(np.arange(20 * 24, dtype=np.uint16).reshape(20, 24) * 100).save(path)
    else:
        rgb.convert(modes[kind]).save(path)
    assert cli("invert", path, *net, "--steps", 2, "--out", tmp_path / "out").exit_code == 0


@pytest.mark.slow
def test_another_run_is_only_replaced_if_asked(cli, net, pictures, tmp_path):
    out, a, b = tmp_path / "out", pictures / "a.png", pictures / "b.png"
    assert cli("invert", a, *net, "--steps", 2, "--out", out).exit_code == 0
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    said = cli("invert", b, *net, "--steps", 2, "--out", out)
    assert said.exit_code == 2
    assert "--overwrite" in said.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    assert cli("invert", b, *net, "--steps", 2, "--out", out, "--overwrite").exit_code == 0
    assert (out / "b.png").exists()
    assert not (out / "a.png").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(cli, net, pictures, tmp_path, monkeypatch):
    def full(folder):  # the marker, the cell, and the images still fit into the system's buffers
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("netinvert.io.rundir.bring_to_disk", full)
    said = cli("invert", pictures, *net, "--steps", 2, "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "the disk is full" in said.stderr
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / ".out.partial" / "cells").iterdir())) == 1
    monkeypatch.undo()
    said = cli("invert", pictures, *net, "--steps", 2, "--out", tmp_path / "out")
    assert said.exit_code == 0
    assert "resuming" in said.stderr
    assert not (tmp_path / ".out.partial").exists()


def test_unexpected_errors_keep_their_traceback(cli, net, pictures, tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr("netinvert.experiments.invert.evaluate_result", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli("invert", pictures, *net, "--steps", 2, "--out", tmp_path / "out")


def test_the_same_run_again_has_nothing_to_do(cli, net, pictures, tmp_path):
    given = ["invert", pictures / "a.png", *net, "--steps", 2, "--out", tmp_path / "out"]
    assert cli(*given).exit_code == 0
    written = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    said = cli(*given)
    assert said.exit_code == 0
    assert "complete: nothing to do" in said.stderr
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == written


def test_a_bare_module_is_told_its_preprocessing_once(cli, pictures, tmp_path):
    (tmp_path / "bare.py").write_text(
        "import torch\ndef make():\n    torch.manual_seed(0)\n    return torch.nn.Conv2d(3, 4, 3).eval()\n"
    )
    given = ["invert", pictures / "a.png", "-n", f"module:{tmp_path / 'bare.py'}:make", "-l", "output"]
    out = ["--steps", 2, "--out", tmp_path / "out"]
    said = cli(*given, *out)
    assert said.exit_code == 2
    assert "--size 224" in said.stderr
    said = cli(*given, "--size", 16, "--mean", "0.5,0.5,0.5", *out)
    assert said.exit_code == 0, said.stderr
    assert "bit-identical" in cli("rerun", tmp_path / "out", "--trust", "--out", tmp_path / "again").stdout
