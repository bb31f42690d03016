"""Record what many small runs give, and see later whether the same code still gives the same bits.

    python tools/same_bits.py record FILE [--only NAME] [--whole]
    python tools/same_bits.py compare FILE [--only NAME]

``tools/bits`` holds the runs, ``tools/bits/record.json`` what they gave when it was last committed: one hash
a run. ``--only`` performs the runs whose names, GROUP/NAME, contain NAME. Records made with ``--whole`` have
every result of a run, so that ``compare`` says which of them differ: make one in a checkout of the old
commit. Bits depend on the processor and on packages: on another machine, record the old commit first.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
GROUPS = ("inversion", "networks", "scenes", "training", "commands", "studies")
PACKAGES = ("torch", "numpy", "pillow", "scikit-learn", "scipy", "trimesh", "embreex", "mitsuba", "timm")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
FAILED = "failed"
Runs = dict[str, dict[str, str]]
"""Every result by its label, by run."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "command", choices=("record", "compare", "perform"), help="(they perform by themselves)"
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", metavar="NAME")
    parser.add_argument("--whole", action="store_true", help="record every result, not one hash a run")
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    if asked.command == "perform":
        asked.file.write_text(json.dumps(perform(asked.group, asked.only)))
        return 0
    began = time.monotonic()
    runs = in_processes(asked.only)
    print(f"{len(runs)} runs with {sum(map(len, runs.values()))} results in {time.monotonic() - began:.0f} s")
    if asked.command == "compare":
        return compare(json.loads(asked.file.read_text()), runs, asked.only)
    kept = {name: run if asked.whole else short_hash(run) for name, run in sorted(runs.items())}
    text = json.dumps({"made_with": facts(), "runs": kept}, indent=1, ensure_ascii=False)
    asked.file.write_text(f"{text}\n")
    return int(any(FAILED in run for run in runs.values()))


def in_processes(only: str) -> Runs:
    """Perform the runs of every group in a process of its own, with one thread."""
    runs: Runs = {}
    for group in [only.partition("/")[0]] if only.partition("/")[0] in GROUPS else GROUPS:
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.json"
            words = [sys.executable, __file__, "perform", str(part), "--group", group, "--only", only]
            code = subprocess.run(words, env={**os.environ, **ONE_THREAD}, check=False).returncode
            failure = {group: {FAILED: f"the process ended with {code}"}}
            runs |= json.loads(part.read_text()) if part.exists() else failure
    return runs


def perform(group: str, only: str) -> Runs:
    """The runs of a group, in this process."""
    import torch
    from bits.values import flat

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    runs: Runs = {}
    for short, run in importlib.import_module(f"bits.{group}").RUNS.items():
        if only not in (name := f"{group}/{short}"):
            continue
        began = time.monotonic()
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            try:
                runs[name] = flat(run(Path(folder)))
            except Exception as error:  # a run that fails leaves the others alone
                traceback.print_exc()
                runs[name] = {FAILED: f"{type(error).__name__}: {error}"[:500]}
        print(f"{name}: {len(runs[name])} results, {time.monotonic() - began:.1f} s", flush=True)
    return runs


def facts() -> dict[str, str]:
    """What bits depend on beside the code."""
    import torch

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    found = {"processor": f"{platform.machine()} {model} {torch.backends.cpu.get_cpu_capability()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return {**found, "python": platform.python_version()}


def short_hash(run: dict[str, str]) -> str:
    if FAILED in run:
        return f"{FAILED}: {run[FAILED]}"
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]


def compare(record: dict[str, dict], runs: Runs, only: str) -> int:
    """Print which runs differ; 0 if none does."""
    before = {name: run for name, run in record["runs"].items() if only in name}
    differ = [
        name for name in sorted(before.keys() | runs.keys()) if not same(before.get(name), runs.get(name))
    ]
    for name in differ:
        old, new = before.get(name), runs.get(name)
        if old is None or new is None or FAILED in new:
            print(f"{name}: {'is new' if old is None else 'is gone' if new is None else new[FAILED]}")
        elif isinstance(old, str):
            print(f"{name}: differs")
        else:
            for label in sorted(old.keys() | new.keys()):
                if (was := old.get(label, "nothing")) != (now := new.get(label, "nothing")):
                    print(f"{name}: {label}: {was[:60]}, now {now[:60]}")
    equal = len(before.keys() - set(differ))
    print(f"{equal} of {len(before)} runs are the same to the bit, {len(differ)} differ")
    made = record["made_with"]
    others = [f"{key} {was}, now {facts()[key]}" for key, was in made.items() if was != facts()[key]]
    if others:
        print(
            f"WARNING: the record is from elsewhere: {'; '.join(others)}.\nDifferences may come from that: "
            "record the old commit here, and compare with that."
        )
    return int(bool(differ))


def same(old: str | dict[str, str] | None, new: dict[str, str] | None) -> bool:
    if new is None or FAILED in new:
        return False
    return old == (short_hash(new) if isinstance(old, str) else new)


if __name__ == "__main__":
    sys.exit(main())
