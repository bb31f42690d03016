"""A folder in which a command is run, again and again, in processes that are forked from this one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from commands import COMMANDS, lay_out, make_inputs
from points import NOWHERE, Points

from netinvert.cli.app import main as netinvert
from netinvert.errors import NetinvertError
from netinvert.io.files import fingerprint, load_tensors, read_json, sha256_of
from netinvert.io.manifest import PAGES

SECONDS = 60
"""A process that takes longer is said to hang."""
CHANGING = {"seconds", "cpu_seconds", "resumed", "written", "files"}
"""What manifests say of time; the hashes are of pages too, and the files are compared themselves."""
EXCEPTION, HANG, FILES, OUTSIDE, ORPHANS = KINDS = ("exceptions", "hangs", "files", "outside", "orphans")
"""What can be wrong: an error of Python's own or a wrong exit status; no end; files that are torn, lost, left
over or other than they should be; something written outside of --out; processes left at work."""
DONE, REFUSED = 0, 2


@dataclass(frozen=True)
class Wrong:
    """What is wrong: one of KINDS, and in words."""

    kind: str
    text: str


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (below 0 for a signal), what it said, the operations it met."""

    code: int
    said: str
    met: Mapping[str, int]

    def wrong(self, allowed: frozenset[int] = frozenset({DONE})) -> Wrong | None:
        """If it ended otherwise, or with a traceback, or refused without a word."""
        if self.code == -signal.SIGALRM:
            return Wrong(HANG, f"takes more than {SECONDS} s: {self.said}")
        refused = self.code == REFUSED and "netinvert: " not in self.said
        if self.code not in allowed or "Traceback" in self.said or refused:
            return Wrong(EXCEPTION, f"ended with {self.code}: {self.said}")
        return None


class Place:
    """A command of the table in a folder of its own, beside its inputs. A first run has taken `seconds`, and
    left `whole`, what is in the folder if nothing happens."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.words = name, folder, COMMANDS[name].words.split()
        self.here, self.temporary = folder / "here", folder / "temporary"
        self.here.mkdir(parents=True)
        self.temporary.mkdir()
        make_inputs(name, folder)
        self.warm()
        self.clear()
        began = time.monotonic()
        first = self.run()
        self.seconds = time.monotonic() - began
        if found := first.wrong():
            raise SystemExit(f"{name} fails by itself: {found.text}")
        self.met, self.whole, self._around = first.met, self.tree(), self._outside()

    def warm(self) -> None:
        """Run it in this process, so that all it needs is imported."""
        self.clear()
        os.chdir(self.here)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            netinvert(self.words)

    def begin(self, fault: str, at: int) -> int:
        """Fork a process that runs the command, struck at a point; gives its id."""
        child = os.fork()
        if child:
            return child
        signal.alarm(SECONDS)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command hears it
        os.setsid()
        os.chdir(self.here)
        os.environ["TMPDIR"], tempfile.tempdir = str(self.temporary), None
        log = os.open(self.log(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code, points = 1, Points(self.here, fault, at)
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
        log = self.log(child)
        said, _, met = log.read_text(errors="replace").rpartition("\n") if log.exists() else ("", "", "")
        log.unlink(missing_ok=True)
        return Ended(code, said[-700:], json.loads(met) if met.startswith("{") else {})

    def run(self, fault: str = "kill", at: int = NOWHERE) -> Ended:
        """Begin and end."""
        return self.end(self.begin(fault, at))

    def clear(self) -> None:
        """The folder as it was before the first run."""
        lay_out(self.name, self.folder)

    def tree(self) -> dict[str, str]:
        """What is in the folder; not the logs of trainings, which are dated."""
        found = {path.relative_to(self.here): path for path in self.here.rglob("*")}
        return {str(name): content(path) for name, path in found.items() if "logs" not in name.parts}

    def wrong_since(self, ended: Ended, when: str) -> Wrong | None:
        """What is wrong after a run from which nothing kept it."""
        if found := ended.wrong():
            return Wrong(found.kind, f"{when} {found.text}")
        if (now := self.tree()) != self.whole:
            odd = sorted(name for name in {*now, *self.whole} if now.get(name) != self.whole.get(name))
            return Wrong(FILES, f"after {when}, other than in a whole run: {odd}")
        if (around := self._outside()) != self._around:
            odd = sorted({name for name, _ in around.items() ^ self._around.items()})
            return Wrong(OUTSIDE, f"after {when}, other files than before: {odd}")
        return None

    def _outside(self) -> dict[str, tuple[int, int]]:
        """Sizes and times of the files that are not the command's."""
        found = {}
        for part in (self.folder / "inputs", self.temporary):
            for path in filter(Path.is_file, part.rglob("*")):
                found[str(path.relative_to(self.folder))] = (path.stat().st_size, path.stat().st_mtime_ns)
        return found

    def log(self, child: int) -> Path:
        """Where a process says what it says."""
        return self.folder / f"said-{child}"


def content(path: Path) -> str:
    """Of a file, that which is the same whenever it is made."""
    if path.is_dir():
        return "folder"
    try:
        if path.name.endswith("manifest.json"):
            return fingerprint(_timeless(read_json(path)))
        if path.suffix in PAGES:
            return fingerprint(re.sub(rb"[\d.]+ s\b", b"", path.read_bytes()))
        return fingerprint(load_tensors(path)[0]) if path.name.startswith("checkpoint") else sha256_of(path)
    except NetinvertError as error:
        return str(error)


def _timeless(value: object) -> object:
    """JSON without what changes from run to run."""
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name not in CHANGING}
    return [_timeless(one) for one in value] if isinstance(value, list) else value
