"""What a step of `netinvert pose train` costs over a bare loop on batches that lie ready in memory.

    python benchmarks/training.py --json benchmarks/results/training.json

The bare loop does forward, loss, backward, clipping and AdamW. The training does the same, and also makes
every batch (mirrored, shifted, recoloured, before backgrounds), keeps the running average, logs and saves.
Both are run in turn, round by round, in one process; medians over steps, then over rounds.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch

from netinvert.io.files import write_json
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import Views, load_arrays
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.config import TrainingRun
from netinvert.training.loop import CLIP
from netinvert.training.pose import train as training
from netinvert.training.pose.train import TOPOLOGIES, PoseBatch, PoseBatches, PoseConfig, PoseModel

WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="steps a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        render_dataset(DatasetConfig(identities=80, views=2, seed=9), data)
        ready = [PoseBatches(Views.of(load_arrays(data, "train")), 64, 0)(step) for step in range(8)]
        for network in TOPOLOGIES:
            plan = PoseConfig(
                network=network, samples=64 * (options.steps + WARM_UP), precision=options.precision
            )
            bare, ours = [], []
            for round_ in range(options.rounds):
                bare.append(bare_step(plan, ready))
                ours.append(training_step(plan, data, Path(folder) / f"{network}-{round_}"))
            row = {
                "network": network,
                "bare_ms": 1000 * statistics.median(bare),
                "training_ms": 1000 * statistics.median(ours),
                "ratio": statistics.median(one / other for one, other in zip(ours, bare, strict=True)),
                "samples_a_second": plan.batch / statistics.median(ours),
            }
            rows.append(row)
            print({name: value if isinstance(value, str) else round(value, 2) for name, value in row.items()})
    if options.json:
        write_json(options.json, {"threads": options.threads, "torch": torch.__version__, "rows": rows})


def bare_step(plan: PoseConfig, ready: list[PoseBatch]) -> float:
    """Seconds of a step of the bare loop."""
    model = PoseModel(plan).train()
    (optimizer,) = model.optimizers()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    times = []
    for step in range(plan.steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss, _ = model.losses(ready[step % len(ready)], step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        times.append(time.perf_counter() - began)
    return statistics.median(times[WARM_UP:])


def training_step(plan: PoseConfig, data: Path, folder: Path) -> float:
    """Seconds from one batch to the next of the very training that ``netinvert pose train`` runs."""
    asked: list[float] = []

    class Timed(PoseBatches):
        def __call__(self, step: int) -> PoseBatch:
            asked.append(time.perf_counter())
            return super().__call__(step)

    run = TrainingRun(folder, every=plan.steps, progress=False)
    with patch.object(training, "PoseBatches", Timed):
        training.train(plan, data, run)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    return statistics.median(gaps[WARM_UP:])


if __name__ == "__main__":
    main()
