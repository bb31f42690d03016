"""An audit in words: what was found, with the sample's size and the chance level, and what was not shown."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from netinvert.evaluation import report
from netinvert.evaluation.probes import Rate
from netinvert.evaluation.report import Column, Estimate, by, code, counted, listed, number, percent
from netinvert.evaluation.save_results import labels
from netinvert.experiments.audit import (
    DECODED,
    ORIGINAL,
    STORED,
    AuditFindings,
    AuditReader,
    Identification,
    audit,
    read_audited,
)
from netinvert.experiments.configs.looks import Audit
from netinvert.experiments.inputs import decoder_for
from netinvert.experiments.runs import decoder_facts, made_by, network_facts, publish, run_facts
from netinvert.io.files import Tell, save_tensors, write_json
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir

SHOWN = 12
"""Codes on the page and the audit_sheet, evenly spaced among those reconstructed."""
ACROSS = 6
"""Images in a row of the sheet."""
IDENTIFICATION_TEXT = (
    "Each reconstruction is encoded and compared with the codes of all originals; the rate says how often "
    "its own original is the nearest (first), or among the five nearest. In brackets: Wilson's 95 % "
    "interval, which takes the codes for independent of one another. A rate is above chance if its interval "
    "lies above guessing. Codes that are equal count as a guess among them.\n\n"
    "Rows marked (itself) are read by the network that was inverted. There the rate is self-fulfilling: the "
    "reconstruction was made so that this network's code for it matches, and an image that means nothing to "
    "anybody else can do that. They say how well the code was matched. What can be seen in an image is told "
    "by the rows of readers that took no part."
)
ATTRIBUTES_TEXT = (
    "A linear probe (ridge regression, cross-validated: what it reads was not in its training) reads each "
    "attribute from codes. Read from the stored codes or the originals, its score is the ceiling. Learned "
    "from reconstructions, it says what is in their codes; learned from originals and read from "
    "reconstructions, whether they show the attribute as real images do. The chance level is the same probe "
    "with shuffled labels; p is the share of shuffles that score as high (not corrected for the number of "
    "rows). R² is 1 for a perfect reading and 0 or less for none."
)
LIMITS = (
    "The rates hold for these {count} codes. Among more codes, or more alike, they are lower; among fewer, "
    "higher. Differences that are small beside the intervals mean nothing.",
    "A rate at chance does not prove that codes are safe: more steps, other priors, or a decoder trained on "
    "images like the originals may show more. A rate above chance says that the right one of the given "
    "originals can be picked out, not that a person would recognise what is in the image.",
    "No person has judged the images. What looks like detail may come from the method's idea of natural "
    "images, and not from the code.",
    "A linear probe shows what is easily read. What it does not read may still be there.",
)
"""What nobody should read into an audit; below, what holds with a judge, and with a decoder."""
OF_JUDGE = (
    "The judge ({judge}) took no part in the reconstruction, but it may have been trained on the same images "
    "as the audited network and share its weaknesses."
)
OF_DECODER = (
    "A decoder shows what it has learned to expect. If the originals were among its training images, it "
    "tells of those, and not of what the codes give away."
)
FOUND = (
    Column("finding"),
    Column("in the"),
    Column("above chance?"),
    Column("figure", about="rates with their 95 % interval"),
    Column("by chance", about="by guessing, or with shuffled labels"),
)
MATCHING = (
    Column("images"),
    Column("code error", digits=3, about="‖Φ − Φ₀‖ / ‖Φ₀‖ (Mahendran & Vedaldi 2016), mean over the codes"),
    Column("image error", digits=3, about="distance over the mean distance of two originals"),
)
RATES = (
    Column("images"),
    Column("who looks"),
    Column("above chance", about="by the rate of the first"),
    Column("first", percent=True),
    Column("by guessing", percent=True, key="chance"),
    Column("among first 5", percent=True),
    Column("5 by guessing", percent=True, key="chance of 5"),
    Column("median rank", show=lambda rank: f"{rank:g}", align="right"),
    Column("metric"),
)
READINGS = (
    Column("attribute"),
    Column("who looks"),
    Column("learned from"),
    Column("read from"),
    Column("above chance"),
    Column("score", digits=2),
    Column("shuffled labels", digits=2),
    Column("95 % of them below", digits=2),
    Column("p", digits=3),
    Column("codes"),
)


def run_audit(config: Audit, tell: Tell) -> Outcome:
    """Audit, and leave the page. Raises NetinvertError before any long work."""
    subject, sources = read_audited(config, tell)
    decoder = decoder_for(config.decoder, subject.encoder, tell)
    judge = subject.judge
    known = {
        **network_facts(subject.encoder),
        "targets": subject.targets,
        "names": subject.names,
        "judge": None if judge is None else [judge.layer, judge.weights_sha256()],
        "decoder": [] if decoder is None else decoder_facts([decoder]),
        "attributes": [*subject.attributes, subject.groups],
    }
    with RunDir(config.out, run_facts(config, known), config.overwrite) as folder:
        found = audit(config, subject, decoder, folder, tell)
        for one in found.reconstructions:
            for name, image in zip(found.names, one.images, strict=True):
                write_png(image, folder.path(f"images/{name}-{one.method}.png"))
            labelled = labels(subject.encoder, found.names)
            save_tensors(folder.path(f"{one.method}.safetensors"), {"image": one.images}, labelled)
        write_json(folder.path("audit.json"), found.facts())
        entries = {
            **network_facts(subject.encoder),
            "code_shape": subject.encoder.code_shape,
            "inputs": sources,
            "cpu_seconds": {one.method: round(one.cpu_seconds, 3) for one in found.reconstructions},
            **found.facts(),
        }
        return publish(folder, config, audit_page(config, found), entries, told(found), ("html", "md", "png"))


def audit_page(config: Audit, found: AuditFindings) -> report.Report:
    """The page."""
    subject, encoder, count = found.subject, found.subject.encoder, len(found.subject.codes)
    many = f"All {count}" if len(found.rows) == count else f"{len(found.rows)} of {count}"
    used = []
    for one in found.reconstructions:
        seconds = number(one.cpu_seconds, 0 if one.cpu_seconds >= 10 else 2)
        used.append(f"{one.what} ({seconds} CPU seconds)")
    lead = (
        f"{count} codes ({by(encoder.code_shape)} numbers each) of layer {code(encoder.layer)} of "
        f"{code(encoder.network.name)}: what do they show of the images that they are of, to somebody who "
        f"has the codes and the network? {many} were reconstructed, by {listed(used)}. The originals were "
        + ("used to measure only." if subject.originals is not None else "not given.")
    )
    groups, equal = found.groups_of_equal
    if groups:
        lead += (
            f"\n\n{equal} codes equal another one, in {counted(groups, 'group')}: no method can tell those "
            "of a group apart, so they lower the rates that can be reached."
        )
    decoded = any(one.method == DECODED for one in found.reconstructions)
    remarked = {one.attribute: one.remark for one in found.probes if one.remark}
    remarks = [f"{code(name)}: {text}" for name, text in remarked.items()]
    limits = [text.format(count=count) for text in LIMITS]
    limits += [] if subject.judge is None else [OF_JUDGE.format(judge=code(subject.judge.network.name))]
    limits += [OF_DECODER] if decoded else []
    weights = f" --weights {config.weights}" if config.weights else ""
    own = f"--network {config.network}{weights} --layer {config.layer}"
    # What to run to learn more, where something was not measured.
    stronger: report.Part = [
        "Optimisation is the weaker attack. Somebody who has images like the originals trains a decoder on "
        "the codes of these, and sees more in yours; try it before you say that they are safe:",
        report.Code(f"netinvert decoder train {own} --data photos/ --out out/decoder"),
        report.Code(made_by(replace(config, decoder="out/decoder/decoder.safetensors"))),
    ]
    judged: report.Part = [
        "To measure what others see, and not only this network, give the originals:",
        report.Code(made_by(replace(config, images="originals/"))),
    ]
    return report.Report.of(
        f"Privacy audit: {encoder.network.name}, layer {encoder.layer}",
        lead,
        ["## What was found", verdict(found), found_table(found)],
        None if decoded else stronger,
        None if subject.originals is not None else judged,
        "## The images",
        f"{min(SHOWN, len(found.rows))} of {counted(len(found.rows), 'reconstructed code')}, evenly spaced "
        "in their order and chosen by nothing else. All are in the folder `images`.",
        [audit_sheet(found), _matching(found)],
        ["## Re-identification", IDENTIFICATION_TEXT, _rates(found)],
        ["## Attributes", [ATTRIBUTES_TEXT, _readings(found)] if found.probes else None],
        [report.Prose(f"{text}.", quiet=True) for text in (*remarks, *found.notes)],
        ["## What this does not show", report.Points(limits)],
    )


# -- what was found ------------------------------------------------------------------------------------


def verdict(found: AuditFindings) -> str:
    """The answer in a few sentences, derived from the figures."""
    rows = [(one, rate) for one, rate in _by_cosine(found) if one.reader.independent]
    if rows:  # whether readers that took no part find the originals
        one, rate = max(
            rows, key=lambda row: (row[1].above_chance, row[0].reader.name != "pixels", row[1].rate)
        )
        figure = (
            f"to {_who(one.reader)}, {number(rate.hits, None if rate.hits % 1 else 0)} of {rate.count} "
            f"{one.method} images had their own original nearest among {len(found.subject.codes)}: "
            f"{_rate(rate)}, by guessing {percent(rate.chance)}"
        ) + f" (the best of {len(rows)} such figures)" * (len(rows) > 1)
        parts = [
            f"**The codes show which image they are of**: {figure}. This is above chance."
            if rate.above_chance
            else f"**The reconstructions were not told from chance**: {figure}. That does not prove that the "
            "codes are safe."
        ]
    else:
        parts = [
            "**What others can see in the reconstructions was not measured**: that needs the originals "
            "(`--images`) and, better than pixels, another network (`--judge-network`)."
        ]
    best = min(found.reconstructions, key=lambda one: one.code_error.mean().item())
    beside = "".join(f" ({one.name}: {number(one.code_error, 2)})" for one in found.floors[:1])
    parts.append(
        f"The {best.method} images have the stored codes up to a code error of "
        f"{number(best.code_error.mean().item(), 2)} on average{beside}."
    )
    stored = [one for one in found.probes if one.tested == STORED]
    above = [code(one.attribute) for one in stored if one.reading.above_chance]
    below = [code(one.attribute) for one in stored if not one.reading.above_chance]
    if above:
        many = f", uncorrected for the {len(stored)} attributes that were tried" * (len(stored) > 1)
        parts.append(
            f"A linear probe reads {listed(above)} from the stored codes above chance (p < 0.05{many})."
        )
    if below:
        parts.append(f"What it reads of {listed(below)} cannot be told from chance.")
    return " ".join(parts)


def _by_cosine(found: AuditFindings) -> list[tuple[Identification, Rate]]:
    rows = [one for one in found.identifications if one.found.metric == "cosine" and one.found.rates]
    return [(one, one.found.rates[0]) for one in sorted(rows, key=lambda one: not one.reader.independent)]


def _who(reader: AuditReader) -> str:
    if reader.name == "pixels":
        return "a plain comparison of pixels"
    return f"another network ({reader.name})" if reader.independent else "the audited network itself"


def _rate(rate: Rate) -> str:
    return f"{percent(rate.rate)} ({percent(rate.low)} to {percent(rate.high)})"


def _says(above_chance: bool) -> str:
    return "above chance" if above_chance else "not to be told from chance"


def found_table(found: AuditFindings) -> report.Table:
    """Every finding with its chance level and what it says, those of readers that took no part first."""
    rows = []
    for one, rate in _by_cosine(found):
        what = f"{'own original' if one.reader.independent else 'own code'} nearest, to {_who(one.reader)}"
        matched = "matched" if rate.rate > 0.5 else "hardly matched"
        itself = f"no evidence: made to match, and {matched}"
        says = _says(rate.above_chance) if one.reader.independent else itself
        rows.append((what, one.method, says, _rate(rate), percent(rate.chance)))
    for probed in found.probes:
        # The originals are the ceiling of readers other than the audited network.
        if probed.tested == STORED or (probed.learned == ORIGINAL and probed.tested != ORIGINAL):
            reading, name = probed.reading, probed.reader.name
            seen = " as " + ("plain pixels" if name == "pixels" else f"{name} reads the images")
            what = f"{probed.attribute}, read by a linear probe" + seen * (probed.tested != STORED)
            score = f"{probed.measure} {number(reading.score, 2)}"
            chance = f"{number(reading.chance, 2)} (95 % below {number(reading.chance_high, 2)})"
            rows.append((what, probed.tested, _says(reading.above_chance), score, chance))
    return report.Table(FOUND, rows, name="found")


def told(found: AuditFindings) -> str:
    """The verdict and the findings for a terminal."""
    lines = [
        f"- {what}, {images}: {figure}, by chance {chance}: {says}"
        for what, images, says, figure, chance in found_table(found).rows
    ]
    return "\n".join([verdict(found).replace("**", "").replace("`", ""), *lines])


# -- images and tables ---------------------------------------------------------------------------------


def shown_of(count: int, most: int) -> list[int]:
    """Evenly spaced positions, ``most`` at most: a choice that looks at no result."""
    return [math.floor(index * count / most) for index in range(most)] if count > most else list(range(count))


def audit_sheet(found: AuditFindings) -> report.ImageGrid:
    """Several codes a row, each its original, if known, and what each method made."""
    known, encoder = found.subject.originals, found.subject.encoder
    codes = []
    for place in shown_of(len(found.rows), SHOWN):
        name = found.names[place]
        tiles = [] if known is None else [report.Tile(known[found.rows[place]], (name,))]
        for one in found.reconstructions:
            lines = [] if known is not None else [name]
            lines.append(f"code error {number(one.code_error[place].item(), 2)}")
            if one.image_error is not None:
                lines.append(f"image error {number(one.image_error[place].item(), 2)}")
            tiles.append(report.Tile(one.images[place], lines))
        codes.append(tiles)
    columns = ["original"] * (known is not None) + [one.method for one in found.reconstructions]
    across = max(1, ACROSS // len(columns))
    rows = [
        report.GridRow("", [tile for tiles in codes[start : start + across] for tile in tiles])
        for start in range(0, len(codes), across)
    ]
    title = f"{encoder.network.name}, {encoder.layer}"
    return report.ImageGrid(rows, columns * min(across, len(codes)), title, name="contact-sheet")


def _matching(found: AuditFindings) -> report.Table:
    """How well the methods matched the codes and images, above what was not made from them."""
    rows: list[dict[str, Any]] = []
    for one in found.reconstructions:
        error = None if one.image_error is None else one.image_error.mean().item()
        rows.append({"images": one.method, "code error": one.code_error.mean().item(), "image error": error})
    baselines = range(len(rows), len(rows) + len(found.floors))
    rows += [{"images": one.name, "code error": one.code_error} for one in found.floors]
    title = "How well the codes were matched"
    return report.Table.of(rows, MATCHING, title, baselines=baselines, name="matching")


def _rates(found: AuditFindings) -> report.Table:
    rows = []
    for one in found.identifications:
        row: dict[str, Any] = {"images": one.method, "who looks": one.reader.label}
        row["above chance"] = bool(one.found.rates) and one.found.rates[0].above_chance
        row |= {"median rank": one.found.median_rank, "metric": one.found.metric}
        for rate in one.found.rates:
            rate_key, chance_key = ("first", "chance") if rate.top == 1 else ("among first 5", "chance of 5")
            row |= {rate_key: Estimate(rate.rate, rate.low, rate.high), chance_key: rate.chance}
        rows.append(row)
    return report.Table.of(rows, RATES, name="re-identification")


def _readings(found: AuditFindings) -> report.Table:
    rows: list[tuple[Any, ...]] = []
    for one in found.probes:
        reading = one.reading
        what = f"{one.attribute}, {one.measure}" + (f" of {one.classes} classes" if one.classes else "")
        figures = (reading.above_chance, reading.score, reading.chance, reading.chance_high, reading.p)
        rows.append((what, one.reader.label, one.learned, one.tested, *figures, one.codes))
    return report.Table(READINGS, rows, name="attributes")
