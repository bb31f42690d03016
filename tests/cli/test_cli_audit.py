from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from netinvert import Encoder, load_network, write_png
from netinvert.experiments import inversions
from netinvert.models.decoder import DecoderFile, save_decoder
from netinvert.models.upconv import Architecture, UpConvolutional

JUDGE = """
import torch
from torch import nn
from netinvert import Network, Preprocessing

def other():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.Flatten()).eval()
    return Network("other", module, Preprocessing((20, 24)))
"""
COUNT = 6


@pytest.fixture
def originals(tmp_path):
    """A folder of pictures."""
    folder = tmp_path / "originals"
    folder.mkdir()
    source = torch.Generator().manual_seed(0)
    for index in range(COUNT):
        coarse = torch.rand(1, 3, 5, 6, generator=source)
        picture = torch.nn.functional.interpolate(coarse, (20, 24), mode="bilinear")
        write_png(picture, folder / f"p{index}.png")
    return folder


@pytest.fixture
def codes(cli, originals, net, tmp_path):
    path = tmp_path / "codes.safetensors"
    assert cli("encode", originals, *net, "--out", path).exit_code == 0
    return path


@pytest.fixture
def judge(tmp_path):
    path = tmp_path / "judges.py"
    path.write_text(JUDGE)
    return ["--judge-network", f"module:{path}:other", "--judge-layer", "2"]


QUICK = ("--steps", 12)


@pytest.mark.slow
def test_an_audit_leaves_a_page_and_every_figure(cli, codes, originals, net, judge, tmp_path):
    table = tmp_path / "attributes.csv"
    table.write_text("name,kind\n" + "".join(f"p{k}.png,{'ab'[k % 2]}\n" for k in reversed(range(COUNT))))
    out = tmp_path / "out"
    said = cli(
        "audit", codes, *net, *QUICK, "--images", originals, "--attributes", table, *judge, "--out", out
    )
    assert said.exit_code == 0, said.output
    assert said.stdout.strip().endswith("report.html")
    assert f"of {COUNT} optimised images had their own original nearest" in said.stdout
    names = {path.name for path in out.iterdir()}
    assert names == {
        "manifest.json",
        "report.html",
        "report.md",
        "contact-sheet.png",
        "audit.json",
        "images",
        "optimised.safetensors",
    }
    assert {path.name for path in (out / "images").iterdir()} == {f"p{k}-optimised.png" for k in range(COUNT)}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"]["steps"] == 12
    assert manifest["command"]["judge_layer"] == "2"
    assert len(manifest["inputs"]) == 1 + 1 + COUNT
    assert manifest["command_line"].startswith("netinvert audit")
    assert "--steps 12" in manifest["command_line"]
    figures = json.loads((out / "audit.json").read_text())
    readers = {(row["reader"], row["independent"]) for row in figures["identification"]}
    assert readers == {("2 of tiny", False), ("2 of other", True), ("pixels", True)}
    for row in figures["identification"]:
        assert [rate["top"] for rate in row["rates"]] == [1, 5]
        assert row["rates"][0]["chance"] == 1 / COUNT
    assert figures["reconstructed"] == [f"p{k}" for k in range(COUNT)]
    assert "too few for a probe" in figures["notes"][0]
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.height > 500
    assert "self-fulfilling" in (out / "report.html").read_text()


def test_codes_alone_are_audited_with_what_cannot_be_said(cli, codes, net, tmp_path):
    said = cli("audit", codes, *net, *QUICK, "--out", tmp_path / "out", "--json")
    assert said.exit_code == 0, said.output
    figures = json.loads(said.stdout)
    assert {row["independent"] for row in figures["identification"]} == {False}
    assert "nothing was probed" in figures["notes"][0]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "was not measured" in page
    again = cli("audit", codes, *net, *QUICK, "--out", tmp_path / "out")
    assert "overwrite" in again.stderr


