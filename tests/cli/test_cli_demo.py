"""The demo: its page agrees with its figures, it is resumed, and it needs no extra."""

from __future__ import annotations

import html
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from netinvert.cli import app
from netinvert.experiments import demo, demo_cells
from netinvert.experiments.commands import COMMANDS, perform
from netinvert.experiments.configs.looks import Demo
from netinvert.experiments.demo import poses_sentence
from netinvert.experiments.demo_cells import DemoCode, DemoWork
from netinvert.io.assets import unseen_chairs
from netinvert.io.files import read_json
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network

TOOL = Path(__file__).parents[2] / "tools" / "make_unseen_chairs.py"
FEW = [
    DemoCode("posenet", "relu4", "unseen-chair"),
    DemoCode("posenet", "relu6", "unseen-chair"),
    *(
        DemoCode("objectron-chair", "blocks.2", "chair", prior)
        for prior in ("tv-isotropic", "tv-anisotropic", "none")
    ),
    DemoCode("mobilenet-v2", "blocks.5", "chelsea"),
]


@pytest.fixture
def few(monkeypatch):
    """Some codes of the demo."""
    monkeypatch.setattr(demo, "demo_codes", lambda: list(FEW))


def text_of(page: Path) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.read_text())).split())


def test_the_shipped_chairs_are_what_the_tool_renders():
    rendered, chairs = runpy.run_path(str(TOOL))["rendered"](), unseen_chairs()
    differ = chairs.images != rendered.images  # on another processor a ray may pass an edge on the other side
    assert differ.double().mean() < 1e-4
    assert (chairs.images - rendered.images).abs().max() < 0.05
    assert torch.equal(chairs.rotation, rendered.rotation)


def test_all_that_the_demo_shows():
    codes = demo_cells.demo_codes()
    assert len({code.file(1) for code in codes}) == len(codes) == 30
    assert {code.network for code in codes} == {"posenet", "objectron-chair", "mobilenet-v2"}


@pytest.mark.slow
def test_the_page_agrees_with_its_figures_and_comes_again(few, tmp_path, cli):
    said = cli("demo", "--steps", 3, "--out", tmp_path / "demo", "--threads", 1)
    assert said.exit_code == 0, said.stderr
    rows = read_json(tmp_path / "demo" / "manifest.json")["reconstructions"]
    assert len(rows) == 4 + 4 + 3 + 1
    assert all((tmp_path / "demo" / row["image"]).is_file() for row in rows)
    for name, frames in (("turntable.gif", 24), ("morph.gif", 2 * 12)):
        with Image.open(tmp_path / "demo" / name) as gif:
            assert (gif.n_frames, gif.size) == (frames, (128, 128))
    text = text_of(tmp_path / "demo" / "report.html")
    assert text.count("drag it, or the slider") == 2
    unseen = [row for row in rows if row["original"] == "unseen-chair"]
    for row in unseen:
        errors = row["pose_errors_deg"]
        assert f"posenet {errors['own']:.0f}° off held-out {errors['held_out']:.0f}° off" in text
        assert f"code error {row['errors']['ijcv16']:.2f}, SSIM {row['ssim']:.2f}" in text
    ceiling = demo_cells.pose_errors(Encoder(load_network("posenet"), "relu1"), unseen_chairs().images)
    by_layer = {
        layer: {
            reader: [row["pose_errors_deg"][reader] for row in unseen if row["layer"] == layer]
            for reader in ("own", "held_out")
        }
        for layer in ("relu4", "relu6")
    }
    assert poses_sentence(ceiling, by_layer).replace("`", "") in text.replace(" ,", ",").replace(" .", ".")
    read = next(row for row in rows if row["original"] == "chair")["pose"]["original"]
    assert (
        f"reads azimuth {read['azimuth']:.0f}°, elevation {read['elevation']:.0f}° from the original" in text
    )
    assert "\nbit-identical" in cli("rerun", tmp_path / "demo", "--out", tmp_path / "again").stdout


@pytest.mark.slow
def test_a_stopped_demo_is_resumed_without_any_extra(tmp_path, monkeypatch, cli):
    for package in ("embreex.mesh_construction", "trimesh", "scipy", "sklearn"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(demo, "_installed", lambda name: False)
    monkeypatch.setattr(demo, "demo_codes", lambda: FEW[1:])
    opened = DemoWork.open
    made = []

    def counting(stop):
        def open_and_count(self):
            make = opened(self)

            def counts(code, piece):
                if len(made) == stop:
                    raise KeyboardInterrupt
                made.append(code)
                return make(code, piece)

            return counts

        return open_and_count

    words = ["demo", "--steps", 3, "--out", tmp_path / "demo", "--threads", 1]
    monkeypatch.setattr(DemoWork, "open", counting(2))
    said = cli(*words)
    assert said.exit_code == 130
    assert "2 of 4 codes are done" in said.stderr
    assert "netinvert[imagenet]" in said.stderr
    monkeypatch.setattr(DemoWork, "open", counting(None))
    assert cli(*words).exit_code == 0
    assert made == FEW[1:5]
    text = text_of(tmp_path / "demo" / "report.html")
    assert "A part with a photograph was left out" in text
    assert "pip install 'netinvert[imagenet]'" in text


def errors(own, held_out):
    return {"own": own, "held_out": held_out}


def test_sentences_on_poses():
    ceiling = errors([5.0, 38.0], [3.0, 4.0])
    good, fooled = errors([6.0, 38.0], [2.0, 7.0]), errors([9.0, 50.0], [67.0, 8.0])
    said = poses_sentence(ceiling, {"relu1": good})
    assert "Of the 2 originals posenet reads 1 pose right" in said
    assert "the held-out pose estimator 2 (posenet is 38° off on chair 2)" in said
    assert "reads as many at `relu1`" in said
    assert "fewer" not in said
    assert "only posenet" not in said
    said = poses_sentence(ceiling, {"relu1": good, "fc8": fooled})
    assert "It reads fewer at `fc8` (1)." in said
    assert "posenet understands: chair 1 at `fc8` (9° and 67° off)." in said
    assert "reads as many" not in poses_sentence(ceiling, {"fc8": fooled})


def test_the_commands_for_the_readers_own_image_are_commands():
    for line in demo.NEXT:
        name = shlex.split(line)[1]
        if name in COMMANDS:
            assert app.parse(shlex.split(line)[1:]) is not None


def test_steps_are_asked_for():
    with pytest.raises(Exception, match="--steps is at least 1"):
        perform(Demo(steps=0))
