"""Commands that are killed, or meet errors, at their file operations end well when they are given again.

The short form kills each command at a point, and strikes it with another fault at another, the same each
time; ``make fuzz`` goes on with others, and ``python tests/faults/table.py`` strikes them all.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMANDS
from points import FAULTS

from netinvert.experiments.commands import COMMANDS as ALL

STRIKE = Path(__file__).with_name("strike.py")
FEWEST = 8
"""Points of a fault in a command: fewer, and the harness would not see them."""
PARTS = 2
"""Processes that share the commands: to import everything takes a while."""


def struck(*options: str) -> list[list[str]]:
    """The rows of the table; fails if anything was wrong."""
    command = [sys.executable, str(STRIKE), *options]
    # Several threads must not be there when a process is forked.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()[2:]]


def writes(name: str) -> bool:
    return "out" in ALL[name].load().__dataclass_fields__


def test_every_command_that_writes_is_struck():
    made_of_others = {"study all"}  # minutes even if small; what takes long in it is struck by itself
    assert {name.partition(",")[0] for name in COMMANDS} == set(filter(writes, ALL)) - made_of_others


TORN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(STRIKE.parent)!r})
from netinvert.io import files
files.write_atomic = lambda path, data: Path(path).write_bytes(data)
import strike
sys.argv[1:] = ["--commands", "encode", "--faults", "kill"]
sys.exit(strike.main())
"""


@pytest.mark.slow
def test_files_that_are_not_written_at_once_are_found():
    done = subprocess.run([sys.executable, "-c", TORN], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the same command ended with 2" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_and_another_fault(part):
    names = list(COMMANDS)[part::PARTS]
    rows = struck("--commands", *names, "--turns", "--most", "1")
    assert [row[0] for row in rows] == [name for name in names for _ in range(2)]
    assert {row[1] for row in rows} == set(FAULTS)
    assert all(int(row[2]) >= FEWEST and row[3:] == ["1", "0"] for row in rows)


@pytest.mark.slow
def test_every_kill_of_the_smallest():
    ((_, _, points, tried, _),) = struck("--commands", "encode", "--faults", "kill")
    assert points == tried