def test_a_stopped_audit_is_taken_up_again(cli, codes, net, tmp_path, monkeypatch):
    real, made = inversions.optimised, []

    def optimised(*arguments):
        made.append(arguments)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    options = (*QUICK, "--batch", 2, "--out", tmp_path / "out")
    monkeypatch.setattr(inversions, "optimised", optimised)
    said = cli("audit", codes, *net, *options)
    assert said.exit_code == 130
    assert "2 of 3 batches are done; the same command resumes" in said.stderr
    assert not (tmp_path / "out").exists()
    said = cli("audit", codes, *net, *options)
    assert said.exit_code == 0, said.output
    assert len(made) == 3 + 1
    again = cli("rerun", tmp_path / "out", "--out", tmp_path / "again", "--trust")
    assert "bit-identical to the first run" in again.stdout, again.output


def test_a_decoder_goes_along(cli, codes, originals, nets, net, tmp_path):
    encoder = Encoder(load_network(nets("good")), "2")
    torch.manual_seed(0)
    module = UpConvolutional(Architecture(encoder.code_shape, (20, 24)))
    made = tmp_path / "some.safetensors"
    save_decoder(made, DecoderFile(module.eval(), encoder.network.name, "2", encoder.weights_sha256(), {}))
    options = ("--decoder", made, "--images", originals, "--out", tmp_path / "out", "--json")
    said = cli("audit", codes, *net, *QUICK, *options)
    assert said.exit_code == 0, said.output
    figures = json.loads(said.stdout)
    assert figures["reconstructions"][2]["queries"] == 10 * len(figures["reconstructed"])
    assert [one["method"] for one in figures["reconstructions"]] == ["optimised", "decoded", "corrected"]
    assert {row["images"] for row in figures["identification"]} == {"optimised", "decoded", "corrected"}
    wrong = cli(
        "audit", codes, "--network", nets("good"), "--layer", "0", "--decoder", made, "--out", tmp_path / "x"
    )
    assert wrong.exit_code == 2


def test_images_in_another_order_are_noticed(cli, codes, originals, net, tmp_path):
    stored = tmp_path / "codes.npy"  # without names
    encoder_codes = tmp_path / "plain.npy"
    assert cli("encode", originals, *net, "--out", stored).exit_code == 0
    np.save(encoder_codes, np.load(stored)[::-1])
    said = cli("audit", encoder_codes, *net, *QUICK, "--images", originals, "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "nearer to another code" in said.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes: codes[:1], "needs two at least"),
        (lambda codes: codes[[0, 0, 0]], "all 3 codes are equal"),
        (lambda codes: codes[:, :3], "codes of shape"),
        (lambda codes: np.where(np.arange(len(codes)).reshape(-1, 1, 1, 1) == 2, np.nan, codes), "NaN"),
        (lambda codes: codes[:, :, :, :, None], "codes of shape"),
    ],
)
def test_codes_that_cannot_be_audited(cli, originals, net, tmp_path, change, message):
    stored = tmp_path / "codes.npy"
    assert cli("encode", originals, *net, "--out", stored).exit_code == 0
    np.save(stored, change(np.load(stored)))
    said = cli("audit", stored, *net, *QUICK, "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert message in said.stderr
    assert not (tmp_path / "out").exists()


def test_options_that_contradict_one_another(cli, codes, originals, net, judge, tmp_path):
    table = tmp_path / "attributes.csv"
    table.write_text("kind\na\nb\n")
    one = originals / "p0.png"
    cases = {
        "give --images": judge,
        "--judge-network and --judge-layer": judge[:2],
        "give that file": ["--groups", "kind"],
        "2 rows for 6 codes": ["--attributes", table],
        "1 images for 6 codes": ["--images", one],
        "no judge": ["--images", originals, "--judge-network", net[1], "--judge-layer", net[3]],
        "nonsense": ["--decoder", "nonsense"],
        "--steps": ["--steps", 0],
        "--sample": ["--sample", 1],
        "'nonsense'": ["--preset", "nonsense"],
    }
    for message, options in cases.items():
        said = cli("audit", codes, *net, *options, "--out", tmp_path / "out")
        assert said.exit_code == 2, (message, said.output)
        assert message in said.stderr, said.stderr
        assert not (tmp_path / "out").exists()
    table.write_text("kind\n" + "a\nb\n" * 3)
    said = cli("audit", codes, *net, "--attributes", table, "--groups", "who", "--out", tmp_path / "out")
    assert "no column 'who'" in said.stderr
    said = cli("audit", originals, *net, "--out", tmp_path / "out")
    assert "no file of codes" in said.stderr
