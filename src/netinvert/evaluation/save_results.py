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
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.evaluate import (
    ERROR_NAMES,
    Baseline,
    Metrics,
    Pose,
    PoseFigures,
    Record,
    Sample,
    baselines,
    evaluate_result,
    mean_of,
    shipped_reference,
)
from netinvert.evaluation.report import Column, code, number
from netinvert.inversion.objectives import Code, layers_of, map_code
from netinvert.inversion.result import Result
from netinvert.io.files import read_json, save_tensors, write_atomic
from netinvert.io.images import write_png
from netinvert.io.manifest import FORMAT, MANIFEST, Outcome, versions
from netinvert.io.rundir import FinishedError, RunDir
from netinvert.io.running import duration
from netinvert.models.encoder import Encoder
from netinvert.scenes.cameras import heading

Cell = str | float | None
MOST_CURVES = 8
IN_WORDS = {
    "grey image": "a grey image",
    "best photograph": "the best of netinvert's photographs",
    "other images": "other images, on average,",
}
"""The floors in a sentence."""
ABOUT = {
    "code error": "‖Φ−Φ₀‖ / ‖Φ₀‖, where Φ is the image's code and Φ₀ the one that was given: 0 is a perfect "
    "match, 1 what a code of zeros has",
    "cvpr15": "the same, otherwise scaled: ‖Φ−Φ₀‖² over the mean squared distance of two reference codes "
    "(Mahendran & Vedaldi 2015)",
    "cvpr16": "‖Φ−Φ₀‖ over the mean distance of two reference codes (Dosovitskiy & Brox 2016)",
    "PSNR": "peak signal-to-noise ratio to the original",
    "SSIM": "structural similarity to the original: 1 for the same image",
    "azimuth": "as the network reads it, which an image that was made for it can fool",
    "held-out azimuth": "as a network reads it that took no part",
}


def report_of(record: Record) -> report.Report:
    """The page of a run."""
    result, encoder = record.result, record.encoder
    floors: list[Baseline] = []
    if encoder is not None and result.target is not None:
        floors = baselines(result.target, encoder, record.originals, record.reference)
    blocks: list[report.Block] = [report.Heading("Images"), grid_of(record)]
    blocks += [report.Heading("Figures"), table_of(record, floors)]
    if result.steps:
        blocks += [report.Heading("Losses"), *_losses(record)]
    if record.steps_to_take:
        blocks.append(report.Heading("Next"))
    for words, command in record.steps_to_take:
        blocks += [report.Prose(words), report.Code(command)]
    notes = [f"{note[:1].upper()}{note[1:]}." for note in record.notes]
    lead = " ".join(filter(None, [_found(record, floors), *notes]))
    return report.Report(_title(record), blocks, lead, record.command)


def _losses(record: Record) -> list[report.Block]:
    """By step; what is made large is no loss, and has no logarithm."""
    losses, terms, attained = record.result.losses, record.result.terms, record.attained
    if attained is None or not attained.more:
        return [report.loss_plot(losses, terms)]
    steps = range(1, len(losses) + 1)
    rows = zip(record.samples, torch.unbind(-losses[:, 0].double().cpu(), 1), strict=True)
    shown = [report.Series(sample.name, steps, row.tolist()) for sample, row in list(rows)[:MOST_CURVES]]
    panel = report.Panel(shown, x_label="step", y_label=f"weighted {attained.name}")
    note = (
        "By step it is weighted, and of the image as shifted or changed then; in the table, of the last one."
    )
    large: list[report.Block] = [report.Prose(note, quiet=True), report.Plot([panel], name="objective")]
    return [*large, report.loss_plot(losses[:, 1:], terms[1:])] if len(terms) > 1 else large


def _title(record: Record) -> str:
    names = report.listed(list(map(code, record.groups)))
    if len(record.groups) > 3:
        names = report.counted(len(record.groups), "input")
    what = record.what + "s" * (len(record.samples) > 1)
    of = f"{what[:1].upper()}{what[1:]} {'for' if record.what == 'image' else 'of'} {names}"
    encoder = record.encoder
    return of if encoder is None else f"{of}, layer {code(encoder.layer)} of {encoder.network.name}"


