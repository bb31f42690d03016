"""The page of a sweep: trade-off curves, the Pareto front, the recommended setting, all images."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from netinvert.evaluation import report
from netinvert.evaluation.evaluate import shipped_reference
from netinvert.evaluation.report import Column, by, code, counted, listed, number
from netinvert.evaluation.report.plot import COLOURS
from netinvert.experiments.configs.looks import Sweep
from netinvert.experiments.inputs import open_network, read_inputs
from netinvert.experiments.inversions import Targets, Wanted, invert_all
from netinvert.experiments.runs import PAGE, file_part, invert_command, network_facts, publish, run_facts
from netinvert.experiments.sweep import (
    ERROR_FLOOR,
    Trial,
    by_curve,
    by_layer,
    marked,
    planned_settings,
    recommended,
    recommended_for_all,
    trial_of,
)
from netinvert.io.files import Tell, write_atomic
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder

SHOWN = 3
"""Codes whose images are on the page; those of all are in the folder."""
MEASURED = {
    "gradients": (
        "naturalness of gradients",
        "by how much their gradients are as strong and directed as those of {whose}: the intersection of two "
        "histograms, 1 for the same",
    ),
    "naturalness": (
        "naturalness of directions",
        "by how much the directions of their gradients are those of {whose} (the measure of Mahendran & "
        "Vedaldi 2016: the intersection of two histograms of 18 directions, 1 for the same)",
    ),
    "ssim": ("SSIM with the original", "by their likeness to the original, which is SSIM"),
}
"""Of an axis, and in a sentence."""
HOW = (
    "Each point is one setting, tried on all codes: how far the codes of its images are from the targets, "
    "and how natural the images look, {measured}. The weight of the prior stands beside the point. A setting "
    "is on the Pareto front (◆) if none that was tried is better in one of the two and as good in the other."
)
HOW_CHOSEN = (
    f"Recommended (★) is the setting with the greatest score, naturalness / (code error + {ERROR_FLOOR:g}). "
    "The score is ours: twice as natural is worth about twice the error, and errors far below the constant, "
    "which was chosen by eye, are as good as none. It is a proposal: look at the images, for they say more "
    "than any number."
)
COLUMNS = (
    Column("prior"),
    Column("canvas"),
    Column("code error", digits=3, best="min", key="ijcv16", about="‖Φ − Φ₀‖ / ‖Φ₀‖, mean over the codes"),
    Column("CVPR 2015", digits=3, key="cvpr15", about="‖Φ − Φ₀‖² over the mean squared distance of codes"),
    Column("CVPR 2016", digits=3, key="cvpr16", about="‖Φ − Φ₀‖ over the mean distance of codes"),
    Column("gradients", digits=3, best="max", about="naturalness by the gradients' strength and direction"),
    Column("directions", digits=3, best="max", key="naturalness", about="the same by direction alone"),
    Column("SSIM", digits=3, best="max", key="ssim", about="likeness to the original"),
    Column("", key="note"),
)
_WIDE = 8
"""How many times the smallest error the largest is before the axis is logarithmic."""
_MARKS = "osD^vPX"
_INK = "#1c1c1e"


def sweep_page(
    config: Sweep,
    encoders: Sequence[Encoder],
    targets: Sequence[Targets],
    trials: Sequence[Trial],
    names: Sequence[str],
    left_out: Sequence[str],
) -> report.Report:
    """The page: an encoder and targets a layer, the codes' ``names``."""
    network, layers = encoders[0].network.name, by_layer(trials)
    whose = "netinvert's photographs, on average" if targets[0].originals is None else "the original"
    how = HOW.format(measured=MEASURED[config.measure][1].format(whose=whose))
    best: list[report.Part] = []
    for layer, some in layers.items():
        top = recommended(some)
        if top is None:
            best.append(f"At {code(layer)} every setting failed.")
            continue
        text = f"At {code(layer)}: {code(top.setting.options)} ({top.words})"
        text += f", the greatest score ({number(top.score, 2)}) of {len(some)}" * (len(some) > 1)
        best += [f"{text}.{_by_ssim(some, top)}", report.Code(_command(config, top))]
    everywhere = recommended_for_all(trials) if len(layers) > 1 else None
    if everywhere is not None:
        text = (
            f"At all of them: {code(everywhere[0].options)}, with the greatest geometric mean of its scores"
        )
        best.append(f"{text}, {everywhere[1]:.2f}.")
    parts: list[report.Part] = [
        _layer_parts(config, encoder, each, layers[encoder.layer], names, how)
        for encoder, each in zip(encoders, targets, strict=True)
    ]
    if left_out:
        parts += ["## Not tried", report.Points([code(text) for text in left_out])]
    seconds = sum(one.found.cpu_seconds for one in trials)
    lead = (
        f"{counted(len(trials), 'setting')} tried on the codes of {code(network)} for "
        f"{listed([code(name) for name in names])}, in {seconds:.0f} CPU seconds."
    )
    chosen = report.Prose(HOW_CHOSEN, quiet=True)
    return report.Report.of(f"Priors for {network}", lead, "## Recommended", best, chosen, parts)


