"""Train all pose networks and decoders that netinvert ships, on one GPU.

    netinvert scenes render --objects chairs --count 4000 --views 10 --pixels 128 --seed 0 --out out/chairs
    netinvert scenes render --objects sh3f:out/furniture/BlendSwap-CC-0.sh3f --category seat --count 20 \
        --views 150 --pixels 128 --seed 3 --splits 1 0 0 --identities-a-shard 1 --out out/seats
    python tools/train_networks.py pose --data out/chairs out/seats --out out/networks
    python tools/train_networks.py decoders --data out/chairs --out out/networks

Each is what ``netinvert pose train`` and ``netinvert decoder train`` make by the command in its card; here
the dataset is read once, and the trainings share it. Side by side they are slower than one after the other
where they wait for the GPU, so few run at once. What was stopped (SIGTERM) goes on by the same command, also
with --seconds where it had --samples. (``posenet-judge`` is trained on other renders, on a CPU: see its
card.)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network
from netinvert.scenes.dataset_reader import POOL, Arrays, Views, read_shard, shard_paths, stacked
from netinvert.training.card import export
from netinvert.training.config import Group, TrainingRun
from netinvert.training.decoder.images import SceneImages, described
from netinvert.training.decoder.model import DecoderConfig
from netinvert.training.decoder.train import figures_of, held_out_images, new_model, train_decoder
from netinvert.training.loop import LAST, Trainee
from netinvert.training.pose.batches import VARIED, PoseBatches, composed, surroundings_pool
from netinvert.training.pose.train import PoseConfig, PoseModel, on_fixed_backgrounds, train_pose_on

POSE: dict[str, dict[str, Any]] = {
    "posenet": {"surroundings": "varied"},
    "posenet-only": {"surroundings": "varied", "task": "pose"},
    "posenet-match": {"surroundings": "varied", "task": "match"},
    "posenet-plain": {"surroundings": "plain"},
    "posenet-only-1": {"surroundings": "varied", "task": "pose", "seed": 11},
    "posenet-only-2": {"surroundings": "varied", "task": "pose", "seed": 12},
}
"""What differs from ``netinvert pose train --network posenet``; the last two are not shipped."""
LOSS = "pixel=1+feature:relu3=0.05"
DECODERS: dict[str, dict[str, Any]] = {
    "posenet-fc7": {"layer": "relu7", "corrections": 2, "loss": f"{LOSS}+feature:relu7=0.1"},
    "posenet-fc6": {"layer": "relu6", "corrections": 2, "loss": f"{LOSS}+feature:relu6=0.1"},
    "posenet-conv5": {"layer": "relu5", "corrections": 1},
    "posenet-pose": {"layer": "fc8", "corrections": 2},
    "posenet-fc6-pixel": {"layer": "relu6", "loss": "pixel=1"},
    "posenet-fc6-feature": {"layer": "relu6", "loss": LOSS},
    "posenet-fc6-sharp": {"layer": "relu6", "loss": f"{LOSS}+adversarial=0.005"},
    "objectron-chair": {
        **{"network": "objectron-chair", "layer": "blocks.14"},
        **{"loss": "pixel=1+feature:posenet/relu3=0.05"},
    },
}
"""What differs from ``netinvert decoder train --network posenet --loss LOSS``."""


VALIDATION_SEED = 0
WARM, TIMED = 15, 40
"""Steps before and while a step is timed."""
RESERVE = 10.0
"""Seconds for what comes after a training."""
Config = TypeVar("Config", PoseConfig, DecoderConfig)


@dataclass(frozen=True)
class Job:
    """A training: its name, what differs in it, and where its files go."""

    name: str
    what: dict[str, Any]
    options: argparse.Namespace
    until: float | None = None
    """When it is to be done."""

    def run(
        self, train: Views, validation: Views, pools: dict[int, Tensor], data: list[dict[str, Any]]
    ) -> None:
        """Do it, and write weights and card."""
        began = time.time()
        make = self._pose if self.options.which == "pose" else self._decoder
        made = make(train, validation, pools, data)
        print(f"{self.name}: {made}, {time.time() - began:.0f} s", flush=True)

    def _run(self) -> TrainingRun:
        return TrainingRun(
            self.options.out / f"{self.name}-training",
            every=100_000,
            minutes=100.0,
            device=self.options.device,
            compiled=self.options.compiled,
            progress=False,
        )

    def _how(self, config: PoseConfig | DecoderConfig) -> tuple[str, str]:
        size = f"--samples {config.samples} --batch {config.batch} --precision {config.precision}"
        return size, "--device cuda" + " --compiled" * self.options.compiled

    def _facts(self, command: str, data: list[dict[str, Any]], figures: dict[str, float]) -> dict[str, Any]:
        rounded = {name: round(value, 4) for name, value in figures.items()}
        return {"command": command, "data": data[0], "more_data": data[1:], "figures": rounded}

    def _affordable(self, config: Config, model: Trainee, batches: Callable[[int], Any]) -> Config:
        """The config with as many samples as can be had in time beside the other trainings."""
        if self.until is None:
            return config
        device = torch.device(self.options.device)
        model.place(device)
        if self.options.compiled:
            model.fuse()
        model.train()
        if isinstance(batches, PoseBatches):
            batches.to(device)
            if self.options.compiled:
                batches.compose = torch.compile(composed)
        optimizers, group, began = model.optimizers(), Group(device), 0.0
        for step in range(WARM + TIMED):
            model.learn(batches(step), step, optimizers, group)["total"].item()
            if step == WARM - 1:
                began = time.time()
        each = (time.time() - began) / TIMED
        left = self.until - RESERVE - time.time()
        done = steps_done(self._run().folder / LAST)
        steps = done + int(left / each)
        print(f"{self.name}: {1000 * each:.1f} ms a step, {done:,} of {steps:,}, {left:.0f} s", flush=True)
        return replace(config, samples=max(steps, 2) * config.batch)

    def _pose(
        self, train: Views, validation: Views, pools: dict[int, Tensor], data: list[dict[str, Any]]
    ) -> str:
        config = PoseConfig(
            samples=self.options.samples,
            batch=self.options.batch,
            precision=self.options.precision,
            **self.what,
        )
        pool = pools[config.seed] if config.surroundings == VARIED else None
        batches = PoseBatches(train, config.batch, config.seed, config.surroundings, pool)
        config = self._affordable(config, PoseModel(config), batches)
        del batches
        watched = on_fixed_backgrounds(validation, VALIDATION_SEED)
        model = train_pose_on(config, train, watched, self._run(), pool)
        figures = model.figures(watched)
        words = [
            "netinvert pose train --data out/chairs out/seats --network posenet --name",
            *(self.name, *(f"--{name} {value}" for name, value in self.what.items())),
            *self._how(config),
        ]
        export(self.options.out / self.name, model.file(self._facts(" ".join(words), data, figures)))
        return str({name: round(value, 3) for name, value in figures.items()})

    def _decoder(
        self, train: Views, validation: Views, pools: dict[int, Tensor], data: list[dict[str, Any]]
    ) -> str:
        what = {"network": "posenet", "loss": f"{LOSS}", **self.what}
        config = DecoderConfig(
            samples=self.options.samples,
            batch=min(256, self.options.batch),
            rate=2e-3,
            precision=self.options.precision,
            **what,
        )
        weights = self.options.out / "posenet.safetensors" if config.network == "posenet" else None
        network = load_network(config.network, None if weights is None else str(weights))
        encoder = Encoder(network, config.layer)
        textures = pools[config.seed][:POOL]
        source: Any = SceneImages(train, validation, config.seed, textures)
        if self.until is not None:
            there = source.to(torch.device(self.options.device))
            trial = new_model(config, encoder.to(self.options.device), there)
            config = self._affordable(config, trial, partial(there.batch, count=config.batch))
            del there, trial
        model = train_decoder(config, encoder, source, self._run())
        figures, _ = figures_of(model, held_out_images(source, encoder))
        words = [
            f"netinvert decoder train --network {config.network} --layer {config.layer} --data out/chairs",
            f"--name {self.name} --loss {config.loss} --corrections {config.corrections} --rate 2e-3",
            *self._how(config),
        ]
        export(self.options.out / self.name, model.file(self._facts(" ".join(words), data, figures)))
        return str({name: round(value, 3) for name, value in figures.items()})


def main() -> None:
    """Read the data once, then train in a process each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", choices=("pose", "decoders"))
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="names of what to train")
    parser.add_argument("--samples", type=int, default=3_000_000)
    parser.add_argument("--seconds", type=float, help="take as many samples as can be had in this time")
    parser.add_argument("--lanes", type=int, default=2, help="so many trainings at once")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--compiled", action="store_true", help="as of netinvert pose train")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    known = POSE if options.which == "pose" else DECODERS
    jobs = [Job(name, known[name], options) for name in options.only or known]
    seeds = sorted({job.what.get("seed", 0) for job in jobs})
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(mp_context=fork) as executor:
        promised = {seed: executor.submit(surroundings_pool, VARIED, seed, 128) for seed in seeds}
        train = Views.of(*(loaded(one, "train", executor) for one in options.data))
        pools = {seed: one.result() for seed, one in promised.items()}
        validation = Views.of(loaded(options.data[0], "validation", executor))
    print(f"{len(train.rgba):,} views read in {time.time() - began:.0f} s", flush=True)
    data = [described(str(one)) for one in options.data]
    given = (train, validation, pools, data)  # shared by the processes
    until = None if options.seconds is None else began + options.seconds
    lanes = [jobs[lane :: options.lanes] for lane in range(min(options.lanes, len(jobs)))]
    running = [fork.Process(target=run_lane, args=(lane, until, given)) for lane in lanes]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise SystemExit("not all could be trained: see above")


