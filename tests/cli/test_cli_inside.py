"""Commands that look inside: small runs, what they leave, and what bad input gets."""

from __future__ import annotations

import pytest
import torch

from netinvert import Encoder
from netinvert.explain.codes import CHANGES
from netinvert.explain.deconvnet import deconvnet, strongest
from netinvert.explain.occlusion import Occluder
from netinvert.explain.targets import parse_target
from netinvert.io.files import load_tensors, read_json, save_tensors
from netinvert.io.images import read_image
from netinvert.models.registry import load_network


@pytest.fixture
def relu(tmp_path):
    """A network that the deconvnet has rules for."""
    path = tmp_path / "relu.py"
    path.write_text("""
import torch
from torch import nn
from netinvert import Network, Preprocessing

def made():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.LazyLinear(4)]
    module = nn.Sequential(*layers)
    module(torch.zeros(1, 3, 20, 24))
    return Network("relu", module.eval(), Preprocessing((20, 24)))
""")
    return f"module:{path}:made"


def test_deconv_leaves_signals_and_pictures(cli, pictures, relu, tmp_path):
    out = tmp_path / "out"
    said = cli("explain", "deconv", pictures, "-n", relu, "-l", "2", "-c", 1, 3, "--out", out)
    assert said.exit_code == 0, said.output
    signals = load_tensors(out / "signals.safetensors")[0]["signals"]
    encoder = Encoder(load_network(relu), "2")
    own = deconvnet(encoder, encoder.fit(read_image(pictures / "b.png")), strongest(3))
    torch.testing.assert_close(signals[1, 1], own[0])
    units = read_json(out / "manifest.json")["units"]
    assert [(one["image"], one["unit"]) for one in units] == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    assert (out / "deconv.png").is_file()
    assert (
        cli("explain", "deconv", pictures / "a.png", "-n", relu, "-l", "4", "--out", tmp_path / "v").exit_code
        == 0
    )


def test_occlusion_leaves_maps_and_pictures(cli, pictures, relu, tmp_path):
    out = tmp_path / "out"
    asked = ("--target", "class:2", "--window", 6, "--stride", 7, "--fill", "mean")
    said = cli("explain", "occlusion", pictures, "-n", relu, *asked, "--out", out)
    assert said.exit_code == 0, said.output
    maps = load_tensors(out / "maps.safetensors")[0]
    target = parse_target(load_network(relu), "class:2")
    image = target.encoder.fit(read_image(pictures / "b.png"))
    own = Occluder(6, 7, "mean")(target, image, "2")
    torch.testing.assert_close(maps["b.values"], own.values)
    torch.testing.assert_close(maps["b.strengths"], own.strengths)
    torch.testing.assert_close(maps["b.answers"], own.answers)
    assert read_json(out / "manifest.json")["layer"] == "2"
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("directions", ["units", "nmf"])
def test_top_leaves_a_page_of_the_layer(cli, pictures, relu, tmp_path, directions):
    (pictures / "broken.png").write_bytes(b"no picture")  # of which there may be some among many
    out = tmp_path / "out"
    asked = ("--directions", directions, "--number", 3, "--steps", 2)
    said = cli("explain", "top", pictures, "-n", relu, "-l", "2", *asked, "--out", out)
    assert said.exit_code == 0, said.output
    units = read_json(out / "manifest.json")["units"]
    assert len(units) == (6 if directions == "units" else 3)
    assert {name.rpartition("/")[2] for one in units for name in one["images"]} == {"a.png", "b.png"}
    assert all(one["values"] == sorted(one["values"], reverse=True) for one in units)
    assert (out / "report.html").read_text().count("data:image/jpeg") == 3 * len(units)


