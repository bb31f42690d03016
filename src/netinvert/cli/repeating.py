"""Repeating a run from its manifest, and comparing what comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.cli.console import note
from netinvert.cli.inputs import Inputs, Source, read_inputs
from netinvert.cli.job import Finished, Job, Start, read_reference, read_start
from netinvert.cli.loading import load_encoder
from netinvert.cli.settings import Settings, using_threads
from netinvert.cli.wishing import drawing_command, drawing_job_of
from netinvert.errors import ConfigError, ImageError, NetinvertError, NetworkError
from netinvert.evaluation.evaluate import Reference, shipped_reference
from netinvert.evaluation.save_results import TENSORS, versions
from netinvert.io.files import load_tensors, read_json, sha256_of
from netinvert.io.folders import MANIFEST
from netinvert.models.encoder import Encoder


@dataclass(frozen=True)
class Comparison:
    """How the second run's images differ from the first's."""

    identical: bool
    largest_difference: float | None
    inputs: str
    sentence: str


@dataclass(frozen=True, eq=False)
class First:
    """The run to repeat: its manifest and its tensors."""

    settings: Settings
    manifest: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> First:
        """From the manifest or its folder. Raises FileError, ConfigError."""
        file, manifest = read_manifest(path)
        settings = Settings.from_command(manifest.get("command"))
        tensors, _ = load_tensors(file.with_name(TENSORS))
        wanted = {"image", "code"} if settings.start is None else {"image", "code", "start"}
        if missing := wanted - set(tensors):
            raise ConfigError(f"{file.with_name(TENSORS)} lacks {' and '.join(sorted(missing))}")
        if not _has_lists(manifest):
            raise ConfigError(f"{file} lists no inputs or samples, so the run cannot be repeated")
        # As many threads as then, for the order of sums depends on them.
        if settings.threads is None and isinstance(manifest.get("threads"), int):
            settings = dataclasses.replace(settings, threads=manifest["threads"])
        return cls(settings, manifest, tensors)


def _has_lists(manifest: Mapping[str, Any]) -> bool:
    """Whether inputs and samples are there and in shape."""
    start = manifest.get("start")
    files = [manifest.get("inputs"), [] if start is None else [start]]
    return all(_rows_have(part, ("name", "sha256")) for part in files) and (
        bool(manifest.get("samples")) and _rows_have(manifest["samples"], ("name",))
    )


def _rows_have(rows: object, keys: tuple[str, ...]) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(key), str) for key in keys) for row in rows
    )


def repeat(path: Path, out: Path, overwrite: bool) -> tuple[Finished, Comparison]:
    """Run it again into ``out``. Raises NetinvertError before any long work."""
    file, manifest = read_manifest(path)
    if drawing_command(manifest) is not None:
        return _repeat_drawing(file, manifest, out, overwrite)
    first = First.read(path)
    settings = first.settings
    with using_threads(settings.threads):
        encoder = load_encoder(settings.network, settings.layer, settings.weights, settings.device)
        if encoder.weights_sha256() != first.manifest.get("weights_sha256"):
            raise NetworkError(
                f"the weights of {settings.network} are not those of the first run, so it cannot be "
                "repeated; bring the old weights back, or use 'netinvert invert'"
            )
        inputs, told = _inputs(first, encoder)
        job = Job.of(settings, encoder, inputs, _start(first, encoder), _reference(first, encoder))
        before = first.tensors["image"]
        done = job.run(
            out, overwrite, lambda result: {"rerun": compare(first.manifest, before, result.image, told)}
        )
    return done, compare(first.manifest, before, done.result.image, told)


def read_manifest(path: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file and what it says, from the file or its folder. Raises FileError, ConfigError."""
    file = path / MANIFEST if path.is_dir() else path
    manifest = read_json(file)
    if not isinstance(manifest, dict):
        raise ConfigError(f"{file} is not the manifest of a run")
    return file, manifest


def _repeat_drawing(
    file: Path, manifest: Mapping[str, Any], out: Path, overwrite: bool
) -> tuple[Finished, Comparison]:
    tensors, _ = load_tensors(file.with_name(TENSORS))
    if "image" not in tensors:
        raise ConfigError(f"{file.with_name(TENSORS)} lacks the images")
    sources = manifest.get("inputs") or []
    if not _rows_have(sources, ("name", "sha256")) or not all(_unchanged(source) for source in sources):
        raise ConfigError("the images that the run began with are gone or changed; bring them back")
    threads = manifest.get("threads")
    with using_threads(threads if isinstance(threads, int) else None):
        job = drawing_job_of(manifest)
        if job.encoder.weights_sha256() != manifest.get("weights_sha256"):
            raise NetworkError(
                f"the weights of {job.encoder.network.name} are not those of the first run, so it cannot be "
                "repeated; bring the old weights back"
            )
        done = job.run(out, overwrite)
    return done, compare(manifest, tensors["image"], done.result.image, "files")


def compare(manifest: Mapping[str, Any], before: Tensor, image: Tensor, told: str) -> Comparison:
    """The first run's images with the second's; the sentence names the likely reason of a difference."""
    after = image.cpu()
    if before.shape == after.shape and torch.equal(before, after):
        return Comparison(True, 0.0, told, "bit-identical to the first run")
    apart = (before - after).abs().max().item() if before.shape == after.shape else None
    then = manifest.get("versions") or {}
    changed = [
        f"{name} {then.get(name)} → {now}" for name, now in versions().items() if then.get(name) != now
    ]
    reason = f" ({', '.join(changed)})" if changed else ""
    size = "other shapes" if apart is None else f"pixels by up to {apart:.2g}"
    return Comparison(False, apart, told, f"not bit-identical to the first run: {size}{reason}")


def _inputs(first: First, encoder: Encoder) -> tuple[Inputs, str]:
    settings, sources = first.settings, first.manifest["inputs"]
    if sources and all(_unchanged(source) for source in sources):
        try:
            found = read_inputs(settings.input, encoder, settings.restarts)
        except NetinvertError:
            found = None
        if found is not None and [dataclasses.asdict(one) for one in found.sources] == sources:
            return found, "files"
    note("the inputs are gone or changed; going by the codes that the run kept")
    stems = dict.fromkeys(sample["name"] for sample in first.manifest["samples"][:: settings.restarts])
    codes = encoder.check_code(first.tensors["code"][:: settings.restarts].to(encoder.device))
    original = first.tensors.get("original")
    kept = tuple(Source(source["name"], source["sha256"]) for source in sources)
    return Inputs(codes, tuple(stems), None if original is None else original.to(codes), kept), "saved codes"


def _unchanged(source: Mapping[str, str]) -> bool:
    try:
        return sha256_of(source["name"]) == source["sha256"]
    except NetinvertError:
        return False


def _start(first: First, encoder: Encoder) -> Start | None:
    source = first.manifest.get("start")
    if first.settings.start is None or not source:
        return None
    if _unchanged(source):
        return read_start(first.settings.start, encoder)
    kept = first.tensors["start"].to(encoder.device, encoder.dtype)
    return Start(kept, Source(source["name"], source["sha256"]))


def _reference(first: First, encoder: Encoder) -> Reference | None:
    try:
        return read_reference(first.settings.reference, encoder)
    except ImageError:
        note(f"{first.settings.reference} is gone; scaling the errors by netinvert's own photographs")
        return shipped_reference(encoder)
