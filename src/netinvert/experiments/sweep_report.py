"""The page of a sweep: trade-off curves, the Pareto front, the recommended setting, all pictures."""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from torch import Tensor

from netinvert.evaluation import page
from netinvert.experiments.inversions import mean_and_deviation
from netinvert.experiments.sweep import ERROR_FLOOR, Plan, Subject, Trial, recommended, recommended_for_all
from netinvert.io.images import to_pil

SHOWN = 3
"""Codes whose pictures are on the page; those of all are in the folder."""
_STYLE = """<style>
.row { display: grid; gap: .6rem; margin: .5rem 0;
  grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)) }
.row figure.best { outline: 3px solid #d1702a; outline-offset: 3px; border-radius: 4px }
.row figure.front { outline: 2px solid #8888; outline-offset: 2px; border-radius: 4px }
.plot { width: 100%; max-width: 68rem; height: auto; border-radius: 6px; background: #fff; display: block }
</style>"""
HOW_TO_READ = (
    "Each point is one setting, tried on all codes: how far the codes of its pictures are from the targets, "
    "and how natural the pictures look, {measure}. The weight of the prior stands beside the point. A "
    "setting is on the Pareto front (◆) if none that was tried is better in one of the two and as good in "
    "the other."
)
MEASURED = {
    "gradients": "by how much their gradients are as strong and directed as those of {whose}: the "
    "intersection of two histograms, 1 for the same",
    "naturalness": "by how much the directions of their gradients are those of {whose} (the measure of "
    "Mahendran & Vedaldi 2016: the intersection of two histograms of 18 directions, 1 for the same)",
    "ssim": "by their likeness to the original, which is SSIM",
}
HOW_CHOSEN = (
    f"Recommended (★) is the setting with the greatest score, naturalness / (code error + {ERROR_FLOOR:g}): "
    "twice as natural is worth about twice the error, and errors far below the constant are as good as none. "
    "It is always on the front, and settings that are tried beside it do not change its score. It is a "
    "proposal: look at the pictures, for they say more than any number."
)


@dataclass(frozen=True, eq=False)
class Report:
    """What the page is made from: ``plots`` are PNG files by layer, ``names`` those of the codes."""

    network: str
    planned: Plan
    trials: Sequence[Trial]
    plots: dict[str, bytes]
    names: Sequence[str]
    command: str


def html(report: Report) -> str:
    """The whole page."""
    planned, subjects = report.planned, [subject for subject, _ in report.planned.rows]
    seconds = sum(one.outcome.cpu_seconds for one in report.trials)
    known = subjects[0].originals is not None
    whose = "the original's" if known else "netinvert's photographs, on average"
    parts = [
        _STYLE,
        page.paragraph(
            f"{len(report.trials)} settings tried on the codes of `{report.network}` for "
            f"{', '.join(report.names)} in {seconds:.0f} CPU seconds:"
        ),
        page.paragraph(f"`{report.command}`"),
        *_recommendations(report),
        page.paragraph(HOW_TO_READ.format(measure=MEASURED[planned.settings.measure].format(whose=whose))),
        page.paragraph(HOW_CHOSEN),
    ]
    for subject in subjects:
        layer = [one for one in report.trials if one.layer == subject.encoder.layer]
        parts += _layer(subject, layer, report)
    if planned.left_out:
        parts.append(page.heading("Not tried"))
        parts += [page.paragraph(text) for text in planned.left_out]
    return page.page(f"Priors for {report.network}", parts)


def _recommendations(report: Report) -> list[str]:
    parts = [page.heading("Recommended")]
    layers = list(dict.fromkeys(one.layer for one in report.trials))
    for layer in layers:
        best = recommended([one for one in report.trials if one.layer == layer])
        told = "every setting failed" if best is None else f"`{best.draw.options}` ({_figures(best)})"
        parts.append(page.paragraph(f"At {layer}: {told}."))
    everywhere = recommended_for_all(report.trials) if len(layers) > 1 else None
    if everywhere is not None:
        draw, score = everywhere
        text = (
            f"At all of them: `{draw.options}`, with the greatest geometric mean of its scores, {score:.2f}."
        )
        parts.append(page.paragraph(text))
    return parts


