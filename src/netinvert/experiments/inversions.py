"""Many inversions, each batch a cell of a run, and what is measured of them."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.evaluation.evaluate import Baseline, Reference, baselines, evaluate_result
from netinvert.evaluation.metrics import gradient_histogram, gradient_statistics, histogram_intersection
from netinvert.evaluation.report import number
from netinvert.experiments.inputs import open_network
from netinvert.experiments.invert import Measure, optimised, result_of
from netinvert.experiments.runs import workers_of
from netinvert.inversion.canvases import with_canvas
from netinvert.inversion.invert import prepare
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.result import STATUS, Result
from netinvert.inversion.schedule import Recipe
from netinvert.io.assets import photographs
from netinvert.io.cells import Cell, Piece
from netinvert.io.pieces import OnNetwork
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder

DIVERGED = STATUS[3]
MEASURES = ("cvpr15", "ijcv16", "cvpr16", "naturalness", "gradients", "ssim", "psnr", "pose", "held_out_pose")
"""The code errors by name (``ijcv16`` is the code error); the intersections of histograms of gradients, by
direction and by strength and direction; likeness to the original; the geodesic difference in degrees of the
pose from the original's, as the network itself and as the held-out pose estimator reads it."""

Measured = Mapping[str, list[float | None]]
"""One value an image for each of MEASURES; None is unknown."""


class RecipeChoice(Protocol):
    """Says a recipe by plain values, so that other processes can make it, and runs are told apart by it."""

    def recipe(self, encoder: Encoder) -> Recipe:
        """For this encoder. Raises NetinvertError."""
        ...


@dataclass(frozen=True)
class PresetChoice:
    """A preset; with another prior, canvas or number of steps where they are given."""

    preset: str = "default"
    prior: str | None = None
    canvas: str | None = None
    steps: int | None = None

    def recipe(self, encoder: Encoder) -> Recipe:
        """For this encoder. Raises NetinvertError."""
        how = recipe(self.preset, encoder, self.prior)
        if self.canvas is not None:
            how = with_canvas(how, self.canvas)
        return how if self.steps is None else how.with_steps(self.steps)


@dataclass(frozen=True, eq=False)
class Targets:
    """Codes (N, ...) of a layer, and what their inversions are held against, all on the CPU: the originals
    (N, C, H, W), if known, the histograms (N, bins) that natural images would have, the reference codes."""

    layer: str
    codes: Tensor
    originals: Tensor | None = None
    histograms: Mapping[str, Tensor] | None = None
    reference: Reference | None = None

    @classmethod
    def of(
        cls, encoder: Encoder, codes: Tensor, originals: Tensor | None, reference: Reference | None
    ) -> Targets:
        """With the histograms of the originals; where they are not known, the mean of netinvert's
        photographs."""
        if originals is not None:
            histograms = histograms_of(originals)
        else:
            shown = photographs(encoder.size, encoder.preprocessing.channels)[1]
            means = {name: one.mean(0, keepdim=True) for name, one in histograms_of(shown).items()}
            histograms = {name: one.expand(len(codes), -1) for name, one in means.items()}
        if reference is not None:
            reference = replace(reference, codes=reference.codes.cpu())
        return cls(
            encoder.layer, codes.cpu(), None if originals is None else originals.cpu(), histograms, reference
        )

    def floors(self, encoder: Encoder) -> list[Baseline]:
        """What images that nobody inverted score."""
        reference = _moved(self.reference, encoder)
        return baselines(self.codes.to(encoder.device), encoder, self.originals, reference)


@dataclass(frozen=True)
class Wanted:
    """The rows of a layer's codes that are to be inverted by one recipe, from a seed each."""

    layer: str
    how: RecipeChoice
    rows: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """The images (N, C, H, W), what is measured of them, how many diverged; None and nothing measured where
    the inversion failed, with the reason."""

    images: Tensor | None
    measured: Measured
    diverged: int = 0
    cpu_seconds: float = 0.0
    failure: str | None = None

    def mean(self, name: str) -> float | None:
        """Of one of MEASURES; None if a value is unknown."""
        found = mean_and_deviation(self.measured.get(name, ()))
        return None if found is None else found[0]

    def lines(self, k: int, *names: str) -> list[str]:
        """Of the image ``k`` what is known of these measures, in words."""
        words = {"ijcv16": ("code error", 3), "ssim": ("SSIM", 2)}
        every = [(*words.get(name, (name, 2)), self.measured[name][k]) for name in names]
        return [f"{word} {number(value, digits)}" for word, digits, value in every if value is not None]

    def facts(self) -> dict[str, object]:
        """Everything but the images."""
        return {name: value for name, value in vars(self).items() if name != "images"}


