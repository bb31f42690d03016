"""The table of benchmarks/results/reliability.md: damaged files, faults at file operations, random kills.

    python tests/faults/table.py --out benchmarks/results/reliability.md [--share 4] [--seed 0]

It takes hours on one core. Every row is kept in a JSON file beside the page as soon as it is done, so that
the same command goes on with a run that was stopped; ``--again`` makes rows of some commands or readers anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from commands import COMMANDS
from kills import kill_at_random, shared_out
from place import EXCEPTION, FILES, HANG, ORPHANS, OUTSIDE, Place
from points import FAULTS, points_of
from quick import quickened
from strike import examine

from netinvert.io.files import read_json, write_atomic, write_json

sys.path.append(str(Path(__file__).parents[1] / "fuzz"))
import test_fuzz
from readers import READERS

ROOT = Path(__file__).parents[2]
EVERY = ("kill", "EIO")
"""Faults that strike at every operation, whatever --share is."""
DOORS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo")
"""Events that no reader has any business with."""
STRIKES = {
    "kill": "SIGKILL before a file operation, or in the middle of a write",
    "term": "SIGTERM before a file operation",
    "pause": "SIGSTOP before a file operation, while the same command runs beside it",
    "ENOSPC": "a disk that is full from a file operation on",
    "EIO": "a file operation that fails once",
    "EACCES": "permissions that are lost from a file operation on",
}
Row = dict[str, Any]


def main() -> int:
    """1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="the page, FILE.md")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=1000, help="of each reader")
    parser.add_argument(
        "--share", type=int, default=1, help=f"every so many points, but for {' and '.join(EVERY)}"
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=COMMANDS, metavar="NAME")
    parser.add_argument("--again", nargs="+", default=[], metavar="NAME", help="rows to make anew")
    asked = parser.parse_args()
    out, kept = asked.out.resolve(), asked.out.resolve().with_suffix(".json")
    settings = {name: getattr(asked, name) for name in ("seed", "files", "share", "kills", "commands")}
    table: dict[str, Any] = {"settings": settings, "rows": {}}
    if kept.exists():
        table = read_json(kept)
        if table["settings"] != settings:
            raise SystemExit(f"{kept} is of other settings: {table['settings']}")
    rows: dict[str, Row] = {
        name: row for name, row in table["rows"].items() if row["name"] not in asked.again
    }
    print(f"seed {asked.seed}, commit {_commit()}, {_with()}", flush=True)

    def keep(part: str, name: str, row: Row) -> None:
        rows[f"{part} {name}"] = {"part": part, "name": name, **row, "with": _with(), "commit": _commit()}
        write_json(kept, {"settings": settings, "rows": rows})
        write_atomic(out, page(settings, rows).encode())
        print(f"{time.strftime('%H:%M')} {part} {name}: {row}", flush=True)

    for name in sorted(READERS):
        if f"files {name}" not in rows:
            keep("files", name, read_odd_files(name, asked.seed, asked.files))
    if "doors files that name code" not in rows:
        keep("doors", "files that name code", tests_of("tests/test_trust.py", "tests/fuzz/test_found.py"))
    quickened()
    for (name, workers), count in shared_out(asked.kills).items():
        part = "kills with workers" if workers else "kills"
        if name in asked.commands and f"{part} {name}" not in rows:
            rng = random.Random(f"{asked.seed} {name} {workers}")
            with tempfile.TemporaryDirectory() as folder:
                found = list(kill_at_random(name, workers, count, rng, Path(folder).resolve() / "place"))
            wrong = Counter(one.kind for _, one in found if one)
            keep(part, name, {"tried": count, "before the end": sum(met for met, _ in found), "wrong": wrong})
    for name in asked.commands:
        if f"faults {name}" not in rows:
            keep("faults", name, strike_all(name, asked.seed, asked.share))
    return int(any(_wrong(row) for row in rows.values()))


