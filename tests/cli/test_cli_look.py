"""``netinvert look``: all layers of an image."""

from __future__ import annotations

import re

import numpy as np
import pytest

from netinvert.experiments import inversions
from netinvert.io.files import read_json

QUICK = ("--steps", 12)


def test_every_layer_of_an_image_is_on_one_page(cli, pictures, nets, tmp_path):
    out = tmp_path / "out"
    said = cli("look", pictures / "a.png", "--network", nets("good"), *QUICK, "--out", out)
    assert said.exit_code == 0, said.output
    manifest = read_json(out / "manifest.json")
    layers = [one["name"] for one in manifest["layers"]]
    assert layers == ["1", "3", "4", "output"]  # activations, the pooled code, the output
    text = (out / "report.html").read_text()
    for layer in manifest["layers"]:
        assert (out / "images" / f"a-{layer['name']}.png").is_file()
        error, floor = layer["measured"]["ijcv16"][0], min(one["code_error"] for one in layer["floors"])
        assert f"code error {error:.3f}" in text
        assert f"{floor:.3f}" in text
    assert manifest["layers"][0]["stride"] == 1
    assert manifest["layers"][0]["receptive_field"] == 3
    likeness = {one["name"]: one["measured"]["ssim"][0] for one in manifest["layers"]}
    assert f"<code>{max(likeness, key=likeness.get)}</code> is most like the original" in text
    assert re.search(r"netinvert invert \S+a.png", text)
    assert said.stdout.count("\n") >= 5


def test_layers_and_images_can_be_chosen(cli, pictures, nets, tmp_path):
    options = ("--layers", "3", "0", *QUICK, "--batch", 1, "--json", "--out", tmp_path / "out")
    said = cli("look", pictures, "--network", nets("good"), *options)
    assert said.exit_code == 0, said.output
    names = {path.name for path in (tmp_path / "out/images").iterdir()}
    assert names == {f"{image}{layer}.png" for image in "ab" for layer in ("-0", "-3")} | {
        "original-a.png",
        "original-b.png",
    }


@pytest.mark.slow
@pytest.mark.drawn
def test_a_stopped_look_resumes_and_is_repeated(cli, pictures, nets, tmp_path, monkeypatch):
    given = ("look", pictures, "--network", nets("good"), *QUICK, "--out", tmp_path / "out")
    real, made = inversions.optimised, []

    def optimised(*arguments):
        made.append(arguments)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(inversions, "optimised", optimised)
    stopped = cli(*given)
    assert stopped.exit_code == 130
    assert "1 of 4 layers are done; the same command resumes" in stopped.stderr
    assert not (tmp_path / "out").exists()
    assert cli(*given).exit_code == 0
    assert len(made) == 2 + 3
    again = cli("rerun", tmp_path / "out", "--out", tmp_path / "again", "--trust")
    assert "bit-identical" in again.stdout, again.output


def test_layers_that_cannot_be_inverted_are_left_out_unless_named(cli, pictures, nets, tmp_path):
    given = ("look", pictures / "a.png", "--network", nets("detached"), *QUICK)
    said = cli(*given, "--layers", "1", "--out", tmp_path / "a")
    assert said.exit_code == 2
    assert "no gradient" in said.stderr
    assert "left out" not in said.stderr
    said = cli(*given, "--out", tmp_path / "a")
    assert said.exit_code == 2
    assert "left out" in said.stderr
    assert "no layer that can be inverted" in said.stderr
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--layers", "99"), "99"),
        (("--layers", "1", "1"), "twice"),
        (("--preset", "nonsense"), "'nonsense'"),
        (("--prior", "tv"), "'tv'"),
    ],
)
def test_bad_input_leaves_nothing(cli, pictures, nets, tmp_path, options, text):
    said = cli("look", pictures, "--network", nets("good"), *options, "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert text in said.output
    assert not (tmp_path / "out").exists()


def test_codes_are_of_one_layer(cli, nets, tmp_path):
    np.save(tmp_path / "code.npy", np.zeros((8, 10, 12)))
    said = cli("look", tmp_path / "code.npy", "--network", nets("good"), "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "netinvert invert takes it" in said.stderr