def _layer_parts(
    config: Sweep, encoder: Encoder, targets: Targets, trials: Sequence[Trial], names: Sequence[str], how: str
) -> list[report.Part]:
    best = recommended(trials)
    front = sorted((one for one in trials if one.on_front), key=lambda one: one.point)

    def images(shown: Sequence[Trial]) -> report.ImageGrid:
        """A row a code: the original, if known, then one image a trial."""
        rows = []
        for k, name in enumerate(names[:SHOWN]):
            tiles = [] if targets.originals is None else [report.Tile(targets.originals[k], name="original")]
            for one in shown:
                if one.found.images is not None:
                    lines = one.found.lines(k, "ijcv16", "ssim", "gradients")
                    label = one.setting.text + (f", {one.setting.canvas}" if one.setting.canvas else "")
                    mark = "best" if one is best else "good" if one.on_front else ""
                    tiles.append(report.Tile(one.found.images[k], lines, label, mark))  # type: ignore[arg-type]
            rows.append(report.GridRow(name, tiles))
        return report.ImageGrid(rows, size=160, quality=90)

    plot = tradeoff(trials, encoder.layer, config.measure)
    parts: list[report.Part] = [f"## {code(encoder.layer)}: a code of {by(encoder.code_shape)} numbers"]
    parts += [how, plot] if plot is not None else []
    parts += ["### The Pareto front, from accurate to natural"] if len(front) > 1 else []
    if len(names) > SHOWN:
        parts.append(report.Prose(f"Images of the first {SHOWN} of {len(names)} codes.", quiet=True))
    parts += [images(front)] if front else []
    failed = [f"{code(one.setting.options)}: {one.found.failure}" for one in trials if one.found.failure]
    curves = by_curve([one for one in trials if one.found.images is not None])
    if len(curves) + len(failed) > 1:
        shown = [
            block for name, some in curves.items() for block in (report.Prose(f"**{name}**"), images(some))
        ]
        points = [report.Points(failed)] if failed else []
        parts.append(report.Details(f"The images of {counted(len(trials), 'setting')}", [*points, *shown]))
    rows: list[dict[str, object]] = []
    for one in sorted(trials, key=lambda one: one.point):
        note = "★ recommended" if one is best else "◆ Pareto front" if one.on_front else ""
        note = f"{one.found.diverged} diverged {note}".strip() if one.found.diverged else note
        figures = {name: one.found.mean(name) for name in one.found.measured}
        setting = {"prior": one.setting.text, "canvas": one.setting.canvas or "the preset's"}
        rows.append({**setting, **figures, "note": "failed" if one.found.failure else note})
    count = len(rows)
    rows += [
        {"prior": low.name, "ijcv16": low.code_error, "ssim": low.ssim, "note": "not inverted"}
        for low in targets.floors(encoder)
    ]
    floors = range(count, len(rows))
    return [*parts, "### All figures", report.Table.of(rows, COLUMNS, baselines=floors, sortable=count > 2)]


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


def tradeoff(trials: Sequence[Trial], title: str, measure: str) -> report.Plot | None:
    """The trials of one layer: all of them, and beside them the better half at a larger scale; None if fewer
    than two came through.

    report.Points bear the prior's weight; the Pareto front has a pale line, the recommended setting a ring.
    """
    known = [one for one in trials if one.known]
    if len(known) < 2:
        return None
    middle = statistics.median([one.score or 0.0 for one in known])
    near = [one for one in known if one.on_front or (one.score or 0.0) > middle]
    shown = {title: known} | ({"the better half": near} if 1 < len(near) < len(known) else {})
    # One curve a prior and canvas, in the colours and marks that they have among all.
    priors, canvases = (
        list(dict.fromkeys(getattr(one.setting, name) for one in known)) for name in ("prior", "canvas")
    )
    panels = []
    for head, some in shown.items():
        series = []
        front = sorted((one for one in some if one.on_front), key=lambda one: one.point)
        if len(front) > 1:
            series.append(report.Series("Pareto front", *_points(front), colour=_INK, width=5, alpha=0.15))
        for curve, members in by_curve(some).items():
            setting = members[0].setting
            weights = ["" if (w := one.setting.weight) is None else f"{w:.2g}" for one in members]
            mark = _MARKS[canvases.index(setting.canvas) % len(_MARKS)]
            colour = COLOURS[priors.index(setting.prior) % len(COLOURS)]
            points = _points(members)
            series.append(report.Series(curve, *points, weights, "-", mark, colour, width=1.4, alpha=0.8))
        if (best := recommended(some)) is not None:
            ring = report.Series("recommended", *_points([best]), (), "", "o", _INK, hollow=True, size=16)
            series.append(ring)
        errors = [one.point[0] for one in some]
        wide = min(errors) > 0 and max(errors) > _WIDE * min(errors)
        axes = ("code error ‖Φ − Φ₀‖ / ‖Φ₀‖ (left is better)", f"{MEASURED[measure][0]} (up is better)")
        panels.append(report.Panel(series, head, *axes, x_log=wide))
    return report.Plot(panels, "Naturalness over code error", name=f"tradeoff-{title}")


