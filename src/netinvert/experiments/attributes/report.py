"""What layers keep of attributes, as a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Panel, Series, Table, Value
from netinvert.experiments.attributes.changes import chroma, hue_rotated, moved, resized
from netinvert.experiments.attributes.measure import AttributeScores, decoded
from netinvert.experiments.attributes.measures import Agreement, object_colour
from netinvert.experiments.attributes.series import ATTRIBUTES, SIZE, SMALL_SIDE, ChairRenders
from netinvert.experiments.configs.studies import StudyAttributes
from netinvert.experiments.held_out_chairs import PAPER, before_colour
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder

PROBE, PALE, DECODED = "#0072b2", "#8cc4e8", "#d55e00"
"""Okabe & Ito's blue, a paler one, and vermilion, which all readers tell apart."""
SHIFTS = (-8, -5, -3, 0, 3, 5, 8)
SIDES = (44, 48, 52, 58, 64, 68, 72)
HUES = (0, 60, 120, 180, 240, 300)
BEHIND = ((206, 212, 218), (245, 245, 245), (40, 40, 44), (200, 60, 50), (60, 140, 70), (50, 90, 180))
AMONG = 20
"""Of the first so many chairs the most colourful are shown."""


@dataclass(frozen=True)
class AttributeFindings:
    """``layers``: scores by layer and attribute. ``originals``: the agreement of the same measurements on the
    originals, by attribute. ``decoders``: names by layer. ``mean_distances``: of codes, by layer.
    ``counts``: chairs by attribute."""

    network: str
    layers: Mapping[str, Mapping[str, AttributeScores]]
    originals: Mapping[str, Agreement]
    decoders: Mapping[str, str]
    mean_distances: Mapping[str, float]
    counts: Mapping[str, int]

    @property
    def names(self) -> list[str]:
        """The attributes."""
        return list(next(iter(self.layers.values())))


FIGURES = {
    "probe": ("probe", "R² of the linear probe"),
    "permutation_baseline": ("shuffled", "the same, of shuffled labels"),
    "across_chairs": ("across chairs", "without comparing a chair with itself"),
    "quadratic_kernel": (
        "quadratic",
        "across chairs, with all products of two units: also what lies on no line",
    ),
    "sensitivity": ("sensitivity", "how far the code moves, over the mean distance of two chairs' codes"),
    "accuracy": ("right", "of parts, the share that the probe gets right"),
    "accuracy_baseline": ("by chance", "the same, of shuffled labels"),
    "decoded r2": ("decoded R²", "of values measured in the decoded image"),
    "decoded line": ("line", "R² of a straight line of these over true values"),
    "decoded slope": ("slope", "of that line: 1 is as strong as in the original"),
    "decoded error": ("error", "median distance in the decoded image"),
    "decoded error_baseline": ("others' error", "the same, from other images' truth"),
    "decoded accuracy": ("decoded right", "of parts, in the decoded image"),
    "decoded accuracy_baseline": ("others' right", "the same, by other images' truth"),
}
"""Columns of all figures."""
Score: TypeAlias = Callable[[AttributeScores], float | None]


def attributes_report(
    found: AttributeFindings, shown: Sequence[report.ImageGrid], config: StudyAttributes
) -> report.Report:
    """The whole page; ``shown`` are images of ``decoded_blocks``."""
    others = [f"{n} for {ATTRIBUTES[name].label}" for name, n in found.counts.items() if n != config.chairs]
    lead = (
        f"Each attribute varies alone, by known amounts, over {report.counted(config.chairs, 'chair')} that "
        f"no network or decoder has seen (seed {config.seed}{'; ' * bool(others)}{', '.join(others)})."
    )
    blocks: list[report.Block] = [
        report.Heading("What was found"),
        report.Points(_sentences(found)),
        report.Plot([_panel(found, name) for name in found.names], columns=4, name="curves"),
        report.Heading("Read from the code"),
        report.Prose(
            "R² of a linear probe (ridge regression) on codes of chairs that it was not fitted on; below 0 "
            "it is worse than no answer. Of parts the share of images with the right answer. Values count "
            "about their chair's mean: a chair is compared with itself."
        ),
        probe_table(found),
    ]
    if found.decoders:
        ceiling = {name: _share(found.originals.get(name)) for name in found.names}
        used = report.listed([f"{name} ({report.code(layer)})" for layer, name in found.decoders.items()])
        blocks += [
            report.Heading("Measured in the decoded images"),
            report.Prose(
                f"Decoded by {used}; the same figures of what is measured there, taken as it is. Pose is "
                "read by the network's held-out pose estimator, parts by probes fitted on its codes of the "
                "originals."
            ),
            _by_layer(found, "decoded", lambda one: _share(one.decoded), {"originals": ceiling}),
            *shown,
        ]
    steps = [f"{ATTRIBUTES[name].label} {ATTRIBUTES[name].step}" for name in found.names]
    blocks += [
        report.Heading("How far the code moves"),
        report.Prose(
            "Mean ‖ΔΦ‖ at one step of the attribute, over the mean distance of the codes of two chairs, each "
            f"in a view of its own. Steps: {'; '.join(steps)}."
        ),
        _by_layer(found, "sensitivity", lambda one: one.sensitivity),
        report.Details("All figures", [_all_figures(found), _distances(found)]),
    ]
    return report.Report(f"What the codes of {found.network} keep of an image", blocks, lead)


