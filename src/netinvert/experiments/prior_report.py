"""What ``netinvert study priors`` tells: which prior wins at each layer, or that none does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.preferences import HOG_OBSERVER
from netinvert.evaluation.readers import FOREIGN
from netinvert.evaluation.report import Column, code, counted, listed
from netinvert.evaluation.statistics import compared, differs
from netinvert.experiments.configs.studies import StudyPriors
from netinvert.experiments.prior_measures import (
    ALIKE,
    MARGINS,
    NINE,
    OTHER_MARGIN,
    Claim,
    Curve,
    claims,
    common_place,
    figure_of,
    winner,
)
from netinvert.experiments.registered import ENOUGH, PRIORS, registered, status
from netinvert.experiments.runs import made_by

SHOWN_PICTURES = 6
DIGITS = 3
NO_PERSON = "No person has judged: `netinvert study vote` asks people which picture shows more."
ABOUT = {
    "parts": "intersection over union of the parts, as a linear reader of a foreign network's features sees "
    "them",
    "whole": "the same of the whole chair",
    "chooses": "right choices between the picture's original and each of the nine others that look most like "
    "it, by the likeness to the images of this row",
    "ssim": "likeness to the original",
    "reads": "share of poses within 30°, of the chairs whose original it reads so if it is limited",
}


@dataclass(frozen=True, eq=False)
class PriorStudy:
    """The curves of each layer, the first of which is the reference, and by layer and name the baselines;
    in words the layers without curves, ``skipped``, and all that was ``left_out`` or failed."""

    config: StudyPriors
    layers: Mapping[str, Sequence[Curve]]
    floors: Mapping[str, Mapping[str, Mapping[str, Tensor]]]
    skipped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """In the order of the table: the primary one first."""
        names = [name for name in next(iter(self.layers.values()))[0].values if name not in ALIKE]
        kinds, first = list(ABOUT), f"{FOREIGN} reads"

        def order(name: str) -> tuple[bool, int, bool]:
            return name != first, kinds.index(_kind(name)), name.startswith(HOG_OBSERVER)

        return tuple(sorted(names, key=order))

    @property
    def observer(self) -> str:
        """The measure of the observing network."""
        return next(one for one in self.measures if _kind(one) == "chooses")

    @cached_property
    def claimed(self) -> Mapping[str, Sequence[Claim]]:
        """By measure; each is a family of its own."""
        return {name: claims(self.layers, name) for name in self.measures}

    def of_layer(self, layer: str, measure: str) -> list[Claim]:
        """The claims of a layer."""
        return [one for one in self.claimed[measure] if one.curve.layer == layer]

    def level(self, layer: str) -> Tensor:
        """The code errors (M,) at which everything is compared: the reference's at one of its weights."""
        curves = self.layers[layer]
        return curves[0].errors[common_place(curves)]

    # -- words ---------------------------------------------------------------------------------------------

    def verdict(self, layer: str, measure: str) -> str:
        """The winner of a layer, or what else may be said, in a sentence. Best is only what is surely better
        than all others that are surely better than the reference."""
        some, reference = self.of_layer(layer, measure), self.layers[layer][0]
        said: dict[str, list[str]] = {}
        best, against = winner(some, self.level(layer)), code(reference.name)
        for one in some:
            if one is not best:
                said.setdefault(one.verdict, []).append(code(one.curve.name))
        where = f"{code(layer)}, {measure}:"
        if best is not None and best.comparison is not None:
            apart = _column(measure).words(best.comparison.apart)
            text = f"{where} **{best.curve.name}** is best, by {apart} above {against} (p = {best.p:.2g})"
        elif set(said) == {"not enough"}:
            return f"{where} not enough pictures for a claim ({ENOUGH} are needed)."
        elif len(better := said.pop("better", [])) > 1:
            which = "which of them is best is undecided"
            text = f"{where} surely better than {against}: {listed(better)}; {which}"
        else:
            text = f"{where} none is surely better than {against}"
        margin = _column(measure).parts(MARGINS.get(measure, OTHER_MARGIN))[0]
        words = {
            "better": "surely better, too",
            "equivalent": f"surely the same within {margin}",
            "worse": "surely worse",
            "undecided": "undecided",
            "not enough": "not enough pictures for a claim",
        }
        more = [f"{words[name]}: {listed(said[name])}" for name in words if name in said]
        return "; ".join([text, *more]) + "."

    @property
    def answer(self) -> str:
        """Which prior wins where, by the primary measure; and what SSIM says."""
        told = []
        for measure in dict.fromkeys((self.measures[0], "ssim")):
            where: dict[str, list[str]] = {}
            for layer in self.layers:
                where.setdefault(self._winner(layer, measure), []).append(code(layer))
            said = "; ".join(f"at {listed(layers)} {who}" for who, layers in where.items())
            told.append(f"At equal code error and by {measure}: {said}.")
        return " ".join(told)

    def _winner(self, layer: str, measure: str) -> str:
        some, against = self.of_layer(layer, measure), code(self.layers[layer][0].name)
        better = [one for one in some if one.verdict == "better"]
        worse = [code(one.curve.name) for one in some if one.verdict == "worse"]
        best = winner(some, self.level(layer))
        if {one.verdict for one in some} == {"not enough"}:
            return f"nothing is claimed, for {ENOUGH} pictures are needed"
        if best is not None and best.comparison is not None:
            apart = _column(measure).words(best.comparison.apart)
            said = f"**{best.curve.name}** is best, by {apart} above {against}"
        elif better:
            said = f"{listed([code(one.curve.name) for one in better])} are surely better than {against}"
        else:
            said = f"none is surely better than {against}"
        return said + (f", and {listed(worse)} surely worse" if worse else "")

    def against_natural(self, layer: str) -> str:
        """What the observer makes of the reference's images, and of natural ones."""
        name = self.observer
        reference = self.layers[layer][0]
        own, restarts = reference.values[name][common_place(self.layers[layer])], self.config.restarts
        natural = self.floors[layer][NINE][name]
        column = _column(name)
        shares = [column.parts(one.mean().item())[0] for one in (natural, own)]
        text = (
            f"{code(layer)}: by {NINE} images {name} right in {shares[0]}, by the picture of "
            f"{code(reference.name)} in {shares[1]}"
        )
        if len(natural) < ENOUGH:
            return f"{text}; not enough pictures for a claim."
        apart = compared(own, natural.repeat_interleave(restarts), reference.pictures, OTHER_MARGIN).apart
        sure = "not surely another"
        if differs(apart):
            sure = "surely more" if apart.value > 0 else "surely less"
        return f"{text}: {sure} ({' '.join(column.parts(apart))})."

    # -- tables --------------------------------------------------------------------------------------------

    def table(self, layer: str) -> report.Table:
        """A row a curve at equal code error; below, what nobody made. Marked is what is surely better than
        the reference."""
        curves, level = self.layers[layer], self.level(layer)
        columns = [
            Column("prior"),
            Column("there", percent=True, about="images whose curve has that code error"),
        ]
        columns += [_column(name) for name in self.measures]
        rows: list[dict[str, object]] = []
        for curve in curves:
            found = {name: figure_of(curve.at(name, level), curve.pictures) for name in self.measures}
            reached = (~curve.at("ssim", level).isnan()).double().mean().item()
            rows.append({"prior": curve.name, "there": reached, **found})
        for name, values in self.floors[layer].items():
            asked = [one for one in self.measures if one in values]
            rows.append({"prior": name, **{one: figure_of(values[one], _each(values[one])) for one in asked}})
        marked = {
            (place, 2 + column)
            for column, name in enumerate(self.measures)
            for place, one in enumerate(self.of_layer(layer, name), 1)
            if one.verdict == "better"
        }
        floors = range(len(curves), len(rows))
        return report.Table.of(rows, columns, baselines=floors, marked=marked, name=f"equal-error-{layer}")

    def levels(self, layer: str) -> report.Table:
        """The primary measure at the code error of every weight of the reference's, which stands behind it:
        two weights may have the same error."""
        name, curves = self.measures[0], self.layers[layer]
        places = [place for place, weight in enumerate(curves[0].weights) if weight > 0]
        columns = [Column("prior")]
        columns += [
            replace(
                _column(name),
                name=f"at {curves[0].errors[place].nanmean():.3f} ({curves[0].weights[place]:g})",
                about="",
            )
            for place in places
        ]
        rows = [
            (one.name, *(figure_of(one.at(name, curves[0].errors[place]), one.pictures) for place in places))
            for one in curves
        ]
        title = f"{layer}, {name}: at the code error of each weight of {curves[0].name}"
        return report.Table(columns, rows, title, name=f"levels-{layer}")

    def comparisons(self) -> report.Table:
        """Every claim."""
        columns: list[Column | str] = ["layer", "prior", "measure"]
        columns += [Column("difference", digits=DIGITS), "p", "p, Holm"]
        columns += ["p of a difference beyond the margin, Holm", "pictures", "verdict"]
        rows = []
        for one in (one for some in self.claimed.values() for one in some):
            found = one.comparison
            figures = (found.apart, found.p, one.p, one.p_apart, found.objects) if found else (None,) * 5
            rows.append((one.curve.layer, one.curve.name, one.measure, *figures, one.verdict))
        return report.Table(columns, rows, name="comparisons")

    def every_image(self, names: Sequence[str]) -> report.Table:
        """All values, a row an image."""
        restarts, rows = self.config.restarts, list[tuple[report.Value, ...]]()
        for layer, curve in ((layer, one) for layer, some in self.layers.items() for one in some):
            for place, weight in enumerate(curve.weights):
                for k, error in enumerate(curve.errors[place].tolist()):
                    head = (layer, curve.prior, curve.canvas, weight, names[k // restarts], k % restarts)
                    found = [curve.values[name][place, k].item() for name in self.measures]
                    rows.append((*head, *(None if math.isnan(one) else one for one in (error, *found))))
        heads = ("layer", "prior", "canvas", "weight", "picture", "restart", "code_error")
        return report.Table([*heads, *self.measures], rows)

    def curves_plot(self) -> report.Plot:
        """What the observer chooses over the code error, layer by layer; the nine natural images as a
        line."""
        name = self.observer
        panels = []
        for layer, curves in self.layers.items():
            series = []
            for one in curves:
                points = (one.errors.nanmean(1).tolist(), one.values[name].mean(1).tolist())
                series.append(report.Series(one.name, *points, marker="o"))
            ends = [min(map(min, (one.x for one in series))), max(map(max, (one.x for one in series)))]
            natural = float(self.floors[layer][NINE][name].mean())
            series.append(report.Series(NINE, ends, [natural] * 2, line=":", marker="", colour="#1c1c1e"))
            panels.append(report.Panel(series, layer, "code error", name, x_log=True))
        return report.Plot(panels, "Right choices over the code error", name="choices")


def priors_page(study: PriorStudy, grids: Sequence[report.ImageGrid]) -> report.Report:
    """The whole page; a grid of pictures a layer."""
    config, first, *others = study.config, *study.measures
    level = [
        f"{code(curves[0].name)} with {curves[0].weights[common_place(curves)]:.3g} at {code(layer)}, a code "
        f"error of {study.level(layer).nanmean():.3f} in the mean"
        for layer, curves in study.layers.items()
    ]
    lead = (
        f"{counted(config.count, 'picture')}, {counted(config.restarts, 'restart')} each, inverted by every "
        "prior on every canvas with every weight. Compared are images of equal code error, one by one: that "
        "of the first prior that could be tried, with the weight whose error most images of all priors reach "
        f"({listed(level)}). {status(registered(config, PRIORS), code(made_by(PRIORS)), None)}"
    )
    how = (
        "Between two weights a measure is read off straight over the logarithm of the code error; where a "
        "prior's images do not have that error, they are not compared. Intervals are 95 %, of the bootstrap "
        "over pictures; p-values are corrected (Holm) over all priors, canvases and layers of a measure. "
        "Best is what is surely better than all others that are surely better than the reference, too. "
        f"Primary is “{first}”: that network took no part; all other measures are secondary. “The same” is "
        "two one-sided tests at 5 %."
    )
    return report.Report.of(
        f"Priors of {config.network}",
        lead,
        "## What was found",
        report.Points([*(study.verdict(layer, first) for layer in study.layers), *study.skipped]),
        "### Against natural images",
        report.Points([study.against_natural(layer) for layer in study.layers]),
        NO_PERSON,
        report.Prose(how, quiet=True),
        study.curves_plot(),
        "## At equal code error",
        [[f"### {code(layer)}", study.table(layer)] for layer in study.layers],
        "### Other measures",
        report.Points([study.verdict(layer, name) for name in others for layer in study.layers]),
        report.Details("At other code errors", [study.levels(layer) for layer in study.layers]),
        report.Details("Every comparison", [study.comparisons()]),
        report.Details("Left out", [report.Points(study.left_out)]) if study.left_out else None,
        "## Pictures",
        "Of each prior the image whose code error is nearest to the reference's.",
        list(grids),
    )


def _kind(measure: str) -> str:
    return measure.rpartition(" ")[2]


def _column(measure: str) -> Column:
    share = measure != "ssim"
    return Column(measure, about=ABOUT[_kind(measure)], digits=0 if share else DIGITS, percent=share)


def _each(values: Tensor) -> Tensor:
    """Every value is of a picture of its own."""
    return torch.arange(len(values))
