"""A random search over the regularisers of Yosinski et al. 2015.

Every setting makes images for the same units; what looks best is for the eye to choose (``deepvis_page``).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from netinvert.evaluation.naturalness import gradient_histogram, histogram_intersection
from netinvert.experiments.deepvis_draws import RANGES, Search, Trial, Tried, trials
from netinvert.experiments.deepvis_report import report
from netinvert.inversion.codes import one_layer
from netinvert.inversion.constraints import stretched
from netinvert.inversion.maximise import prepare_maximising
from netinvert.inversion.objectives import Activate
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.yosinski15 import deepvis
from netinvert.inversion.units import channel, neuron
from netinvert.io.assets import photographs
from netinvert.io.files import FileError, load_tensors, plain_json, save_tensors, write_atomic, write_json
from netinvert.io.folders import OutputFolder
from netinvert.io.images import write_png
from netinvert.io.manifest import versions
from netinvert.models.encoder import Encoder

Progress = Callable[[int, int, float], None]
"""Told how many settings are done, of how many, and the share of the steps: before each, and at the end."""


def run(encoder: Encoder, search: Search, out: Path, overwrite: bool, progress: Progress) -> Path:
    """Make the folder: report.html, pictures/, manifest.json. Gives the report's path.

    Every setting is kept as soon as it is done: a run that was stopped, in whatever way, goes on with the
    next one. Raises ConfigError, NetworkError, OutputError, and KeyboardInterrupt at Ctrl-C.
    """
    direction = unit_directions(encoder, search.channels)
    with OutputFolder(out, _run_id(encoder, search), overwrite) as folder:
        began, resumed = time.perf_counter(), folder.resumes
        found = list(_try_all(encoder, search, direction, folder, progress))
        pictures = folder.staging / "pictures"
        pictures.mkdir()
        for tried in found:
            for index, picture in zip(search.channels, tried.pictures, strict=True):
                write_png(picture / 255, pictures / f"{tried.trial.name}-{index}.png")
        write_atomic(folder.staging / "report.html", report(encoder, search, found).encode())
        manifest = {
            **_facts(encoder, search),
            "seconds": round(time.perf_counter() - began, 1),
            "resumed": resumed,
            "threads": torch.get_num_threads(),
            "results": [_row(tried, search.channels) for tried in found],
        }
        write_json(folder.staging / "manifest.json", manifest)
        folder.commit()
    return out / "report.html"


def roughness(images: Tensor) -> Tensor:
    """1 less the correlation of neighbouring pixels, (N,): 1 for white noise, 0 for a constant image."""
    x = images.double() - images.double().mean((2, 3), keepdim=True)
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    steps = across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))
    power = x.square().mean((1, 2, 3))
    return torch.where(power > 0, steps / (4 * power.clamp_min(1e-300)), 0.0)


def unit_directions(encoder: Encoder, channels: Sequence[int]) -> Tensor:
    """Of a vector its numbers; of maps the neurons in the middle, as in their code. (N, *code_shape)."""
    one = channel if len(encoder.code_shape) == 1 else neuron
    return torch.cat([one(encoder, index) for index in channels])


def _try_all(
    encoder: Encoder, search: Search, direction: Tensor, folder: OutputFolder, progress: Progress
) -> Iterator[Tried]:
    photographed = _photographs_histogram(encoder)
    wanted = trials(search)
    steps, done = sum(trial.settings.steps for trial in wanted), 0
    for number, trial in enumerate(wanted):
        path = folder.checkpoint_of(trial.name)
        kept = _kept(path)
        if kept is None:
            progress(number, len(wanted), done / steps)
            kept = _tried(encoder, trial, direction, search.seed, photographed)
            save_tensors(path, kept)
        done += trial.settings.steps
        yield Tried(trial, **kept)
    progress(len(wanted), len(wanted), 1.0)


def _kept(path: Path) -> dict[str, Tensor] | None:
    """What a run that was stopped has left of this setting."""
    if not path.exists():
        return None
    try:
        return load_tensors(path)[0]
    except FileError:
        return None  # cut off: made again


def _tried(
    encoder: Encoder, trial: Trial, direction: Tensor, seed: int, photographed: Tensor | None
) -> dict[str, Tensor]:
    run = Run(seed=[seed] * len(direction))
    how = deepvis(encoder, trial.settings, None, trial.name)
    result = prepare_maximising(encoder, Activate(direction), how, None, len(direction)).run(run)
    if result.interrupted:
        raise KeyboardInterrupt
    image = result.image
    shown = stretched(image, encoder.centre)
    natural = torch.full((len(image),), torch.nan, dtype=torch.float64)
    if photographed is not None:
        natural = histogram_intersection(gradient_histogram(shown), photographed)
    return {
        "pictures": (255 * shown).round().to(torch.uint8).cpu(),
        "activation": (one_layer(result.code, "deepvis") * direction).flatten(1).sum(1).double().cpu(),
        "naturalness": natural.cpu(),
        "roughness": roughness(image).cpu(),
        "spread": 255 * image.double().flatten(1).std(1).cpu(),
        "best_step": result.best_step.cpu() + 1,
    }


def _photographs_histogram(encoder: Encoder) -> Tensor | None:
    """The mean histogram of the package's photographs, (1, bins); None for other than colour images."""
    if encoder.preprocessing.channels != 3:
        return None
    images = photographs(encoder.size)[1].to(encoder.device)
    return gradient_histogram(images).mean(0, keepdim=True)


def _facts(encoder: Encoder, search: Search) -> dict[str, object]:
    return {
        "command": {"command": "deepvis", **asdict(search)},
        "network": encoder.network.name,
        "layer": encoder.layer,
        "code_shape": encoder.code_shape,
        "size": encoder.size,
        "weights_sha256": encoder.weights_sha256(),
        "ranges": RANGES,
        "versions": versions(),
    }


def _run_id(encoder: Encoder, search: Search) -> str:
    """What has to agree for a stopped run to be gone on with: all that its images depend on."""
    facts = {**_facts(encoder, search), "preprocessing": asdict(encoder.preprocessing)}
    facts["versions"] = [versions()[name] for name in ("netinvert", "torch")]
    return hashlib.sha256(json.dumps(plain_json(facts), sort_keys=True).encode()).hexdigest()


def _row(tried: Tried, channels: Sequence[int]) -> dict[str, object]:
    trial = tried.trial
    figures = ("activation", "naturalness", "roughness", "spread", "best_step")
    return {
        "name": trial.name,
        "published": trial.published,
        "rule": type(trial.settings.optimizer).__name__,
        **asdict(trial.settings),
        "channels": [
            {
                "channel": index,
                "picture": f"pictures/{trial.name}-{index}.png",
                **{name: getattr(tried, name)[k].item() for name in figures},
            }
            for k, index in enumerate(channels)
        ],
    }
