"""What layers keep, as a figure of curves, and as a sheet of changed pictures above what is decoded."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinvert.decoders import Decoder
from netinvert.encoder import Encoder
from netinvert.study.fresh_chairs import PAPER, before_colour
from netinvert.study.kept import Findings, decoded
from netinvert.study.kept_changes import chroma, hue_rotated, moved, resized
from netinvert.study.kept_measures import object_colour
from netinvert.study.kept_scenes import ATTRIBUTES, SIZE, SMALL_SIDE, Renders

PROBE, PALE, SHOWN, GREY = "#0072b2", "#8cc4e8", "#d55e00", "#777777"
"""Okabe & Ito's blue, a paler one, and vermilion, which all readers tell apart."""
SHIFTS = (-8, -5, -3, 0, 3, 5, 8)
SIDES = (44, 48, 52, 58, 64, 68, 72)
HUES = (0, 60, 120, 180, 240, 300)
BEHIND = ((206, 212, 218), (245, 245, 245), (40, 40, 44), (200, 60, 50), (60, 140, 70), (50, 90, 180))
AMONG = 60
"""The first so many chairs, of which the most colourful are shown."""


def curves(findings: Findings) -> bytes:
    """A PNG: a panel an attribute, layers from left to right: what a probe reads, and what is shown."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    names, layers = findings.settings.attributes, list(findings.layers)
    columns = min(4, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.4 * rows + 0.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten())
    words = panels.pop(columns - 1)  # where no panel's layers would have to be written above another's
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, findings, name, layers)
    for axes in (words, *panels[len(names) :]):
        axes.axis("off")
    legends = [axes.get_legend_handles_labels() for axes in panels[: len(names)]]
    handles, labels = max(legends, key=lambda legend: len(legend[1]))
    words.legend(handles, labels, loc="center", frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Any, findings: Findings, name: str, layers: Sequence[str]) -> None:  # noqa: ANN401
    attribute, found = ATTRIBUTES[name], [findings.layers[layer][name] for layer in layers]
    classes = attribute.kind == "class"
    read = [each.right if classes else each.probe for each in found]
    chance = [each.right_by_chance if classes else each.probe_by_chance for each in found]
    at = list(range(len(layers)))
    axes.plot(at, _drawn(read), "o-", color=PROBE, label="read from the code by a linear probe")
    if attribute.kind == "value":
        across = [each.absolute for each in found]
        axes.plot(at, _drawn(across), "-", color=PALE, label="the same across chairs", zorder=1)
    axes.plot(at, _drawn(chance), ":", color=PROBE, label="the same, shuffled labels")
    shown = {index: each.shown for index, each in enumerate(found) if each.shown is not None}
    measured = [each.right if classes else each.r2 for each in shown.values()]
    label = "measured in the decoded picture"
    axes.plot(list(shown), _drawn(measured), "s--", color=SHOWN, markersize=7, label=label)
    ceiling = findings.originals.get(name)
    if ceiling is not None:
        height = ceiling.right if classes else ceiling.r2
        axes.axhline(height, color=GREY, linewidth=1, linestyle="-.", label="measured in the original")
    axes.set_title(attribute.label + ", share right" * classes, fontsize=10, loc="left")
    axes.set_ylim(-0.03, 1.05)
    axes.set_xticks(at, layers, rotation=60, fontsize=8)
    axes.set_ylabel("" if classes else "R²", fontsize=8)
    axes.grid(True, color="#e4e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _drawn(values: Sequence[float | None]) -> list[float]:
    """Nothing is drawn below 0: worse than no answer is no answer."""
    return [max(0.0, value or 0.0) for value in values]


@dataclass(frozen=True, eq=False)
class Block:
    """Pictures (K, 3, H, W) of one chair, from left to right, each with its ``words``."""

    title: str
    images: Tensor
    words: tuple[str, ...]


def blocks(renders: Renders) -> list[Block]:
    """Four chairs: one in other hues, one before other backgrounds, one moved, one resized."""
    colour = object_colour(renders.front[:, :3], renders.front[:, 3:])[:AMONG]
    order = chroma(colour).norm(dim=1).argsort(descending=True)
    first, second = (renders.front[order[k]][None] for k in (0, 1))
    third, fourth = (renders.wide[order[k]][None] for k in (2, 3))
    paper = torch.tensor(PAPER) / 255
    hue = before_colour(hue_rotated(first.expand(len(HUES), -1, -1, -1), torch.tensor(HUES).float()), paper)
    behind = before_colour(second.expand(len(BEHIND), -1, -1, -1), torch.tensor(BEHIND) / 255)
    small = resized(third, torch.tensor([2 * SMALL_SIDE]), 2 * SMALL_SIDE).expand(len(SHIFTS), -1, -1, -1)
    places = torch.tensor([[shift, 0] for shift in SHIFTS])
    sizes = resized(fourth.expand(len(SIDES), -1, -1, -1), 2 * torch.tensor(SIDES), SIZE)
    return [
        Block("hue turned by", hue, tuple(f"{each}°" for each in HUES)),
        Block("background", behind, ("paper", "white", "dark", "red", "green", "blue")),
        Block(
            "moved to the right by",
            before_colour(moved(small, places, SIZE), paper),
            tuple(f"{x} px" for x in SHIFTS),
        ),
        Block("size times", before_colour(sizes, paper), tuple(f"{side / SIZE:.2f}" for side in SIDES)),
    ]


def sheet(shown: Sequence[Block], encoders: Mapping[str, Encoder], decoders: Mapping[str, Decoder]) -> bytes:
    """A PNG: the blocks, each with its originals in the first row and a row for each decoded layer below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    height = 2 * (0.72 * (1 + len(decoders)) + 0.75)
    figure = Figure(figsize=(12, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, block in zip(figure.subplots(2, 2).flatten(), shown, strict=True):
        rows = [block.images]
        with torch.no_grad():
            rows += [decoded(decoders[layer], encoders[layer](block.images))[0] for layer in decoders]
        tiles = torch.cat([torch.cat(list(row.clamp(0, 1)), -1) for row in rows], -2)
        axes.imshow(tiles.permute(1, 2, 0).numpy(), interpolation="nearest")
        middle = SIZE / 2 - 0.5
        axes.set_xticks([middle + SIZE * k for k in range(len(block.words))], block.words, fontsize=8)
        axes.set_yticks([middle + SIZE * k for k in range(len(rows))], ["original", *decoders], fontsize=8)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_title(block.title, fontsize=10, loc="left")
        for side in axes.spines.values():
            side.set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
