"""An audit in words: what was found, with the sample's size and the chance level, and what was not shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from netinvert.evaluation.report import (
    Block,
    Code,
    Column,
    Estimate,
    GridRow,
    Heading,
    ImageGrid,
    Points,
    Prose,
    Report,
    Table,
    Tile,
    Value,
    by,
    code,
    counted,
    listed,
    number,
    percent,
)
from netinvert.evaluation.retrieval import Rate
from netinvert.experiments.audit import (
    DECODED,
    ORIGINAL,
    STORED,
    AuditFindings,
    Identification,
    ProbeRow,
    Reconstructed,
    shown_of,
)
from netinvert.experiments.configs.studies import Audit
from netinvert.experiments.runs import made_by

SHOWN = 12
"""Codes on the page and the audit_sheet, evenly spaced among those reconstructed."""
COLUMNS = 6
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


def audit_page(config: Audit, found: AuditFindings) -> Report:
    """The page."""
    encoder, shown = found.subject.encoder, min(SHOWN, len(found.rows))
    blocks: list[Block] = [
        Heading("What was found"),
        Prose(verdict(found)),
        found_table(found),
        *_next_steps(config, found),
        Heading("The images"),
        Prose(
            f"{shown} of {counted(len(found.rows), 'reconstructed code')}, evenly spaced in their order and "
            "chosen by nothing else. All are in the folder `images`."
        ),
        audit_sheet(found),
        _matching(found),
        Heading("Re-identification"),
        Prose(IDENTIFICATION_TEXT),
        _rates(found),
        Heading("Attributes"),
    ]
    if found.probes:
        blocks += [Prose(ATTRIBUTES_TEXT), _readings(found)]
    blocks += [Prose(text, quiet=True) for text in _remarks(found)]
    blocks += [Heading("What this does not show"), Points(limits(found))]
    title = f"Privacy audit: {encoder.network.name}, layer {encoder.layer}"
    return Report(title, blocks, "\n\n".join(_subject(found)))


def _subject(found: AuditFindings) -> list[str]:
    """What was audited, and how."""
    subject, count = found.subject, len(found.subject.codes)
    many = f"All {count}" if len(found.rows) == count else f"{len(found.rows)} of {count}"
    texts = [
        f"{count} codes ({by(subject.encoder.code_shape)} numbers each) of layer "
        f"{code(subject.encoder.layer)} of {code(subject.encoder.network.name)}: what do they show of the "
        f"images that they are of, to somebody who has the codes and the network? {many} were "
        "reconstructed, by "
        + listed([f"{one.what} ({_duration(one.cpu_seconds)})" for one in found.reconstructions])
        + ". The originals were "
        + ("used to measure only." if subject.originals is not None else "not given.")
    ]
    groups, equal = found.groups_of_equal
    if groups:
        texts.append(
            f"{equal} codes equal another one, in {counted(groups, 'group')}: no method can tell those of a "
            "group apart, so they lower the rates that can be reached."
        )
    return texts


def _duration(seconds: float) -> str:
    return f"{number(seconds, 0 if seconds >= 10 else 2)} CPU seconds"


# -- what was found ------------------------------------------------------------------------------------


def verdict(found: AuditFindings) -> str:
    """The answer in a few sentences, derived from the figures."""
    parts = [_seen(found), _matched(found)]
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


def _seen(found: AuditFindings) -> str:
    """Whether readers that took no part find the originals."""
    count = len(found.subject.codes)
    rows = [(one, rate) for one, rate in _by_cosine(found) if one.reader.independent]
    if not rows:
        return (
            "**What others can see in the reconstructions was not measured**: that needs the originals "
            "(`--images`) and, better than pixels, another network (`--judge-network`)."
        )
    one, rate = max(rows, key=lambda row: (row[1].above_chance, row[0].reader.name != "pixels", row[1].rate))
    figure = (
        f"to {_who(one)}, {number(rate.hits, None if rate.hits % 1 else 0)} of {rate.count} {one.method} "
        f"images had their own original nearest among {count}: {_rate(rate)}, "
        f"by guessing {percent(rate.chance)}" + f" (the best of {len(rows)} such figures)" * (len(rows) > 1)
    )
    if rate.above_chance:
        return f"**The codes show which image they are of**: {figure}. This is above chance."
    return (
        f"**The reconstructions were not told from chance**: {figure}. That does not prove that the codes "
        "are safe."
    )


def _matched(found: AuditFindings) -> str:
    """How well the codes were matched, beside the grey image."""
    best = min(found.reconstructions, key=lambda one: one.code_error.mean().item())
    beside = "".join(f" ({one.name}: {number(one.code_error, 2)})" for one in found.floors[:1])
    return (
        f"The {best.method} images have the stored codes up to a code error of "
        f"{number(best.code_error.mean().item(), 2)} on average{beside}."
    )


def _by_cosine(found: AuditFindings) -> list[tuple[Identification, Rate]]:
    rows = [one for one in found.identifications if one.found.metric == "cosine" and one.found.rates]
    return [(one, one.found.rates[0]) for one in sorted(rows, key=lambda one: not one.reader.independent)]


def _who(one: Identification | ProbeRow) -> str:
    if one.reader.name == "pixels":
        return "a plain comparison of pixels"
    return ("another network" if one.reader.independent else "the audited network itself") + (
        f" ({one.reader.name})" if one.reader.independent else ""
    )


def _rate(rate: Rate) -> str:
    return f"{percent(rate.rate)} ({percent(rate.low)} to {percent(rate.high)})"


def found_table(found: AuditFindings) -> Table:
    """Every finding with its chance level and what it says, those of readers that took no part first."""
    columns: list[Column | str] = [
        "finding",
        "in the",
        Column("above chance?"),
        Column("figure", about="rates with their 95 % interval"),
        Column("by chance", about="by guessing, or with shuffled labels"),
    ]
    rows: list[Sequence[Value]] = []
    for one, rate in _by_cosine(found):
        what = f"{'own original' if one.reader.independent else 'own code'} nearest, to {_who(one)}"
        says = "above chance" if rate.above_chance else "not to be told from chance"
        if not one.reader.independent:
            says = f"no evidence: made to match, and {'matched' if rate.rate > 0.5 else 'hardly matched'}"
        rows.append((what, one.method, says, _rate(rate), percent(rate.chance)))
    for probed in found.probes:
        direct = probed.tested == STORED
        # The originals are the ceiling of readers other than the audited network.
        shown = probed.learned == ORIGINAL and probed.tested != ORIGINAL
        if direct or shown:
            reading = probed.reading
            what = f"{probed.attribute}, read by a linear probe" + (
                "" if direct else f" as {_as_seen(probed)}"
            )
            says = "above chance" if reading.above_chance else "not to be told from chance"
            score = f"{probed.measure} {number(reading.score, 2)}"
            chance = f"{number(reading.chance, 2)} (95 % below {number(reading.chance_high, 2)})"
            rows.append((what, probed.tested, says, score, chance))
    return Table(columns, rows, name="found")


def _as_seen(one: ProbeRow) -> str:
    return "plain pixels" if one.reader.name == "pixels" else f"{one.reader.name} reads the images"


def told(found: AuditFindings) -> str:
    """The verdict and the findings for a terminal."""
    rows = (list(map(str, row)) for row in found_table(found).rows)
    lines = [
        f"- {what}, {images}: {figure}, by chance {chance}: {says}"
        for what, images, says, figure, chance in rows
    ]
    return "\n".join([verdict(found).replace("**", "").replace("`", ""), *lines])


def _next_steps(config: Audit, found: AuditFindings) -> list[Block]:
    """What to run to learn more, where something was not measured."""
    blocks: list[Block] = []
    decoded = any(one.method == DECODED for one in found.reconstructions)
    if not decoded:
        weights = f" --weights {config.weights}" if config.weights else ""
        own = f"--network {config.network}{weights} --layer {config.layer}"
        blocks += [
            Prose(
                "Optimisation is the weaker attack. Somebody who has images like the originals trains a "
                "decoder on the codes of these, and sees more in yours; try it before you say that "
                "they are safe:"
            ),
            Code(f"netinvert decoder train {own} --data photos/ --out out/decoder"),
            Code(made_by(replace(config, decoder="out/decoder/decoder.safetensors"))),
        ]
    if found.subject.originals is None:
        blocks += [
            Prose("To measure what others see, and not only this network, give the originals:"),
            Code(made_by(replace(config, images="originals/"))),
        ]
    return blocks


# -- images and tables ---------------------------------------------------------------------------------


def audit_sheet(found: AuditFindings) -> ImageGrid:
    """Several codes a row, each its original, if known, and what each method made."""
    known = found.subject.originals
    codes = []
    for place in shown_of(len(found.rows), SHOWN):
        name = found.names[place]
        original = [] if known is None else [Tile(known[found.rows[place]], (name,))]
        heads = (name,) if known is None else ()
        made = [Tile(one.images[place], (*heads, *_caption(one, place))) for one in found.reconstructions]
        codes.append([*original, *made])
    columns = [] if known is None else ["original"]
    columns += [one.method for one in found.reconstructions]
    across = max(1, COLUMNS // len(columns))
    rows = [
        GridRow("", [tile for tiles in codes[start : start + across] for tile in tiles])
        for start in range(0, len(codes), across)
    ]
    encoder = found.subject.encoder
    title = f"{encoder.network.name}, {encoder.layer}"
    return ImageGrid(rows, columns * min(across, len(codes)), title, name="contact-sheet")


def _caption(one: Reconstructed, place: int) -> tuple[str, ...]:
    lines = [f"code error {number(one.code_error[place].item(), 2)}"]
    if one.image_error is not None:
        lines.append(f"image error {number(one.image_error[place].item(), 2)}")
    return tuple(lines)


def _matching(found: AuditFindings) -> Table:
    """How well the methods matched the codes and images, above what was not made from them."""
    rows: list[Sequence[Value]] = []
    for one in found.reconstructions:
        image_error = None if one.image_error is None else one.image_error.mean().item()
        rows.append((one.method, one.code_error.mean().item(), image_error))
    rows += [(one.name, one.code_error, None) for one in found.floors]
    columns: list[Column | str] = [
        "images",
        Column(
            "code error", digits=3, about="‖Φ − Φ₀‖ / ‖Φ₀‖ (Mahendran & Vedaldi 2016), mean over the codes"
        ),
        Column("image error", digits=3, about="distance over the mean distance of two originals"),
    ]
    baselines = range(len(found.reconstructions), len(rows))
    return Table(columns, rows, "How well the codes were matched", baselines, name="matching")


def _rates(found: AuditFindings) -> Table:
    columns: list[Column | str] = [
        "images",
        "who looks",
        Column("above chance", about="by the rate of the first"),
        Column("first", percent=True),
        Column("by guessing", percent=True, key="chance"),
        Column("among first 5", percent=True),
        Column("5 by guessing", percent=True, key="chance of 5"),
        Column("median rank", show=lambda rank: f"{rank:g}", align="right"),
        "metric",
    ]
    rows: list[Sequence[Value]] = []
    for one in found.identifications:
        rates = {rate.top: rate for rate in one.found.rates}
        first, five = rates.get(1), rates.get(5)
        above = bool(one.found.rates) and one.found.rates[0].above_chance
        cells = [cell for rate in (first, five) for cell in (_estimate(rate), rate.chance if rate else None)]
        who = one.reader.name + ("" if one.reader.independent else " (itself)")
        rows.append((one.method, who, above, *cells, one.found.median_rank, one.found.metric))
    return Table(columns, rows, name="re-identification")


def _estimate(rate: Rate | None) -> Estimate | None:
    return None if rate is None else Estimate(rate.rate, rate.low, rate.high)


def _readings(found: AuditFindings) -> Table:
    columns: list[Column | str] = [
        "attribute",
        "who looks",
        "learned from",
        "read from",
        "above chance",
        Column("score", digits=2),
        Column("shuffled labels", digits=2),
        Column("95 % of them below", digits=2),
        Column("p", digits=3),
        "codes",
    ]
    rows: list[Sequence[Value]] = []
    for one in found.probes:
        reading = one.reading
        what = f"{one.attribute}, {one.measure}" + (f" of {one.classes} classes" if one.classes else "")
        who = one.reader.name + ("" if one.reader.independent else " (itself)")
        figures = (reading.above_chance, reading.score, reading.chance, reading.chance_high, reading.p)
        rows.append((what, who, one.learned, one.tested, *figures, one.codes))
    return Table(columns, rows, name="attributes")


def _remarks(found: AuditFindings) -> list[str]:
    remarks = {one.attribute: one.remark for one in found.probes if one.remark}
    return [
        *(f"{code(name)}: {text}." for name, text in remarks.items()),
        *(f"{note}." for note in found.notes),
    ]


def limits(found: AuditFindings) -> list[str]:
    """What nobody should read into the audit."""
    count = len(found.subject.codes)
    texts = [
        f"The rates hold for these {count} codes. Among more codes, or more alike, they are lower; among "
        "fewer, higher. Differences that are small beside the intervals mean nothing.",
        "A rate at chance does not prove that codes are safe: more steps, other priors, or a decoder trained "
        "on images like the originals may show more. A rate above chance says that the right one of the "
        "given originals can be picked out, not that a person would recognise what is in the image.",
        "No person has judged the images. What looks like detail may come from the method's idea of natural "
        "images, and not from the code.",
        "A linear probe shows what is easily read. What it does not read may still be there.",
    ]
    if found.subject.judge is not None:
        texts.append(
            f"The judge ({code(found.subject.judge.network.name)}) took no part in the reconstruction, but "
            "it may have been trained on the same images as the audited network and share its weaknesses."
        )
    if any(one.method == DECODED for one in found.reconstructions):
        texts.append(
            "A decoder shows what it has learned to expect. If the originals were among its training images, "
            "it tells of those, and not of what the codes give away."
        )
    return texts
