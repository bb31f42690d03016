"""What ``netinvert study methods`` tells: figures with intervals over chairs, and only such rankings as a
paired comparison bears out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import RIGHT
from netinvert.evaluation.report import Column, Estimate, code, counted, listed, number
from netinvert.evaluation.statistics import Statistic, difference, differs, estimate, ratio
from netinvert.experiments.configs.studies import StudyMethods
from netinvert.experiments.floors import FLOORS, MEAN, ORIGINAL
from netinvert.experiments.held_out_chairs import FreshChairs
from netinvert.experiments.registered import METHODS, registered, status

DECODE = "decode"
DRAWN = {
    "optimise": ("#0072B2", "o"),
    DECODE: ("#D55E00", "s"),
    "decode, then correct": ("#E69F00", "P"),
    "decode, then optimise": ("#009E73", "D"),
    "decoder as prior": ("#CC79A7", "^"),
    "autoencoder": ("#666666", "v"),
}
"""The methods that are plotted, in colours of Okabe & Ito, told apart by most eyes."""
ON_SHEET = 8
MEASURES = {
    "on_chair": Column(
        "on the chair", digits=3, about="distance in the chair's own pixels, over that of others"
    ),
    "image": Column("image error", digits=3, about="distance over the mean distance of two chairs"),
    "code": Column("code error", digits=3, about="of the image's own code: ‖Φ - Φ0‖ / ‖Φ0‖"),
    "ssim": Column("SSIM", digits=2),
}


@dataclass(frozen=True, eq=False)
class MethodRow:
    """How a method does on the codes of one layer: ``values`` chair by chair (N,), by the names in MEASURES,
    then by reader the errors of poses in degrees, NaN where the reader is not asked; ``seconds`` of the
    processor for an image; ``limited`` are the readers that are not asked about all."""

    layer: str
    method: str
    values: Mapping[str, Tensor]
    seconds: float | None
    limited: tuple[str, ...] = ()

    def figure(self, name: str) -> Estimate | None:
        """A mean, with its interval; of poses the median, of a limited reader the share within 30°."""
        values, statistic = self._of(name)
        return estimate(values, None, statistic) if len(values) else None

    def above(self, other: MethodRow, name: str) -> Estimate | None:
        """By how much the figure is above that of another method, paired."""
        (mine, statistic), (theirs, _) = self._of(name), other._of(name)
        return difference(mine, theirs, None, statistic) if len(mine) else None

    def _of(self, name: str) -> tuple[Tensor, Statistic]:
        values = self.values.get(name, Tensor())
        if name in self.limited:
            known = values[~values.isnan()]
            return (known < RIGHT).double(), "mean"
        return values, "mean" if name in MEASURES else "median"


@dataclass(frozen=True)
class Ranking:
    """The best of several methods by a figure, the next, and by how much they differ (paired)."""

    best: MethodRow
    other: MethodRow | None
    apart: Estimate | None

    @classmethod
    def of(cls, rows: Sequence[MethodRow], name: str) -> Ranking:
        """Of one layer."""
        known = [(found.value, row) for row in rows if (found := row.figure(name)) is not None]
        known.sort(key=lambda one: one[0], reverse=name == "ssim" or name in rows[0].limited)
        if len(known) < 2:
            return cls(known[0][1] if known else rows[0], None, None)
        best, other = known[0][1], known[1][1]
        return cls(best, other, best.above(other, name))

    @property
    def sure(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return self.apart is not None and differs(self.apart)


def methods_table(rows: Sequence[MethodRow]) -> report.Table:
    """A row a layer and method; marked is the best method only where the next one is surely worse."""
    readers = _readers(rows)
    columns = [Column("layer"), Column("method")]
    columns += [replace(column, key=name) for name, column in MEASURES.items()]
    for name in readers:
        if any(name in row.limited for row in rows):
            about = "share within 30°, of the chairs whose original this reader reads so"
            columns.append(Column(name, percent=True, about=about))
        else:
            columns.append(Column(name, "°", digits=1, about="median error of the pose that it reads"))
    names = [*MEASURES, *readers]
    records = [
        {"layer": row.layer, "method": row.method, **{name: row.figure(name) for name in names}}
        for row in rows
    ]
    marked = set()
    for own in _layers(rows).values():
        for place, name in enumerate(names, 2):
            ranking = Ranking.of([row for row in own if not _is_floor(row)], name)
            if ranking.sure:
                marked.add((rows.index(ranking.best), place))
    floors = [place for place, row in enumerate(rows) if _is_floor(row)]
    return report.Table.of(records, columns, baselines=floors, marked=marked, name="methods")


def _readers(rows: Sequence[MethodRow]) -> list[str]:
    """Of any row: a network is none of its own images."""
    return list(dict.fromkeys(name for row in rows for name in row.values if name not in MEASURES))


def rows_by_chair(rows: Sequence[MethodRow], chairs: FreshChairs) -> report.Table:
    """All values, a row a layer, method and chair."""
    known = {"azimuth": chairs.azimuth, "elevation": chairs.elevation, "symmetry": chairs.symmetry}
    records = []
    for row in rows:
        for k in range(len(chairs.images)):
            facts = {name: values[k].item() for name, values in known.items()}
            asked = {name: each[k].item() for name, each in row.values.items()}
            values = {name: value for name, value in asked.items() if not math.isnan(value)}
            records.append({"layer": row.layer, "method": row.method, "chair": k, **facts, **values})
    names = ["layer", "method", "chair", *known, *MEASURES, *_readers(rows)]
    return report.Table.of(records, names)


def methods_report(
    rows: Sequence[MethodRow], images: Mapping[str, Mapping[str, Tensor]], config: StudyMethods
) -> report.Report:
    """The whole page; ``images`` (N, 3, H, W) by layer and method."""
    layers = _layers(rows)
    blocks: list[report.Block] = [
        report.Heading("What was found"),
        report.Points([sentence for own in layers.values() for sentence in _sentences(own)]),
        report.Prose(
            "Intervals are 95 %, of the bootstrap over chairs; methods are compared chair by chair, and "
            "called better only where the interval of the difference leaves out 0. No correction is made for "
            "how many comparisons there are.",
            quiet=True,
        ),
        report.Prose(_asked(rows), quiet=True),
        _crossover(layers),
        report.Heading("All figures"),
        methods_table(rows),
        report.Heading("Time"),
        report.Points(_times(layers)),
        report.Heading("Images"),
        _overview(images),
        *(_sheet(layer, made) for layer, made in images.items()),
    ]
    planned = f"{counted(METHODS.chairs, 'chair')} of the seed {METHODS.seed}, {listed(METHODS.decoders)}"
    lead = (
        f"Codes of {counted(config.chairs, 'chair')} (seed {config.seed}), inverted by every method, beside "
        f"floors that need no inversion, of {config.bank} training views. "
        f"{status(registered(config, METHODS), planned, config.seed)}"
    )
    return report.Report("Optimise, decode, or both", blocks, lead)


def _layers(rows: Sequence[MethodRow]) -> dict[str, list[MethodRow]]:
    found: dict[str, list[MethodRow]] = {}
    for row in rows:
        found.setdefault(row.layer, []).append(row)
    return found


def _is_floor(row: MethodRow) -> bool:
    return row.method in (ORIGINAL, *FLOORS)


def _sentences(rows: Sequence[MethodRow]) -> list[str]:
    """The primary figure; the best method on the chair and by the code error, against the next and the best
    floor."""
    methods = [row for row in rows if not _is_floor(row)]
    floors = [row for row in rows if row.method in FLOORS]
    found = []
    for name in ("on_chair", "code"):
        ranking, floor = Ranking.of(methods, name), Ranking.of(floors, name).best
        text = f"{code(rows[0].layer)}, {MEASURES[name].name}: {_told(ranking.best, name)} is least"
        if ranking.other is not None:
            said = "surely less than" if ranking.sure else "not surely less than"
            text += f", {said} {_told(ranking.other, name)}"
        apart = ranking.best.above(floor, name)
        if apart is not None:
            beaten = differs(apart) and apart.value < 0
            text += f"; of what needs no inversion the best is {_told(floor, name)}, which is "
            text += "beaten" if beaten else "not beaten"
            text += f" (difference {Column('', digits=3).words(apart)})"
        found.append(f"{text}.")
    return [*_primary(methods, floors), *found]


def _primary(methods: Sequence[MethodRow], floors: Sequence[MethodRow]) -> list[str]:
    """How near decoded images come on the chair, as a share of the best floor."""
    decoded = [row for row in methods if row.method == DECODE]
    if not decoded or not floors:
        return []
    floor = Ranking.of(floors, "on_chair").best
    share = ratio(decoded[0].values["on_chair"], floor.values["on_chair"])
    words = Column("", digits=2).words(share)
    return [f"{code(decoded[0].layer)}: decoded images have {words} of the error of “{floor.method}” there."]


def _told(row: MethodRow, name: str) -> str:
    figure = row.figure(name)
    return f"“{row.method}” ({number(None if figure is None else figure.value, 3)})"


def _asked(rows: Sequence[MethodRow]) -> str:
    """About how many chairs the limited readers are asked."""
    first = rows[0]
    shares = [
        f"{code(name)} about {int((~first.values[name].isnan()).sum())} of {len(first.values[name])}"
        for name in first.limited
    ]
    if not shares:
        return ""
    return (
        f"Readers that do not read all originals within 30° are asked only about the chairs that they read: "
        f"{listed(shares)}."
    )


def _times(layers: Mapping[str, Sequence[MethodRow]]) -> list[str]:
    """Not in the table: they differ from run to run."""
    found = []
    for layer, rows in layers.items():
        each = [f"{_time(row.seconds)} by “{row.method}”" for row in rows if row.seconds is not None]
        found.append(f"{code(layer)}, CPU time of an image: {', '.join(each)}.")
    return found


def _time(seconds: float) -> str:
    return f"{number(seconds, 1)} s" if seconds >= 1 else f"{number(1000 * seconds, 1)} ms"


def _crossover(layers: Mapping[str, Sequence[MethodRow]]) -> report.Plot:
    """The error on the chair and the code error of the methods over the layers, side by side."""

    def panel(name: str) -> report.Panel:
        def over(method: str) -> list[float | None]:
            rows = [[row for row in each if row.method == method] for each in layers.values()]
            return [float(row[0].values[name].mean()) if row else None for row in rows]

        series = []
        for method, (colour, marker) in DRAWN.items():
            values = over(method)
            if any(value is not None for value in values):
                series.append(report.Series(method, list(layers), values, marker=marker, colour=colour))
        series.append(report.Series(MEAN, list(layers), over(MEAN), line=":", colour="#999999"))
        return report.Panel(series, MEASURES[name].name, "layer", MEASURES[name].name, y_range=(0, None))

    return report.Plot([panel("on_chair"), panel("code")], name="crossover")


def _overview(images: Mapping[str, Mapping[str, Tensor]]) -> report.ImageGrid:
    """The first chair at every layer, by the methods that are plotted."""
    shown = [ORIGINAL, *(method for method in DRAWN if any(method in each for each in images.values()))]
    rows = {layer: [_tile(each, method, 0) for method in shown] for layer, each in images.items()}
    return report.ImageGrid.of(rows, shown, "The first chair", size=128, name="overview")


def _sheet(layer: str, made: Mapping[str, Tensor]) -> report.ImageGrid:
    """Rows are chairs; columns the original, every method's image, and the floors."""
    shown = [ORIGINAL, *(method for method in made if method != ORIGINAL)]
    count = min(ON_SHEET, len(made[ORIGINAL]))
    rows = {f"chair {k + 1}": [_tile(made, method, k) for method in shown] for k in range(count)}
    return report.ImageGrid.of(rows, shown, layer, size=128, name=layer)


def _tile(made: Mapping[str, Tensor], method: str, k: int) -> Tensor | None:
    return made[method][k].clamp(0, 1) if method in made else None
