"""Every command that writes, struck before its file operations: what it says, and how the same command ends.

    python tests/faults/strike.py [--commands encode invert …] [--faults kill EIO …] [--most 2] [--twice]

A struck command is a process forked from this one, which has everything imported. Then the same command has
to end well: exit status 0, the files of a run that nothing happened to, none besides; and once more, to say
that there is nothing to do and change nothing. A row of the table: the command, the fault, how many points
it has, how many were tried, after how many something was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from commands import COMMANDS, make_inputs, quickened
from points import FAULTS, Points, points_of

from netinvert.cli.app import main as netinvert
from netinvert.errors import NetinvertError
from netinvert.io.files import fingerprint, load_tensors, read_json, sha256_of
from netinvert.io.manifest import PAGES

SECONDS = 60
"""A process that takes longer is said to block."""
NOWHERE = 1 << 60
CHANGING = {"seconds", "cpu_seconds", "resumed", "written", "files"}
"""What manifests say of time; the hashes are of pages too, and the files are compared themselves."""
DONE, REFUSED, STOPPED = 0, 2, 130
EXPECTED = {"kill": {-signal.SIGKILL}, "term": {DONE, STOPPED}}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (below 0 for a signal), what it said, the operations it met."""

    code: int
    said: str
    met: Mapping[str, int]

    @property
    def failed(self) -> bool:
        """Whether it should have ended well, and did not."""
        return self.code != DONE or "Traceback" in self.said


@dataclass(frozen=True)
class Place:
    """A command in a folder of its own, beside its inputs."""

    words: list[str]
    folder: Path

    def warm(self) -> None:
        """Run it in this process, so that all it needs is imported."""
        os.chdir(self.folder)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            netinvert(self.words)

    def begin(self, fault: str, at: int) -> int:
        """Fork a process that runs the command, struck at a point; gives its id."""
        child = os.fork()
        if child:
            return child
        signal.alarm(SECONDS)
        os.chdir(self.folder)
        log = os.open(self._log(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code, points = 1, Points(self.folder, fault, at)
        try:
            code = netinvert(self.words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os.write(log, f"\n{json.dumps(points.met)}".encode())
            os._exit(code)

    def end(self, child: int) -> Ended:
        """Wait for it."""
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log = self._log(child)
        said, _, met = log.read_text(errors="replace").rpartition("\n")
        log.unlink()
        return Ended(code, said[-700:], json.loads(met) if met.startswith("{") else {})

    def run(self, fault: str = "kill", at: int = NOWHERE) -> Ended:
        """Begin and end."""
        return self.end(self.begin(fault, at))

    def clear(self) -> None:
        """An empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def tree(self) -> dict[str, str]:
        """What is in the folder."""
        return {str(path.relative_to(self.folder)): content(path) for path in self.folder.rglob("*")}

    def _log(self, child: int) -> Path:
        return self.folder.with_name(f"said-{child}")


def content(path: Path) -> str:
    """Of a file, that which is the same whenever it is made."""
    if path.is_dir():
        return "folder"
    try:
        if path.name.endswith("manifest.json"):
            return fingerprint(timeless(read_json(path)))
        if path.suffix in PAGES:
            return fingerprint(re.sub(rb"[\d.]+ s\b", b"", path.read_bytes()))
        return fingerprint(load_tensors(path)[0]) if path.name.startswith("checkpoint") else sha256_of(path)
    except NetinvertError as error:
        return str(error)


def timeless(value: object) -> object:
    """JSON without what changes from run to run."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name not in CHANGING}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def wrong_with(ended: Ended, fault: str) -> str:
    """What is wrong with how a struck process ended; nothing if all is well."""
    if "Traceback" in ended.said or ended.code not in EXPECTED.get(fault, {DONE, REFUSED}):
        return f"ended with {ended.code}: {ended.said}"
    return "no word of why" if ended.code == REFUSED and "netinvert: " not in ended.said else ""


def wrong_after(place: Place, whole: dict[str, str], fault: str, at: int, again: int) -> str:
    """What is wrong after a fault at a point, the next run being killed at the point `again`."""
    place.clear()
    wrong = race(place, at) if fault == "pause" else wrong_with(place.run(fault, at), fault)
    if wrong:
        return wrong
    if again:
        place.run("kill", again)
    for time_ in ("the same command", "a finished run"):
        left = sorted(place.tree())
        if (ended := place.run()).failed:
            return f"{time_} ends with {ended.code}: {ended.said}; there was {left}"
        if (found := place.tree()) != whole:
            odd = sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name))
            return f"after {time_}, other than in a whole run: {odd}"
    return ""


def race(place: Place, at: int) -> str:
    """One process stops at a point, another runs from beginning to end, the first goes on."""
    first = place.begin("pause", at)
    os.waitpid(first, os.WUNTRACED)
    ended = [place.run()]
    os.kill(first, signal.SIGCONT)
    ended.append(place.end(first))
    wrong = "; ".join(filter(None, (wrong_with(one, "pause") for one in ended)))
    return wrong or ("" if any(one.code == DONE for one in ended) else f"both are refused: {ended}")


def examine(name: str, asked: argparse.Namespace, folder: Path) -> int:
    """Strike a command, and print its rows; gives how many points have something wrong."""
    place, rng = Place(COMMANDS[name].split(), folder / "here"), random.Random(f"{asked.seed} {name}")
    place.folder.mkdir(parents=True)
    make_inputs(name, folder)
    place.warm()
    place.clear()
    if (first := place.run()).failed:
        raise SystemExit(f"{name} fails by itself: {first.said}")
    whole, total = place.tree(), {fault: points_of(fault, first.met) for fault in FAULTS}
    tries = [
        (fault, at)
        for fault in asked.faults
        for at in sorted(rng.sample(range(1, total[fault] + 1), min(asked.most, total[fault])))
    ]
    end = time.monotonic() + asked.seconds / len(asked.commands)
    if asked.seconds < NOWHERE:
        rng.shuffle(tries)
    tried, found = dict.fromkeys(FAULTS, 0), dict.fromkeys(FAULTS, 0)
    for fault, at in tries:
        if time.monotonic() > end:
            break
        # In the long form, every other kill is followed by a second one.
        again = rng.randrange(1, total["kill"]) if fault == "kill" and asked.twice and at % 2 else 0
        wrong = wrong_after(place, whole, fault, at, again)
        tried[fault] += 1
        if wrong:
            found[fault] += 1
            print(f"{name}, {fault} at {at}{f' and {again}' * (again > 0)}: {wrong}", flush=True)
    for fault in asked.faults:
        print(name, fault, total[fault], tried[fault], found[fault], sep="\t", flush=True)
    return sum(found.values())


def main() -> int:
    """1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=COMMANDS, metavar="NAME")
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--most", type=int, default=NOWHERE, help="points of each fault of a command")
    parser.add_argument("--seconds", type=float, default=NOWHERE, help="points in random order, so long")
    parser.add_argument("--twice", action="store_true", help="kill some a second time, as they are taken up")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    quickened()
    print(f"seed {asked.seed}\ncommand", "fault", "points", "tried", "wrong", sep="\t")
    wrong = 0
    for name in asked.commands:
        with tempfile.TemporaryDirectory() as folder:
            wrong += examine(name, asked, Path(folder).resolve() / "place")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
