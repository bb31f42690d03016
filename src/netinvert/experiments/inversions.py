"""Many inversions, each kept on disk as soon as it is done, and what is measured of them."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.evaluation.evaluate import Reference, evaluate_result
from netinvert.evaluation.naturalness import gradient_histogram, gradient_statistics, histogram_intersection
from netinvert.evaluation.save_results import describe_recipe
from netinvert.inversion.history import STATUS
from netinvert.inversion.invert import prepare
from netinvert.inversion.optimize import Run
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import FileError, load_tensors, plain_json, save_tensors
from netinvert.io.manifest import versions
from netinvert.models.encoder import Encoder

DIVERGED = STATUS[3]
MEASURES = ("cvpr15", "ijcv16", "cvpr16", "naturalness", "gradients", "ssim", "psnr", "pose", "judged")
"""The code errors by name; the intersections of histograms of gradients, by direction and by strength and
direction; likeness to the original; the geodesic
difference in degrees of the pose from the original's, as the network itself and as its judge reads it."""

Measured = dict[str, list[float | None]]
"""One value a sample for each of MEASURES; None is unknown."""


@dataclass(frozen=True, eq=False)
class Task:
    """Codes (N, ...) to invert by one recipe, from one of ``seeds`` each."""

    encoder: Encoder
    how: Recipe
    codes: Tensor
    seeds: tuple[int, ...]

    def digest(self) -> str:
        """Of everything that the images depend on."""
        found = versions()
        facts = {
            "versions": [found["netinvert"], found["torch"]],
            "network": [self.encoder.weights_sha256(), self.encoder.layer, self.encoder.size],
            "recipe": describe_recipe(self.how, self.how.canvas(self.encoder, self.seeds[:1], None)),
            "stages": repr(self.how.stages),
            "seeds": self.seeds,
        }
        digest = hashlib.sha256(json.dumps(plain_json(facts), sort_keys=True).encode())
        for tensor in (self.codes, self.how.mask):
            if isinstance(tensor, Tensor):
                digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Done:
    """A finished task. ``result`` is None where it failed, and ``failure`` says why; CPU seconds."""

    result: Result | None
    cpu_seconds: float
    failure: str | None = None


def perform(task: Task, kept: Path) -> Done:
    """Do the task, or read it from the file ``kept`` if it is done; a stopped one goes on where it was.

    KeyboardInterrupt at Ctrl-C.
    """
    at_work = kept.with_name(f"{kept.stem}-work{kept.suffix}")
    if kept.exists():
        try:
            return _load(kept, task.encoder)
        except FileError:
            kept.unlink()  # cut off; made again
    run = Run(seed=task.seeds, checkpoint=at_work)
    began = time.process_time()
    try:
        result = prepare(task.encoder, task.codes, task.how).run(run)
    except NetworkError as error:  # no gradient at the start, which only the run can tell
        done = Done(None, time.process_time() - began, str(error))
    else:
        if result.interrupted:
            raise KeyboardInterrupt
        done = Done(result, time.process_time() - began)
    _save(done, kept)
    at_work.unlink(missing_ok=True)
    return done


@dataclass(frozen=True, eq=False)
class Scale:
    """What inversions of N codes are held against: the originals (N, C, H, W), if known, the histograms
    (N, bins) that natural images would have, by name, the reference codes."""

    originals: Tensor | None
    histograms: dict[str, Tensor]
    reference: Reference | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """A task's images (N, C, H, W), what is measured of them, how many diverged; None and nothing measured
    where it failed, with the reason."""

    images: Tensor | None
    measured: Measured
    diverged: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    failure: str | None = None


def outcome(task: Task, scale: Scale, batch: int, place: Callable[[str], Path]) -> Outcome:
    """Perform a task, ``batch`` codes at once, keeping each part at ``place(digest)``, and measure it."""
    measured: Measured = {name: [] for name in MEASURES}
    images: list[Tensor] = []
    ended, seconds, cpu = 0, 0.0, 0.0
    for start in range(0, len(task.codes), batch):
        rows = slice(start, start + batch)
        part = Task(task.encoder, task.how, task.codes[rows], task.seeds[rows])
        done = perform(part, place(part.digest()))
        cpu += done.cpu_seconds
        if done.result is None:
            return Outcome(None, {}, cpu_seconds=cpu, failure=done.failure)
        for name, values in _measure(done.result, task.encoder, scale, rows).items():
            measured[name] += values
        images.append(done.result.image)
        ended += sum(status == DIVERGED for status in done.result.status)
        seconds += done.result.seconds
    return Outcome(torch.cat(images), measured, ended, seconds, cpu)


def _measure(result: Result, encoder: Encoder, scale: Scale, rows: slice) -> Measured:
    measured: Measured = {name: [] for name in MEASURES}
    originals = None if scale.originals is None else scale.originals[rows]
    for figures in evaluate_result(result, encoder, originals, scale.reference):
        for name, value in figures.errors.items():
            measured[name].append(value)
        measured["ssim"].append(figures.ssim)
        measured["psnr"].append(figures.psnr)
        for name, pose in (("pose", figures.pose), ("judged", figures.held_out_pose)):
            measured[name].append(None if pose is None else pose.rotation_difference)
    for name, histogram in histograms_of(result.image).items():
        shared = histogram_intersection(histogram, scale.histograms[name][rows])
        measured[name] = list(shared.tolist())
    return measured


def histograms_of(images: Tensor) -> dict[str, Tensor]:
    """The histograms whose intersections measure how natural images (N, C, H, W) are; on the CPU."""
    makers = {"naturalness": gradient_histogram, "gradients": gradient_statistics}
    return {name: make(images).cpu() for name, make in makers.items()}


def mean_and_deviation(values: Sequence[float | None]) -> tuple[float, float] | None:
    """The mean and the standard deviation (over n - 1; 0 for one value); None if a value is unknown."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return None
    mean = sum(known) / len(known)
    squares = sum((value - mean) ** 2 for value in known)
    return mean, math.sqrt(squares / max(1, len(known) - 1))


def _save(done: Done, path: Path) -> None:
    tensors, texts = ({}, {}) if done.result is None else done.result.to_tensors()
    rest = {"cpu_seconds": done.cpu_seconds, "failure": done.failure}
    save_tensors(path, tensors, {**texts, "rest": json.dumps(rest)})


def _load(path: Path, encoder: Encoder) -> Done:
    tensors, texts = load_tensors(path)
    rest = json.loads(texts["rest"])
    result = Result.from_tensors(tensors, texts, encoder.device) if tensors else None
    return Done(result, rest["cpu_seconds"], rest["failure"])
