"""What every training shares: Lightning runs it, saves it, and takes it up again."""

from __future__ import annotations

import logging
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from netinvert.errors import MissingExtraError, NetinvertError
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import Damaged

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer

LAST = "last.ckpt"
LOG_EVERY = 50
WARM_UP, DECAY = 500, 0.3
"""Steps of rising rate, and the share of all steps in which it falls to zero at the end."""


class TrainingError(NetinvertError):
    """A training that cannot go on."""


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a training runs. ``every`` counts steps between checkpoints and validations;
    ``devices`` and ``nodes`` go to Lightning; ``progress`` shows a bar; ``damaged`` shards of the training
    split are refused or skipped; ``tell`` hears which were skipped."""

    folder: Path
    every: int = 1000
    threads: int | None = None
    devices: int = 1
    nodes: int = 1
    progress: bool = True
    damaged: Damaged = "refuse"
    tell: Callable[[str], object] = warnings.warn


class _Beats(IterableDataset[int]):
    """Nothing but a beat: the batch is made from the step's number."""

    def __iter__(self) -> Iterator[int]:
        step = 0
        while True:
            yield step
            step += 1


def fit(module: LightningModule, steps: int, run: TrainingRun, clip: float | None = None) -> None:
    """Train for ``steps`` optimiser steps in all, taking up what ``run.folder`` holds; ``clip`` is of the
    gradient's norm. Checkpoints and TensorBoard logs go to the folder.

    Raises:
        TrainingError: the checkpoint is damaged or of another training.
    """
    last = run.folder / LAST
    if last.exists():
        _check(last, module)
    with warnings.catch_warnings():
        # Lightning points at its own habits (few workers, no length); none of them is a mistake here
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch")
        _trainer(steps, run, clip).fit(
            module,
            DataLoader(_Beats(), batch_size=None),
            DataLoader([0], batch_size=None),  # type: ignore[arg-type]
            ckpt_path=str(last) if last.exists() else None,
            weights_only=True,
        )


def is_main_process() -> bool:
    """Whether this process writes what was trained; with several devices or machines the others do not."""
    from lightning.pytorch.utilities import rank_zero_only

    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def lightning_module() -> type[LightningModule]:
    """Lightning's base class. Raises MissingExtraError where lightning is not installed."""
    try:
        from lightning import LightningModule
    except ImportError as error:
        raise MissingExtraError("training", "training") from error
    return LightningModule


def rate_at(step: int, steps: int) -> float:
    """The share of the peak rate: rising, constant, then falling to zero.

    As long as the rate is constant, nothing depends on how many steps are still to come.
    """
    left = (steps - step) / max(DECAY * steps, 1)
    return max(0.0, min(1.0, (step + 1) / WARM_UP, left))


@torch.no_grad()
def move_average(average: nn.Module, now: nn.Module, step: int, keep: float) -> None:
    """Move a running average towards the weights; quickly at first."""
    keep = min(keep, (1 + step) / (10 + step))
    pairs = [(a, b) for a, b in zip(_tensors(average), _tensors(now), strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - keep)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _check(last: Path, module: nn.Module) -> None:
    """A checkpoint of this training, whole."""
    remedy = f"delete {last} to start anew, or choose another folder"
    try:
        saved = torch.load(last, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except Exception as error:
        raise TrainingError(f"{last} is damaged or of another version ({error}): {remedy}") from error
    own = module.state_dict()
    differing = sorted(saved.keys() ^ own.keys()) or [
        name for name, value in saved.items() if value.shape != own[name].shape
    ]
    if differing:
        raise TrainingError(
            f"{last} is of another training ({len(differing)} tensors differ, {differing[0]} first): {remedy}"
        )


def _trainer(steps: int, run: TrainingRun, clip: float | None) -> Trainer:
    from lightning import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import TensorBoardLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    keep = ModelCheckpoint(
        dirpath=run.folder,
        filename=Path(LAST).stem,
        every_n_train_steps=run.every,
        save_top_k=1,
        enable_version_counter=False,
    )
    return Trainer(
        accelerator="auto",
        devices=run.devices,
        num_nodes=run.nodes,
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=run.every,
        num_sanity_val_steps=0,
        gradient_clip_val=clip,
        log_every_n_steps=LOG_EVERY,
        callbacks=[keep],
        logger=TensorBoardLogger(run.folder, name="logs", version=""),
        enable_progress_bar=run.progress,
        enable_model_summary=False,
    )


def data_command(plan: Mapping[str, Any]) -> str:
    """The command that renders the dataset of a plan (``DatasetConfig.to_json``)."""
    always = ("objects", "identities", "views", "size", "seed")
    usual = DatasetConfig().to_json()
    words = ["netinvert", "scenes", "render"]
    for name, value in DatasetConfig.from_json(plan).to_json().items():
        if name in always or value != usual[name]:
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def figures_table(title: str, figures: Mapping[str, float] | None) -> list[str]:
    """Lines of Markdown; none without figures."""
    if not figures:
        return []
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    return [f"{title}:", "", "| figure | value |", "| --- | --- |", *rows, ""]