def invert_all(
    run: RunDir, config: OnNetwork, targets: Sequence[Targets], wanted: Sequence[Wanted], progress: str
) -> list[Reconstructions]:
    """Invert everything, ``config.batch`` codes at once, as cells of the run; ``progress`` names the wanted.

    Raises Interrupted.
    """
    size = config.batch
    parts = [
        [
            replace(one, rows=one.rows[k : k + size], seeds=one.seeds[k : k + size])
            for k in range(0, len(one.rows), size)
        ]
        for one in wanted
    ]
    keys = [batch for some in parts for batch in some]
    work = InversionWork(config, tuple(targets))
    shown = progress if len(keys) == len(parts) else "batches"
    cells = iter(run_cells(run, work, keys, workers_of(config), progress=shown))
    return [_joined([next(cells) for _ in some]) for some in parts]


def _joined(cells: Sequence[Cell]) -> Reconstructions:
    cpu = sum(cell.facts["cpu_seconds"] for cell in cells)
    failures = [cell.facts["failure"] for cell in cells if "failure" in cell.facts]
    if failures:
        return Reconstructions(None, {}, cpu_seconds=cpu, failure=failures[0])
    measured = {
        name: [value for cell in cells for value in cell.facts["measured"][name]] for name in MEASURES
    }
    diverged = sum(cell.facts["diverged"] for cell in cells)
    return Reconstructions(torch.cat([cell.tensors["image"] for cell in cells]), measured, diverged, cpu)


@dataclass(frozen=True, eq=False)
class InversionWork:
    """Makes the cells of `Wanted`: ``image`` (n, C, H, W), and what is measured."""

    config: OnNetwork
    targets: tuple[Targets, ...]

    def open(self) -> Callable[[Wanted, Piece], Cell]:
        """Loads the network."""
        network = open_network(self.config, self.config.device)
        encoder_of = functools.cache(lambda layer: Encoder(network, layer))
        targets = {one.layer: one for one in self.targets}

        def make(wanted: Wanted, piece: Piece) -> Cell:
            return _inverted(encoder_of(wanted.layer), targets[wanted.layer], wanted, piece)

        return make


def _inverted(encoder: Encoder, targets: Targets, wanted: Wanted, piece: Piece) -> Cell:
    began = time.process_time()
    codes = targets.codes[list(wanted.rows)].to(encoder.device)
    told = Measure("code error", lambda images: code_error(encoder(images), codes))
    how = wanted.how.recipe(encoder)
    try:
        cell = optimised(prepare(encoder, codes, how), wanted.seeds, piece, told)
    except NetworkError as error:  # no gradient at the start, which only the run can tell
        return Cell(facts={"failure": str(error), "cpu_seconds": time.process_time() - began})
    cpu = time.process_time() - began
    result = result_of([cell], encoder.device)
    facts = {"measured": _measure(result, encoder, targets, wanted.rows), "cpu_seconds": cpu}
    return Cell({"image": result.image}, {**facts, "diverged": result.status.count(DIVERGED)})


def _measure(
    result: Result, encoder: Encoder, targets: Targets, rows: Sequence[int]
) -> dict[str, list[float | None]]:
    measured: dict[str, list[float | None]] = {name: [] for name in MEASURES}
    at = list(rows)
    originals = None if targets.originals is None else targets.originals[at]
    for figures in evaluate_result(result, encoder, originals, _moved(targets.reference, encoder)):
        for name, value in figures.errors.items():
            measured[name].append(value)
        measured["ssim"].append(figures.ssim)
        measured["psnr"].append(figures.psnr)
        for name, pose in (("pose", figures.pose), ("held_out_pose", figures.held_out_pose)):
            measured[name].append(None if pose is None else pose.rotation_difference)
    if targets.histograms is not None:
        for name, one in histograms_of(result.image).items():
            measured[name] = list(histogram_intersection(one, targets.histograms[name][at]).tolist())
    return measured


def _moved(reference: Reference | None, encoder: Encoder) -> Reference | None:
    return None if reference is None else replace(reference, codes=reference.codes.to(encoder.device))


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