def _points(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [one.point[0] for one in trials], [one.point[1] for one in trials]


# -- the sweep -----------------------------------------------------------------------------------------


def _command(config: Sweep, one: Trial) -> str:
    """What inverts the same codes by this setting."""
    how = {
        "prior": one.setting.text,
        "canvas": one.setting.canvas,
        "preset": config.preset,
        "steps": config.steps,
    }
    return invert_command(config, input=config.input, layer=one.layer, out=Path("out/best"), **how)


def run_sweep(config: Sweep, tell: Tell) -> Outcome:
    """Try everything, and leave the page. Raises NetinvertError before any long work."""
    network = open_network(config, config.device, tell)
    encoders = [Encoder(network, layer) for layer in config.layers]
    inputs = [read_inputs(config.input, encoder, tell=tell) for encoder in encoders]
    left_out: dict[str, None] = {}
    planned = [planned_settings(config, *pair, left_out) for pair in zip(encoders, inputs, strict=True)]
    for text in left_out:
        tell(f"left out: {text}")
    targets = [
        Targets.of(encoder, one.codes, one.originals, shipped_reference(encoder))
        for encoder, one in zip(encoders, inputs, strict=True)
    ]
    pairs = [(one.layer, setting) for one, some in zip(encoders, planned, strict=True) for setting in some]
    rows, names = tuple(range(len(inputs[0].codes))), inputs[0].stems
    seeds = (config.seed,) * len(rows)
    wanted = [Wanted(layer, setting.choice(config), rows, seeds) for layer, setting in pairs]
    facts = run_facts(config, {**network_facts(encoders[0]), "targets": targets})
    with RunDir(config.out, facts, config.overwrite) as folder:
        made = zip(pairs, invert_all(folder, config, targets, wanted, "settings"), strict=True)
        tried = [trial_of(*pair, found, config.measure) for pair, found in made]
        trials = [one for some in by_layer(tried).values() for one in marked(some)]
        layers = by_layer(trials)
        for layer, some in layers.items():
            if (plot := tradeoff(some, f"{network.name}, {layer}", config.measure)) is not None:
                write_atomic(folder.path(f"tradeoff-{file_part(layer)}.png"), plot.png())
        originals = inputs[0].originals
        for stem, image in zip(names, originals if originals is not None else (), strict=False):
            write_png(image, folder.path(f"images/original-{stem}.png"))
        files: list[list[str]] = []
        for place, one in enumerate(trials, 1):
            parts = (one.layer, one.setting.text, *filter(None, [one.setting.canvas]))
            start, images = "-".join([f"{place:03d}", *map(file_part, parts)]), one.found.images
            files.append([f"images/{start}-{stem}.png" for stem in names if images is not None])
            for file, image in zip(files[-1], images if images is not None else (), strict=True):
                write_png(image, folder.path(file))
        best = {layer: recommended(some) for layer, some in layers.items()}
        everywhere = recommended_for_all(trials) if len(encoders) > 1 else None
        entries = {
            **network_facts(encoders[0]),
            "layers": {encoder.layer: encoder.code_shape for encoder in encoders},
            "recommended": {layer: top and top.setting.options for layer, top in best.items()},
            "recommended_everywhere": everywhere and everywhere[0].options,
            "left_out": list(left_out),
            "inputs": inputs[0].sources,
            "codes": names,
            "trials": [{**one.facts(), "images": some} for one, some in zip(trials, files, strict=True)],
        }
        lines = [
            f"{layer}: every setting failed"
            if top is None
            else f"{layer}: {top.setting.options} ({top.words})\n  {_command(config, top)}"
            for layer, top in best.items()
        ]
        page = sweep_page(config, encoders, targets, trials, names, list(left_out))
        return publish(folder, config, page, entries, "\n".join(lines), PAGE)
