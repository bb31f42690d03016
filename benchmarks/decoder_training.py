"""What a step of `netinvert decoder train` costs over a bare loop on batches that lie ready in memory.

    python benchmarks/decoder_training.py --json benchmarks/results/decoder-training.json

The bare loop encodes, decodes, takes the loss and its gradient, clips and moves AdamW. The training does the
same, and also makes every batch, keeps the running average, logs and saves. Both are run in turn, round by
round, in one process; medians over steps, then over rounds, by the clock of the processor.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import netinvert as ni
from netinvert.io.files import write_json
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.config import TrainingRun
from netinvert.training.decoder.images import ImageBatch, SceneImages
from netinvert.training.decoder.model import DecoderConfig
from netinvert.training.decoder.train import STATISTICS, new_model, train_decoder
from netinvert.training.loop import CLIP

WARM_UP = 5
LOSSES = ("pixel=1", "pixel=1+feature:relu3=0.05")
LAYERS = ("relu5", "relu7")


class Timed(SceneImages):
    """Notes when each batch is asked for."""

    asked: list[float]

    @classmethod
    def of(cls, folder: Path, seed: int) -> Timed:
        """Of a dataset's folder."""
        source = super().of(folder, seed)
        source.asked = []
        return source

    def batch(self, step: int, count: int) -> ImageBatch:
        self.asked.append(time.process_time())
        return super().batch(step, count)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="steps a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        render_dataset(DatasetConfig(identities=80, views=2, seed=9), data)
        for layer, loss in itertools.product(LAYERS, LOSSES):
            encoder = ni.Encoder(ni.load_network("posenet"), layer)
            plan = DecoderConfig(
                network="posenet", layer=layer, loss=loss, samples=64 * (options.steps + WARM_UP)
            )
            plan = replace(plan, precision=options.precision)
            bare, ours = [], []
            for round_ in range(options.rounds):
                source = Timed.of(data, 0)
                bare.append(bare_step(plan, encoder, source))
                ours.append(training_step(plan, encoder, source, Path(folder) / f"{layer}-{loss}-{round_}"))
            row = {
                "layer": layer,
                "loss": loss,
                "bare_ms": 1000 * statistics.median(bare),
                "training_ms": 1000 * statistics.median(ours),
                "ratio": statistics.median(one / other for one, other in zip(ours, bare, strict=True)),
                "samples_a_second": plan.batch / statistics.median(ours),
            }
            rows.append(row)
            print({name: value if isinstance(value, str) else round(value, 2) for name, value in row.items()})
    if options.json:
        write_json(options.json, {"threads": options.threads, "torch": torch.__version__, "rows": rows})


def bare_step(plan: DecoderConfig, encoder: ni.Encoder, source: Timed) -> float:
    """Seconds of a step of the bare loop."""
    ready = [source.batch(step, plan.batch) for step in range(8)]
    model = new_model(plan, encoder, source).train()
    (optimizer,) = model.optimizers()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    times = []
    for step in range(plan.steps):
        began = time.process_time()
        optimizer.zero_grad()
        batch = ready[step % len(ready)]
        loss, _, _ = model.loss(batch, model.codes(batch), step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        times.append(time.process_time() - began)
    return statistics.median(times[WARM_UP:])


def training_step(plan: DecoderConfig, encoder: ni.Encoder, source: Timed, folder: Path) -> float:
    """Seconds from one batch to the next of the very training that ``netinvert decoder train`` runs."""
    source.asked.clear()
    train_decoder(plan, encoder, source, TrainingRun(folder, every=plan.steps, progress=False))
    gaps = [later - earlier for earlier, later in itertools.pairwise(source.asked[STATISTICS:])]
    return statistics.median(gaps[WARM_UP:])


if __name__ == "__main__":
    main()
