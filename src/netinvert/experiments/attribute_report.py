"""What ``netinvert study attributes`` tells: what probes read of each layer, less what they read of a network
with random weights and of the pixels; and what decoded images show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import torch

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Estimate, code, counted, listed, number
from netinvert.evaluation.statistics import differs
from netinvert.experiments.attribute_measures import Agreement, AttributeScores, decoded, object_colour
from netinvert.experiments.attribute_series import (
    ATTRIBUTES,
    SIZE,
    SMALL_SIDE,
    ChairRenders,
    chroma,
    hue_rotated,
    moved,
    resized,
)
from netinvert.experiments.configs.studies import StudyAttributes
from netinvert.experiments.held_out_chairs import before_colour
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.scenes.backgrounds import PAPER

RANDOM, PIXELS = " (random weights)", "pixels"
"""After a layer's name, and in place of one: the controls."""
PROBE, PALE, DECODED = "#0072b2", "#8cc4e8", "#d55e00"
"""Okabe & Ito's blue, a paler one, and vermilion, which all readers tell apart."""
SHIFTS = (-8, -5, -3, 0, 3, 5, 8)
SIDES = (44, 48, 52, 58, 64, 68, 72)
HUES = (0, 60, 120, 180, 240, 300)
BEHIND = {
    "paper": (206, 212, 218),
    "white": (245, 245, 245),
    "dark": (40, 40, 44),
    "red": (200, 60, 50),
    "green": (60, 140, 70),
    "blue": (50, 90, 180),
}
LARGE = 0.1
"""Of R² or of shares: what the answer tells of."""
AMONG = 20
"""Of the first so many chairs the most colourful are shown."""
FIGURES = (
    Column("layer"),
    Column("attribute"),
    Column("probe", digits=2, about="R² of the linear probe"),
    Column("shuffled", digits=2, key="permutation_baseline", about="the same, of shuffled labels"),
    Column("across chairs", digits=2, key="across_chairs", about="without comparing a chair with itself"),
    Column(
        "quadratic",
        digits=2,
        key="quadratic_kernel",
        about="across chairs, with all products of two units: also what lies on no line",
    ),
    Column(
        "sensitivity", digits=2, about="how far the code moves, over the mean distance of two chairs' codes"
    ),
    Column("right", percent=True, key="accuracy", about="of parts, the share that the probe gets right"),
    Column("by chance", percent=True, key="accuracy_baseline", about="the same, of shuffled labels"),
    Column("decoded R²", digits=2, key="decoded r2", about="of values measured in the decoded image"),
    Column("line", digits=2, key="decoded line", about="R² of a straight line of these over true values"),
    Column("slope", digits=2, key="decoded slope", about="of that line: 1 is as strong as in the original"),
    Column("error", digits=2, key="decoded error", about="median distance in the decoded image"),
    Column(
        "others' error", digits=2, key="decoded error_baseline", about="the same, from other images' truth"
    ),
    Column("decoded right", percent=True, key="decoded accuracy", about="of parts, in the decoded image"),
    Column(
        "others' right",
        percent=True,
        key="decoded accuracy_baseline",
        about="the same, by other images' truth",
    ),
)
Figure: TypeAlias = float | Estimate | None
Score: TypeAlias = Callable[[AttributeScores], Figure]