def steps_done(checkpoint: Path) -> int:
    """How far a training is that was stopped; 0 of a new one."""
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, "pt") as file:
        return int(json.loads(file.metadata()["training"])["step"])


def run_lane(jobs: Sequence[Job], until: float | None, given: tuple[Any, ...]) -> None:
    """Trainings one after the other; the time that is left is shared among those that are left."""
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True  # of three channels it guesses a kernel that takes half of a step
    failed = []
    for place, job in enumerate(jobs):
        now = time.time()
        end = None if until is None else now + (until - now) / (len(jobs) - place)
        try:
            replace(job, until=end).run(*given)
        except Exception:  # the others go on
            traceback.print_exc()
            failed.append(job.name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def loaded(folder: Path, split: str, executor: Executor) -> Arrays:
    """As ``load_arrays``, by all cores, without the records."""
    parts = list(executor.map(_shard, shard_paths(folder, split)))
    names = ("rgba", "mask", "parts", "rotation", "symmetry", "identity")
    joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in parts]) for name in names}
    return Arrays(**joined, records=())


def _shard(path: Path) -> Arrays:
    whole = stacked(list(read_shard(path)))
    return Arrays(
        whole.rgba, whole.mask, whole.parts[:, :1, :1], whole.rotation, whole.symmetry, whole.identity, ()
    )


if __name__ == "__main__":
    main()
