import json
import sys

import pytest
from PIL import Image

from netinvert.scenes.dataset_reader import load_arrays

QUICK = ["--count", "2", "--views", "2", "--pixels", "16", "--workers", "1"]


def test_render_show_and_go_on(cli, tmp_path):
    folder = tmp_path / "data"
    said = cli("scenes", "render", *QUICK, "--seed", "3", "--out", folder, "--json")
    assert said.exit_code == 0, said.output
    manifest = json.loads(said.stdout)
    assert manifest["samples"] == 4
    (split,) = {shard["name"].split("-")[0] for shard in manifest["shards"]} & {"train"}
    assert len(load_arrays(folder, split).rgba) == manifest["shards"][-1]["samples"]
    again = cli("scenes", "render", *QUICK, "--seed", "3", "--out", folder, "--json")
    assert json.loads(again.stdout)["sha256"] == manifest["sha256"]
    # two objects are both of the split train: without --split, what there is is shown
    assert not list(folder.glob("validation-*.tar"))
    for options in (["--split", split], []):
        shown = cli("scenes", "show", folder, *options, "--out", tmp_path / "sheet.png")
        assert shown.exit_code == 0, shown.output
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.height > 200


def test_62_views_are_the_protocol_of_the_chairs_paper(cli, tmp_path):
    options = ["--identities", "1", "--views", "62", "--size", "8", "--workers", "1"]
    said = cli("scenes", "render", *options, "--out", tmp_path / "data", "--json")
    assert json.loads(said.stdout)["plan"]["protocol"] == "chairs62"


@pytest.mark.parametrize("objects", ["chairs", "cars", "mugs", "tables"])
def test_show_without_a_dataset(cli, tmp_path, objects):
    options = ["--objects", objects, "--count", "2", "--views", "2", "--pixels", "32", "--parts"]
    said = cli("scenes", "show", *options, "--out", tmp_path / "sheet.png")
    assert said.exit_code == 0, said.output
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objects", "chirs"], "category"),
        (["--pixels", "3"], "--pixels"),
        (["--background", "beach"], "background"),
        (["--protocol", "chairs62"], "62 views"),
        (["--lights", "disco"], "lights"),
    ],
)
def test_bad_renders(cli, tmp_path, options, said):
    done = cli("scenes", "render", *QUICK, *options, "--out", tmp_path / "data")
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_missing_extra_is_told_at_once(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    done = cli("scenes", "render", "--count", "400", "--workers", "2", "--out", tmp_path / "data")
    assert done.exit_code == 2
    assert "pip install 'netinvert[scenes]'" in done.stderr


def test_show_nothing(cli, tmp_path):
    done = cli("scenes", "show", tmp_path / "gone")
    assert done.exit_code == 2
    assert "netinvert scenes render" in done.stderr