def _layer(subject: Subject, trials: Sequence[Trial], report: Report) -> list[str]:
    encoder = subject.encoder
    shape = "×".join(map(str, encoder.code_shape)) + (" numbers" if len(encoder.code_shape) == 1 else "")
    plot = base64.b64encode(report.plots[encoder.layer]).decode()
    best = recommended(trials)
    front = sorted((one for one in trials if one.on_front), key=lambda one: one.error or 0.0)
    parts = [
        page.heading(f"{encoder.layer}: {shape}"),
        f'<img class="plot" src="data:image/png;base64,{plot}" alt="Naturalness over code error">',
        page.heading("The Pareto front, from accurate to natural", 3),
    ]
    parts += [_row(subject, k, front, best, report) for k in range(min(SHOWN, len(report.names)))]
    for curve in dict.fromkeys(one.draw.curve for one in trials):
        members = sorted(
            (one for one in trials if one.draw.curve == curve), key=lambda one: one.draw.weight or 0.0
        )
        parts.append(page.heading(curve, 3))
        parts += [
            page.paragraph(f"{one.draw.text}: {one.outcome.failure}")
            for one in members
            if one.outcome.failure
        ]
        parts += [_row(subject, k, members, best, report) for k in range(min(SHOWN, len(report.names)))]
    return [*parts, page.heading("All figures", 3), _table(trials, best)]


def _row(subject: Subject, k: int, trials: Sequence[Trial], best: Trial | None, report: Report) -> str:
    """The pictures of the k-th code: the original, then one a trial."""
    cells = []
    if subject.originals is not None:
        cells.append(_figure(subject.originals[k], report.names[k], ("original",), ""))
    for one in trials:
        if one.outcome.images is None:
            continue
        measured = one.outcome.measured
        names = ("ijcv16", "gradients", "naturalness", "ssim")
        error, natural, directions, likeness = (measured[name][k] for name in names)
        lines = [f"error {error:.3f}" + ("" if likeness is None else f", SSIM {likeness:.2f}")]
        lines += [f"gradients {natural:.2f}", f"directions {directions:.2f}"]
        style = "best" if one is best else "front" if one.on_front else ""
        badge = {"best": "★ ", "front": "◆ ", "": ""}[style]
        canvas = f", {one.draw.canvas}" if one.draw.canvas else ""
        cells.append(_figure(one.outcome.images[k], f"{badge}{one.draw.text}{canvas}", lines, style))
    return f'<div class="row">{"".join(cells)}</div>'


def _figure(image: Tensor, heading: str, lines: Sequence[str], style: str) -> str:
    picture = to_pil(image).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    text = "<br>".join(map(escape, lines))
    return (
        f'<figure class="{style}"><img src="data:image/jpeg;base64,{data}" width="{picture.width}" '
        f'height="{picture.height}" alt="{escape(heading)}"><figcaption><b>{escape(heading)}</b>{text}'
        "</figcaption></figure>"
    )


def _figures(one: Trial) -> str:
    likeness = mean_and_deviation(one.outcome.measured["ssim"])
    text = f"code error {one.error:.3f}, natural by {one.naturalness:.3f}, score {one.score:.2f}"
    return text if likeness is None else f"{text}, SSIM {likeness[0]:.3f}"


def _table(trials: Sequence[Trial], best: Trial | None) -> str:
    headings = (
        "prior",
        "canvas",
        "error ijcv16",
        "cvpr15",
        "cvpr16",
        "gradients",
        "directions",
        "SSIM",
        "CPU s",
        "",
    )
    rows = []
    for one in sorted(trials, key=lambda one: (one.error is None, one.error)):
        means = [
            mean_and_deviation(one.outcome.measured.get(name, ()))
            for name in ("ijcv16", "cvpr15", "cvpr16", "gradients", "naturalness", "ssim")
        ]
        note = "★ recommended" if one is best else "◆ Pareto front" if one.on_front else ""
        if one.outcome.diverged:
            note = f"{one.outcome.diverged} diverged {note}"
        figures = ["–" if mean is None else f"{mean[0]:.3f}" for mean in means]
        rows.append(
            (
                one.draw.text,
                one.draw.canvas or "the preset's",
                *figures,
                f"{one.outcome.cpu_seconds:.1f}",
                note,
            )
        )
    return page.table(headings, rows)