def _sentences(found: AttributeFindings) -> list[str]:
    """What the probes read at the first layer and the last, and what decoders show."""
    ends = dict.fromkeys((next(iter(found.layers)), list(found.layers)[-1]))
    read = [
        f"From the codes of {report.code(layer)}, a linear probe reads "
        f"{_halves(found.layers[layer], lambda one: one.probe)}"
        for layer in ends
    ]
    return read + [
        f"In the images that {report.code(name)} makes of {report.code(layer)}, what is measured explains "
        f"{_halves(found.layers[layer], lambda one: None if one.decoded is None else one.decoded.r2)}"
        for layer, name in found.decoders.items()
    ]


def _halves(layer: Mapping[str, AttributeScores], r2: Score) -> str:
    known = {ATTRIBUTES[name].label: value for name, one in layer.items() if (value := r2(one)) is not None}
    if not known:
        return "nothing that is asked for."
    more = [label for label, value in known.items() if value > 0.5]
    least = min(known, key=lambda label: known[label])
    half = f"more than half of the variance of {report.listed(more)}" if more else "no attribute to one half"
    return f"{half}; least of all {least} (R² {report.number(known[least], 2)})."


# -- tables ------------------------------------------------------------------------------------------------


def probe_table(found: AttributeFindings) -> Table:
    """What probes read, with the highest score of shuffled labels as the floor."""
    floor: dict[str, Value] = {}
    for name in found.names:
        each = [scores[name] for scores in found.layers.values()]
        floor[name] = max(
            one.permutation_baseline if one.accuracy_baseline is None else one.accuracy_baseline
            for one in each
        )
    return _by_layer(
        found,
        "probe",
        lambda one: one.probe if one.accuracy is None else one.accuracy,
        {"shuffled labels": floor},
    )


def _share(one: Agreement | None) -> float | None:
    return None if one is None else one.r2 if one.accuracy is None else one.accuracy


def _by_layer(
    found: AttributeFindings, name: str, score: Score, more: Mapping[str, Mapping[str, Value]] = {}
) -> Table:
    """A row a layer that has scores, a column an attribute; ``more`` are baselines."""
    columns = [Column("layer")]
    for key in found.names:
        share = ATTRIBUTES[key].kind == "class" and name != "sensitivity"
        label = ATTRIBUTES[key].label + ", right" * share
        columns.append(Column(label, digits=None if share else 2, percent=share, key=key))
    layers = {
        layer: {key: score(one) for key, one in scores.items()} for layer, scores in found.layers.items()
    }
    rows = {layer: row for layer, row in layers.items() if any(value is not None for value in row.values())}
    lines = [(layer, *(row[key] for key in found.names)) for layer, row in {**rows, **more}.items()]
    return Table(columns, lines, baselines=range(len(rows), len(lines)), name=name)


def _all_figures(found: AttributeFindings) -> Table:
    rows: list[dict[str, Value]] = []
    for layer, scores in found.layers.items():
        for name, one in scores.items():
            rows.append({"layer": layer, "attribute": _with_unit(name), **asdict(one), **_flat(one.decoded)})
    count = len(rows)
    for name, agreement in found.originals.items():
        rows.append({"layer": "originals", "attribute": _with_unit(name), **_flat(agreement)})
    columns = [Column("layer"), Column("attribute")]
    for key, (label, about) in FIGURES.items():
        share = "accuracy" in key
        columns.append(Column(label, digits=None if share else 2, percent=share, key=key, about=about))
    made = Table.of(rows, columns)
    return replace(made, sortable=True, name="figures", baselines=range(count, len(rows)))


