"""Images that are optimised together, as cells of a run: invert, maximise, caricature."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.inversion.invert import Inversion
from netinvert.inversion.optimize import Run
from netinvert.inversion.result import Result, StepInfo
from netinvert.io.cells import Cell, Piece
from netinvert.io.pieces import Device, Processes
from netinvert.io.workers import Workers

SECONDS_BETWEEN_MEASURES = 2.0
"""A measure costs a pass through the network."""


@dataclass(frozen=True)
class Batch:
    """The key of a cell: the number of its first image among all of the run, and a seed for each image."""

    first: int
    seeds: tuple[int, ...]

    @property
    def part(self) -> slice:
        """Its images among all."""
        return slice(self.first, self.first + len(self.seeds))


@dataclass(frozen=True, eq=False)
class Measure:
    """What is told of images (N, C, H, W) while they are made, (N,), as it is of the results."""

    name: str
    of: Callable[[Tensor], Tensor]


def workers_of(config: Processes) -> Workers:
    """Who makes the batches."""
    on_gpu = isinstance(config, Device) and config.device.startswith("cuda")
    return Workers(config.workers, config.ray, config.threads, gpus=1.0 if on_gpu else 0.0)


def optimised(ready: Inversion, seeds: tuple[int, ...], piece: Piece, told: Measure) -> Cell:
    """A batch's images. Raises KeyboardInterrupt when it was stopped, with its state in the checkpoint."""
    run = Run(seed=seeds, callback=_telling(piece, told), checkpoint=piece.checkpoint)
    result = ready.run(run)
    if result.interrupted:
        raise KeyboardInterrupt
    return Cell(*result.to_tensors())


def _telling(piece: Piece, told: Measure) -> Callable[[StepInfo], None]:
    """The callback that tells the progress: of the images that would be kept now."""
    last, text = -SECONDS_BETWEEN_MEASURES, ""

    def callback(info: StepInfo) -> None:
        nonlocal last, text
        if time.monotonic() - last >= SECONDS_BETWEEN_MEASURES or info.step == info.steps:
            with torch.no_grad():
                text = f"{told.name} {told.of(info.best_image).nanmean().item():.3f}"
            last = time.monotonic()
        piece.tell(info.step / info.steps, f"step {info.step} of {info.steps}: {text}")

    return callback


def result_of(cells: Iterable[Cell], device: torch.device) -> Result:
    """One result of all batches."""
    return Result.join([Result.from_tensors(cell.tensors, cell.facts, device) for cell in cells])