@dataclass(frozen=True)
class AttributeFindings:
    """``layers``: scores by layer and attribute. ``originals``: the agreement of the same measurements on the
    originals, by attribute. ``decoders``: names by layer. ``mean_distances``: of codes, by layer.
    ``counts``: chairs by attribute. ``controls``: scores by layer of the network with random weights (its
    name and RANDOM), and of PIXELS."""

    network: str
    layers: Mapping[str, Mapping[str, AttributeScores]]
    originals: Mapping[str, Agreement]
    decoders: Mapping[str, str]
    mean_distances: Mapping[str, float]
    counts: Mapping[str, int]
    controls: Mapping[str, Mapping[str, AttributeScores]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The attributes."""
        return list(next(iter(self.layers.values())))


def attributes_report(
    found: AttributeFindings, shown: list[report.ImageGrid], config: StudyAttributes
) -> report.Report:
    """The whole page; ``shown`` are ``decoded_grids``."""
    others = [f"{n} for {ATTRIBUTES[name].label}" for name, n in found.counts.items() if n != config.chairs]
    lead = (
        f"Each attribute varies alone, by known amounts, over {counted(config.chairs, 'chair')} that "
        f"no network or decoder has seen (seed {config.seed}{'; ' * bool(others)}{', '.join(others)})."
    )
    # What the probes read at the first layer and the last, and what decoders show.
    points = [
        f"From the codes of {code(layer)}, a linear probe reads "
        f"{_halves(found.layers[layer], lambda one: one.probe)}"
        for layer in dict.fromkeys((next(iter(found.layers)), list(found.layers)[-1]))
    ]
    points += [_gains(found, layer) for layer in _controlled(found)]
    points += [
        f"In the images that {code(name)} makes of {code(layer)}, what is measured explains "
        f"{_halves(found.layers[layer], lambda one: None if one.decoded is None else one.decoded.r2)}"
        for layer, name in found.decoders.items()
    ]
    ceiling = {name: _share(found.originals.get(name)) for name in found.names}
    used = listed([f"{name} ({code(layer)})" for layer, name in found.decoders.items()])
    of_decoders: report.Part = [
        "## Measured in the decoded images",
        f"Decoded by {used}; the same figures of what is measured there, taken as it is. Pose is read by the "
        "network's held-out pose estimator, parts by probes fitted on its codes of the originals.",
        _by_layer(found, "decoded", lambda one: _share(one.decoded), {"originals": ceiling}),
        shown,
    ]
    gains = gain_table(found)
    of_gains: report.Part = [
        "## What training adds",
        "What is read of a layer less what is read, of the same chairs, of a network of the same topology "
        "with random weights (one draw of them), and of the pixels. A layer keeps much that any network "
        "keeps: only the difference is what was learned. Intervals are 95 %, of the bootstrap over chairs; "
        "marked are those without 0; no correction is made for how many there are.",
        gains,
    ]
    steps = [f"{ATTRIBUTES[name].label} {ATTRIBUTES[name].step}" for name in found.names]
    distance = [Column("layer"), Column("mean distance of two chairs' codes", digits=2, key="distance")]
    distances = report.Table(distance, list(found.mean_distances.items()), name="distances")
    return report.Report.of(
        f"What the codes of {found.network} keep of an image",
        lead,
        ["## What was found", report.Points(points)],
        report.Plot([_panel(found, name) for name in found.names], columns=4, name="curves"),
        "## Read from the code",
        "R² of a linear probe (ridge regression) on codes of chairs that it was not fitted on; below 0 it is "
        "worse than no answer. Of parts the share of images with the right answer. Values count about their "
        "chair's mean: a chair is compared with itself.",
        [
            probe_table(found),
            of_gains if gains is not None else None,
            of_decoders if found.decoders else None,
        ],
        "## How far the code moves",
        "Mean ‖ΔΦ‖ at one step of the attribute, over the mean distance of the codes of two chairs, each in "
        f"a view of its own. Steps: {'; '.join(steps)}.",
        _by_layer(found, "sensitivity", lambda one: one.sensitivity),
        _turns(found),
        report.Details("All figures", [_all_figures(found), distances]),
    )


def attributes_answer(found: AttributeFindings) -> str:
    """What training adds at the first layer that has a control and at the last; without controls, what is
    read of the last."""
    layers = _controlled(found)
    if not layers:
        layer = list(found.layers)[-1]
        return (
            f"A linear probe reads of {code(layer)} {_halves(found.layers[layer], lambda one: one.probe)} "
            "How much of it is due to training cannot be said without controls."
        )
    return " ".join(_gains(found, layer, LARGE) for layer in dict.fromkeys((layers[0], layers[-1])))


def _controlled(found: AttributeFindings) -> list[str]:
    return [layer for layer in found.layers if f"{layer}{RANDOM}" in found.controls]


def _gains(found: AttributeFindings, layer: str, least: float = 0.005) -> str:
    """What training adds at a layer to what is read of random weights, and what it takes away."""
    other, parts, shown = found.controls[f"{layer}{RANDOM}"], [], Column("", digits=2)
    gains = {name: one.above(other[name]) for name, one in found.layers[layer].items()}
    for verb, sign in (("adds", 1), ("takes away", -1)):
        sure = {name: one for name, one in gains.items() if differs(one) and sign * one.value > least}
        order = sorted(sure, key=lambda name: -abs(sure[name].value))
        each = [f"{ATTRIBUTES[name].label} {shown.words(gains[name])}" for name in order]
        parts.append(f"{verb} {listed(each) if each else f'nothing surely beyond {least:g}'}")
    return f"At {code(layer)}, training {' and '.join(parts)}, against random weights."


def _halves(layer: Mapping[str, AttributeScores], r2: Callable[[AttributeScores], float | None]) -> str:
    known = {ATTRIBUTES[name].label: value for name, one in layer.items() if (value := r2(one)) is not None}
    if not known:
        return "nothing that is asked for."
    more = [label for label, value in known.items() if value > 0.5]
    least = min(known, key=lambda label: known[label])
    half = f"more than half of the variance of {listed(more)}" if more else "no attribute to one half"
    return f"{half}; least of all {least} (R² {number(known[least], 2)})."


def probe_table(found: AttributeFindings) -> report.Table:
    """What probes read, of the controls too, with the highest score of shuffled labels as the floor."""
    floor = {
        name: max(
            _right(scores[name], "accuracy_baseline", "permutation_baseline")
            for scores in found.layers.values()
        )
        for name in found.names
    }
    controls = {
        title: {name: one.figure for name, one in scores.items()} for title, scores in found.controls.items()
    }
    return _by_layer(found, "probe", lambda one: one.figure, {**controls, "shuffled labels": floor})


def gain_table(found: AttributeFindings) -> report.Table | None:
    """What probes read of each layer less what they read of the same layer with random weights, and of the
    pixels; marked where the interval leaves out 0. None without controls."""
    rows: list[dict[str, Any]] = []
    for layer, scores in found.layers.items():
        for title in (f"{layer}{RANDOM}", PIXELS):
            other = found.controls.get(title)
            if other is not None:
                than = "pixels" if title == PIXELS else "random weights"
                gains = {name: one.above(other[name]) for name, one in scores.items()}
                rows.append({"layer": layer, "less": than, **gains})
    if not rows:
        return None
    columns = [Column("layer"), Column("less")]
    columns += [Column(ATTRIBUTES[name].label, digits=2, key=name) for name in found.names]
    marked = {
        (place, found.names.index(name) + 2)
        for place, row in enumerate(rows)
        for name in found.names
        if differs(row[name])
    }
    return report.Table.of(rows, columns, marked=marked, name="gains")


def scores_by_chair(found: AttributeFindings) -> report.Table:
    """A row a layer or control, attribute and chair."""
    every = {**found.layers, **found.controls}
    rows = [
        {"layer": title, "attribute": name, "chair": k, "share": share, "weight": weight}
        for title, scores in every.items()
        for name, one in scores.items()
        for k, (share, weight) in enumerate(one.by_chair)
    ]
    return report.Table.of(rows, ["layer", "attribute", "chair", "share", "weight"])


def _right(one: AttributeScores, accuracy: str, otherwise: str) -> float:
    """The share that is right, of classes; of values the other figure."""
    value: float | None = getattr(one, accuracy)
    return getattr(one, otherwise) if value is None else value


def _share(one: Agreement | None) -> float | None:
    return None if one is None else one.r2 if one.accuracy is None else one.accuracy


def _by_layer(
    found: AttributeFindings, name: str, score: Score, more: Mapping[str, Mapping[str, Figure]] = {}
) -> report.Table:
    """A row a layer that has scores, a column an attribute; ``more`` are baselines."""
    columns = [Column("layer")]
    for key in found.names:
        share = ATTRIBUTES[key].kind == "class" and name != "sensitivity"
        label = ATTRIBUTES[key].label + ", right" * share
        columns.append(Column(label, digits=None if share else 2, percent=share, key=key))
    layers = {layer: {key: score(one) for key, one in some.items()} for layer, some in found.layers.items()}
    rows = {layer: row for layer, row in layers.items() if any(value is not None for value in row.values())}
    lines = [{"layer": layer, **row} for layer, row in {**rows, **more}.items()]
    return report.Table.of(lines, columns, baselines=range(len(rows), len(lines)), name=name)


def _turns(found: AttributeFindings) -> report.Part:
    """How far codes move beside how far they do when the object is turned; None: it is not turned."""
    if "azimuth" not in found.names:
        return None
    step = ATTRIBUTES["azimuth"].step
    columns = [Column("layer")]
    columns += [Column(ATTRIBUTES[name].label, digits=2, key=name) for name in found.names]
    rows = [
        {
            "layer": layer,
            **{name: one.sensitivity / scores["azimuth"].sensitivity for name, one in scores.items()},
        }
        for layer, scores in found.layers.items()
    ]
    return [
        f"The same, over how far it moves when the object is turned by {step} about its axis:",
        report.Table.of(rows, columns, name="turns"),
    ]


def _all_figures(found: AttributeFindings) -> report.Table:
    every: list[tuple[str, str, Mapping[str, Any], Agreement | None]] = [
        (layer, name, asdict(one), one.decoded)
        for layer, scores in found.layers.items()
        for name, one in scores.items()
    ]
    count = len(every)
    every += [("originals", name, {}, agreement) for name, agreement in found.originals.items()]
    rows = []
    for layer, name, scores, agreement in every:
        unit = ATTRIBUTES[name].unit.strip()
        label = ATTRIBUTES[name].label + f", in {unit}" * bool(unit)
        measured = {} if agreement is None else asdict(agreement)
        shown = {f"decoded {key}": value for key, value in measured.items()}
        rows.append({"layer": layer, "attribute": label, **scores, **shown})
    floors = range(count, len(rows))
    return report.Table.of(rows, FIGURES, sortable=True, name="figures", baselines=floors)


def _panel(found: AttributeFindings, name: str) -> report.Panel:
    """Layers from left to right: what a probe reads, and what is measured."""
    layers, kind = list(found.layers), ATTRIBUTES[name].kind
    each = [scores[name] for scores in found.layers.values()]
    read = [_right(one, "accuracy", "probe") for one in each]
    chance = [_right(one, "accuracy_baseline", "permutation_baseline") for one in each]
    series = [report.Series("read from the code by a linear probe", layers, read, marker="o", colour=PROBE)]
    if kind == "value":
        across = [one.across_chairs for one in each]
        series.append(report.Series("the same across chairs", layers, across, colour=PALE))
    series.append(report.Series("the same, shuffled labels", layers, chance, line=":", colour=PROBE))
    if found.decoders:
        shown = [_share(one.decoded) for one in each]
        label = "measured in the decoded image"
        series.append(report.Series(label, layers, shown, line="--", marker="s", colour=DECODED))
    ceiling = _share(found.originals.get(name))
    levels = {} if ceiling is None else {"measured in the original": ceiling}
    title = ATTRIBUTES[name].label + ", share right" * (kind == "class")
    axis = "" if kind == "class" else "R²"
    return report.Panel(series, title, y_label=axis, y_range=(-0.03, 1.05), levels=levels)


def decoded_grids(
    renders: ChairRenders, encoders: Mapping[str, Encoder], decoders: Mapping[str, Decoder]
) -> list[report.ImageGrid]:
    """Four chairs, in other hues, before other backgrounds, moved and resized: originals, and a row for what
    is decoded of each layer."""
    if not decoders:
        return []
    colour = object_colour(renders.front[:, :3], renders.front[:, 3:])[:AMONG]
    order = chroma(colour).norm(dim=1).argsort(descending=True)
    hued, behind = (
        renders.front[order[k]].expand(count, -1, -1, -1) for k, count in ((0, len(HUES)), (1, len(BEHIND)))
    )
    far, sized = (renders.wide[order[k]][None] for k in (2, 3))
    paper = torch.tensor(PAPER) / 255
    size = renders.front.shape[-1]
    unit = size // SIZE
    little = 2 * unit * SMALL_SIDE
    small = resized(far, torch.tensor([little]), little).expand(len(SHIFTS), -1, -1, -1)
    shifts = moved(small, unit * torch.tensor([[shift, 0] for shift in SHIFTS]), size)
    sizes = resized(sized.expand(len(SIDES), -1, -1, -1), 2 * unit * torch.tensor(SIDES), size)
    shown = {
        "hue turned by": (
            hue_rotated(hued, torch.tensor(HUES).float()),
            paper,
            [f"{each}°" for each in HUES],
        ),
        "background": (behind, torch.tensor(list(BEHIND.values())) / 255, list(BEHIND)),
        "moved to the right by": (shifts, paper, [f"{x} of {SIZE} px" for x in SHIFTS]),
        "size times": (sizes, paper, [f"{side / SIZE:.2f}" for side in SIDES]),
    }
    grids = []
    for title, (rgba, ground, words) in shown.items():
        images = before_colour(rgba, ground)
        rows = {"original": list(images)}
        for layer, decoder in decoders.items():
            with torch.no_grad():
                rows[layer] = list(decoded(decoder, encoders[layer](images), size)[0].clamp(0, 1))
        grid = report.ImageGrid.of(rows, words, title)
        grids.append(replace(grid, size=3 * SIZE // 2, name=f"sheet-{title.split()[0]}"))
    return grids
