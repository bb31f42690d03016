"""Frames a second of the studio's tabs, and memory over minutes, without a browser: what its process does.

python benchmarks/studio.py --minutes 5
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import torch

from netinvert.io.images import to_pil
from netinvert.studio.desk import Desk, Task, sample_picture
from netinvert.studio.inverting import Inverting
from netinvert.studio.looking import Looking
from netinvert.studio.turning import Turning

FRAMES = 40


def megabytes() -> float:
    """Of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measured(name: str, frame: Callable[[int], None]) -> None:
    """Print the CPU milliseconds of a frame, and frames a second by the clock and on an idle core."""
    frame(0)
    began, spent = time.perf_counter(), time.process_time()
    for k in range(FRAMES):
        frame(k)
    seconds, cpu = ((now - then) / FRAMES for now, then in
                    ((time.perf_counter(), began), (time.process_time(), spent)))  # fmt: skip
    rates = f"{1 / cpu:.1f} a second of CPU, {1 / seconds:.1f} by the clock"
    print(f"{name}: {1000 * cpu:.0f} ms of CPU a frame, {rates}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    desk = Desk(lambda told: None, Path(tempfile.mkdtemp()), 1)
    picture = BytesIO()
    to_pil(sample_picture("chelsea")[..., :256, :256]).save(picture, "JPEG")
    looking, turning, inverting = Looking(desk), Turning(desk), Inverting(desk, "left")
    layers = {"mobilenet-v2": "blocks.12", "posenet": "relu3"}

    def look(network: str, **more: object) -> None:
        shown = {"boost": 0.5, "back": "none", "picture": picture.getvalue()}
        looking.look(Task({"network": network, "layer": layers[network], **shown, **more}))

    def turn(k: int) -> None:
        pose = {"azimuth": 9.0 * k, "elevation": 20.0, "share": 0.5, "mode": "one", "amounts": [0.0] * 5}
        turning.turn(Task({"decoder": "posenet-fc6", **pose}))

    for network in layers:
        measured(f"look, {network}", lambda k, network=network: look(network))
        measured(f"look, {network}, a unit and its gradient",
                 lambda k, network=network: look(network, unit=k, back="gradient"))  # fmt: skip
    measured("turn", turn)
    rounds, began = 0, time.monotonic()
    while time.monotonic() - began < 60 * asked.minutes:
        for k in range(20):
            look("posenet" if k % 2 else "mobilenet-v2", unit=k, back="gradient")
            turn(k)
        settings = {"prior": "tv-isotropic", "weight": 0.1, "steps": 20}
        inverting.invert(Task({"network": "posenet", "layer": "relu3", **settings}))
        rounds += 1
        if rounds & (rounds - 1) == 0:
            print(f"{time.monotonic() - began:.0f} s, round {rounds}: {megabytes():.0f} MB", flush=True)
    print(f"{time.monotonic() - began:.0f} s, round {rounds}: {megabytes():.0f} MB")


if __name__ == "__main__":
    main()
