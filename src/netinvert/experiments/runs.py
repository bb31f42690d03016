"""How an experiment's run begins and ends: what its results depend on, and its report in its directory."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from netinvert.evaluation.report import Column, Report, Table
from netinvert.evaluation.report.report import Kind
from netinvert.experiments.configs.images import Invert
from netinvert.experiments.inputs import Source
from netinvert.io.cells import Piece
from netinvert.io.config import Config
from netinvert.io.files import read_json, write_atomic
from netinvert.io.manifest import MANIFEST, Outcome, manifest, versions
from netinvert.io.pieces import Device, OnNetwork, Processes
from netinvert.io.rundir import RunDir
from netinvert.io.workers import Workers
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.training.config import TrainingRun

ELSEWHERE = ("out", "overwrite", "json", "threads", "workers", "ray", "card", "trust")
"""Options that say where and how fast, not what."""
ANSWER = "answer"
"""In the manifest of a study: what it found, in a sentence or two, which ``study all`` tells."""
PAGE: tuple[Kind, ...] = ("html",)
"""The report as a page alone, where its tables are in the manifest and its images are files."""


def decoder_facts(decoders: Iterable[Decoder]) -> list[dict[str, str]]:
    """Names of decoders, and what they decode; the hash tells files of the same name apart."""
    return [
        {
            "name": one.name,
            "network": one.network,
            "layer": one.layer,
            "network_sha256": one.network_sha256,
            "sha256": weights_sha256(one.module),
        }
        for one in decoders
    ]


def run_facts(config: Config, known: Mapping[str, Any]) -> dict[str, Any]:
    """All that the results of a run depend on, by which its directory knows it again."""
    used = versions()
    return {
        "command": config.identity(),
        "versions": {name: used[name] for name in ("netinvert", "torch")},
        **known,
    }


def images_known(encoder: Encoder, sources: Iterable[Source], names: Iterable[str]) -> dict[str, Any]:
    """What the images of a run depend on beside the options: for ``run_facts``."""
    inputs = [(source["option"], source["sha256"]) for source in sources]
    return {"inputs": inputs, "names": list(names), "weights": encoder.weights_sha256()}


def network_facts(encoder: Encoder) -> dict[str, Any]:
    """Which network it is, for the manifest and for ``run_facts``."""
    return {**encoder.network.facts(), "weights_sha256": encoder.weights_sha256()}


def figures_table(
    figures: Mapping[str, float], beside: Mapping[str, Mapping[str, float]] | None = None
) -> Table:
    """Figures by their names in manifests, as "median_geodesic_deg", told in words; ``beside`` them, each in
    its column, those of baselines."""

    def words(name: str) -> str:
        name = re.sub(r"acc_(\d+)", r"within \1°", name)
        return re.sub("_deg$", " (°)", name).replace("_", " ")

    whole = {name: int(value) if name.endswith("units") else value for name, value in figures.items()}
    others = beside or {}
    rows = [(name, value, *(one.get(name) for one in others.values())) for name, value in whole.items()]
    return Table([Column("figure", show=words), "value", *others], rows, name="figures")


def made_by(config: Config) -> str:
    """The command as pages show it: a rerun elsewhere gives the same page."""
    return config.command_line(without=ELSEWHERE)


def workers_of(config: Processes) -> Workers:
    """Who makes the cells."""
    on_gpu = isinstance(config, Device) and config.device.startswith("cuda")
    return Workers(config.workers, config.ray, config.threads, gpus=1.0 if on_gpu else 0.0)


def invert_command(config: OnNetwork, **options: Any) -> str:  # noqa: ANN401
    """What inverts a code of the same network by ``netinvert invert``."""
    same = ("network", "weights", "size", "mean", "std", "order", "scale", "seed")
    return Invert(**{name: getattr(config, name) for name in same}, **options).command_line()


@contextlib.contextmanager
def training_of(piece: Piece, device: str = "cpu") -> Iterator[TrainingRun]:
    """Where a cell that is a training keeps its checkpoints, until it is done."""
    with contextlib.ExitStack() as stack:
        folder = None if piece.checkpoint is None else piece.checkpoint.with_suffix("")
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield TrainingRun(folder, device=device, progress=False)
        shutil.rmtree(folder, ignore_errors=True)


def file_part(text: str) -> str:
    """A name, such as a layer's, as a part of a file's name."""
    return re.sub(r"[^\w.=+-]", "_", text)


def threads_of(config: Config) -> int:
    """Of torch, in each process that computes: the order of sums depends on them."""
    if not isinstance(config, Processes):
        return torch.get_num_threads()
    if config.ray is not None:
        return config.threads or 1
    return config.threads or max(1, torch.get_num_threads() // config.workers)


def publish(
    run: RunDir,
    config: Config,
    report: Report,
    entries: Mapping[str, Any],
    text: str,
    kinds: Collection[Kind] = ("html", "md", "json", "csv", "png"),
) -> Outcome:
    """Write the report in these forms and the manifest with these entries, and finish the run."""
    report = replace(report, command=made_by(config))
    report.save(lambda name, data: write_atomic(run.path(name), data), kinds)
    folder = run.commit(manifest(config, {"threads": threads_of(config), **entries}))
    return Outcome(read_json(folder / MANIFEST), text, run.out)
