"""Every command that writes, struck before its file operations: what it says, and how the same command ends.

    python tests/faults/strike.py [--commands encode invert …] [--faults kill EIO …] [--most 2] [--twice]

A struck command is a process forked from this one, which has everything imported. Then the same command has
to end well: exit status 0, the files of a run that nothing happened to, none besides; and once more, to say
that there is nothing to do and change nothing. A row of the table: the command, the fault, how many points
it has, how many were tried, after how many something was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from commands import COMMANDS
from place import DONE, EXCEPTION, REFUSED, Place, Wrong
from points import FAULTS, NOWHERE, points_of
from quick import quickened

STOPPED = 130
EXPECTED = {"kill": frozenset({-signal.SIGKILL}), "term": frozenset({DONE, STOPPED})}
ELSE = frozenset({DONE, REFUSED})


@dataclass
class Row:
    """Of a command and a fault: its points, how many were tried, and how often what was wrong."""

    points: int
    tried: int = 0
    wrong: Counter[str] = field(default_factory=Counter)


def wrong_after(place: Place, fault: str, at: int, again: int = 0, finished: bool = True) -> Wrong | None:
    """What is wrong after a fault at a point, the next run being killed at the point `again`; whether also
    the run after the whole one is looked at."""
    place.clear()
    allowed = EXPECTED.get(fault, ELSE)
    wrong = _race(place, at) if fault == "pause" else place.run(fault, at).wrong(allowed)
    if again:
        place.run("kill", again)
    for when in ("the same command", "a finished run")[: 1 + finished]:
        wrong = wrong or place.wrong_since(place.run(), when)
    return wrong


def _race(place: Place, at: int) -> Wrong | None:
    """One process stops at a point, another runs from beginning to end, the first goes on."""
    first = place.begin("pause", at)
    os.waitpid(first, os.WUNTRACED)
    ended = [place.run()]
    os.kill(first, signal.SIGCONT)
    ended.append(place.end(first))
    wrong = next(filter(None, (one.wrong(ELSE) for one in ended)), None)
    if wrong is None and all(one.code != DONE for one in ended):
        wrong = Wrong(EXCEPTION, f"both are refused: {ended}")
    return wrong


def examine(
    place: Place, tries: Iterable[tuple[str, int]], rng: random.Random, twice: bool = False
) -> dict[str, Row]:
    """Strike a command so; what is wrong is printed."""
    rows = {fault: Row(points_of(fault, place.met)) for fault in FAULTS}
    for fault, at in tries:
        # In the long form, every other kill is followed by a second one.
        second = fault == "kill" and twice and at % 2
        again = rng.randrange(1, rows["kill"].points) if second else 0
        wrong = wrong_after(place, fault, at, again, fault == "kill" or at % 4 == 0)
        rows[fault].tried += 1
        if wrong:
            rows[fault].wrong[wrong.kind] += 1
            then = f" and {again}" * (again > 0)
            print(f"{place.name}, {fault} at {at}{then}: {wrong.kind}: {wrong.text}", flush=True)
    return rows


def points_at_random(
    place: Place, faults: Iterable[str], most: int, rng: random.Random
) -> list[tuple[str, int]]:
    """Up to so many points of each fault."""
    total = {fault: points_of(fault, place.met) for fault in faults}
    return [
        (fault, at)
        for fault, count in total.items()
        for at in sorted(rng.sample(range(1, count + 1), min(most, count)))
    ]


def _until(tries: Iterable[tuple[str, int]], end: float) -> Iterator[tuple[str, int]]:
    for one in tries:
        if time.monotonic() > end:
            return
        yield one


def main() -> int:
    """1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=COMMANDS, metavar="NAME")
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--turns", action="store_true", help="kill, and one of the other faults by turns")
    parser.add_argument("--most", type=int, default=NOWHERE, help="points of each fault of a command")
    parser.add_argument("--seconds", type=float, default=NOWHERE, help="points in random order, so long")
    parser.add_argument("--twice", action="store_true", help="kill some a second time, as they are taken up")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    quickened()
    print(f"seed {asked.seed}\ncommand", "fault", "points", "tried", "wrong", sep="\t")
    found, begun = 0, time.monotonic()
    for number, name in enumerate(asked.commands, 1):
        rng, others = random.Random(f"{asked.seed} {name}"), [one for one in FAULTS if one != "kill"]
        faults = ["kill", others[list(COMMANDS).index(name) % len(others)]] if asked.turns else asked.faults
        with tempfile.TemporaryDirectory() as folder:
            place = Place(name, Path(folder).resolve() / "place")
            tries = points_at_random(place, faults, asked.most, rng)
            if asked.seconds < NOWHERE:
                rng.shuffle(tries)
            end = begun + asked.seconds * number / len(asked.commands)
            for fault, row in examine(place, _until(tries, end), rng, asked.twice).items():
                if fault in faults:
                    found += row.wrong.total()
                    print(name, fault, row.points, row.tried, row.wrong.total(), sep="\t", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
