"""The page of a sweep: trade-off curves, the Pareto front, the recommended setting, all images."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from netinvert.evaluation.evaluate import Baseline, baselines, shipped_reference
from netinvert.evaluation.report import (
    Block,
    Code,
    Column,
    Details,
    GridRow,
    Heading,
    ImageGrid,
    Panel,
    Plot,
    Points,
    Prose,
    Report,
    Series,
    Table,
    Tile,
    by,
    code,
    counted,
    listed,
    number,
)
from netinvert.evaluation.report.plot import COLOURS
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import Sweep
from netinvert.experiments.inputs import open_network, read_inputs
from netinvert.experiments.inversions import Targets, Wanted, invert_all
from netinvert.experiments.runs import PAGE, network_facts, publish, run_facts
from netinvert.experiments.sweep import (
    ERROR_FLOOR,
    Trial,
    by_layer,
    command_of,
    marked,
    planned_settings,
    recommended,
    recommended_for_all,
    save_trial_images,
    trial_file,
    trial_of,
)
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder

SHOWN = 3
"""Codes whose images are on the page; those of all are in the folder."""
MEASURED = {
    "gradients": "by how much their gradients are as strong and directed as those of {whose}: the "
    "intersection of two histograms, 1 for the same",
    "naturalness": "by how much the directions of their gradients are those of {whose} (the measure of "
    "Mahendran & Vedaldi 2016: the intersection of two histograms of 18 directions, 1 for the same)",
    "ssim": "by their likeness to the original, which is SSIM",
}
HOW_CHOSEN = (
    f"Recommended (★) is the setting with the greatest score, naturalness / (code error + {ERROR_FLOOR:g}). "
    "The score is ours: twice as natural is worth about twice the error, and errors far below the constant, "
    "which was chosen by eye, are as good as none. It is a proposal: look at the images, for they say more "
    "than any number."
)
LABELS = {
    "gradients": "naturalness of gradients",
    "naturalness": "naturalness of directions",
    "ssim": "SSIM with the original",
}
FIGURES = (
    Column("code error", digits=3, best="min", key="ijcv16", about="‖Φ − Φ₀‖ / ‖Φ₀‖, mean over the codes"),
    Column("CVPR 2015", digits=3, key="cvpr15", about="‖Φ − Φ₀‖² over the mean squared distance of codes"),
    Column("CVPR 2016", digits=3, key="cvpr16", about="‖Φ − Φ₀‖ over the mean distance of codes"),
    Column("gradients", digits=3, best="max", about="naturalness by the gradients' strength and direction"),
    Column("directions", digits=3, best="max", key="naturalness", about="the same by direction alone"),
    Column("SSIM", digits=3, best="max", key="ssim", about="likeness to the original"),
)
_WIDE = 8
"""How many times the smallest error the largest is before the axis is logarithmic."""
_MARKS = "osD^vPX"
_INK = "#1c1c1e"


@dataclass(frozen=True, eq=False)
class SweepPage:
    """What the page is made from: an encoder, targets and floors a layer, the codes' ``names``."""

    config: Sweep
    encoders: Sequence[Encoder]
    targets: Sequence[Targets]
    trials: Sequence[Trial]
    names: Sequence[str]
    left_out: Sequence[str]
    floors: Sequence[Sequence[Baseline]]

    def report(self) -> Report:
        """The page."""
        network = self.encoders[0].network.name
        whose = "the original" if self.originals_known else "netinvert's photographs, on average"
        blocks: list[Block] = [
            Heading("Recommended"),
            *self._recommendations(),
            Prose(HOW_CHOSEN, quiet=True),
        ]
        measured = MEASURED[self.config.measure].format(whose=whose)
        how = (
            f"Each point is one setting, tried on all codes: how far the codes of its images are from the "
            f"targets, and how natural the images look, {measured}. The weight of the prior stands beside "
            "the point. A setting is on the Pareto front (◆) if none that was tried is better in one of the "
            "two and as good in the other."
        )
        for place, encoder in enumerate(self.encoders):
            blocks += self._layer(place, by_layer(self.trials)[encoder.layer], how)
        if self.left_out:
            blocks += [Heading("Not tried"), Points([code(text) for text in self.left_out])]
        seconds = sum(one.found.cpu_seconds for one in self.trials)
        lead = (
            f"{counted(len(self.trials), 'setting')} tried on the codes of {code(network)} for "
            f"{listed([code(name) for name in self.names])}, in {seconds:.0f} CPU seconds."
        )
        return Report(f"Priors for {network}", blocks, lead)

    @property
    def originals_known(self) -> bool:
        """Whether images were given, or codes alone."""
        return self.targets[0].originals is not None

    def _recommendations(self) -> list[Block]:
        blocks: list[Block] = []
        layers = by_layer(self.trials)
        for layer, trials in layers.items():
            best = recommended(trials)
            if best is None:
                blocks.append(Prose(f"At {code(layer)} every setting failed."))
                continue
            text = f"At {code(layer)}: {code(best.setting.options)} ({in_words(best)})"
            if len(trials) > 1:
                text += f", the greatest score ({number(best.score, 2)}) of {len(trials)}"
            blocks += [Prose(f"{text}.{_by_ssim(trials, best)}"), Code(command_of(self.config, best))]
        everywhere = recommended_for_all(self.trials) if len(layers) > 1 else None
        if everywhere is not None:
            setting, score = everywhere
            text = f"At all of them: {code(setting.options)}, with the greatest geometric mean of its scores"
            blocks.append(Prose(f"{text}, {score:.2f}."))
        return blocks

    def _layer(self, place: int, trials: Sequence[Trial], how: str) -> list[Block]:
        encoder = self.encoders[place]
        best = recommended(trials)
        front = sorted((one for one in trials if one.on_front), key=lambda one: one.point)
        blocks: list[Block] = [Heading(f"{code(encoder.layer)}: a code of {by(encoder.code_shape)} numbers")]
        plot = tradeoff(trials, encoder.layer, self.config.measure)
        if plot is not None:
            blocks += [Prose(how), plot]
        if len(front) > 1:
            blocks.append(Heading("The Pareto front, from accurate to natural", 3))
        if front:
            blocks.append(self._images(place, front, best))
        failed = [f"{code(one.setting.options)}: {one.found.failure}" for one in trials if one.found.failure]
        curves = dict.fromkeys(one.setting.curve for one in trials if one.found.images is not None)
        if len(curves) + len(failed) > 1:
            shown: list[Block] = [Points(failed)] if failed else []
            for curve in curves:
                members = [
                    one for one in trials if one.setting.curve == curve and one.found.images is not None
                ]
                members.sort(key=lambda one: one.setting.weight or 0.0)
                shown += [Prose(f"**{curve}**"), self._images(place, members, best)]
            blocks.append(Details(f"The images of {counted(len(trials), 'setting')}", shown))
        return [*blocks, Heading("All figures", 3), self._table(place, trials, best)]

    def _images(self, place: int, trials: Sequence[Trial], best: Trial | None) -> ImageGrid:
        """A row a code: the original, if known, then one image a trial."""
        rows = []
        for k, name in enumerate(self.names[:SHOWN]):
            originals = self.targets[place].originals
            tiles = [] if originals is None else [Tile(originals[k], name="original")]
            for one in trials:
                if one.found.images is None:
                    continue
                measured = one.found.measured
                lines = [f"code error {number(measured['ijcv16'][k], 3)}"]
                lines += [f"SSIM {number(measured['ssim'][k], 2)}"] * (originals is not None)
                lines += [f"gradients {number(measured['gradients'][k], 2)}"]
                canvas = f", {one.setting.canvas}" if one.setting.canvas else ""
                mark: Literal["", "best", "good"] = "best" if one is best else "good" if one.on_front else ""
                tiles.append(Tile(one.found.images[k], lines, f"{one.setting.text}{canvas}", mark))
            rows.append(GridRow(name, tiles))
        return ImageGrid(rows, size=160, quality=90)

    def _table(self, place: int, trials: Sequence[Trial], best: Trial | None) -> Table:
        rows: list[list[str | float | None]] = []
        for one in sorted(trials, key=lambda one: one.point):
            note = "★ recommended" if one is best else "◆ Pareto front" if one.on_front else ""
            note = f"{one.found.diverged} diverged {note}".strip() if one.found.diverged else note
            figures = [one.found.mean(column.key or column.name) for column in FIGURES]
            canvas = one.setting.canvas or "the preset's"
            rows.append([one.setting.text, canvas, *figures, "failed" if one.found.failure else note])
        count = len(rows)
        for low in self.floors[place]:
            known = {"ijcv16": low.code_error, "ssim": low.ssim}
            figures = [known.get(column.key) for column in FIGURES]
            rows.append([low.name, None, *figures, "not inverted"])
        columns: list[Column | str] = ["prior", "canvas", *FIGURES, Column("", key="note")]
        return Table(columns, rows, baselines=range(count, len(rows)), sortable=count > 2)


