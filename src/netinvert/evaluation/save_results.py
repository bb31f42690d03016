"""What a run of images leaves: PNGs, tensors, losses, a report, and what its manifest says of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import (
    ERROR_NAMES,
    Metrics,
    evaluate_result,
    mean_of,
    shipped_reference,
)
from netinvert.evaluation.record import Record, Sample
from netinvert.evaluation.report import loss_plot
from netinvert.evaluation.result_report import grid_of, report_of, table_of
from netinvert.inversion.codes import Code, layers_of, map_code
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import read_json, save_tensors, write_atomic
from netinvert.io.images import write_png
from netinvert.io.manifest import FORMAT, MANIFEST, Outcome, versions
from netinvert.io.rundir import FinishedError, RunDir
from netinvert.io.running import duration
from netinvert.models.encoder import Encoder

TENSORS = "tensors.safetensors"
LABELS = "netinvert"
"""The text in a file of codes that says what they are."""
RERUN = (
    "In the folder of this page, the same again, compared to the last bit:",
    "netinvert rerun . --out ../again",
)


def save_run(folder: RunDir, manifest: Mapping[str, object], record: Record) -> Outcome:
    """Write and publish all files of a run; ``manifest`` without what the record says."""
    write_files(folder.path, record)
    report_of(record).save(lambda name, data: write_atomic(folder.path(name), data))
    folder.commit({**manifest, **entries_of(record)})
    result = record.result
    count = len(record.samples)
    took = f"{result.seconds:.1f} s" if result.seconds < 10 else duration(result.seconds)
    how = f"{count} × {result.steps} steps" if result.steps else f"{count} decoded"
    text = f"{table_of(record, short=True).text()}\n\n{how} in {took}"
    return Outcome(read_json(folder.out / MANIFEST), text, folder.out)


def entries_of(record: Record) -> dict[str, object]:
    """What is known of the images, for the manifest."""
    result, encoder, metrics, attained = record.result, record.encoder, record.metrics, record.attained
    entries: dict[str, object] = {
        "network": None if encoder is None else encoder.network.name,
        "layer": None if encoder is None else encoder.layer,
        "weights_sha256": None if encoder is None else encoder.weights_sha256(),
        "code_shape": _code_shape(result.code),
        "image_shape": list(result.image.shape[1:]),
        "code_error": mean_of([one.code_error for one in metrics]),
        "errors": {name: mean_of([one.errors[name] for one in metrics]) for name in ERROR_NAMES},
        "reference": None if record.reference is None else record.reference.name,
        "psnr": mean_of([one.psnr for one in metrics]),
        "ssim": mean_of([one.ssim for one in metrics]),
        "seconds": round(result.seconds, 3),
        "steps": result.steps,
        "seed": record.samples[0].seed,
        "samples": [
            {
                "name": sample.name,
                "seed": sample.seed,
                **dataclasses.asdict(metrics[index]),
                "status": result.status[index],
                "best_step": int(result.best_step[index]),
            }
            for index, sample in enumerate(record.samples)
        ],
    }
    if attained is not None:
        names = [sample.name for sample in record.samples]
        entries["attained"] = {
            "name": attained.name,
            "values": dict(zip(names, attained.values, strict=True)),
            "floors": {name: dict(zip(names, row, strict=True)) for name, row in attained.floors.items()},
        }
    return entries


def write_files(path: Callable[[str], Path], record: Record) -> None:
    """Images, tensors and losses; ``path`` says where a file of a name goes."""
    result, groups = record.result, record.groups
    firsts = [indices[0] for indices in groups.values()]
    for index, sample in enumerate(record.samples):
        write_png(result.image[index], path(f"{sample.name}.png"))
    tensors = {"image": result.image, **record.tensors, **_named("image_code", result.code)}
    if result.target is not None:
        tensors |= _named("code", map_code(lambda code: code[firsts], result.target))
    if record.originals is not None:
        tensors["original"] = record.originals[firsts]
        for stem, image in zip(groups, tensors["original"], strict=True):
            write_png(image, path(f"original-{stem}.png"))
    save_tensors(path(TENSORS), tensors, labels(record.encoder, list(groups)))
    if result.steps:  # a decoder takes none
        write_atomic(path("losses.csv"), _losses_csv(record).encode())
        write_atomic(path("loss.png"), loss_plot(result.losses, result.terms).png())
    write_atomic(path("contact-sheet.png"), grid_of(record).png())


def save_result(
    result: Result,
    folder: str | Path,
    encoder: Encoder | None = None,
    original: Tensor | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a result's images, tensors, losses, report and manifest into a new folder; gives its path.

    With the ``encoder`` all errors are known, with the ``original`` (1 or N, C, h, w) the likeness too.
    Raises OutputError, ConfigError.
    """
    count = result.image.shape[0]
    names = ["reconstruction"] if count == 1 else [f"reconstruction-{k + 1}" for k in range(count)]
    metrics, reference = [Metrics(dict.fromkeys(ERROR_NAMES)) for _ in names], None
    if encoder is not None:
        reference = None if result.target is None else shipped_reference(encoder)
        if original is not None:
            original = encoder.fit(original.to(result.image)).expand_as(result.image)
        metrics = evaluate_result(result, encoder, original, reference)
    elif original is not None:
        raise ConfigError("to compare with an original, give the encoder too: save(…, encoder=encoder)")
    elif result.target is not None:
        metrics = [
            Metrics({**dict.fromkeys(ERROR_NAMES), "ijcv16": error}) for error in result.error.tolist()
        ]
    samples = tuple(Sample(name, name, None) for name in names)
    identity = {
        "images": result.image,
        "codes": result.code,
        "losses": result.losses,
        "original": original,
        "weights": None if encoder is None else encoder.weights_sha256(),
    }
    entries = {
        "format": FORMAT,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    try:
        with RunDir(folder, identity, overwrite) as run:
            save_run(run, entries, Record(result, samples, metrics, encoder, original, reference))
            return run.out
    except FinishedError:  # the same result is there already
        return Path(folder)


def labels(encoder: Encoder | None, names: Sequence[str]) -> dict[str, str]:
    """What a file of codes says of them: a JSON text, so that their order is always the same."""
    facts: dict[str, object] = {"names": list(names)}
    if encoder is not None:
        facts["network"], facts["layer"] = encoder.network.name, encoder.layer
        facts["weights_sha256"] = encoder.weights_sha256()
    return {LABELS: json.dumps(facts)}


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
                "resolution": stage.resolution,
                "averaged": stage.averaged,
            }
            for stage in recipe.stages
        ],
    }


def _named(name: str, code: Code) -> dict[str, Tensor]:
    return {f"{name}/{layer}".rstrip("/"): one for layer, one in layers_of(code).items()}


def _code_shape(code: Code) -> object:
    shapes = {layer: list(one.shape[1:]) for layer, one in layers_of(code).items()}
    return shapes.get("", shapes)


def _settings_of(thing: object) -> dict[str, object]:
    plain: dict[str, object] = {"type": type(thing).__name__}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        plain.update(dataclasses.asdict(thing))
    return plain


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
