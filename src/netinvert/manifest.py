"""The manifest of a run: what was asked, with what, and what came of it."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import torch
from torch import Tensor

from netinvert.encoder import Encoder
from netinvert.judging import ERROR_NAMES, Figures, mean_of
from netinvert.recipes import Recipe
from netinvert.result import Result

FORMAT = 1
"""Of the manifest; raised when a key changes its meaning."""


@dataclass(frozen=True)
class Sample:
    """One reconstruction: its file name without ``.png``, that of its original, and its seed if known."""

    name: str
    stem: str
    seed: int | None


@dataclass(frozen=True, eq=False)
class Record:
    """A finished run. ``originals`` (N, C, H, W); ``entries`` are put into the manifest as they are.

    ``tensors`` are kept with the reconstructions, for a rerun. Samples with the same stem are restarts.
    """

    result: Result
    samples: tuple[Sample, ...]
    figures: Sequence[Figures]
    encoder: Encoder | None = None
    originals: Tensor | None = None
    entries: Mapping[str, object] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def manifest_of(record: Record) -> dict[str, object]:
    """Everything that is known of a run, ready for JSON."""
    result, encoder, figures = record.result, record.encoder, record.figures
    manifest: dict[str, object] = {
        "format": FORMAT,
        "network": None if encoder is None else encoder.network.name,
        "layer": None if encoder is None else encoder.layer,
        "code_shape": list(result.code.shape[1:]),
        "image_shape": list(result.image.shape[1:]),
        "errors": {name: mean_of([one.errors[name] for one in figures]) for name in ERROR_NAMES},
        "psnr": mean_of([one.psnr for one in figures]),
        "ssim": mean_of([one.ssim for one in figures]),
        "seconds": round(result.seconds, 3),
        "steps": result.steps,
        "seed": record.samples[0].seed,
        "versions": versions(),
        "weights_sha256": None if encoder is None else encoder.weights_sha256(),
    }
    manifest.update(record.entries)
    manifest["samples"] = [
        {
            "name": sample.name,
            "seed": sample.seed,
            **dataclasses.asdict(figures[index]),
            "status": result.status[index],
            "best_step": int(result.best_step[index]),
        }
        for index, sample in enumerate(record.samples)
    ]
    return manifest


def versions() -> dict[str, str]:
    """What the numbers of a run may depend on."""
    return {
        "netinvert": version("netinvert"),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def describe_recipe(recipe: Recipe, canvas: object) -> dict[str, object]:
    """A recipe in full, as plain JSON; ``canvas`` is one that it made."""
    return {
        "name": recipe.name,
        "canvas": type(canvas).__name__,
        "data_weight": recipe.data_weight,
        "priors": [{"weight": weight, **_settings_of(term)} for weight, term in recipe.priors],
        "stages": [
            {
                "steps": stage.steps,
                "jitter": stage.jitter,
                "optimizer": _settings_of(stage.optimizer),
                "projections": [_settings_of(projection) for projection in stage.projections],
                "transforms": [_settings_of(transform) for transform in stage.transforms],
                "detail": stage.detail,
                "averaged": stage.averaged,
            }
            for stage in recipe.stages
        ],
    }


def _settings_of(thing: object) -> dict[str, object]:
    plain: dict[str, object] = {"type": type(thing).__name__}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        plain.update(dataclasses.asdict(thing))
    return plain
