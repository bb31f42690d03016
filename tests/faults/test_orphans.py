"""No process is left at work behind a command that was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import COMMANDS, make_inputs

LONGER = {
    "invert": {"--steps": 2000},
    "scenes render": {"--count": 60},
    "pose train": {"--samples": 4000, "--every": 1000},
    "decoder train": {"--samples": 4000, "--every": 1000},
}
"""Commands that have workers, and what keeps these at work."""


def in_session(session: int) -> list[str]:
    """The processes of a session that have not ended: what they do."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if fields[3] == str(session) and fields[0] != "Z":
                found.append((place / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look into")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
@pytest.mark.parametrize("name", LONGER)
def test_workers_end_with_their_parent(tmp_path, monkeypatch, name, number):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)  # and back, at the end
    make_inputs(name, tmp_path)
    words = [*COMMANDS[name].replace(" --workers 1", "").split(), "--workers", "2"]
    for option, value in LONGER[name].items():
        words[words.index(option) + 1] = str(value)
    process = subprocess.Popen(
        [sys.executable, "-m", "netinvert", *words],
        cwd=tmp_path / "here",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert until(lambda: len(in_session(process.pid)) >= 3 or process.poll() is not None)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 130}[number], said
    assert until(lambda: not in_session(process.pid)), in_session(process.pid)
