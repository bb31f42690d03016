"""Commands killed at random moments, real processes with workers too: how the same command ends.

    python tests/faults/kills.py [--count 100] [--seed 0]

Three of four are forked from this process, and killed any time after they have begun. The others are ``python
-m netinvert`` with two workers, killed in the last two thirds of their time, for the first goes by with
imports. Of ten signals eight are SIGKILL, one SIGTERM, one SIGINT.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from commands import COMMANDS
from place import DONE, ORPHANS, Place, Wrong
from points import NOWHERE
from quick import quickened

from netinvert.io.manifest import PAGES

STOPPED = 130
SIGNALS = (*[signal.SIGKILL] * 8, signal.SIGTERM, signal.SIGINT)
WORKERS = (
    "invert",
    "look",
    "sweep",
    "deepvis",
    "study layers",
    "scenes render",
    "pose train",
    "decoder train",
)
"""Commands that are started anew, with two workers."""
SECONDS = 300


class Started(Place):
    """A place whose runs are ``python -m netinvert``, with two workers."""

    def warm(self) -> None:
        """Nothing: it is another process."""
        self.words = with_workers(self.name)

    def begin(self, fault: str, at: int) -> int:
        """Start a process, which nothing strikes."""
        log = self.folder / "said"
        process = subprocess.Popen(
            [sys.executable, "-m", "netinvert", *self.words],
            cwd=self.here,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary)},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.alarm(SECONDS),  # noqa: PLW1509 - there is one thread
        )
        process.returncode = 0  # it is waited for by its id
        log.rename(self.log(process.pid))
        return process.pid

    def tree(self) -> dict[str, str]:
        """Of pages only that they are there: they tell how long it took."""
        found = super().tree()
        return {name: "a page" if Path(name).suffix in PAGES else text for name, text in found.items()}


def with_workers(name: str) -> list[str]:
    """The words of a command, with two workers."""
    return [*COMMANDS[name].words.replace(" --workers 1", "").split(), "--workers", "2"]


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


def until(what: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait for it; whether it came."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def wrong_after_kill(
    place: Place, number: signal.Signals, after: float, finished: bool
) -> tuple[bool, Wrong | None]:
    """Whether a signal after so many seconds came before the end, and what is wrong afterwards; whether also
    the run after the whole one is looked at."""
    place.clear()
    child = place.begin("kill", NOWHERE)
    time.sleep(after)
    os.kill(child, number)
    ended = place.end(child)
    heard = set() if number == signal.SIGKILL else {STOPPED}
    wrong = ended.wrong(frozenset({DONE, -number, *heard}))
    if not until(lambda: not in_session(child)):
        wrong = wrong or Wrong(ORPHANS, f"{in_session(child)}")
    for when in ("the same command", "a finished run")[: 1 + finished]:
        wrong = wrong or place.wrong_since(place.run(), when)
    return ended.code != DONE, wrong


def kill_at_random(
    name: str, workers: bool, count: int, rng: random.Random, folder: Path
) -> Iterator[tuple[bool, Wrong | None]]:
    """What `wrong_after_kill` gives, so often, of a command; what is wrong is printed."""
    place = (Started if workers else Place)(name, folder)
    for turn in range(count):
        number, after = rng.choice(SIGNALS), rng.uniform(place.seconds / 3 * workers, place.seconds)
        met, wrong = wrong_after_kill(place, number, after, not workers or turn == 0)
        if wrong:
            print(f"{name}, {number.name} after {after:.2f} s: {wrong.kind}: {wrong.text}", flush=True)
        yield met, wrong


def shared_out(count: int) -> dict[tuple[str, bool], int]:
    """How many of so many kills are of which command, with workers or forked."""
    shares: Counter[tuple[str, bool]] = Counter()
    for number in range(count):
        workers = number % 4 == 3
        names = WORKERS if workers else list(COMMANDS)
        place = number // 4 if workers else number - number // 4
        shares[names[place % len(names)], workers] += 1
    return dict(shares)


def main() -> int:
    """1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    quickened()
    print(f"seed {asked.seed}\ncommand", "workers", "kills", "before the end", "wrong", sep="\t")
    bad = 0
    for (name, workers), count in shared_out(asked.count).items():
        rng = random.Random(f"{asked.seed} {name} {workers}")
        with tempfile.TemporaryDirectory() as folder:
            found = list(kill_at_random(name, workers, count, rng, Path(folder).resolve() / "place"))
        wrong = sum(one is not None for _, one in found)
        bad += wrong
        print(name, "2" if workers else "1", count, sum(met for met, _ in found), wrong, sep="\t", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