def in_words(one: Trial) -> str:
    """In words."""
    likeness = one.found.mean("ssim")
    text = f"code error {number(one.error, 3)}, naturalness {number(one.naturalness, 3)}"
    return text if likeness is None else f"{text}, SSIM {likeness:.3f}"


def _by_ssim(trials: Sequence[Trial], best: Trial) -> str:
    """Which setting is most like the originals, if another is."""
    likeness = {one: value for one in trials if (value := one.found.mean("ssim")) is not None}
    if not likeness or max(likeness.values()) <= likeness.get(best, 1.0):
        return ""
    other = max(likeness, key=likeness.__getitem__)
    return (
        f" By likeness to the originals alone it would be {code(other.setting.options)}: SSIM "
        f"{likeness[other]:.3f} instead of {likeness[best]:.3f}."
    )


def tradeoff(trials: Sequence[Trial], title: str, measure: str) -> Plot | None:
    """The trials of one layer: all of them, and beside them the better half at a larger scale; None if fewer
    than two came through.

    Points bear the prior's weight; the Pareto front has a pale line, the recommended setting a ring.
    """
    known = [one for one in trials if one.known]
    if len(known) < 2:
        return None
    middle = statistics.median([one.score or 0.0 for one in known])
    near = [one for one in known if one.on_front or (one.score or 0.0) > middle]
    panels = [_panel(known, known, title, measure)]
    if 1 < len(near) < len(known):
        panels.append(_panel(near, known, "the better half", measure))
    return Plot(panels, "Naturalness over code error", name=f"tradeoff-{title}")


