"""CPU seconds and memory of commands, one thread each, start of Python and torch included.

    python benchmarks/costs.py

writes benchmarks/results/costs.md; about ten minutes of one core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "costs.md"
COMMANDS = """
networks
encode sample:chair --network posenet --layer relu7 --out code.npy
decode sample:chair --decoder posenet-fc7 --out decoded
invert sample:chair --network posenet --layer relu7 --out fitting-decoder
invert sample:chair --network posenet --layer relu7 --preset quick --out quick
invert sample:chair --network posenet --layer relu7 --preset default --out default
invert sample:chelsea --network objectron-chair --layer blocks.2 --out early
invert sample:chelsea --network objectron-chair --layer blocks.7 --out middle
invert sample:chelsea --network objectron-chair --layer blocks.14 --out late
look sample:chelsea --network posenet --out look
maximise --network posenet --layer relu3 --channel 8 --out channel
pose read sample:chair --out pose
explain saliency sample:chair --network posenet --targets pose --out saliency
explain occlusion sample:chair --network posenet --target pose --out occlusion
scenes render --count 10 --views 10 --workers 1 --out data
views generate --objects 0 1 2 --azimuths 30 210 --out views
"""


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for line in COMMANDS.strip().splitlines():
            words = [sys.executable, "-m", "netinvert", *line.split()]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            child = subprocess.Popen(
                words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, used = os.wait4(child.pid, 0)
            if status:
                raise SystemExit(f"{line} failed: {status}")
            seconds, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
            rows.append(f"| `netinvert {line}` | {seconds:.1f} | {memory / 1000:.1f} |")
            print(rows[-1], flush=True)
    heading = [
        "# What commands cost",
        "",
        "CPU seconds of one thread, the start of Python and torch included, and the most",
    ]
    heading += [
        "memory in GB, by `python benchmarks/costs.py`.",
        "",
        "| command | CPU s | GB |",
        "| --- | --- | --- |",
    ]
    RESULTS.write_text("\n".join([*heading, *rows]) + "\n")


if __name__ == "__main__":
    main()