def _found(record: Record, floors: Sequence[Baseline]) -> str:
    """What came out, in sentences made from the figures."""
    attained = record.attained
    if attained is not None:
        have = [f"{IN_WORDS.get(name, name)} has {_range(row)}" for name, row in attained.floors.items()]
        return f"The {attained.name} is **{_range(attained.values)}**; {report.listed(have)}."
    errors = [one.code_error for one in record.metrics if one.code_error is not None]
    if not errors:
        return ""
    said = [f"The code error is **{_range(errors)}**"]
    if floors:
        have = [f"{IN_WORDS[one.name]} would have {number(one.code_error)}" for one in floors]
        said[0] += f"; {report.listed(have)}"
        poor = sum(error >= min(one.code_error for one in floors) for error in errors)
        if poor:
            some = f"{poor} of {report.counted(len(errors), 'image')} match"
            which = "The image matches" if len(errors) == 1 else some
            said.append(f"{which} the code no better than that, and may show nothing of it")
    likeness = [one.ssim for one in record.metrics if one.ssim is not None]
    if likeness:
        said.append(f"The structural similarity (SSIM) to the original is {_range(likeness)}")
    return ". ".join(said) + "."


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def grid_of(record: Record) -> report.ImageGrid:
    """The originals and what was made, a row an input."""
    groups, encoder = record.groups, record.encoder
    restarts = max(map(len, groups.values()))
    compared = record.originals is not None or record.result.target is not None
    rows = []
    for stem, indices in groups.items():
        tiles = [report.Tile(record.images[index], _caption(record, index)) for index in indices]
        if compared:
            original = None if record.originals is None else record.originals[indices[0]]
            pose = record.metrics[indices[0]].pose
            seen = None if pose is None else pose.original
            tiles.insert(0, report.Tile(original, () if seen is None else (_pose_line(seen),)))
        rows.append(report.GridRow(stem, tiles))
    what = "restart" if record.what == "reconstruction" else record.what
    columns = [record.what] if restarts == 1 else [f"{what} {k + 1}" for k in range(restarts)]
    title = ""
    if encoder is not None:
        shapes = [one.shape[1:] for one in layers_of(record.result.code).values()]
        shape = ", ".join(" × ".join(map(str, one)) for one in shapes)
        title = f"{code(encoder.network.name)}, layer {code(encoder.layer)} ({shape})"
    return report.ImageGrid(
        rows, ["original", *columns] if compared else columns, title, name="contact-sheet"
    )


def _caption(record: Record, index: int) -> list[str]:
    metrics, attained = record.metrics[index], record.attained
    lines = []
    if attained is not None:
        lines.append(f"{attained.name} {number(attained.values[index])}")
    elif metrics.code_error is not None:
        lines.append(f"code error {number(metrics.code_error)}")
    if metrics.psnr is not None and attained is None:
        lines.append(f"PSNR {number(metrics.psnr, 1)} dB, SSIM {number(metrics.ssim, 2)}")
    if metrics.pose is not None and _has_a_pose(record):
        lines.append(_pose_line(metrics.pose.reconstruction))
    if metrics.held_out_pose is not None and _has_a_pose(record):
        lines.append(_pose_line(metrics.held_out_pose.reconstruction, "held-out"))
    return lines


def _has_a_pose(record: Record) -> bool:
    """Of an image that was made for a unit, a pose network says any pose."""
    return record.what != "image" or (record.attained is not None and not record.attained.more)


def _pose_line(pose: Pose, what: str = "azimuth") -> str:
    text = f"{what} {heading(pose.azimuth)}, elevation {pose.elevation:.0f}°"
    return text if pose.presence is None else f"{text}, presence {pose.presence:.2f}"


