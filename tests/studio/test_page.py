"""What the page asks for where a picture came, or is gone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("nicegui", reason="the studio needs NiceGUI: pip install 'netinvert[studio]'")
from netinvert.studio.page import received
from netinvert.studio.tabs import LookTab, Side
from netinvert.studio.turn_tab import TurnTab, defaults
from netinvert.studio.visitors import Visitor


@pytest.fixture
def visitor() -> Visitor:
    """Without a process, with samples chosen."""
    made = Visitor(Path("kept"), 1)
    made.settings |= {f"sample-{place}": f"chair {k}" for k, place in enumerate(("look", *"abc"), 1)}
    made.settings["look-layer"] = "relu5"
    defaults(made.settings)
    return made


def test_a_picture_of_one_s_own_is_no_sample(visitor):
    """So that the old one can be chosen again."""
    for place, name in enumerate(("look", *"abc")):
        received(visitor, bytes([place]) + b"file")
        assert visitor.settings[f"sample-{name}"] is None
    assert visitor.sources["look"] == {"picture": b"file"}


def test_a_new_process_is_told_of_the_samples_that_are_chosen(visitor):
    look = SimpleNamespace(visitor=visitor, layers=SimpleNamespace(ready=True))
    turn = SimpleNamespace(visitor=visitor, asked=True)
    received(visitor, b"\x02file")  # at b
    for _ in range(2):
        LookTab.look(look)
        TurnTab._turn(turn)
    assert visitor.sources == {
        "look": {"sample": "chair 1"},
        "turn": {"sample-a": "chair 2", "picture-b": b"file", "sample-c": "chair 4"},
    }
    received(visitor, b"\x00file")
    LookTab.look(look)
    assert visitor.sources["look"] == {"picture": b"file"}


def test_an_inversion_is_told_of_the_picture_and_does_not_wait_for_look(visitor, monkeypatch):
    """Look may be at work on a slow layer, or film. What was inverted is kept, and not what came since."""
    asked = []
    monkeypatch.setattr(visitor, "ask", lambda lane, **data: asked.append((lane, data)))
    monkeypatch.setattr(visitor, "cancel", lambda lane: None)
    side = SimpleNamespace(visitor=visitor, side="left", layers=SimpleNamespace(ready=True), request={})
    Side._start(side)
    Side._keep(side)
    visitor.sources["look"] = {"picture": b"file"}
    Side._start(side)
    visitor.sources |= {"left": {"picture": b"file"}, "look": {"picture": b"the next"}}
    Side._keep(side)
    assert asked == [
        ("left", {"sample": "chair 1"}),
        ("keep-left", {"sample": "chair 1"}),
        ("left", {"picture": b"file"}),
        ("keep-left", {"picture": b"file"}),
    ]
