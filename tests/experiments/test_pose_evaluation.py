"""``netinvert pose evaluate``."""

import csv
import io
import zipfile

import pytest
import torch
from PIL import Image

from netinvert.cli.app import main
from netinvert.errors import ConfigError
from netinvert.experiments.configs.training import PoseEvaluate
from netinvert.experiments.pose_evaluation import ReadViews
from netinvert.io.files import read_json
from netinvert.models.zoo.pose import load_pose_file, save_pose_network
from netinvert.scenes.cameras import rotation_from_angles, turn_about
from netinvert.scenes.fresh import TestViews
from netinvert.scenes.furniture import CATALOGUE
from netinvert.scenes.poses import PoseReading

FEW = ("--learned", 20)


def call(*words):
    return main([str(word) for word in words])


@pytest.mark.slow
def test_evaluate_a_pose_network(tmp_path, capsys):
    out = tmp_path / "out"
    assert call("pose", "evaluate", *FEW, "--chairs", 3, "--views", 2, "--out", out) == 0
    figures = read_json(out / "manifest.json")["figures"]
    assert figures["views"] == 6
    assert figures["median_geodesic_deg"] < 25
    for name in ("acc_30", "azimuth_flip_rate", "relative_median_deg", "fpr_at_95_recall"):
        assert figures[name] >= 0
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 500
    page = (out / "report.html").read_text()
    assert f"the median geodesic error is {figures['median_geodesic_deg']:.1f}°" in page
    assert "no fair test" not in page
    assert call("rerun", out, "--out", tmp_path / "again") == 0
    assert "\nbit-identical" in capsys.readouterr().out


@pytest.mark.slow
def test_evaluate_own_weights_and_write_their_card(tmp_path, capsys):
    weights = tmp_path / "posenet.safetensors"
    content = load_pose_file("posenet")
    save_pose_network(weights, content, half=True)
    few = (*FEW, "--chairs", 2, "--views", 2)
    command = ("pose", "evaluate", "--weights", weights, *few, "--card", "--out", tmp_path / "out")
    assert call(*command) == 0
    card = weights.with_suffix(".md").read_text()
    weights.with_suffix(".md").unlink()
    assert call(*command) == 0
    assert weights.with_suffix(".md").read_text() == card
    assert "`netinvert pose evaluate --networks posenet --chairs 2 --views 2 --learned 20`" in card
    both = ("--network", "posenet", weights, *few, "--seed", 101, "--out", tmp_path / "both")
    assert call("pose", "evaluate", *both) == 0
    rows = read_json(tmp_path / "both" / "manifest.json")["rows"]
    assert [row["reader"] for row in rows][:2] == ["posenet", f"{tmp_path.name}/posenet"]
    judge = ("--network", "posenet-judge", "--weights", weights, "--out", tmp_path / "other")
    assert call("pose", "evaluate", *judge) == 2
    assert "load it under that name" in capsys.readouterr().err


def test_seeds_that_were_trained_on_are_no_fair_test(tmp_path, capsys):
    out = tmp_path / "out"
    assert call("pose", "evaluate", *FEW, "--chairs", 1, "--views", 2, "--seed", 0, "--out", out) == 0
    assert "no fair test" in capsys.readouterr().err
    assert "no fair test" in (out / "report.html").read_text()


def test_a_single_view_has_no_pairs(tmp_path):
    out = tmp_path / "out"
    assert call("pose", "evaluate", *FEW, "--chairs", 1, "--views", 1, "--out", out) == 0
    figures = read_json(out / "manifest.json")["figures"]
    assert figures["views"] == 1
    assert "match_accuracy" not in figures


@pytest.fixture
def library(tmp_path):
    """Three models of two triangles each: a chair, a stool, and a table with chairs."""
    path, text = tmp_path / "made.sh3f", "id=test\nlicense=CC-BY\n"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(("Oak chair", "Bar stool", "Table and chairs"), 1):
            facts = {"name": name, "model": f"/{number}/a.obj", "creator": "Ann"}
            facts |= {"width": 1, "depth": 1, "height": 2, "tags": "Seat"}
            text += "".join(f"{key}#{number}={value}\n" for key, value in facts.items())
            archive.writestr(f"{number}/a.obj", "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n")
        archive.writestr(CATALOGUE, text)
    return path


