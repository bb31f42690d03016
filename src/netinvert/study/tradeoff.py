"""The figure of a sweep: naturalness over code error, one curve a prior and canvas."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from typing import Any

from netinvert.study.sweep import Trial, recommended

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
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

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
