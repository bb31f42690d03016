"""Plots: series of numbers drawn by matplotlib, the same bytes each time, without any global state."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.report.table import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = ("#1f6fb4", "#d1702a", "#3c8d40", "#8b5fb0", "#c23b4b", "#8a6d3b", "#2a9d9d", "#666666", "#c76aa8")
_GREY = "#777777"
_LONGEST = 24  # letters of a name below an axis
_MOST_POINTS = 20_000  # plots of more points go into pages as pixels

Numbers = Sequence[float | None] | NDArray[Any] | Tensor


@dataclass(frozen=True, eq=False)
class Series:
    """Points (x, y), joined by a ``line`` ("" for none); x are numbers, or names that are set side by side.

    ``labels`` stand beside the points. ``line`` and ``marker`` are matplotlib's. ``thin`` is a faint line
    without a place in the legend. ``hollow`` draws rings. ``beside`` shifts it sideways, in places of names,
    so that intervals do not cover one another. Series of the same name have the same colour in all panels.
    None and NaN leave gaps. Raises ConfigError for lengths that differ.
    """

    name: str
    x: Sequence[float | str] | NDArray[Any] | Tensor
    y: Numbers
    labels: Sequence[str] = ()
    line: str = "-"
    marker: str = ""
    colour: str = ""
    width: float = 2.0
    size: float = 6.0
    alpha: float = 1.0
    thin: bool = False
    hollow: bool = False
    beside: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.labels or self.y):
            raise ConfigError(f"the series {self.name!r} has x, y or labels of different lengths")


@dataclass(frozen=True, eq=False)
class Panel:
    """Series on the same axes. ``levels`` are horizontal lines by name, such as floors and ceilings."""

    series: Sequence[Series]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = False
    y_range: tuple[float | None, float | None] = (None, None)
    x_margin: float = 0.05
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Plot:
    """Panels side by side, at most ``columns`` a row, with one legend; on a phone one below the other.

    >>> plot = Plot([Panel([Series("loss", [1, 2, 3], [3.0, 2.0, 1.5])], x_label="step", y_log=True)])
    >>> plot.png() == plot.png()
    True
    """

    panels: Sequence[Panel]
    title: str = ""
    columns: int = 2
    name: str = ""

    @property
    def about(self) -> str:
        """The title, or else what is drawn, for those who do not see it."""
        heads = [text for panel in self.panels for text in (panel.title, panel.y_label) if text]
        return self.title or ", ".join(dict.fromkeys(heads)) or "plot"

    def png(self, narrow: bool = False) -> bytes:
        """A PNG file's bytes."""
        return self._drawn("png", narrow)

    def for_page(self, narrow: bool = False) -> tuple[str, bytes]:
        """The media type and bytes for a page."""
        many = sum(len(series.x) for panel in self.panels for series in panel.series) > _MOST_POINTS
        return ("image/png", self.png(narrow)) if many else ("image/svg+xml", self._drawn("svg", narrow))

    def plain(self) -> dict[str, object]:
        """All numbers, for JSON."""
        return {
            "title": self.title,
            "panels": [
                {"title": panel.title, "x": panel.x_label, "y": panel.y_label, "levels": panel.levels}
                | {"series": [_plain_series(one) for one in panel.series if not one.thin]}
                for panel in self.panels
            ],
        }

    def _drawn(self, kind: Literal["png", "svg"], narrow: bool) -> bytes:
        """The same bytes each time: off screen and with matplotlib's own settings."""
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        columns = 1 if narrow else min(self.columns, max(1, len(self.panels)))
        shape = -(-len(self.panels) // columns), columns
        ours = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}
        # SVG names its parts by random numbers unless they are salted.
        with mpl.rc_context({**ours, "svg.hashsalt": "netinvert"}), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Glyph .* missing from", UserWarning
            )  # of names in other scripts
            made = Figure(figsize=self._size(shape, narrow), dpi=120, layout="constrained")
            (FigureCanvasAgg if kind == "png" else FigureCanvasSVG)(made)
            self._fill(made, shape, narrow)
            return _written(made, kind)

    def _size(self, shape: tuple[int, int], narrow: bool) -> tuple[float, float]:
        """Inches."""
        width, height = {1: (7.2, 4.2), 2: (5.0, 4.0)}.get(shape[1], (3.1, 2.5))
        if narrow:
            width, height = 3.75, 2.9
        for categories in map(_categories, self.panels):
            if _turned(categories, narrow):  # they need a place below
                height = max(height, 2.5 + 0.07 * min(_LONGEST, max(map(len, categories))))
        names = {
            name for panel in self.panels for name in (*(one.name for one in panel.series), *panel.levels)
        }
        legend = 0.22 * len(names) if narrow else 0.0
        return shape[1] * width, shape[0] * height + legend

    def _fill(self, made: Figure, shape: tuple[int, int], narrow: bool) -> None:
        axes = made.subplots(*shape, squeeze=False).flatten().tolist()
        names = dict.fromkeys(one.name for panel in self.panels for one in panel.series if not one.colour)
        colours = dict(zip(names, cycle(COLOURS)))
        handles: dict[str, Any] = {}
        for one, panel in zip(axes, self.panels, strict=False):
            handles |= _draw_panel(one, panel, colours, narrow)
        for one in axes[len(self.panels) :]:
            one.axis("off")
        if not handles:
            return
        labels = [_text(name, 40 if narrow else 60) for name in handles]
        if len(self.panels) == 1 and not narrow and len(handles) < 7:
            axes[0].legend(list(handles.values()), labels, frameon=False)
        else:
            longest = max(map(len, labels))
            across = 1 if narrow else max(1, min(len(labels), int(14 * made.get_figwidth() / (longest + 6))))
            where: dict[str, Any] = {"loc": "outside lower center", "frameon": False, "fontsize": 9}
            made.legend(list(handles.values()), labels, ncols=across, **where)