_COLOURS = ("#1f6fb4", "#d1702a", "#3c8d40", "#8b5fb0", "#c23b4b", "#8a6d3b", "#2a9d9d", "#666666", "#c76aa8")
_INK = "#1c1c1e"
_MARKS = "osD^vPX"
LABELS = {
    "gradients": "naturalness of gradients",
    "naturalness": "naturalness of directions",
    "ssim": "SSIM with the original",
}
_WIDE = 8
"""How many times the smallest error the largest is before the axis is logarithmic."""


def tradeoff(trials: Sequence[Trial], title: str, measure: str) -> bytes:
    """A PNG of the trials of one layer: all of them, and beside them the better half at a larger scale.

    Points bear the prior's weight; the Pareto front has a pale line and dark rims, the recommended setting a
    ring.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [one for one in trials if one.error is not None and one.naturalness is not None]
    middle = statistics.median([one.score or 0.0 for one in known] or [0.0])
    near = [one for one in known if one.on_front or (one.score or 0.0) > middle]
    zoom = 1 < len(near) < len(known)
    figure = Figure(figsize=(12.5 if zoom else 8, 5.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if zoom else 1, squeeze=False)[0]
    for axes, shown, name in zip(panels, (known, near), (title, "the better half"), strict=False):
        _draw(axes, shown, known)
        best = recommended(shown)
        if best is not None:
            axes.scatter(
                *_points([best]), s=260, facecolors="none", edgecolors=_INK, linewidths=1.6, zorder=4
            )
        _dress(axes, shown, name)
    panels[0].set_ylabel(f"{LABELS[measure]} (up is better)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Any, shown: Sequence[Trial], known: Sequence[Trial]) -> None:  # noqa: ANN401
    """One curve a prior and canvas, in the colours and marks that they have among all ``known``."""
    front = sorted((one for one in shown if one.on_front), key=_error)
    axes.plot(*_points(front), color=_INK, linewidth=5, alpha=0.15, label="Pareto front", zorder=1)
    priors = list(dict.fromkeys(one.draw.prior for one in known))
    canvases = list(dict.fromkeys(one.draw.canvas for one in known))
    for curve in dict.fromkeys(one.draw.curve for one in shown):
        members = sorted((one for one in shown if one.draw.curve == curve), key=_weight)
        draw = members[0].draw
        colour = _COLOURS[priors.index(draw.prior) % len(_COLOURS)]
        mark = _MARKS[canvases.index(draw.canvas) % len(_MARKS)]
        axes.plot(
            *_points(members), color=colour, marker=mark, linewidth=1.4, alpha=0.8, label=curve, zorder=2
        )
        rims = [_INK if one.on_front else "white" for one in members]
        axes.scatter(
            *_points(members), s=44, c=colour, marker=mark, edgecolors=rims, linewidths=1.2, zorder=3
        )
        for one in members:
            at = (_error(one), one.naturalness or 0.0)
            how = {"textcoords": "offset points", "xytext": (5, 5), "fontsize": 7.5, "color": colour}
            axes.annotate(_label(one), at, **how)


def _dress(axes: Any, shown: Sequence[Trial], title: str) -> None:  # noqa: ANN401
    errors = [_error(one) for one in shown]
    if errors and min(errors) > 0 and max(errors) > _WIDE * min(errors):
        axes.set_xscale("log")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("code error ‖Φ - Φ0‖ / ‖Φ0‖, mean over the codes (left is better)")
    axes.margins(0.08)
    axes.grid(True, which="major", color="#e4e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _label(one: Trial) -> str:
    if one.draw.weight is not None:
        return f"{one.draw.weight:.2g}"
    return one.draw.prior if one.draw.prior == "none" else ""


def _points(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [_error(one) for one in trials], [one.naturalness or 0.0 for one in trials]


def _error(one: Trial) -> float:
    return one.error or 0.0


def _weight(one: Trial) -> float:
    return one.draw.weight or 0.0