def _with_unit(name: str) -> str:
    unit = ATTRIBUTES[name].unit.strip()
    return ATTRIBUTES[name].label + f", in {unit}" * bool(unit)


def _flat(one: Agreement | None) -> dict[str, Value]:
    return {} if one is None else {f"decoded {name}": value for name, value in asdict(one).items()}


def _distances(found: AttributeFindings) -> Table:
    columns = [Column("layer"), Column("mean distance of two chairs' codes", digits=2, key="distance")]
    return Table(columns, list(found.mean_distances.items()), name="distances")


# -- figures -----------------------------------------------------------------------------------------------


def _panel(found: AttributeFindings, name: str) -> Panel:
    """Layers from left to right: what a probe reads, and what is measured."""
    layers, kind = list(found.layers), ATTRIBUTES[name].kind
    each = [scores[name] for scores in found.layers.values()]
    classes = kind == "class"
    read = [one.accuracy if classes else one.probe for one in each]
    chance = [one.accuracy_baseline if classes else one.permutation_baseline for one in each]
    series = [Series("read from the code by a linear probe", layers, read, marker="o", colour=PROBE)]
    if kind == "value":
        across = [one.across_chairs for one in each]
        series.append(Series("the same across chairs", layers, across, colour=PALE))
    series.append(Series("the same, shuffled labels", layers, chance, line=":", colour=PROBE))
    if found.decoders:
        shown = [_share(one.decoded) for one in each]
        label = "measured in the decoded image"
        series.append(Series(label, layers, shown, line="--", marker="s", colour=DECODED))
    ceiling = _share(found.originals.get(name))
    levels = {} if ceiling is None else {"measured in the original": ceiling}
    title = ATTRIBUTES[name].label + ", share right" * classes
    return Panel(series, title, y_label="" if classes else "R²", y_range=(-0.03, 1.05), levels=levels)


def decoded_blocks(
    renders: ChairRenders, encoders: Mapping[str, Encoder], decoders: Mapping[str, Decoder]
) -> list[report.ImageGrid]:
    """Four chairs, in other hues, before other backgrounds, moved and resized: originals, and a row for what
    is decoded of each layer."""
    grids: list[report.ImageGrid] = []
    for title, images, words in _blocks(renders) if decoders else []:
        rows = {"original": list(images)}
        for layer, decoder in decoders.items():
            with torch.no_grad():
                rows[layer] = list(decoded(decoder, encoders[layer](images))[0].clamp(0, 1))
        grid = report.ImageGrid.of(rows, words, title)
        grids.append(replace(grid, size=SIZE + SIZE // 2, name=f"sheet-{title.split()[0]}"))
    return grids


def _blocks(renders: ChairRenders) -> list[tuple[str, Tensor, list[str]]]:
    """Titles, images (K, 3, H, W) of one chair, and what was done to each."""
    colour = object_colour(renders.front[:, :3], renders.front[:, 3:])[:AMONG]
    order = chroma(colour).norm(dim=1).argsort(descending=True)
    first, second = (renders.front[order[k]][None] for k in (0, 1))
    third, fourth = (renders.wide[order[k]][None] for k in (2, 3))
    paper = torch.tensor(PAPER) / 255
    hue = before_colour(hue_rotated(first.expand(len(HUES), -1, -1, -1), torch.tensor(HUES).float()), paper)
    behind = before_colour(second.expand(len(BEHIND), -1, -1, -1), torch.tensor(BEHIND) / 255)
    small = resized(third, torch.tensor([2 * SMALL_SIDE]), 2 * SMALL_SIDE).expand(len(SHIFTS), -1, -1, -1)
    places = torch.tensor([[shift, 0] for shift in SHIFTS])
    sizes = resized(fourth.expand(len(SIDES), -1, -1, -1), 2 * torch.tensor(SIDES), SIZE)
    shifts = before_colour(moved(small, places, SIZE), paper)
    return [
        ("hue turned by", hue, [f"{each}°" for each in HUES]),
        ("background", behind, ["paper", "white", "dark", "red", "green", "blue"]),
        ("moved to the right by", shifts, [f"{x} px" for x in SHIFTS]),
        ("size times", before_colour(sizes, paper), [f"{side / SIZE:.2f}" for side in SIDES]),
    ]