def _written(made: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Laid out and drawn, which takes nearly all of the time."""
    layout, buffer = made.get_layout_engine(), io.BytesIO()
    assert layout is not None
    # ``savefig`` would draw all of it twice, the first time only to lay it out.
    made.dpi = 120 if kind == "png" else 72
    layout.execute(made)
    made.dpi = 120
    made.set_layout_engine(None)
    dates: dict[str, None] = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    made.savefig(buffer, format=kind, metadata=dates)
    return buffer.getvalue()


def _draw_panel(axes: Axes, panel: Panel, colours: Mapping[str, str], narrow: bool) -> dict[str, Any]:
    """Draw a panel; gives what stands in the legend by name."""
    categories = _categories(panel)
    handles: dict[str, Any] = {}
    for one in panel.series:
        x = np.array([categories.index(str(each)) for each in one.x]) if categories else _floats(one.x)
        x = x + one.beside if one.beside else x
        y, colour = _floats(one.y, panel.y_log), one.colour or colours.get(one.name, _GREY)
        if one.thin:
            axes.plot(x, y, one.line, color=colour, linewidth=0.6, alpha=0.3)
            continue
        alone = "o" if len(one.x) == 1 else None  # no line joins a single point
        marks: dict[str, Any] = {"marker": one.marker or alone, "markersize": one.size, "alpha": one.alpha}
        marks["markerfacecolor"] = "none" if one.hollow else colour
        (drawn,) = axes.plot(x, y, color=colour, lw=one.width, ls=one.line or "none", **marks)
        for label, *at in zip(one.labels, x, y, strict=False):
            if label and np.isfinite(at).all():
                how: dict[str, Any] = {"textcoords": "offset points", "xytext": (5, 5), "fontsize": 7.5}
                axes.annotate(_text(label, 24), (at[0], at[1]), color=colour, **how)
        if one.name:
            handles.setdefault(one.name, drawn)
    for (name, level), line in zip(panel.levels.items(), cycle(("-.", ":", "--", (0, (1, 3))))):
        handles[name] = axes.axhline(level, color=_GREY, linewidth=1, linestyle=line, zorder=1)
    _dress_panel(axes, panel, categories, narrow)
    return handles


def _dress_panel(axes: Axes, panel: Panel, categories: Sequence[str], narrow: bool) -> None:
    from matplotlib.ticker import MaxNLocator  # slow to import

    y = np.concatenate([_floats(()), *(_floats(one.y, panel.y_log) for one in panel.series)])
    if panel.y_log and np.isfinite(y).any():
        axes.set_yscale("log")
        _mark_parts_of_decades(axes.yaxis, y)
    numbers = [] if categories else [_floats(one.x, panel.x_log) for one in panel.series]
    x = np.concatenate([_floats(()), *numbers])
    if not panel.x_log and not categories and (x == np.round(x)).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif panel.x_log and np.isfinite(x).any():
        axes.set_xscale("log")
        _mark_parts_of_decades(axes.xaxis, x)
    axes.margins(x=panel.x_margin)
    axes.set_xlabel(_text(panel.x_label, 50 if narrow else 90))
    axes.set_ylabel(textwrap.fill(_text(panel.y_label, 70), 28 if narrow else 45))
    axes.set_title(_text(panel.title, 45 if narrow else 80), fontsize=11, loc="left")
    axes.set_ylim(*panel.y_range) if panel.y_range != (None, None) else None
    if categories:
        turned = _turned(categories, narrow)
        labels = [_text(_middle_left_out(name), _LONGEST) for name in categories]
        angle: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": 8}
        axes.set_xticks(range(len(categories)), labels, **(angle if turned else {}))
    axes.grid(True, which="major", color="#e4e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_parts_of_decades(axis: Axis, values: NDArray[np.float64]) -> None:
    """Where powers of ten alone would be too few."""
    from matplotlib.ticker import LogLocator

    if np.nanmax(values) < 100 * np.nanmin(values):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def _turned(categories: Sequence[str], narrow: bool) -> bool:
    return sum(map(len, categories)) > (24 if narrow else 40)


def _middle_left_out(name: str) -> str:
    """Of a layer's name the end says most."""
    return name if len(name) <= _LONGEST else f"{name[:8]}…{name[-15:]}"


def _categories(panel: Panel) -> list[str]:
    """The names along x, in the order in which they come; none if x are numbers."""
    every = [each for one in panel.series for each in one.x]
    return list(dict.fromkeys(map(str, every))) if any(isinstance(each, str) for each in every) else []


def _floats(values: Any, positive: bool = False) -> NDArray[np.float64]:  # noqa: ANN401
    """As numbers, NaN for None and, if asked, for what has no logarithm."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    found = np.array([np.nan if value is None else float(value) for value in values], np.float64)
    return np.where(found > 0, found, np.nan) if positive else found


def _text(text: str, longest: int) -> str:
    """Text as matplotlib shows it: no formulas, nothing hidden from legends, not too long."""
    text = printable(text)
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def _plain_series(one: Series) -> dict[str, object]:
    x = [each if isinstance(each, str) else float(each) for each in one.x]
    return {"name": one.name, "x": x, "y": _floats(one.y).tolist()}


# -- losses --------------------------------------------------------------------------------------------

_TERMS = {"code": "code error, squared", "tv": "total variation", "alpha": "α-norm"}


def loss_plot(losses: Tensor, terms: Sequence[str]) -> Plot:
    """Weighted losses (steps, T, N) by step: the mean of each term, thin lines for the samples."""
    # A logarithm has no place for zeros.
    values = torch.where(losses > 0, losses, torch.nan).double().cpu()
    steps = np.arange(1, values.shape[0] + 1)
    several = values.shape[2] > 1
    series: list[Series] = []
    for index, term in enumerate(terms):
        label, colour = _TERMS.get(term, term), COLOURS[index % len(COLOURS)]
        if several:
            thin = values[:, index, :50].unbind(1)
            series += [Series("", steps, one, colour=colour, thin=True) for one in thin]
        marker = "o" if len(steps) < 3 else ""
        series.append(Series(label, steps, _mean_of_all(values[:, index]), colour=colour, marker=marker))
    y_label = "weighted loss" + (", mean over samples" if several else "")
    panel = Panel(series, x_label="step", y_label=y_label, y_log=True, x_margin=0.01)
    return Plot([panel], name="loss")


def _mean_of_all(values: Tensor) -> Tensor:
    """The mean over samples (steps, N) -> (steps,); a sample that has stopped counts with its last value."""
    held = values.clone()
    for step in range(1, held.shape[0]):
        held[step] = torch.where(torch.isnan(held[step]), held[step - 1], held[step])
    return held.nanmean(1)