def _with() -> str:
    """The versions that a row was made with."""
    names = ("netinvert", "torch", "numpy", "pillow", "safetensors", "onnx", "trimesh")
    return f"{', '.join(f'{name} {version(name)}' for name in names)}, Python {platform.python_version()}"


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


# -- rows --------------------------------------------------------------------------------------------------


def read_odd_files(name: str, seed: int, count: int) -> Row:
    """Of a reader, in a process of its own: what became of so many odd files, and which doors were tried."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what Pillow warns of
        found, number = Counter(dict.fromkeys(test_fuzz.KINDS, 0)), sorted(READERS).index(name)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TMPDIR"], tempfile.tempdir = folder, None
            for file in test_fuzz.samples_of(name):  # what is imported is no door
                (Path(folder) / file).write_bytes(test_fuzz.samples_of(name)[file])
            test_fuzz.taken(name, (seed, number, count), Path(folder))
            _watch_doors(Path(folder).resolve(), found)
            for k in range(count):
                kind, text = test_fuzz.taken(name, (seed, number, k), Path(folder))
                found[kind] += 1
                if kind not in (test_fuzz.READ, test_fuzz.REFUSED):
                    print(f"{name}, seed ({seed}, {number}, {k}): {kind}: {text[:300]}", flush=True)
        os.write(theirs, json.dumps(found).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as said:
        text = said.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"tried": count, **(json.loads(text) if text else {}), "crashes": int(code != 0)}


def _watch_doors(folder: Path, found: Counter[str]) -> None:
    found["doors"] = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = (
            event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        away = writes and not os.path.realpath(arguments[0]).startswith((f"{folder}/", "/dev/"))
        if event in DOORS or away:
            found["doors"] += 1
            print(f"a door: {event} {arguments!r:.200}", flush=True)

    sys.addaudithook(watch)


def tests_of(*files: str) -> Row:
    """How many tests of these pass."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    if not counts:
        raise SystemExit(done.stdout + done.stderr)
    return {
        "tried": sum(counts.values()),
        "wrong": {"failed": counts.get("failed", 0) + counts.get("error", 0)},
    }


def strike_all(name: str, seed: int, share: int) -> Row:
    """Every point of a command, of most faults every so many."""
    rng = random.Random(f"{seed} {name}")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(name, Path(folder).resolve() / "place")
        tries = []
        for fault in FAULTS:
            step = 1 if fault in EVERY else share
            tries += [
                (fault, at) for at in range(rng.randint(1, step), points_of(fault, place.met) + 1, step)
            ]
        done = examine(place, tries, rng)
        return {fault: {**vars(row), "wrong": dict(row.wrong)} for fault, row in done.items()}


def _wrong(row: Row) -> int:
    """How often something was wrong."""
    if row["part"] == "faults":
        return sum(sum(row[fault]["wrong"].values()) for fault in FAULTS)
    if row["part"] == "files":
        return sum(row.get(kind, 0) for kind in (*test_fuzz.KINDS[2:], "doors", "crashes"))
    return sum(row["wrong"].values())


# -- the page ----------------------------------------------------------------------------------------------

HEAD = """\
# Faults and bad input

Made by `make reliability` (`python tests/faults/table.py --out benchmarks/results/reliability.md{options}`),
seed {seed}, on a CPU, at commit {commits}, with {used}.

| what | count | result |
| --- | --- | --- |
{rows}

A struck command has to end as it should: killed, or with exit status 0, or with 2 and a word of why. The
same command after it has to end with 0, and to leave the bytes of a run that nothing happened to, and nothing
else; given once more, it has to change nothing (looked at after each kill, and after one of four other
faults). Manifests are compared without dates and seconds, and checkpoints by their tensors. Commands are
small: tiny networks or the shipped pose networks, a few steps, plots and grids of images blank, and what is
loaded or rendered is kept from run to run of a process. Those with two workers are started as users start
them; of their pages, which tell how long it took, only that they are there is looked at.

## By command

Its file operations (opening, writing, fsync, making, renaming, removing, locking), and how many were struck.

| command | operations | {faults} |
| --- |{right}
{commands}

## By reader

| reader | files | read | refused | wrong |
| --- | ---: | ---: | ---: | ---: |
{readers}
"""
WORDS = {
    EXCEPTION: "foreign exceptions or wrong exit statuses",
    HANG: "hangs",
    FILES: "torn, lost or left-over files",
    OUTSIDE: "files written elsewhere",
    ORPHANS: "orphans",
}


