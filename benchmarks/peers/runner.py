"""One job in a process of its own: ``python -m peers.runner JOB.json``, with its answer beside it.

Loads the network, runs the tool's adapter against the clock, then measures every kept picture with
netinvert's encoder, the same for all.
"""

from __future__ import annotations

import importlib
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import netinvert as ni
from netinvert.evaluation.metrics import ssim
from netinvert.inversion.objectives import code_error
from netinvert.io.assets import chair, photographs
from netinvert.io.files import save_tensors
from peers import memory
from peers.case import Case
from peers.recorder import Recorder
from peers.tools import tool

ERRORS = (0.5, 0.3, 0.2, 0.1)
CHUNK = 8
CURVE = 60
"""Points of the curve that are written down."""


@dataclass(frozen=True)
class Job:
    """What to run and for how long. ``clock`` is ``wall`` or ``cpu``."""

    tool: str
    network: str
    layer: str
    picture: str
    seconds: float
    threads: int
    clock: str
    seed: int


def main() -> None:
    """Do the job in the file; write ``.answer.json`` and the last picture beside it."""
    file = Path(sys.argv[1])
    job = Job(**json.loads(file.read_text()))
    torch.set_num_threads(job.threads)
    answer, image = run(job, file.with_suffix(".raw"))
    save_tensors(file.with_suffix(".safetensors"), {"image": image}, None)
    file.with_suffix(".answer.json").write_text(json.dumps(answer))


def run(job: Job, file: Path) -> tuple[dict, Tensor]:
    """The answer and the last picture, clamped to [0, 1]."""
    network = ni.load_network(job.network)
    original = picture(job.picture, network.preprocessing.size)
    case = Case(network, job.layer, original, job.seed)
    module, _, function = tool(job.tool).adapter.partition(":")
    adapter = getattr(importlib.import_module(f"peers.adapters.{module}"), function)
    case.warm_up()
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(job.seed)
    recorder = Recorder(job.seconds, file, job.clock)
    memory.reset_peak()
    before = memory.resident()
    extra = adapter(case, recorder) or {}
    peak = memory.peak()
    # A network of our own, for a peer may have left hooks and half of a graph in the other.
    answer = measured(recorder, ni.Encoder(ni.load_network(job.network), job.layer), original)
    answer |= {
        "wall": recorder.wall,
        "cpu": recorder.cpu,
        "peak_mb": peak,
        "extra_mb": peak - before,
        **extra,
    }
    last = recorder.images(len(recorder.times) - 1, len(recorder.times)).clamp(0, 1)
    file.unlink()
    return answer, last


def picture(name: str, size: tuple[int, int]) -> Tensor:
    """A picture of the package: its chair or one of its photographs."""
    if name == "chair":
        return chair(size).image
    names, images = photographs(size)
    if name not in names:
        raise SystemExit(f"no picture {name!r}; there are chair, {', '.join(names)}")
    return images[names.index(name)][None]


@torch.no_grad()
def measured(recorder: Recorder, encoder: ni.Encoder, original: Tensor) -> dict:
    """Code errors of the pictures clamped to [0, 1]; times to the errors, likeness there and at the end."""
    target = encoder(original)
    count = len(recorder.times)
    errors: list[float] = []
    for start in range(0, count, CHUNK):
        images = recorder.images(start, min(start + CHUNK, count)).clamp(0, 1)
        errors += code_error(encoder(images), target.expand(len(images), *target.shape[1:])).tolist()

    def likeness(index: int) -> float | None:
        return number(ssim(recorder.images(index, index + 1), encoder.fit(original)).item())

    reached = {}
    for level in ERRORS:
        index = first_at(errors, level)
        reached[str(level)] = (
            None if index is None else {"seconds": recorder.times[index], "ssim": likeness(index)}
        )
    return {
        "reached": reached,
        "error": number(errors[-1]),
        "ssim": likeness(count - 1),
        "best_error": min((value for value in errors if math.isfinite(value)), default=None),
        "seconds": recorder.elapsed,
        "steps": recorder.steps,
        "curve": thinned(recorder.times, errors),
    }


def first_at(errors: Sequence[float], level: float) -> int | None:
    """The first index at which the error is no larger than the level."""
    return next((index for index, error in enumerate(errors) if error <= level), None)


def number(value: float) -> float | None:
    """None for what JSON has no word for."""
    return value if math.isfinite(value) else None


def thinned(times: Sequence[float], errors: Sequence[float]) -> list[tuple[float, float | None]]:
    """At most CURVE points (seconds, error), evenly from all, with the first and the last."""
    count = len(times)
    chosen = sorted({round(i * (count - 1) / (CURVE - 1)) for i in range(CURVE)})
    return [(round(times[i], 4), None if number(errors[i]) is None else round(errors[i], 4)) for i in chosen]


if __name__ == "__main__":
    main()
