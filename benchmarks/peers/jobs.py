"""Which jobs there are, and running one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from peers.environments import python_of
from peers.runner import Job
from peers.tools import PACKAGES, tool

LAYERS = {
    "mobilenet-v2": {"early": "blocks.5", "middle": "blocks.9", "late": "blocks.16"},
    "objectron-chair": {"early": "blocks.2", "middle": "blocks.7", "late": "blocks.14"},
}
PICTURES = {"mobilenet-v2": "chelsea", "objectron-chair": "chair"}
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".peers"
PATIENCE = 600
"""Seconds that a job may take for loading and measuring, beyond its time of optimisation."""


@dataclass(frozen=True)
class Choice:
    """What the user wants to be run."""

    tools: tuple[str, ...]
    networks: tuple[str, ...]
    layers: tuple[str, ...]
    pictures: tuple[str, ...]
    repeat: int


def jobs(choice: Choice, settings: dict) -> list[Job]:
    """All tools on one layer, then the next layer; ``settings``: seconds, threads, clock, seed."""
    found = []
    for network in choice.networks:
        for depth, layer in LAYERS[network].items():
            if choice.layers and not {depth, layer} & set(choice.layers):
                continue
            for picture in choice.pictures or (PICTURES[network],):
                for again in range(choice.repeat):
                    with_seed = settings | {"seed": settings["seed"] + again}
                    found += [Job(name, network, layer, picture, **with_seed) for name in choice.tools]
    return found


def key(job: Job) -> str:
    """The name of a job's result; jobs that differ in it only are run side by side."""
    return f"{job.network} {job.layer} {job.picture} {job.tool} {job.seed}"


def depth_of(network: str, layer: str) -> str:
    """early, middle or late."""
    return next((depth for depth, name in LAYERS.get(network, {}).items() if name == layer), "")


def is_done(job: Job, results: dict) -> bool:
    """Whether the very same job has an answer."""
    found = results.get(key(job))
    return found is not None and "failed" not in found and found["job"] == asdict(job)


def perform(job: Job, images: Path) -> dict:
    """Run it in the tool's environment; what it measured, or the reason why it failed."""
    images.mkdir(parents=True, exist_ok=True)
    file = images / (key(job).replace(" ", "-") + ".json")
    file.write_text(json.dumps(asdict(job)))
    answer, log = file.with_suffix(".answer.json"), file.with_suffix(".log")
    answer.unlink(missing_ok=True)
    environment = tool(job.tool).environment
    python = (
        Path(sys.executable)
        if environment is None
        else python_of(environment, PACKAGES[environment], ENVIRONMENTS)
    )
    threads = {name: str(job.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with log.open("w") as output:
        try:
            subprocess.run(
                [str(python), "-m", "peers.runner", str(file)],
                env={**os.environ, **threads, "PYTHONPATH": str(HERE.parent)},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=job.seconds + PATIENCE,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            return {"job": asdict(job), "failed": f"{last_line(log)} ({type(error).__name__})"}
    return {"job": asdict(job), **json.loads(answer.read_text())}


def last_line(log: Path) -> str:
    """What a process said last."""
    lines: Sequence[str] = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no word"