def page(settings: Mapping[str, Any], rows: Mapping[str, Row]) -> str:
    """All rows as Markdown."""

    def of(part: str) -> list[Row]:
        return [row for row in rows.values() if row["part"] == part]

    lines = [_of_files(of("files"))] if of("files") else []
    for row in of("doors"):
        lines.append(
            "| files that name code, programs, links, downloads or other folders, and damaged ones that were "
            f"found before | {row['tried']} | {row['wrong']['failed']} run, fetch, write elsewhere or crash |"
        )
    for fault in FAULTS if of("faults") else ():
        found = [row[fault] for row in of("faults")]
        points, tried = (sum(one[key] for one in found) for key in ("points", "tried"))
        what = f"{STRIKES[fault]}: {_commands(of('faults'))}"
        lines.append(f"| {what} | {tried:,} of {points:,} | {_result(found)} |")
    for part, how in (("kills", "forked"), ("kills with workers", "`python -m netinvert … --workers 2`")):
        if found := of(part):
            tried, met = (sum(one[key] for one in found) for key in ("tried", "before the end"))
            what = f"killed at a random moment, {how}: {_commands(found)}"
            lines.append(f"| {what} | {tried}, {met} of them before the end | {_result(found)} |")
    commands = [
        f"| {row['name']} | {row['kill']['points']} | {' | '.join(_tried(row[one]) for one in FAULTS)} |"
        for row in of("faults")
    ]
    readers = [
        f"| {' | '.join(map(str, (one['name'], one['tried'], *_taken(one), _wrong(one))))} |"
        for one in of("files")
    ]
    return HEAD.format(
        options=f" --files {settings['files']} --share {settings['share']}",
        seed=settings["seed"],
        used="; ".join(dict.fromkeys(row["with"] for row in rows.values())),
        commits=", ".join(dict.fromkeys(row["commit"] for row in rows.values())),
        rows="\n".join(lines),
        faults=" | ".join(FAULTS),
        right=" ---: |" * (1 + len(FAULTS)),
        commands="\n".join(commands),
        readers="\n".join(readers),
    )


def _commands(rows: list[Row]) -> str:
    count = len({row["name"].partition(",")[0] for row in rows})
    return f"{count} commands{f' in {len(rows)} forms' * (len(rows) > count)}"


def _taken(row: Row) -> tuple[int, int]:
    return row.get("read", 0), row.get("refused", 0)


def _of_files(rows: list[Row]) -> str:
    total = Counter[str]()
    for row in rows:
        total.update({name: value for name, value in row.items() if isinstance(value, int)})
    faults = {"foreign": "foreign exceptions", "hangs": "hangs", "crashes": "crashes"}
    faults |= {"memory": "take over 1.5 GB", "doors": "start programs, connect or write elsewhere"}
    said = ", ".join(f"{total[kind]} {text}" for kind, text in faults.items())
    read = f"{total['read']:,} read, {total['refused']:,} refused with a word"
    return f"| damaged files, {len(rows)} readers | {total['tried']:,} | {read}; {said} |"


def _tried(row: Row) -> str:
    wrong = sum(row["wrong"].values())
    return f"{row['tried']}{f' ({wrong} wrong)' * (wrong > 0)}"


def _result(found: list[Row]) -> str:
    total = Counter[str]()
    for row in found:
        total.update(row["wrong"])
    return ", ".join(f"{total[kind]} {text}" for kind, text in WORDS.items())


if __name__ == "__main__":
    sys.exit(main())
