"""No process is left at work behind a command that was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import make_inputs
from kills import in_session, until, with_workers

LONGER = {
    "invert": (signal.SIGTERM, {"--steps": 2000}),
    "scenes render": (signal.SIGKILL, {"--count": 60}),
    "pose train": (signal.SIGKILL, {"--samples": 4000, "--every": 1000}),
    "decoder train": (signal.SIGTERM, {"--samples": 4000, "--every": 1000}),
}
"""Commands that have workers, one of each kind of them twice, a signal, and what keeps them at work."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look into")
@pytest.mark.parametrize("name", LONGER)
def test_workers_end_with_their_parent(tmp_path, monkeypatch, name):
    number, longer = LONGER[name]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)  # and back, at the end
    make_inputs(name, tmp_path)
    words = with_workers(name)
    for option, value in longer.items():
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