def test_without_rules_top_leaves_the_deconvolutions_out(cli, pictures, net, tmp_path):
    said = cli("explain", "top", pictures, *net, "-c", 1, "--steps", 0, "--out", tmp_path / "out")
    assert said.exit_code == 0, said.output
    assert "no rule for 1 (Tanh" in said.output
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/jpeg") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("deconv", "a.png", "-l", "2", "-c", "9"), "channels 0 to 5"),
        (("deconv", "a.png", "-l", "none"), "no layer 'none'"),
        (("deconv", "nowhere.png", "-l", "2"), "nowhere.png"),
        (("deconv", "code.npy", "-l", "2"), "code"),
        (("occlusion", "a.png", "--target", "pose"), "no 'pose'"),
        (("occlusion", "a.png", "--window", "21"), "at most the image's side"),
        (("occlusion", "a.png", "--map-layer", "4"), "without rows and columns"),
        (("occlusion", "a.png", "--fill", "black"), "grey"),
        (("top", ".", "-l", "2", "-c", "9"), "channels 0 to 5"),
        (("top", "empty", "-l", "2"), "no images"),
        (("top", "broken", "-l", "2"), "none of 1 image can be read"),
        (("top", "code.npy", "-l", "2"), "file of codes"),
        (("top", ".", "-l", "2", "-c", "1", "--directions", "pca"), "--channel is of units"),
    ],
)
def test_bad_input_is_refused_before_any_work(cli, pictures, relu, tmp_path, monkeypatch, words, says):
    (pictures / "empty").mkdir()
    (pictures / "broken").mkdir()
    (pictures / "broken" / "a.png").write_bytes(b"no picture")
    (pictures / "code.npy").write_bytes(b"")
    monkeypatch.chdir(pictures)
    said = cli("explain", *words, "-n", relu, "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert says in said.output
    assert not (tmp_path / "out").exists()


def test_what_has_no_rule_is_refused(cli, pictures, net, tmp_path):
    said = cli("explain", "deconv", pictures, *net, "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "no rule for 1 (Tanh" in said.output


def test_locate_leaves_boxes_and_their_scores(cli, relu, tmp_path):
    out = tmp_path / "out"
    said = cli("explain", "locate", "-n", relu, "--count", 2, "--out", out)
    assert said.exit_code == 0, said.output
    found = read_json(out / "manifest.json")
    assert len(found["known"]) == len(found["boxes"]["gradient"]) == 2
    for top, left, bottom, right in (*found["known"], *found["boxes"]["gradient"]):
        assert 0 <= top < bottom <= 20
        assert 0 <= left < right <= 24
    assert "the whole image" in (out / "scores.csv").read_text()
    assert (out / "boxes.png").is_file()


def test_pictures_without_known_boxes_have_no_scores(cli, pictures, relu, tmp_path):
    out = tmp_path / "out"
    said = cli("explain", "locate", pictures, "-n", relu, "--out", out)
    assert said.exit_code == 0, said.output
    assert read_json(out / "manifest.json")["known"] == []
    assert not (out / "scores.csv").exists()


def test_correspondence_is_by_layer_and_part(cli, relu, tmp_path):
    out = tmp_path / "out"
    said = cli("explain", "correspond", "-n", relu, "-l", "0", "4", "--count", 3, "--out", out)
    assert said.exit_code == 0, said.output
    rows = (out / "parts.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"0", "4"}
    assert any(",back," in row for row in rows)


def test_invariance_is_by_layer_and_change(cli, pictures, relu, tmp_path):
    out = tmp_path / "out"
    said = cli("explain", "invariance", pictures, "-n", relu, "-l", "0", "4", "--out", out)
    assert said.exit_code == 0, said.output
    errors = load_tensors(out / "errors.safetensors")[0]
    assert set(errors) == {f"{change}.{layer}" for change in CHANGES for layer in ("0", "4")}
    for name, one in errors.items():
        change = name.partition(".")[0]
        assert one.shape == (len(CHANGES[change]), 2)
        assert one[CHANGES[change].index(1.0 if change == "scale" else 0.0)].max() < 1e-5


def test_units_evolve_over_checkpoints(cli, pictures, relu, tmp_path):
    module = load_network(relu).module
    with torch.no_grad():
        module[0].weight.neg_()
    save_tensors(tmp_path / "later.safetensors", dict(module.state_dict()), {})
    out = tmp_path / "out"
    asked = (
        "-l",
        "2",
        "-c",
        1,
        3,
        "--checkpoints",
        tmp_path / "later.safetensors",
        tmp_path / "later.safetensors",
    )
    said = cli("explain", "evolve", pictures, "-n", relu, *asked, "--out", out)
    assert said.exit_code == 0, said.output
    first, second = read_json(out / "manifest.json")["units"]
    assert first["values"] == second["values"]
    encoder = Encoder(load_network(relu, str(tmp_path / "later.safetensors")), "2")
    codes = [encoder(read_image(pictures / f"{name}.png"))[0, [1, 3]].amax((1, 2)) for name in "ab"]
    torch.testing.assert_close(torch.tensor(first["values"]), torch.stack(codes).amax(0))
    assert (out / "units.png").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("locate", "--target", "pose"), "no 'pose'"),
        (("locate", "--method", "magic"), "gradient"),
        (("correspond", "-l", "0", "--count", "1"), "at least 2"),
        (("correspond", "-l", "0", "--window", "30"), "at most the image's side"),
        (("invariance", "a.png", "-l", "none"), "no layer 'none'"),
        (("evolve", "a.png", "-l", "2", "-c", "1", "--checkpoints", "none.pt"), "none.pt"),
        (("evolve", "a.png", "-l", "2", "-c", "1", "--checkpoints", "random"), "makes its own weights"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(cli, pictures, relu, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(pictures)
    said = cli("explain", *words, "-n", relu, "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert says in said.output
    assert not (tmp_path / "out").exists()


def test_maximise_shows_natural_images_beside(cli, pictures, relu, tmp_path):
    out = tmp_path / "out"
    asked = ("-l", "2", "-c", 1, "--steps", 3, "--beside", pictures)
    said = cli("maximise", "-n", relu, *asked, "--out", out)
    assert said.exit_code == 0, said.output
    encoder = Encoder(load_network(relu), "2")
    most = max(encoder(read_image(pictures / f"{name}.png"))[0, 1].mean().item() for name in "ab")
    (floors,) = read_json(out / "manifest.json")["attained"]["floors"]["the best image beside"].values()
    assert floors == pytest.approx(most)
    assert (out / "channel-1-natural.png").is_file()


def test_paths_are_compared_with_natural_ones(cli, tmp_path):
    words = ("--network", "posenet", "--layers", "relu1", "relu7", "--count", 3)
    out = tmp_path / "out"
    done = cli("explain", "paths", "sample:chair", "--natural", "chairs", *words, "--out", out)
    assert done.exit_code == 0
    data = read_json(out / "report.json")["data"]
    (table,) = (one for one in data.values() if "columns" in one)
    assert [row["images"] for row in table["rows"][:3]] == ["made", "natural", "natural, pixels in disorder"]
    values = [row["similarity"]["value"] for row in table["rows"][:3]]
    assert values[1] > values[2]
    said = cli(
        "explain", "paths", "sample:chair", "--natural", "sample:chair", *words, "--out", tmp_path / "b"
    )
    assert (said.exit_code, "two natural images" in said.output) == (2, True)