def test_furniture_that_people_made(library, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("--objects", f"sh3f:{library}", "chairs", "--backgrounds", "paper", "photographs", *FEW)
    assert call("pose", "evaluate", *words, "--chairs", 2, "--views", 2, "--out", out) == 0
    rows = read_json(out / "manifest.json")["rows"]
    made = [row for row in rows if row["source"] == "made.sh3f" and row["reader"] == "posenet"]
    assert [row["background"] for row in made] == ["paper", "photographs"]
    assert [(row["objects"], row["views"]) for row in made] == [(1, 2), (1, 2)]  # neither stool nor table
    whole = next(row for row in rows if row["source"] == "all of these")
    assert whole["objects"] == 3
    assert {row["reader"] for row in rows} == {
        "posenet", "posenet (random)", "HOG, nearest views", "pixels, nearest view", "always the mean pose",
    }  # fmt: skip
    views = list(csv.DictReader(io.StringIO((out / "views.csv").read_text())))
    assert len(views) == 2 * (2 + 2) * 2
    assert sum(row["no front"] == "True" and row["source"] == "made.sh3f" for row in views) == 4
    page = (out / "report.html").read_text()
    assert "Ann" in page
    assert "stool" in page
    assert "no fair test" not in page


def views(azimuth, parameters):
    turned = rotation_from_angles(azimuth, torch.full_like(azimuth, 20), torch.zeros_like(azimuth))
    count = len(azimuth)
    return TestViews(
        torch.zeros(count, 3, 8, 8), turned, torch.ones(count, dtype=torch.long), torch.arange(count),
        torch.full((count,), 20.0), parameters,
    )  # fmt: skip


def test_confidence_and_stools_are_told():
    azimuth = torch.tensor([0.0, 40.0, 80.0, 120.0, 200.0])
    seen = views(azimuth, (*({"name": "Chair"},) * 4, {"name": "Stool"}))
    wrong = seen.rotation.clone()
    wrong[3] = wrong[3] @ turn_about(torch.tensor(180.0), 2)
    sure = torch.tensor([0.95, 0.5, 0.99, 0.92, 0.99])
    said = PoseReading(
        azimuth,
        torch.full((5,), 20.0),
        wrong,
        confidence=sure,
        frontless=torch.tensor([0.0, 0.19, 0.9, 0, 0.25]),
    )
    read = ReadViews(seen, "paper", "made", {"one": said})
    (row,) = read.rows()
    assert (row["objects"], row["views"], row["within"].value) == (4, 4, 0.75)
    assert row["sure"] == 0.75
    assert row["sure_right"].value == pytest.approx(2 / 3)
    levels = [(one["said"], one["views"], one["right"].value) for one in read.calibration()]
    assert levels == [
        ("50% or more", 1, 1.0),
        ("85% or more", 1, 0.0),
        ("95% or more", 1, 1.0),
        ("99% or more", 1, 1.0),
    ]
    assert row["frontless"].value == 1.0
    assert row["frontless_wrong"].value == 0.25


def test_bad_input(tmp_path, capsys, library):
    out = ("--out", tmp_path / "out")
    for words, message in (
        (("--network", "mobilenet-v2"), "reads no poses"),
        (("--network", "posenet", "posenet"), "names one twice"),
        (("--objects", "sh3f:"), "names no library"),
        (("--objects", f"sh3f:{library}", "--category", "stool", *FEW), "has a front"),
        (("--backgrounds", "nowhere", "--chairs", 1, "--views", 1, *FEW), "no background"),
        (("--network", "posenet", "posenet-judge", "--weights", "random"), "a single network"),
    ):
        assert call("pose", "evaluate", *words, *out) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ConfigError, match="give that too"):
        PoseEvaluate(card=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
