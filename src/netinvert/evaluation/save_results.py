"""The manifest of a run: what was asked, with what, and what came of it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.contact_sheet import Cell, Row, contact_sheet, loss_curve, png_of
from netinvert.evaluation.evaluate import ERROR_NAMES, Metrics, Pose, judge, mean_of, shipped_reference
from netinvert.inversion.codes import Code, layers_of
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import save_tensors, write_atomic, write_json
from netinvert.io.folders import MANIFEST, OutputFolder
from netinvert.io.images import write_png
from netinvert.models.encoder import Encoder

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
    figures: Sequence[Metrics]
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
        "code_shape": _code_shape(result),
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


def _code_shape(result: Result) -> object:
    shapes = {layer: list(code.shape[1:]) for layer, code in layers_of(result.code).items()}
    return shapes.get("", shapes)


def _by_layer(name: str, code: Code) -> dict[str, Tensor]:
    return {f"{name}/{layer}".rstrip("/"): one for layer, one in layers_of(code).items()}


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
                "optimizer": _settings_of(stage.method),
                "projections": [_settings_of(projection) for projection in stage.projections],
                "transforms": [_settings_of(transform) for transform in stage.transforms],
                "detail": stage.resolution,
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


TENSORS = "reconstructions.safetensors"
LABELS = "netinvert"


def save_run(folder: Path, record: Record) -> dict[str, object]:
    """Write all files of the run into ``folder`` (of an OutputFolder: its staging); gives the manifest."""
    result = record.result
    groups = _groups(record.samples)
    for index, sample in enumerate(record.samples):
        write_png(result.image[index], folder / f"{sample.name}.png")
    if record.originals is not None:
        for stem, indices in groups.items():
            write_png(record.originals[indices[0]], folder / f"original-{stem}.png")
    manifest = manifest_of(record)
    tensors = {"image": result.image, **_by_layer("image_code", result.code), **record.tensors}
    if result.target is not None:
        tensors |= _by_layer("code", result.target)
    if record.originals is not None:
        tensors["original"] = record.originals[[indices[0] for indices in groups.values()]]
    names = [sample.name for sample in record.samples]
    save_tensors(folder / TENSORS, tensors, labels(record.encoder, names))
    if result.steps:  # a decoder takes none
        write_atomic(folder / "losses.csv", _losses_csv(record).encode())
        write_atomic(folder / "loss.png", loss_curve(result.losses, result.terms))
    write_atomic(folder / "contact-sheet.png", png_of(_sheet(record, groups)))
    write_json(folder / MANIFEST, manifest)
    return manifest


def save_result(
    result: Result,
    folder: str | Path,
    encoder: Encoder | None = None,
    original: Tensor | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a result's PNGs, float tensors, losses and ``manifest.json`` into a new folder; gives its path.

    With the ``encoder`` all errors are known, with the ``original`` (1 or N, C, h, w) the likeness too.
    Raises OutputError.
    """
    count = result.image.shape[0]
    names = ["reconstruction"] if count == 1 else [f"reconstruction-{k + 1}" for k in range(count)]
    with OutputFolder(folder, "result", overwrite) as output:
        figures = [Metrics(dict.fromkeys(ERROR_NAMES)) for _ in names]
        entries: dict[str, object] = {}
        if encoder is not None:
            reference = None if result.target is None else shipped_reference(encoder)
            if original is not None:
                original = encoder.fit(original.to(result.image)).expand_as(result.image)
            figures = judge(result, encoder, original, reference)
            entries["reference"] = None if reference is None else reference.name
        elif original is not None:
            raise ConfigError("to compare with an original, give the encoder too: save(…, encoder=encoder)")
        elif result.target is not None:
            figures = [
                Metrics({**dict.fromkeys(ERROR_NAMES), "ijcv16": error}) for error in result.error.tolist()
            ]
        samples = tuple(Sample(name, name, None) for name in names)
        save_run(output.staging, Record(result, samples, figures, encoder, original, entries))
        output.commit()
        return output.path


