"""Progress: lines in a pipe, a bar on a terminal, HTML in a notebook, nothing when nobody wants it."""

import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinvert.io import running as module
from netinvert.io.running import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_line_every_ten_seconds_at_most_on_stderr(clock, capsys):
    with Progress("images", 40) as progress:
        for index in range(40):
            clock[0] += 4
            progress.inside(index, 0.5, "step 5 of 10")
            clock[0] += 4
            progress.advance(index)
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) <= 40 * 8 / 10 + 1
    assert lines[0] == "netinvert: 1 of 40 images: step 5 of 10, 5 min 08 s left"
    assert lines[-1] == "netinvert: 40 of 40 images"


def test_short_work_and_silent_work_say_nothing(clock, capsys):
    with Progress("images", 2) as progress:
        progress.advance()
        progress.advance()
    with Progress("images", 2, show=False) as progress:
        clock[0] += 100
        progress.update(1, "text")
    assert capsys.readouterr() == ("", "")


def test_the_time_left_is_told_from_this_sessions_speed(clock):
    progress = Progress("images", 10)
    progress.done = 6  # by an earlier session
    with progress:
        assert progress.seconds_left is None
        clock[0] += 30
        progress.inside("a", 0.5)
        progress.inside("b", 0.5)
        assert progress.seconds_left == pytest.approx(90)
        progress.advance("a")
        assert progress.position == 7.5


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_DRAWINGS", 0.0)
    with Progress("images", 2) as progress:
        progress.advance()
        progress.inside("b", 0.5, "[bold]step[/] 5")
        time.sleep(0.2)
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 of 2 images" in said.err
    assert "[bold]step[/] 5" in said.err


def test_html_in_a_notebook(monkeypatch, capsys):
    shown = []
    handle = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda value, display_id: handle)
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    with Progress("images", 1) as progress:
        progress.advance(text="<script>")
    assert shown[-1].startswith('<progress value="1" max="1"></progress> 1 of 1 images &lt;script&gt;')
    assert capsys.readouterr() == ("", "")


@given(st.floats(0, 1e6))
def test_durations_are_short(seconds):
    assert len(duration(seconds)) <= 12
