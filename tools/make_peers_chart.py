"""The chart of the README: seconds until a code error is reached, for netinvert and its peers.

python tools/make_peers_chart.py        # from benchmarks/results/peers.json to docs/peers.png
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from netinvert.evaluation.report import Panel, Plot, Series
from netinvert.io.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
LEVELS = ("0.5", "0.3", "0.2", "0.1")
TOOLS = {
    "netinvert": "netinvert",
    "netinvert-quick": "netinvert, quick",
    "plenoptic": "plenoptic",
    "lucent-plain": "lucent, no transforms",
    "torch-dreams-plain": "torch-dreams, no transforms",
    "horama-plain": "Horama, no crops",
}
PLACES = {
    ("mobilenet-v2", "blocks.5"): "mobilenet-v2, early",
    ("mobilenet-v2", "blocks.9"): "mobilenet-v2, middle",
    ("mobilenet-v2", "blocks.16"): "mobilenet-v2, late",
    ("objectron-chair", "blocks.2"): "objectron-chair, early",
    ("objectron-chair", "blocks.7"): "objectron-chair, middle",
    ("objectron-chair", "blocks.14"): "objectron-chair, late",
}


def seconds(jobs: list[dict], tool: str, place: tuple[str, str], level: str) -> float | None:
    """The median over jobs; None where most did not get there."""
    found = [
        (one["reached"].get(level) or {}).get("seconds")
        for one in jobs
        if one["job"]["tool"] == tool and (one["job"]["network"], one["job"]["layer"]) == place
    ]
    known = [value for value in found if value is not None]
    return median(known) if known and 2 * len(known) > len(found) else None


def main() -> None:
    """Draw and write."""
    jobs = list(json.loads((ROOT / "benchmarks/results/peers.json").read_text())["jobs"].values())
    panels = []
    for place, title in PLACES.items():
        series = [
            Series(
                name,
                [seconds(jobs, tool, place, level) for level in LEVELS],
                [float(level) for level in LEVELS],
                marker="o",
                width=2.6 if tool == "netinvert" else 1.4,
            )
            for tool, name in TOOLS.items()
        ]
        panels.append(
            Panel(series, title=title, x_label="seconds, one thread", y_label="code error", x_log=True)
        )
    plot = Plot(panels, title="Seconds until the code error is reached", columns=3, name="peers")
    write_atomic(ROOT / "docs/peers.png", plot.png())


if __name__ == "__main__":
    main()