def labels(encoder: Encoder | None, names: Sequence[str]) -> dict[str, str]:
    """What a file of codes says of them: a JSON text, so that their order is always the same."""
    facts: dict[str, object] = {"names": list(names)}
    if encoder is not None:
        facts["network"], facts["layer"] = encoder.network.name, encoder.layer
        facts["weights_sha256"] = encoder.weights_sha256()
    return {LABELS: json.dumps(facts)}


# -- names ---------------------------------------------------------------------------------------------


def unique_stems(paths: Sequence[Path], restarts: int = 1) -> list[str]:
    """One file name each, such that nothing that a run writes has the name of another file.

    The file's own name; with its folder's name before it where two files share it, or else a number
    behind. Names differ by more than case, for file systems that do not see it.
    """
    plain = [_clean(path.stem) for path in paths]
    shared = {stem for stem in map(str.casefold, plain) if [*map(str.casefold, plain)].count(stem) > 1}
    used = {"loss", "contact-sheet"}
    stems = []
    for path, stem in zip(paths, plain, strict=True):
        folder = _clean(path.absolute().parent.name)
        base = f"{folder}-{stem}" if stem.casefold() in shared else stem
        number = 1
        while used & (wanted := _files_of(name := base if number == 1 else f"{base}~{number}", restarts)):
            number += 1
        used |= wanted
        stems.append(name)
    return stems


def restart_name(stem: str, restart: int) -> str:
    """The file name of a restart, counted from 0."""
    return stem if restart == 0 else f"{stem}-{restart + 1}"


def _files_of(stem: str, restarts: int) -> set[str]:
    return {restart_name(stem, k).casefold() for k in range(restarts)} | {f"original-{stem}".casefold()}


def _clean(stem: str) -> str:
    """Neither hidden nor too long."""
    return stem.lstrip(".")[:60] or "image"


# -- the files -----------------------------------------------------------------------------------------


def _groups(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """The samples of each input."""
    groups: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(sample.stem, []).append(index)
    return groups


def _losses_csv(record: Record) -> str:
    """Weighted terms and their sum, a row a step and sample; none where the sample had stopped."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "step", "loss", *record.result.terms])
    for index, sample in enumerate(record.samples):
        for step, values in enumerate(record.result.losses[:, :, index].tolist(), 1):
            if not all(map(math.isnan, values)):
                writer.writerow([sample.name, step, sum(values), *values])
    return text.getvalue()


def _sheet(record: Record, groups: Mapping[str, list[int]]) -> Image.Image:
    restarts = max(map(len, groups.values()))
    compared = record.originals is not None or record.result.target is not None
    rows = []
    for stem, indices in groups.items():
        original = None if record.originals is None else record.originals[indices[0]]
        pose = record.figures[indices[0]].pose
        seen = pose.original if pose is not None else None
        cells = [Cell(original, () if seen is None else (_pose_line(seen),))] if compared else []
        cells += [Cell(record.result.image[index], _caption(record.figures[index])) for index in indices]
        rows.append(Row(stem, tuple(cells)))
    what = "reconstruction" if compared else "image"
    many = (
        [what] if restarts == 1 else [f"{'restart' if compared else what} {k + 1}" for k in range(restarts)]
    )
    title = ""
    if record.encoder is not None:
        shape = ", ".join(
            " × ".join(map(str, one.shape[1:])) for one in layers_of(record.result.code).values()
        )
        title = f"{record.encoder.network.name}, layer {record.encoder.layer} ({shape})"
    return contact_sheet(rows, ["original", *many] if compared else many, title)


def _caption(figures: Metrics) -> tuple[str, ...]:
    known = [f"{name} {value:.3f}" for name, value in figures.errors.items() if value is not None]
    lines = [", ".join(known)] if known else []
    if figures.psnr is not None and figures.ssim is not None:
        lines.append(f"PSNR {figures.psnr:.1f} dB, SSIM {figures.ssim:.2f}")
    if figures.pose is not None:
        lines.append(_pose_line(figures.pose.reconstruction))
    if figures.judged is not None:
        lines.append("judge: " + _pose_line(figures.judged.reconstruction))
    return tuple(lines)


def _pose_line(pose: Pose) -> str:
    text = f"azimuth {pose.azimuth:.0f}°, elevation {pose.elevation:.0f}°"
    return text if pose.presence is None else f"{text}, presence {pose.presence:.2f}"
