"""A run that is stopped, however, is taken up by the same command and ends with the same files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from netinvert.inversion.result import Checkpoint

MAIN = [sys.executable, "-c", "import sys; from netinvert.cli.app import main; sys.exit(main())"]


def files_of(folder):
    """All files' bytes; of the manifest what does not tell the time."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text())
    changing = ("seconds", "resumed", "written", "run", "command", "command_line")
    return files, {key: value for key, value in manifest.items() if key not in changing}


def stopped(arguments, out, when, number):
    """Start the command in a process of its own and send it a signal when it has come so far."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*MAIN, "invert", *map(str, arguments), "--out", str(out)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 180
    while not when() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate(timeout=180)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)], ids=["kill", "ctrl-c"]
)
def test_a_stopped_run_goes_on(cli, net, pictures, tmp_path, number, code):
    arguments = [pictures, *net, "--preset", "fourier-adam", "--steps", 100, "--restarts", 2, "--batch", 1]
    arguments += ["--threads", 1]
    out, cells = tmp_path / "out", tmp_path / ".out.partial" / "cells"
    returned, said = stopped(arguments, out, lambda: any(cells.glob("*.safetensors")), number)
    assert returned == code
    assert "Traceback" not in said
    if number == signal.SIGINT:
        done = len(list(cells.glob("*.safetensors")))
        last = said.splitlines()[-1]  # behind what a busy machine says of progress
        assert last == f"netinvert: stopped; {done} of 4 batches are done; the same command resumes"
    assert 1 <= len(list(cells.glob("*.safetensors"))) < 4
    assert not out.exists()
    other = cli("invert", *arguments, "--seed", 3, "--out", out)
    assert other.exit_code == 2  # the unfinished run is not thrown away for another one
    assert "unfinished run" in other.stderr
    done = cli("invert", *arguments, "--out", out)
    assert done.exit_code == 0
    assert "resuming" in done.stderr
    assert not cells.exists()
    cli("invert", *arguments, "--out", tmp_path / "whole")
    assert files_of(out) == files_of(tmp_path / "whole")
    assert json.loads((out / "manifest.json").read_text())["resumed"]


@pytest.mark.slow
def test_within_a_chunk(cli, net, pictures, tmp_path, monkeypatch):
    """The checkpoint of the chunk at work is taken up to the same bits."""
    arguments = [pictures, *net, "--steps", 30]
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    saves = []
    save = Checkpoint.save

    def stop_at_the_tenth(self, state):
        save(self, state)
        saves.append(self.path.name)
        if len(saves) == 10:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Checkpoint, "save", stop_at_the_tenth)
    stopped = cli("invert", *arguments, "--out", tmp_path / "out")
    assert stopped.exit_code == 130
    assert len(set(saves)) == 1
    monkeypatch.undo()
    assert "resuming" in cli("invert", *arguments, "--out", tmp_path / "out").stderr
    cli("invert", *arguments, "--out", tmp_path / "whole")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
