"""What ``netinvert study agree`` tells: the answer first, then what was registered, then the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Estimate, Series, code, counted, listed, number
from netinvert.experiments.agree.tables import (
    ATTRIBUTION,
    NECESSITY,
    RECOVERY,
    AgreeStudy,
    Pair,
    blind_pair,
)
from netinvert.experiments.agree.witnesses import (
    DECODED,
    NAMES,
    OPTIMISED,
    OTHERS,
    OWN,
    RANDOM,
    Arm,
    PartAgreement,
    within_ranks,
)
from netinvert.experiments.features.registration import PARTS
from netinvert.experiments.registered import AGREE, DRAWS, ENOUGH, TOO_FEW, status
from netinvert.explain.part_truth import LEAST_PARTS
from netinvert.explain.pictures import overlaid

SHOWN = 8
"""Chairs."""
COLOURS = ((0.84, 0.37, 0.0), (0.0, 0.45, 0.7), (0.0, 0.62, 0.45), (0.8, 0.47, 0.65))
"""Of PARTS in a picture of them."""
LINES = {OPTIMISED: "#0072b2", DECODED: "#d55e00"}
GREY = "#888888"
BESIDE = 0.12
"""Between points of one layer, in layers."""


def agree_report(study: AgreeStudy) -> report.Report:
    """The whole page."""
    config, own, plan = study.config, study.witnesses, AGREE
    planned = f"{counted(plan.chairs, 'chair')} of the seed {plan.seed}, {code(plan.network)}"
    lead = (
        f"{agree_answer(study)}\n\n{counted(own.count, 'chair')} with a front and {LEAST_PARTS} parts or "
        f"more in sight ({config.chairs} asked for). {status(study.registered, planned, config.seed)}"
    )
    undecoded = [code(one) for one in study.layers if Arm(one, DECODED) not in own.arms]
    how = (
        "Necessity: the mean log ratio of the geodesic error without a part to that with as many of the "
        "chair's pixels covered elsewhere, before paper and a photograph. Recovery: the intersection over "
        "union of the part in the inverted image with the true one, as a linear reader of another network's "
        f"features sees it, less its mean over the inversions of {OTHERS} other chairs (all, if they are "
        "fewer); or how many times nearer than theirs the pixels are where the part is. Attribution: the "
        f"part's share of the map ({config.method}) on the chair, over its share of the chair's pixels. ρ is "
        "Spearman's over the parts of a chair, in the mean over chairs, with 95 % intervals of the bootstrap "
        f"over chairs; p is two-sided, of {DRAWS:,} permutations of each chair's parts. Of fewer than "
        f"{ENOUGH} chairs nothing is claimed. How far necessity before paper agrees with that before "
        "photographs says how much of it is there to agree with; how far it agrees with what the reader of "
        "parts sees in the original, what parts are easy to read for anybody."
    )
    return report.Report.of(
        "Do inversions show the parts that a pose is read from?",
        lead,
        _plot(study),
        "## What was registered",
        f"These tests, of {code(plan.network)}, are primary: they were written down before the test seed was "
        "opened, and are adjusted after Holm for all of them. All below is exploratory.",
        study.registered_table(),
        report.Prose(how, quiet=True),
        f"Not decoded, for no shipped decoder fits: {listed(undecoded)}." if undecoded else None,
        "## Where the three disagree most",
        _pictures(study),
        "## All witnesses, two by two",
        study.agreements(),
        "## Each part, by each witness",
        study.part_means(),
        "### How near the codes are",
        study.code_errors(),
    )


def _in_words(one: PartAgreement) -> str:
    low, high = one.found.low, one.found.high
    return f"ρ = {number(one.found.value, 2)} ({number(low, 2)} to {number(high, 2)})"


BEST, WORST, NOT_SHOWN = "come back best", "come back worst", "are not shown to come back better"
AS_RANDOM = "come back best, but not more than with random weights,"
JUDGES = {"parts": "a reader of parts", "pixels": "pixels"}


def agree_answer(study: AgreeStudy) -> str:
    """From the figures, sizes held."""
    if study.witnesses.count < ENOUGH:
        return f"Nothing is claimed of {counted(study.witnesses.count, 'chair')}: {ENOUGH} are needed."
    who, kept = code(study.network), list[str]()
    said = dict[str, list[str]]({BEST: [], AS_RANDOM: [], WORST: [], NOT_SHOWN: []})
    for layer in study.layers:
        for kind in NAMES:
            pair = Pair(NECESSITY, RECOVERY, Arm(layer), kind)
            one, blind = (study.found[each, "size"] for each in (pair, blind_pair(pair)))
            if one is None or blind is None:
                continue
            where = f"{code(layer)}, by {JUDGES[kind]}"
            figures = f"{_in_words(one)}; with random weights {number(blind.found.value, 2)}"
            verdict = _verdict_of(study, pair, one.above(blind))
            said[verdict].append(where if verdict == NOT_SHOWN else f"{where} ({figures})")
            if study.sure(pair, "size") and study.sure(pair, "kind"):
                kept.append(where)
    pair = Pair(NECESSITY, ATTRIBUTION)
    one = study.found[pair, ""]
    if one is None:
        return f"Nothing is claimed: of fewer than {ENOUGH} chairs all witnesses know {LEAST_PARTS} parts."
    told = "; they ".join(f"{verdict} at {listed(which)}" for verdict, which in said.items() if which)
    alike = (
        f"{listed(kept)} agree from chair to chair" if kept else "no agreement from chair to chair is shown"
    )
    falls = "are not shown to fall on"
    if study.sure(pair, ""):
        falls = "fall on" if one.found.value > 0 else "fall off"
    return (
        f"Of parts of one size, those that {who} needs {told}. With the kind of part held as well, {alike}. "
        f"Attributions ({study.config.method}) {falls} the parts that it needs: {_in_words(one)}."
    )


def _verdict_of(study: AgreeStudy, pair: Pair, gain: Estimate | None) -> str:
    """Of recovery, with sizes held; what random weights show as well, no training brought about."""
    one = study.found[pair, "size"]
    if one is None or not study.sure(pair, "size"):
        return NOT_SHOWN
    if one.found.value < 0:
        return WORST
    more = gain is not None and gain.low is not None and gain.low > 0
    return BEST if more else AS_RANDOM


def _plot(study: AgreeStudy) -> report.Plot | None:
    """Necessity and recovery, sizes held, layer by layer."""
    panels = []
    for kind in NAMES:
        series: list[Series] = []
        ways = dict.fromkeys((one.how, one.weights) for one in study.witnesses.arms)
        for place, (how, weights) in enumerate(ways):
            beside = BESIDE * (place - (len(ways) - 1) / 2)
            colour = GREY if weights == RANDOM else LINES[how]
            points = [
                study.found.get((Pair(NECESSITY, RECOVERY, Arm(layer, how, weights), kind, weights), "size"))
                for layer in study.layers
            ]
            if all(one is None for one in points):
                continue
            for layer, one in zip(study.layers, points, strict=True):
                if one is not None:
                    ends = [one.found.low, one.found.high]
                    series.append(Series("", [layer] * 2, ends, colour=colour, width=1.5, beside=beside))
            values = [None if one is None else one.found.value for one in points]
            name = f"{how}{', random weights' * (weights == RANDOM)}"
            series.append(
                Series(name, study.layers, values, line="", marker="o", colour=colour, beside=beside)
            )
        if series:
            title = f"recovery by {'a reader of parts' if kind == 'parts' else 'pixels'}"
            panels.append(
                report.Panel(series, title, y_label="ρ with necessity, size fixed", levels={"none": 0.0})
            )
    return report.Plot(panels, name="agreement") if panels else None


def _pictures(study: AgreeStudy) -> report.ImageGrid:
    """The chairs of which the three say the most different things, at the last layer."""
    own = study.witnesses
    last = Arm(study.layers[-1])
    said = {
        NECESSITY: own.necessity,
        f"{RECOVERY} at {last.layer}": own.recovery(last, "parts"),
        ATTRIBUTION: own.attributed(),
    }
    known = torch.stack([one.isfinite() for one in (*said.values(), own.size)]).all(0)
    one, two, three = (within_ranks(values, known) for values in said.values())
    alike = (one * two + two * three + one * three).sum(1).masked_fill(known.sum(1) < LEAST_PARTS, torch.inf)
    rows = []
    for n in alike.argsort(stable=True)[:SHOWN].tolist():
        original = own.original[n].float() / 255
        tiles = [report.Tile(original), report.Tile(_part_map(original, own.masks[n]))]
        for arm in own.arms:
            if arm.weights == OWN:
                values = own.recovery(arm, "parts")[n]
                image = own.images[n, own.arms.index(arm)].float() / 255
                tiles.append(report.Tile(image, (f"recovered best: {_first(values)}",)))
        heat = overlaid(original[None], own.heat[n][None].float())[0]
        tiles.append(report.Tile(heat, (f"most: {_first(own.attributed()[n])}",)))
        needed = own.necessity[n]
        rows.append(report.GridRow(f"{own.names[n]}: needs its {_first(needed)} most", tiles))
    arms = [f"{one.layer}, {one.how}" for one in own.arms if one.weights == OWN]
    key = ", ".join(
        f"{part} {word}" for part, word in zip(PARTS, ("orange", "blue", "green", "pink"), strict=True)
    )
    columns = ("chair", f"parts ({key})", *arms, ATTRIBUTION)
    return report.ImageGrid(rows, columns, size=128, name="disagreement")


def _first(values: Tensor) -> str:
    """The part that a witness ranks first."""
    return PARTS[int(values.nan_to_num(-torch.inf).argmax())] if values.isfinite().any() else TOO_FEW


def _part_map(image: Tensor, masks: Tensor) -> Tensor:
    """Each part in its colour, over the image (3, H, W) in grey."""
    found = 0.5 + 0.4 * image.mean(0, keepdim=True).expand(3, -1, -1)
    for mask, colour in zip(masks, COLOURS, strict=True):
        found = torch.where(mask, torch.tensor(colour)[:, None, None], found)
    return found
