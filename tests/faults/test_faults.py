"""Commands that are killed, or meet errors, at their file operations end well when they are given again.

The short form strikes a point of each fault in each command, the same each time; ``make fuzz`` goes on with
others, and ``python tests/faults/strike.py`` strikes them all.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMANDS
from points import FAULTS

STRIKE = Path(__file__).with_name("strike.py")
FEWEST = 8
"""Points of a fault in a command: fewer, and the harness would not see them."""


def struck(name: str, *options: str) -> list[list[str]]:
    """The rows of the table; fails if anything was wrong."""
    command = [sys.executable, str(STRIKE), "--commands", name, *options]
    # Several threads must not be there when a process is forked.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()[2:]]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_point_of_each_fault(name):
    rows = struck(name, "--most", "1")
    assert [(row[0], row[1]) for row in rows] == [(name, fault) for fault in FAULTS]
    assert all(int(row[2]) >= FEWEST and row[3:] == ["1", "0"] for row in rows)


@pytest.mark.slow
def test_every_point_of_the_smallest():
    assert all(row[2] == row[3] for row in struck("encode", "--twice"))