def table_of(record: Record, floors: Sequence[Baseline] = (), short: bool = False) -> report.Table:
    """A row an image, then the floors; ``short`` for a terminal. What is not known has no column."""
    metrics, attained = record.metrics, record.attained
    alone = len(record.groups) == 1  # those of several inputs cannot be compared
    least, most = ("min", "max") if alone else ("", "")
    columns: list[Column] = []
    values: list[list[Cell]] = []

    def add(name: str, row: Sequence[Cell], below: Sequence[Cell] = (), **how: Any) -> None:  # noqa: ANN401
        if any(value is not None for value in row):
            about = how.pop("about", ABOUT.get(name, ""))
            columns.append(Column(name, about="" if short else about, **how))
            values.append([*row, *(below or [None] * len(floors))])

    add("image", [sample.name for sample in record.samples], [floor.name for floor in floors])
    if attained is not None:
        add(attained.name, attained.values, about=attained.about, best=most if attained.more else least)
        for name, row in attained.floors.items():
            add(name, row)
    errors = [floor.code_error for floor in floors]
    add("code error", [one.code_error for one in metrics], errors, digits=3, best=least)
    if not short:
        for paper in ("cvpr15", "cvpr16"):
            add(paper, [one.errors[paper] for one in metrics], digits=3)
    if attained is None:
        likeness = [floor.psnr for floor in floors], [floor.ssim for floor in floors]
        add("PSNR", [one.psnr for one in metrics], likeness[0], unit="dB", digits=1, best=most)
        add("SSIM", [one.ssim for one in metrics], likeness[1], digits=3, best=most)
    poses: dict[str, list[PoseFigures | None]] = {
        "azimuth": [one.pose for one in metrics],
        "held-out azimuth": [one.held_out_pose for one in metrics],
    }
    for name, read in poses.items() if _has_a_pose(record) else ():
        compared = any(pose is not None and pose.original is not None for pose in read)
        about = ABOUT[name] + "; in brackets the original's" * compared
        add(name, [_azimuths(pose) for pose in read], align="right", about=about)
        if not short:
            off = [None if pose is None else pose.rotation_difference for pose in read]
            about = "the rotation between image and original, as read by the same network"
            add("off", off, unit="°", digits=0, key=f"{name} off", about=about)
    add("status", record.result.status)
    rows = list(zip(*values, strict=True))
    floor_rows = range(len(metrics), len(rows))
    return report.Table(columns, rows, baselines=floor_rows, name="figures", sortable=len(metrics) > 6)


def _azimuths(pose: PoseFigures | None) -> str | None:
    if pose is None:
        return None
    was = f" ({heading(pose.original.azimuth)})" if pose.original else ""
    return f"{heading(pose.reconstruction.azimuth)}{was}"


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
    shapes = {layer: list(one.shape[1:]) for layer, one in layers_of(result.code).items()}
    entries: dict[str, object] = {
        **_facts_of(encoder),
        "code_shape": shapes.get("", shapes),
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
        write_atomic(path("loss.png"), report.loss_plot(result.losses, result.terms).png())
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

    >>> import tempfile
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh()).eval()
    >>> encoder = ni.Encoder(network, "output", ni.Preprocessing(size=(16, 16)))
    >>> result = ni.invert(encoder, encoder(torch.rand(1, 3, 16, 16)), steps=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in save_result(result, Path(folder) / "out").glob("*.png"))
    ['contact-sheet.png', 'loss.png', 'reconstruction.png']
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
        errors = result.error.tolist()
        metrics = [Metrics({**dict.fromkeys(ERROR_NAMES), "ijcv16": error}) for error in errors]
    samples = tuple(Sample(name, name, None) for name in names)
    identity = {
        "images": result.image,
        "codes": result.code,
        "losses": result.losses,
        "original": original,
        "weights": None if encoder is None else encoder.weights_sha256(),
    }
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entries = {"format": FORMAT, "written": now, "versions": versions()}
    try:
        with RunDir(folder, identity, overwrite) as run:
            save_run(run, entries, Record(result, samples, metrics, encoder, original, reference))
            return run.out
    except FinishedError:  # the same result is there already
        return Path(folder)


def labels(encoder: Encoder | None, names: Sequence[str]) -> dict[str, str]:
    """What a file of codes says of them: a JSON text, so that their order is always the same."""
    facts = {"names": list(names), **({} if encoder is None else _facts_of(encoder))}
    return {LABELS: json.dumps(facts)}


def _facts_of(encoder: Encoder | None) -> dict[str, object]:
    if encoder is None:
        return dict.fromkeys(("network", "layer", "weights_sha256"))
    weights = encoder.weights_sha256()
    return {**encoder.network.facts(), "layer": encoder.layer, "weights_sha256": weights}


def _named(name: str, code: Code) -> dict[str, Tensor]:
    return {f"{name}/{layer}".rstrip("/"): one for layer, one in layers_of(code).items()}


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
