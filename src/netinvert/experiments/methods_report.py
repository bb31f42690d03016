"""The table, the figure and the pictures of ``study.methods``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict

from PIL.Image import Image
from torch import Tensor

from netinvert.evaluation.contact_sheet import Cell, Row, contact_sheet
from netinvert.experiments.methods import LayerStudy, MethodFigures

HEADINGS = (
    "layer",
    "method",
    "image error",
    "code error",
    "SSIM",
    "the judge reads",
    "posenet reads",
    "ms an image",
)
COLOURS = {
    "optimise": "#0072B2",
    "decode": "#D55E00",
    "decode, then optimise 1/3": "#009E73",
    "decoder as prior": "#CC79A7",
    "autoencoder": "#666666",
}
"""Of Okabe & Ito, told apart by most eyes."""
MARKERS = ("o", "s", "D", "^", "v")


def markdown(studies: Sequence[LayerStudy]) -> str:
    """The table of all figures."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"| {' | '.join(['---'] * len(HEADINGS))} |"]
    lines += [f"| {' | '.join(_cells(one))} |" for study in studies for one in study.figures]
    return "\n".join(lines)


def rows(studies: Sequence[LayerStudy]) -> list[dict[str, object]]:
    """All figures as plain values."""
    return [asdict(one) for study in studies for one in study.figures]


def crossover(studies: Sequence[LayerStudy]) -> bytes:
    """A PNG: image error and code error of the methods over the layers, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    layers = [study.layer for study in studies]
    for axes, (name, title) in zip(
        figure.subplots(1, 2), (("image_error", "image error"), ("code_error", "code error")), strict=True
    ):
        for (method, colour), marker in zip(COLOURS.items(), MARKERS, strict=True):
            values = [
                getattr(found[0], name) if (found := _figures_of(study, method)) else float("nan")
                for study in studies
            ]
            axes.plot(layers, values, marker=marker, color=colour, label=method)
        axes.set_ylabel(
            f"{title}, over the mean distance of two pictures" if name == "image_error" else title
        )
        axes.set_ylim(0)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title)
    figure.axes[0].set_ylabel("distance over the mean distance of pairs")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def sheet(study: LayerStudy, originals: Tensor, count: int = 8) -> Image:
    """Rows are chairs; columns the original and every method's picture."""
    shown = [
        Row(
            f"chair {index + 1}",
            (Cell(originals[index]), *(Cell(made[index].clamp(0, 1)) for made in study.pictures.values())),
        )
        for index in range(min(count, len(originals)))
    ]
    return contact_sheet(shown, ["original", *study.pictures], f"posenet {study.layer}")


def overview(studies: Sequence[LayerStudy], originals: Tensor, chairs: Sequence[int]) -> Image:
    """Rows are layers and chairs; columns the original and the methods of COLOURS."""
    shown = []
    for index in chairs:
        for study in studies:
            made = [study.pictures.get(method) for method in COLOURS]
            cells = tuple(Cell(None if one is None else one[index].clamp(0, 1)) for one in made)
            shown.append(Row(f"{study.layer}, chair {index + 1}", (Cell(originals[index]), *cells)))
    return contact_sheet(shown, ["original", *COLOURS])


def _figures_of(study: LayerStudy, method: str) -> list[MethodFigures]:
    return [one for one in study.figures if one.method == method]


def _cells(one: MethodFigures) -> tuple[str, ...]:
    return (
        one.layer,
        one.method,
        f"{one.image_error:.3f}",
        f"{one.code_error:.3f}",
        f"{one.ssim:.2f}",
        f"{one.judge:.1f}°",
        f"{one.own:.1f}°",
        f"{1000 * one.seconds:.1f}" if one.seconds < 0.1 else f"{1000 * one.seconds:.0f}",
    )
