"""Readers meet files that are nearly right: they read them, or raise an error of netinvert that names them.

The short form runs with the tests, the same files each time. ``make fuzz`` goes on for ten minutes with
another seed, and leaves what it finds in out/fuzz.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from readers import READERS

from netinvert.errors import NetinvertError

SECONDS, MEGABYTES = 20, 1500
"""That one file may take."""
READ, REFUSED, FOREIGN, HANG, MEMORY = KINDS = ("read", "refused", "foreign", "hangs", "memory")
"""What becomes of a file; the last three are faults."""


class TooLong(BaseException):
    """No reader catches this."""


@contextmanager
def timed() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak() -> float:
    """Of memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@cache
def samples_of(name: str) -> dict[str, bytes]:
    """The whole files of a reader."""
    return READERS[name].samples()


def taken(name: str, seed: tuple[int, ...], folder: Path) -> tuple[str, str]:
    """How a reader takes the odd file of a seed, which is left in the folder: one of KINDS, and in words."""
    reader, rng = READERS[name], np.random.default_rng(seed)
    for file, content in reader.beside().items():
        (folder / file).write_bytes(content)
    samples = samples_of(name)
    file = sorted(samples)[rng.integers(0, len(samples))]
    mutation = reader.mutations[rng.integers(0, len(reader.mutations))]
    path, before = folder / file, peak()
    path.write_bytes(mutation(samples[file], rng))
    kind, text = READ, ""
    try:
        with timed():
            reader.read(path)
    except NetinvertError as error:
        # A folder's name is enough for a dataset, and for what lies beside a file.
        named = str(folder) in str(error)
        kind, text = (REFUSED, "") if named else (FOREIGN, f"does not name the file: {error}")
    except TooLong:
        return HANG, f"takes more than {SECONDS} seconds"
    except Exception as error:
        kind, text = FOREIGN, f"{type(error).__name__}: {error}"
    more = peak() - before
    return (kind, text) if more < MEGABYTES else (MEMORY, f"takes {more:.0f} MB")


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name, tmp_path):
    reader = READERS[name]
    for part in (reader.beside(), reader.samples()):
        for file, content in part.items():
            (tmp_path / file).write_bytes(content)
    for file in reader.samples():
        reader.read(tmp_path / file)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow tells the user what is damaged, and that is right
@pytest.mark.parametrize("name", READERS)
def test_odd_files_are_read_or_refused(name, tmp_path):
    number = sorted(READERS).index(name)
    for k in range(READERS[name].count):
        kind, text = taken(name, (0, number, k), tmp_path)
        assert kind in (READ, REFUSED), f"{name}, seed (0, {number}, {k}): {kind}: {text}"


def main() -> int:
    """All readers in turn until the time is over; 1 if something was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=time.time_ns() // 10**9)
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    warnings.simplefilter("ignore")
    end, found, tried = time.monotonic() + asked.seconds, 0, 0
    for k in itertools.count():
        for number, name in enumerate(sorted(READERS)):
            if time.monotonic() > end:
                print(f"{tried:,} files, {found} faults, seed {asked.seed}")
                return int(found > 0)
            with tempfile.TemporaryDirectory() as folder:
                tried, (kind, text) = tried + 1, taken(name, (asked.seed, number, k), Path(folder))
                if kind not in (READ, REFUSED):
                    found += 1
                    kept = asked.out / f"{asked.seed}-{number}-{k}"
                    kept.mkdir(parents=True, exist_ok=True)
                    for file in filter(Path.is_file, Path(folder).iterdir()):
                        (kept / file.name).write_bytes(file.read_bytes())
                    print(f"{name}: {kind}: {text[:300]} ({kept})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
