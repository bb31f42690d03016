"""What layers keep, as tables in Markdown."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinvert.experiments.held_out_chairs import PAPER, before_colour
from netinvert.experiments.kept.changes import chroma, hue_rotated, moved, resized
from netinvert.experiments.kept.measure import Findings, Kept, decoded
from netinvert.experiments.kept.measures import Agreement, object_colour
from netinvert.experiments.kept.scenes import ATTRIBUTES, SIZE, SMALL_SIDE, Renders
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder


def markdown(findings: Findings, command: str) -> str:
    """The page: one table of all, then how decoded pictures agree, how far codes move, and curved probes."""
    settings, decoders = findings.settings, findings.decoders
    names = [name for name in settings.attributes if name in ATTRIBUTES]
    labels = [ATTRIBUTES[name].label for name in names]

    def table(cell: Callable[[Kept], str], more: Sequence[tuple[str, Sequence[str]]] = ()) -> list[str]:
        rows = [
            (f"`{layer}`", [cell(found[name]) for name in names]) for layer, found in findings.layers.items()
        ]
        return _table(["layer", *labels], [[head, *cells] for head, cells in [*rows, *more]])

    originals = [_share(findings.originals.get(name)) for name in names]
    chance = [_chance(findings, name) for name in names]
    lines = [
        f"# What the codes of {findings.network} keep of a picture",
        "",
        _filled(
            f"Made by `{command}`. Each attribute varies alone, by known amounts, over {_chairs(findings)} "
            f"that no network or decoder has seen (seed {settings.seed})."
        ),
        "",
        _filled(
            "Each cell: what a linear probe (ridge regression) reads of the attribute from codes of chairs "
            "that it was not fitted on / what is measured in the decoded picture, taken as it is. Both are "
            "shares of variance, R² (below 0: worse than no answer); of parts the share of pictures with the "
            "right answer. Values count about their chair's mean, in codes as in pictures: a chair is "
            "compared with itself. Pose in pictures is read by the network's judge, parts by lines fitted on "
            "the judge's codes of originals. Last: the same measurements on the originals, and the probe of "
            "shuffled labels (the highest of all layers)."
        ),
        "",
        *table(_both, [("originals", originals), ("shuffled", chance)]),
        "",
        *(_decoded(findings, names) if decoders else []),
        "## How far the code moves",
        "",
        "Mean ‖ΔΦ‖ at one step of the attribute, over the mean distance of the codes of two chairs, each in",
        "a view of its own.",
        "",
        *table(lambda kept: f"{kept.change:.2f}", [("step", [ATTRIBUTES[name].step for name in names])]),
        "",
        "## Without comparing a chair with itself",
        "",
        "R² of a linear probe of the attribute itself over all chairs / with all products of two units added",
        "to the code, which finds what is there, but not along straight lines (of parts too).",
        "",
        *table(lambda kept: f"{kept.absolute:.2f} / {kept.curved:.2f}"),
    ]
    return "\n".join(lines) + "\n"


def _decoded(findings: Findings, names: Sequence[str]) -> list[str]:
    used = ", ".join(f"{decoder} (`{layer}`)" for layer, decoder in findings.decoders.items())
    heads = ["attribute", *(f"`{layer}`" for layer in findings.decoders), "originals"]
    rows = []
    for name in names:
        shown = [findings.layers[layer][name].shown for layer in findings.decoders]
        cells = [_agreement(each, name) for each in (*shown, findings.originals.get(name))]
        rows.append([ATTRIBUTES[name].label, *cells])
    return [
        "## In the decoded pictures",
        "",
        _filled(
            f"Decoders: {used}. R² of measured values taken as they are; in brackets that of a straight line "
            "of measured over true values, with its slope (1: as strong as in the original; 0: not at all); "
            "and the median error with, in brackets, that against other pictures' truth."
        ),
        "",
        *_table(heads, rows),
        "",
    ]


def _agreement(one: Agreement | None, name: str) -> str:
    if one is None:
        return "–"
    if one.right is not None and one.right_by_chance is not None:
        return f"{one.right:.0%} right ({one.right_by_chance:.0%})"
    unit = ATTRIBUTES[name].unit
    digits = 1 if unit else 2
    line = f"{one.r2:.2f} (line {one.line:.2f}, slope {one.slope:.2f})"
    return f"{line}; {one.error:.{digits}f}{unit} ({one.chance:.{digits}f}{unit})"


def _both(kept: Kept) -> str:
    read = f"{kept.probe:.2f}" if kept.right is None else f"{kept.right:.0%}"
    return read if kept.shown is None else f"{read} / {_share(kept.shown)}"


def _share(one: Agreement | None) -> str:
    if one is None:
        return "–"
    return f"{one.r2:.2f}" if one.right is None else f"{one.right:.0%}"


def _chance(findings: Findings, name: str) -> str:
    """The highest of all layers."""
    found = [layer[name] for layer in findings.layers.values()]
    if found[0].right_by_chance is not None:
        return f"{max(each.right_by_chance or 0 for each in found):.0%}"
    return f"{max(each.probe_by_chance for each in found):.2f}"


def _chairs(findings: Findings) -> str:
    """How many chairs there are for which attribute."""
    others = [
        f"{count} for {ATTRIBUTES[name].label}"
        for name, count in findings.counts.items()
        if count != findings.settings.chairs
    ]
    return f"{findings.settings.chairs} chairs" + (f" ({', '.join(others)})" if others else "")


def _filled(text: str) -> str:
    return textwrap.fill(text, 108, break_on_hyphens=False, break_long_words=False)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)]


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