def _panel(shown: Sequence[Trial], known: Sequence[Trial], title: str, measure: str) -> Panel:
    """One curve a prior and canvas, in the colours and marks that they have among all ``known``."""
    priors = list(dict.fromkeys(one.setting.prior for one in known))
    canvases = list(dict.fromkeys(one.setting.canvas for one in known))
    front = sorted((one for one in shown if one.on_front), key=lambda one: one.point)
    series = []
    if len(front) > 1:
        series.append(Series("Pareto front", *_points(front), colour=_INK, width=5, alpha=0.15))
    for curve in dict.fromkeys(one.setting.curve for one in shown):
        members = [one for one in shown if one.setting.curve == curve]
        members.sort(key=lambda one: one.setting.weight or 0.0)
        setting = members[0].setting
        series.append(
            Series(
                curve,
                *_points(members),
                labels=["" if (w := one.setting.weight) is None else f"{w:.2g}" for one in members],
                marker=_MARKS[canvases.index(setting.canvas) % len(_MARKS)],
                colour=COLOURS[priors.index(setting.prior) % len(COLOURS)],
                width=1.4,
                alpha=0.8,
            )
        )
    best = recommended(shown)
    if best is not None:
        ring = {"line": "", "marker": "o", "colour": _INK}
        series.append(Series("recommended", *_points([best]), hollow=True, size=16, **ring))  # type: ignore[arg-type]
    errors = [one.point[0] for one in shown]
    return Panel(
        series,
        title,
        "code error ‖Φ − Φ₀‖ / ‖Φ₀‖ (left is better)",
        f"{LABELS[measure]} (up is better)",
        x_log=min(errors) > 0 and max(errors) > _WIDE * min(errors),
    )


def _points(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [one.point[0] for one in trials], [one.point[1] for one in trials]


def run_sweep(config: Sweep, tell: Tell) -> Outcome:
    """Try everything, and leave the page. Raises NetinvertError before any long work."""

    network = open_network(config, config.device)
    encoders = [Encoder(network, layer) for layer in config.layers]
    inputs = [read_inputs(config.input, encoder) for encoder in encoders]
    left_out: dict[str, None] = {}
    planned = [planned_settings(config, *pair, left_out) for pair in zip(encoders, inputs, strict=True)]
    for text in left_out:
        tell(f"left out: {text}")
    targets = [
        Targets.of(encoder, one.codes, one.originals, shipped_reference(encoder))
        for encoder, one in zip(encoders, inputs, strict=True)
    ]
    rows = tuple(range(len(inputs[0].codes)))
    wanted = [
        Wanted(encoder.layer, setting.choice(config), rows, (config.seed,) * len(rows))
        for encoder, settings in zip(encoders, planned, strict=True)
        for setting in settings
    ]
    with RunDir(
        config.out, run_facts(config, {**network_facts(encoders[0]), "targets": targets}), config.overwrite
    ) as folder:
        found = iter(invert_all(folder, config, targets, wanted, "settings"))
        trials: list[Trial] = []
        for encoder, settings in zip(encoders, planned, strict=True):
            layer = [trial_of(encoder.layer, setting, next(found), config.measure) for setting in settings]
            trials += marked(layer)
        names = inputs[0].stems
        lows = [
            baselines(one.codes, encoder, one.originals, shipped_reference(encoder))
            for encoder, one in zip(encoders, inputs, strict=True)
        ]
        page = SweepPage(config, encoders, targets, trials, names, tuple(left_out), lows)
        for name, some in by_layer(trials).items():
            plot = tradeoff(some, f"{network.name}, {name}", config.measure)
            if plot is not None:
                folder.path(f"{trial_file('tradeoff', name)}.png").write_bytes(plot.png())
        images = save_trial_images(folder, trials, inputs[0])
        best = {layer: recommended(some) for layer, some in by_layer(trials).items()}
        everywhere = recommended_for_all(trials) if len(encoders) > 1 else None
        entries = {
            **network_facts(encoders[0]),
            "layers": {encoder.layer: encoder.code_shape for encoder in encoders},
            "recommended": {layer: one and one.setting.options for layer, one in best.items()},
            "recommended_everywhere": everywhere and everywhere[0].options,
            "left_out": list(left_out),
            "inputs": inputs[0].sources,
            "codes": names,
            "trials": [{**one.facts(), "images": files} for one, files in zip(trials, images, strict=True)],
        }
        lines = [
            f"{layer}: every setting failed"
            if one is None
            else f"{layer}: {one.setting.options} ({in_words(one)})\n  {command_of(config, one)}"
            for layer, one in best.items()
        ]
        return publish(folder, config, page.report(), entries, "\n".join(lines), PAGE)
