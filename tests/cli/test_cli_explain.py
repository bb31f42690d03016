"""``netinvert explain``: small runs, what they leave, and what bad input gets."""

from __future__ import annotations

import pytest
import torch

from netinvert.experiments.explain.parts import BASELINES
from netinvert.explain.saliency import Saliency
from netinvert.explain.targets import parse_target
from netinvert.io.files import load_tensors, read_json
from netinvert.io.images import read_image
from netinvert.models.registry import load_network

OCCLUDED = ("occlusion", "occlusion-grey")


def test_saliency_leaves_maps_pictures_and_a_page(cli, pictures, nets, tmp_path):
    out = tmp_path / "out"
    asked = ("--targets", "class", "2/channel:3", "--samples", 2, "--seed", 1)
    said = cli("explain", "saliency", pictures, "--network", nets("good"), *asked, "--out", out)
    assert said.exit_code == 0, said.output
    manifest = read_json(out / "manifest.json")
    assert manifest["methods"] == [
        "gradient",
        "gradient-input",
        "smoothgrad",
        "integrated",
        "grad-cam",
        *OCCLUDED,
    ]
    maps = load_tensors(out / "maps.safetensors")[0]["maps"]
    assert maps.shape == (2, 2, 7, 20, 24)
    network = load_network(nets("good"))
    target = parse_target(network, "2/channel:3")
    image = target.encoder.fit(read_image(pictures / "b.png"))
    torch.testing.assert_close(maps[1, 1, 2], Saliency("smoothgrad", 2, seed=1)(target, image)[0])
    assert "guided" in said.output  # left out: there is no ReLU
    assert (out / "report.html").is_file()
    assert (out / "saliency.png").is_file()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--targets", "pose"), "no 'pose'"),
        (("--targets", "class", "class"), "names one twice"),
        (("--targets", "class:9"), "0 to 3"),
        (("--methods", "guided"), "no ReLU"),
        (("--methods", "magic"), "grad-cam"),
        (("--methods", "grad-cam", "--cam-layer", "6"), "maps"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(cli, pictures, nets, tmp_path, asked, says):
    out = tmp_path / "out"
    said = cli("explain", "saliency", pictures, "--network", nets("good"), *asked, "--out", out)
    assert said.exit_code == 2
    assert says in said.output
    assert not out.exists()


def test_sanity_has_a_row_for_each_method_and_floor(cli, pictures, nets, tmp_path):
    out = tmp_path / "out"
    asked = ("--methods", "gradient", "grad-cam", "--samples", 2)
    said = cli("explain", "sanity", pictures, "--network", nets("good"), *asked, "--out", out)
    assert said.exit_code == 0, said.output
    rows = read_json(out / "report.json")
    text = (out / "sanity.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in text[1:]] == ["gradient", "grad-cam", "edges", "random map"]
    assert rows


@pytest.mark.slow
def test_parts_have_rows_and_baselines(cli, tmp_path):
    pytest.importorskip("embreex")
    out = tmp_path / "out"
    asked = ("--targets", "pose:geodesic", "--methods", "gradient", "--chairs", 12, "--seed", 101)
    said = cli("explain", "parts", "--network", "posenet-judge", *asked, "--out", out)
    assert said.exit_code == 0, said.output
    rows = (out / "parts.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in rows[1:]] == ["gradient", *BASELINES]
    assert read_json(out / "manifest.json")["chairs"] >= 8
    assert "(back)" in (out / "report.html").read_text()


def test_parts_need_a_network_that_reads_poses(cli, nets, tmp_path):
    said = cli("explain", "parts", "--network", nets("good"), "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "tells no pose" in said.output
    asked = ("--targets", "pose", "relu3/channel:1", "--out", tmp_path / "out")
    said = cli("explain", "parts", "--network", "posenet", *asked)
    assert said.exit_code == 2
    assert "relu3/channel:1 is no pose" in said.output
