"""The report of images that were made: beside their originals, with figures, floors and next steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from netinvert.evaluation.evaluate import Baseline, Pose, PoseFigures, baselines
from netinvert.evaluation.report import (
    Block,
    Code,
    Column,
    GridRow,
    Heading,
    ImageGrid,
    Panel,
    Plot,
    Prose,
    Report,
    Series,
    Table,
    Tile,
    code,
    counted,
    listed,
    loss_plot,
    number,
)
from netinvert.inversion.codes import layers_of

if TYPE_CHECKING:
    from netinvert.evaluation.record import Record

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


def report_of(record: Record) -> Report:
    """The page of a run."""
    result, encoder = record.result, record.encoder
    floors: list[Baseline] = []
    if encoder is not None and result.target is not None:
        floors = baselines(result.target, encoder, record.originals, record.reference)
    blocks: list[Block] = [Heading("Images"), grid_of(record), Heading("Figures"), table_of(record, floors)]
    if result.steps:
        blocks += [Heading("Losses"), *_losses(record)]
    if record.steps_to_take:
        blocks.append(Heading("Next"))
        for words, command in record.steps_to_take:
            blocks += [Prose(words), Code(command)]
    notes = [f"{note[:1].upper()}{note[1:]}." for note in record.notes]
    return Report(
        _title(record), blocks, " ".join(filter(None, [_found(record, floors), *notes])), record.command
    )


def _losses(record: Record) -> list[Block]:
    """By step; what is made large is no loss, and has no logarithm."""
    losses, terms, attained = record.result.losses, record.result.terms, record.attained
    if attained is None or not attained.more:
        return [loss_plot(losses, terms)]
    steps = range(1, len(losses) + 1)
    rows = zip(record.samples, torch.unbind(-losses[:, 0].double().cpu(), 1), strict=True)
    shown = [Series(sample.name, steps, row.tolist()) for sample, row in list(rows)[:MOST_CURVES]]
    large = Plot([Panel(shown, x_label="step", y_label=f"weighted {attained.name}")], name="objective")
    return [large, loss_plot(losses[:, 1:], terms[1:])] if len(terms) > 1 else [large]


def _title(record: Record) -> str:
    stems = list(record.groups)
    names = listed([code(stem) for stem in stems]) if len(stems) < 4 else counted(len(stems), "input")
    what = record.what + "s" * (len(record.samples) > 1)
    of = f"{what[:1].upper()}{what[1:]} {'for' if record.what == 'image' else 'of'} {names}"
    encoder = record.encoder
    return of if encoder is None else f"{of}, layer {code(encoder.layer)} of {encoder.network.name}"


def _found(record: Record, floors: Sequence[Baseline]) -> str:
    """What came out, in sentences made from the figures."""
    attained = record.attained
    if attained is not None:
        have = [f"{IN_WORDS[name]} has {_range(row)}" for name, row in attained.floors.items()]
        return f"The {attained.name} is **{_range(attained.values)}**; {listed(have)}."
    errors = [one.code_error for one in record.metrics if one.code_error is not None]
    if not errors:
        return ""
    said = [f"The code error is **{_range(errors)}**"]
    if floors:
        have = [f"{IN_WORDS[one.name]} would have {number(one.code_error)}" for one in floors]
        said[0] += f"; {listed(have)}"
        poor = sum(error >= min(one.code_error for one in floors) for error in errors)
        if poor:
            which = (
                "The image matches"
                if len(errors) == 1
                else f"{poor} of {counted(len(errors), 'image')} match"
            )
            said.append(f"{which} the code no better than that, and may show nothing of it")
    likeness = [one.ssim for one in record.metrics if one.ssim is not None]
    if likeness:
        said.append(f"The structural similarity (SSIM) to the original is {_range(likeness)}")
    return ". ".join(said) + "."


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def grid_of(record: Record) -> ImageGrid:
    """The originals and what was made, a row an input."""
    groups, encoder = record.groups, record.encoder
    restarts = max(map(len, groups.values()))
    compared = record.originals is not None or record.result.target is not None
    rows = []
    for stem, indices in groups.items():
        tiles = [Tile(record.images[index], _caption(record, index)) for index in indices]
        if compared:
            original = None if record.originals is None else record.originals[indices[0]]
            pose = record.metrics[indices[0]].pose
            seen = None if pose is None else pose.original
            tiles.insert(0, Tile(original, () if seen is None else (_pose_line(seen),)))
        rows.append(GridRow(stem, tiles))
    what = "restart" if record.what == "reconstruction" else record.what
    columns = [record.what] if restarts == 1 else [f"{what} {k + 1}" for k in range(restarts)]
    title = ""
    if encoder is not None:
        shapes = [one.shape[1:] for one in layers_of(record.result.code).values()]
        shape = ", ".join(" × ".join(map(str, one)) for one in shapes)
        title = f"{code(encoder.network.name)}, layer {code(encoder.layer)} ({shape})"
    return ImageGrid(rows, ["original", *columns] if compared else columns, title, name="contact-sheet")


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
        pose = metrics.held_out_pose.reconstruction
        lines.append(f"held-out {pose.azimuth:.0f}°, {pose.elevation:.0f}°")
    return lines


def _has_a_pose(record: Record) -> bool:
    """Of an image that was made for a unit, a pose network says any pose."""
    return record.what != "image" or (record.attained is not None and not record.attained.more)


def _pose_line(pose: Pose) -> str:
    text = f"azimuth {pose.azimuth:.0f}°, elevation {pose.elevation:.0f}°"
    return text if pose.presence is None else f"{text}, presence {pose.presence:.2f}"


def table_of(record: Record, floors: Sequence[Baseline] = (), short: bool = False) -> Table:
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
    return Table(columns, rows, baselines=floor_rows, name="figures", sortable=len(metrics) > 6)


def _azimuths(pose: PoseFigures | None) -> str | None:
    if pose is None:
        return None
    ours = f"{pose.reconstruction.azimuth:.0f}°"
    return f"{ours} ({pose.original.azimuth:.0f}°)" if pose.original else ours
