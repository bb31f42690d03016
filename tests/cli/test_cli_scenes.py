"""scenes render and scenes show."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from netinvert.io.files import read_json
from netinvert.scenes.dataset_reader import load_arrays

QUICK = ["--count", 2, "--views", 2, "--pixels", 16, "--workers", 1]


def test_render_go_on_show_and_repeat(cli, tmp_path):
    data, shown = tmp_path / "data", tmp_path / "shown"
    said = cli("scenes", "render", *QUICK, "--seed", 3, "--out", data, "--json")
    assert said.exit_code == 0, said.stderr
    assert "4 images, about" in said.stderr
    facts = json.loads(said.stdout)
    assert facts["samples"] == 4
    assert facts["command"]["identities"] == facts["plan"]["identities"] == 2
    assert "report.html" in facts["files"]
    assert len(load_arrays(data, "train").rgba) == 4
    again = cli("scenes", "render", *QUICK, "--seed", 3, "--out", data, "--json")
    assert json.loads(again.stdout) == facts
    said = cli("scenes", "show", data, "--out", shown)
    assert said.exit_code == 0, said.stderr
    assert said.stdout.splitlines()[-1] == f"open {(shown / 'report.html').resolve()}"
    with Image.open(shown / "sheet.png") as sheet:
        assert sheet.height > 200
    for folder in (data, shown):
        said = cli("rerun", folder, "--out", tmp_path / f"{folder.name}-again")
        assert "\nbit-identical" in said.stdout


def test_another_dataset_is_not_mixed_in(cli, tmp_path):
    assert cli("scenes", "render", *QUICK, "--out", tmp_path / "data").exit_code == 0
    said = cli("scenes", "render", *QUICK, "--seed", 1, "--out", tmp_path / "data")
    assert said.exit_code == 2
    assert "seed" in said.stderr


def test_62_views_are_the_protocol_of_the_chairs_paper(cli, tmp_path):
    options = ["--count", 1, "--views", 62, "--pixels", 8, "--workers", 1]
    said = cli("scenes", "render", *options, "--out", tmp_path / "data", "--json")
    assert json.loads(said.stdout)["plan"]["protocol"] == "chairs62"


def test_a_missing_extra_is_told_before_any_work(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    for words in (["render", *QUICK], ["show"]):
        said = cli("scenes", *words, "--out", tmp_path / "out")
        assert said.exit_code == 2
        assert "pip install 'netinvert[scenes]'" in said.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("objects", ["chairs", "cars", "mugs", "tables"])
def test_show_without_a_dataset(cli, tmp_path, objects):
    options = ["--objects", objects, "--count", 2, "--views", 2, "--pixels", 32]
    for name, more in {"plain": [], "parts": ["--parts"]}.items():
        said = cli("scenes", "show", *options, *more, "--out", tmp_path / name)
        assert said.exit_code == 0, said.stderr
    plain, parts = (np.asarray(Image.open(tmp_path / name / "sheet.png")) for name in ("plain", "parts"))
    assert plain.shape == parts.shape
    assert (plain != parts).any()
    assert read_json(tmp_path / "plain" / "manifest.json")["objects"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--objects", "chirs"], "category"),
        (["--pixels", 3], "--pixels is at least 8"),
        (["--background", "beach"], "background"),
        (["--protocol", "chairs62"], "62 views"),
        (["--lights", "disco"], "--lights: there is no 'disco'"),
        (["--elevation", 40, 10], "--elevation is the lower number first"),
        (["--splits", 0.5, 0.3, 0.1], "--splits are three shares"),
        (["--occlusion", 1], "--occlusion is below 1"),
    ],
)
def test_bad_renders(cli, tmp_path, options, words):
    said = cli("scenes", "render", *options, "--out", tmp_path / "data")
    assert said.exit_code == 2
    assert words in said.stderr
    assert not (tmp_path / "data").exists()


def test_show_nothing(cli, tmp_path):
    said = cli("scenes", "show", tmp_path / "gone", "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "netinvert scenes render" in said.stderr


def test_a_dataset_of_one_object_is_shown(cli, tmp_path):
    options = ["--count", 1, "--views", 2, "--pixels", 16, "--workers", 1]
    assert cli("scenes", "render", *options, "--out", tmp_path / "data").exit_code == 0
    said = cli("scenes", "show", tmp_path / "data", "--out", tmp_path / "shown")
    assert said.exit_code == 0, said.stderr
    assert "1 object" in said.stdout


def test_what_points_up_is_told_and_can_be_said(cli, tmp_path):
    (tmp_path / "tall.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 3 0\nv 0 3 1\nf 1 2 3 4\n")
    mesh = ["--objects", tmp_path / "tall.obj"]
    options = [*mesh, "--count", 1, "--views", 1, "--pixels", 16, "--workers", 1]
    masks = []
    for up, told in (("auto", True), ("z", False)):
        said = cli("scenes", "render", *options, "--up", up, "--out", tmp_path / up)
        assert said.exit_code == 0, said.stderr
        assert ("y in .obj files; --up says otherwise" in said.stderr) is told
        masks.append(load_arrays(tmp_path / up, "train").mask)
    assert not np.array_equal(*masks)
    said = cli("scenes", "show", *mesh, "--views", 1, "--out", tmp_path / "shown")
    assert "y in .obj files" in said.stderr
