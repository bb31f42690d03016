from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from netinvert.experiments import inversions
from netinvert.inversion.priors import PRIORS

QUICK = ("--priors", "tv-isotropic", "none", "--prior-weights", "0.03", "0.3", "--steps", 12)


def swept(cli, pictures, nets, out, *more):
    return cli(
        "sweep", pictures, "--network", nets("good"), "--layers", "1", "3", *QUICK, "--out", out, *more
    )


def test_a_sweep_leaves_a_page_and_every_figure(cli, pictures, nets, tmp_path):
    out = tmp_path / "out"
    said = swept(cli, pictures, nets, out, "--canvases", "fourier", "pixels")
    assert said.exit_code == 0, said.output
    assert said.stdout.strip().endswith("report.html")
    assert "netinvert invert " in said.stdout
    names = {path.name for path in out.iterdir()}
    assert names == {"manifest.json", "report.html", "images", "tradeoff-1.png", "tradeoff-3.png"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["trials"]) == 2 * 2 * 3
    assert set(manifest["recommended"]) == {"1", "3"}
    assert manifest["command"]["prior_weights"] == [0.03, 0.3]
    assert set(manifest["versions"]) >= {"netinvert", "torch"}
    for one in manifest["trials"]:
        assert len(one["measured"]["ijcv16"]) == len(one["images"]) == 2
        for name in one["images"]:
            with Image.open(out / name) as shown:
                assert shown.size == (24, 20)
    front = [one for one in manifest["trials"] if one["on_front"]]
    assert {one["layer"] for one in front} == {"1", "3"}
    best = manifest["recommended"]["1"]
    assert best in {f"--prior {one['prior']} --canvas {one['canvas']}" for one in front}
    assert f"1: {best}" in said.stdout
    assert best in re.sub("</?span>", "", (out / "report.html").read_text())


def test_one_option_takes_several_values_or_is_repeated(cli, pictures, nets, tmp_path):
    both = []
    for name, layers in (("a", ("--layers", "1", "3")), ("b", ("--layer", "1", "-l", "3"))):
        options = ("--priors", "none", "--steps", 12, "--out", tmp_path / name, "--json")
        said = cli("sweep", pictures / "a.png", "--network", nets("good"), *layers, *options)
        assert said.exit_code == 0, said.output
        both.append([one["error"] for one in json.loads(said.stdout)["trials"]])
    assert len(both[0]) == 2
    assert both[0] == both[1]


def test_a_random_search_over_codes_alone(cli, pictures, nets, net, tmp_path):
    cli("encode", pictures, *net, "--out", tmp_path / "codes.safetensors")
    options = ("--network", nets("good"), "--layer", "2", "--priors", "tv-isotropic", "none", "--steps", 12)
    said = cli(
        "sweep", tmp_path / "codes.safetensors", *options, "--random", 5, "--out", tmp_path / "o", "--json"
    )
    assert said.exit_code == 0, said.output
    trials = json.loads(said.stdout)["trials"]
    assert len(trials) == 5
    assert all(one["measured"]["ssim"] == [None, None] for one in trials)
    assert all(0 < one["natural"] < 1 for one in trials)


@pytest.mark.slow
def test_a_stopped_sweep_goes_on(cli, pictures, nets, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    swept(cli, pictures, nets, whole)
    made, real = [], inversions.optimised

    def optimised(*arguments):
        made.append(arguments)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(inversions, "optimised", optimised)
    stopped = swept(cli, pictures, nets, out)
    assert stopped.exit_code == 130
    assert "2 of 6 settings are done; the same command resumes" in stopped.output
    assert not out.exists()
    again = swept(cli, pictures, nets, out)
    assert again.exit_code == 0, again.output
    assert len(made) == 3 + 4  # two of six were done
    trials = [json.loads((folder / "manifest.json").read_text())["trials"] for folder in (out, whole)]
    assert [one["error"] for one in trials[0]] == [one["error"] for one in trials[1]]
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.slow
def test_a_sweep_is_repeated_to_the_bit(cli, pictures, nets, tmp_path):
    assert swept(cli, pictures, nets, tmp_path / "a").exit_code == 0
    again = cli("rerun", tmp_path / "a", "--out", tmp_path / "b", "--trust")
    assert again.exit_code == 0, again.output
    assert "bit-identical to the first run" in again.stdout


def test_everything_that_the_network_allows_is_tried_by_default(cli, pictures, nets, tmp_path):
    said = cli(
        "sweep", pictures / "a.png", "--network", nets("good"), "--layer", "3", "--steps", 6,
        "--prior-weights", 0.1, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    manifest = json.loads(said.stdout)
    tried = {one["prior"].partition("=")[0] for one in manifest["trials"]}
    left_out = {text.partition(" ")[0] for text in manifest["left_out"]}
    assert tried | left_out == {*PRIORS, "none"}
    assert not tried & left_out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--priors", "tv"), "'tv'"),
        (("--canvases", "oils"), "'oils'"),
        (("--prior-weights", "-1"), "above 0"),
        (("--layers", "99"), "99"),
        (("--preset", "cvpr99"), "'cvpr99'"),
        (("--preset", "cvpr15", "--canvases", "fourier"), "another preset"),
        (("--measure", "beauty"), "gradients"),
        (("--steps", 1), "stages"),
    ],
)
def test_bad_input_leaves_nothing(cli, pictures, nets, tmp_path, options, text):
    out = tmp_path / "out"
    said = cli("sweep", pictures, "--network", nets("good"), "--layer", "1", *options, "--out", out)
    assert said.exit_code == 2
    assert text in said.output
    assert not out.exists()


def test_the_measure_ssim_needs_originals(cli, nets, tmp_path):
    np.save(tmp_path / "code.npy", np.random.default_rng(0).normal(size=(8, 10, 12)))
    options = ("--network", nets("good"), "--layer", "2", "--measure", "ssim", "--out", tmp_path / "out")
    said = cli("sweep", tmp_path / "code.npy", *options)
    assert said.exit_code == 2
    assert "originals" in said.output
