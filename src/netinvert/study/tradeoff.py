"""The figure of a sweep: naturalness over code error, one curve a prior and canvas."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from netinvert.study.sweep import Trial, recommended

_COLOURS = ("#1f6fb4", "#d1702a", "#3c8d40", "#8b5fb0", "#c23b4b", "#8a6d3b", "#2a9d9d", "#666666", "#c76aa8")
_MARKS = "osD^vPX"
LABELS = {
    "gradients": "naturalness of gradients",
    "naturalness": "naturalness of directions",
    "ssim": "SSIM with the original",
}
_WIDE = 8
"""How many times the smallest error the largest is before the axis is logarithmic."""


def tradeoff(trials: Sequence[Trial], title: str, measure: str) -> bytes:
    """A PNG of the trials of one layer. Points bear the prior's weight; the Pareto front has a dark line
    and dark rims, the recommended setting a ring."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 5.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    known = [one for one in trials if one.error is not None and one.naturalness is not None]
    front = sorted((one for one in known if one.on_front), key=_error)
    axes.plot(*_points(front), color="#1c1c1e", linewidth=5, alpha=0.12, label="Pareto front", zorder=1)
    priors = list(dict.fromkeys(one.draw.prior for one in known))
    canvases = list(dict.fromkeys(one.draw.canvas for one in known))
    for curve in dict.fromkeys(one.draw.curve for one in known):
        members = sorted((one for one in known if one.draw.curve == curve), key=_weight)
        draw = members[0].draw
        colour = _COLOURS[priors.index(draw.prior) % len(_COLOURS)]
        mark = _MARKS[canvases.index(draw.canvas) % len(_MARKS)]
        axes.plot(*_points(members), color=colour, linewidth=1.4, alpha=0.7, zorder=2)
        rims = ["#1c1c1e" if one.on_front else "white" for one in members]
        axes.scatter(
            *_points(members),
            s=44,
            c=colour,
            marker=mark,
            edgecolors=rims,
            linewidths=1.2,
            zorder=3,
            label=curve,
        )
        for one in members:
            text = "none" if one.draw.weight is None and one.draw.prior == "none" else _label(one)
            axes.annotate(
                text,
                (_error(one), one.naturalness or 0.0),
                textcoords="offset points",
                xytext=(5, 5),
                fontsize=7.5,
                color=colour,
            )
    best = recommended(trials)
    if best is not None:
        axes.scatter(
            *_points([best]), s=260, facecolors="none", edgecolors="#1c1c1e", linewidths=1.6, zorder=4
        )
    _dress(axes, known, title)
    axes.set_ylabel(f"{LABELS[measure]} (up is better)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _dress(axes: Any, known: Sequence[Trial], title: str) -> None:  # noqa: ANN401
    errors = [_error(one) for one in known]
    if errors and min(errors) > 0 and max(errors) > _WIDE * min(errors):
        axes.set_xscale("log")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("code error ‖Φ - Φ0‖ / ‖Φ0‖, mean over the codes (left is better)")
    axes.margins(0.08)
    axes.grid(True, which="major", color="#e4e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _label(one: Trial) -> str:
    return "" if one.draw.weight is None else f"{one.draw.weight:.2g}"


def _points(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [_error(one) for one in trials], [one.naturalness or 0.0 for one in trials]


def _error(one: Trial) -> float:
    return one.error or 0.0


def _weight(one: Trial) -> float:
    return one.draw.weight or 0.0
