"""An audit in words: what was found, with the sample's size and the chance level, and what was not shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape

from PIL import Image

from netinvert.evaluation import page
from netinvert.evaluation.contact_sheet import Cell, Row, contact_sheet
from netinvert.experiments.audit import (
    ORIGINAL,
    STORED,
    Audit,
    Identification,
    ProbeRow,
    Reconstruction,
    shown_of,
)

IDENTIFICATION_TEXT = (
    "Each reconstruction is encoded and compared with the codes of all originals; the rate says how often "
    "its own original is the nearest (first), or among the five nearest. In brackets: Wilson's 95 % "
    "interval, which takes the codes for independent of one another, and the rate of guessing. A rate is "
    "above chance if its interval lies above guessing. Codes that are equal count as a guess among them.",
    "Rows marked (itself) are read by the network that was inverted. There the rate is self-fulfilling: the "
    "reconstruction was made so that this network's code for it matches, and a picture that means nothing to "
    "anybody else can do that. They say how well the code was matched. What can be seen in a picture is told "
    "by the rows of readers that took no part.",
)
ATTRIBUTES_TEXT = (
    "A linear probe (ridge regression, cross-validated: what it reads was not in its training) reads each "
    "attribute from codes. Read from the stored codes or the originals, its score is the ceiling. Learned "
    "from reconstructions, it says what is in their codes; learned from originals and read from "
    "reconstructions, whether they show the attribute as real pictures do. The chance level is the same "
    "probe with shuffled labels; p is the share of shuffles that score as high (not corrected for the number "
    "of rows). R² is 1 for a perfect reading and 0 or less for none.",
)


def percent(share: float) -> str:
    """A share as 4.2 % or 42 %."""
    return f"{100 * share:.{1 if 0 < share < 0.1 else 0}f} %"


def subject_text(found: Audit) -> list[str]:
    """What was audited, and how."""
    subject, count = found.subject, len(found.subject.codes)
    shape = "×".join(map(str, subject.encoder.code_shape))
    many = f"All {count}" if len(found.rows) == count else f"{len(found.rows)} of {count}"
    texts = [
        f"{count} codes ({shape} numbers each) of layer `{subject.encoder.layer}` of "
        f"{subject.encoder.network.name}: what do they show of the images that they are of, to somebody who "
        "has the codes and the network? "
        f"{many} were reconstructed, by "
        + " and by ".join(f"{one.what} ({_duration(one.cpu_seconds)})" for one in found.reconstructions)
        + ". The originals were "
        + ("used to measure only." if subject.originals is not None else "not given.")
    ]
    groups, equal = found.groups_of_equal
    if groups:
        texts.append(
            f"{equal} codes equal another one, in {groups} group{'s' * (groups > 1)}: no method can tell "
            "those of a group apart, so they lower the rates that can be reached."
        )
    return texts


def _duration(seconds: float) -> str:
    return f"{seconds:.{0 if seconds >= 10 else 2}f} CPU seconds"


def identification_findings(found: Audit) -> list[str]:
    """Sentences, the readers that took no part first; by cosine."""
    rows = [one for one in found.identifications if one.found.metric == "cosine" and one.found.rates]
    texts = [_identified(one, len(found.subject.codes)) for one in rows if one.reader.independent]
    if not texts:
        texts.append(
            "Whether others can see the originals in the reconstructions was not measured: that needs the "
            "originals (--images) and, better than pixels, another network (--judge-network)."
        )
    return texts + [_matched(one) for one in rows if not one.reader.independent]


def _identified(one: Identification, count: int) -> str:
    rate = one.found.rates[0]
    verdict = "This is above chance." if rate.above_chance else "This cannot be told from chance."
    return (
        f"To {_who(one)}, {round(rate.hits, 1):g} of {rate.count} {one.method} pictures had their own "
        f"original nearest among {count}: {percent(rate.rate)} (95 % interval {percent(rate.low)} to "
        f"{percent(rate.high)}; guessing: {percent(rate.chance)}). {verdict}"
    )


def _who(one: Identification) -> str:
    if one.reader.name == "pixels":
        return "a plain comparison of pixels"
    return f"another network ({one.reader.name})"


def _matched(one: Identification) -> str:
    rate = one.found.rates[0]
    return (
        f"To the audited network itself, {round(rate.hits, 1):g} of {rate.count} {one.method} pictures had "
        "their own code nearest. That is what they were made for, and shows no more than that the codes "
        f"were {'matched' if rate.rate > 0.5 else 'hardly matched'}."
    )


def attribute_findings(found: Audit) -> list[str]:
    """A sentence an attribute: the ceiling, and the best of what the reconstructions' codes gave."""
    texts = []
    for name in dict.fromkeys(one.attribute for one in found.probes):
        rows = [one for one in found.probes if one.attribute == name]
        stored = [one for one in rows if one.tested == STORED]
        # The originals are the ceiling of readers other than the audited network.
        shown = [one for one in rows if one.learned == ORIGINAL and one.tested != ORIGINAL]
        texts.append(f"{name}: {_sentence(stored)}" + (f" {_shown(shown)}" if shown else ""))
    return texts


def _sentence(stored: Sequence[ProbeRow]) -> str:
    return "; ".join(f"from the {one.tested}, a probe reads it with {_score(one)}" for one in stored) + "."


def _shown(rows: Sequence[ProbeRow]) -> str:
    parts = [f"in the {one.tested} pictures, {_as_seen(one)}, with {_score(one)}" for one in rows]
    return "A probe that learned from originals finds it " + "; ".join(parts) + "."


def _as_seen(one: ProbeRow) -> str:
    return "as plain pixels" if one.reader.name == "pixels" else f"as {one.reader.name} reads them"


def _score(one: ProbeRow) -> str:
    reading = one.reading
    verdict = "above chance" if reading.above_chance else "not to be told from chance"
    return (
        f"{one.measure} {reading.score:.2f} (shuffled labels {reading.chance:.2f}, 95 % of them below "
        f"{reading.chance_high:.2f}: {verdict})"
    )


def limits(found: Audit) -> list[str]:
    """What nobody should read into the audit."""
    count = len(found.subject.codes)
    texts = [
        f"The rates hold for these {count} codes. Among more codes, or more alike, they are lower; among "
        "fewer, higher. Differences that are small beside the intervals mean nothing.",
        "A rate at chance does not prove that codes are safe: more steps, other priors, or a decoder trained "
        "on images like the originals may show more. A rate above chance says that the right one of the "
        "given originals can be picked out, not that a person would recognise what is in the picture.",
        "No person has judged the pictures. What looks like detail may come from the method's idea of "
        "natural images, and not from the code.",
        "A linear probe shows what is easily read. What it does not read may still be there.",
    ]
    if found.subject.judge is not None:
        texts.append(
            f"The judge ({found.subject.judge.network.name}) took no part in the reconstruction, but it may "
            "have been trained on the same images as the audited network and share its weaknesses."
        )
    if any(one.method == "decoded" for one in found.reconstructions):
        texts.append(
            "A decoder shows what it has learned to expect. If the originals were among its training images, "
            "it tells of those, and not of what the codes give away."
        )
    return texts


SHOWN = 12
"""Codes on the page and the sheet, evenly spaced among those reconstructed."""
COLUMNS = 6
"""Pictures in a row of the sheet."""
RATE_COLUMNS = ("pictures", "who looks", "metric", "first", "among first 5", "median rank", "above chance")
PROBE_COLUMNS = (
    "attribute",
    "who looks",
    "probe learned from",
    "read from",
    "score",
    "shuffled labels",
    "95 % of them below",
    "p",
    "codes",
)


def html(found: Audit, command: str) -> str:
    """The page as HTML."""
    encoder = found.subject.encoder
    parts = [
        *(page.paragraph(text) for text in subject_text(found)),
        page.heading("What was found"),
        *(page.paragraph(text) for text in (*identification_findings(found), *attribute_findings(found))),
        page.heading("The pictures"),
        page.paragraph(
            f"{min(SHOWN, len(found.rows))} of {len(found.rows)} reconstructed codes, evenly spaced in their "
            "order and chosen by nothing else. All are in the folder `pictures`."
        ),
        *_pictures(found),
        page.heading("Re-identification"),
        *(page.paragraph(text) for text in IDENTIFICATION_TEXT),
        page.table(RATE_COLUMNS, [_rate_row(one) for one in found.identifications]),
        page.heading("Attributes"),
        *(page.paragraph(text) for text in (ATTRIBUTES_TEXT if found.probes else ())),
        *([page.table(PROBE_COLUMNS, [_probe_row(one) for one in found.probes])] if found.probes else []),
        *(page.paragraph(text, quiet=True) for text in _remarks(found)),
        page.heading("What this does not show"),
        "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in limits(found)) + "</ul>",
        page.paragraph(f"Made by `{command}`.", quiet=True),
    ]
    return page.page(f"Privacy audit: {encoder.network.name}, layer {encoder.layer}", parts)


def _pictures(found: Audit) -> list[str]:
    """Originals, if known, and reconstructions; a row of the page a code."""
    rows = []
    for place in shown_of(len(found.rows), SHOWN):
        name = found.subject.names[found.rows[place]]
        items = []
        if found.subject.originals is not None:
            items.append(page.Figure(found.subject.originals[found.rows[place]], name, ("original",)))
        for one in found.reconstructions:
            lines = (one.method, *_caption(one, place))
            items.append(page.Figure(one.images[place], name, lines))
        rows.append(items)
    if 4 % len(rows[0]):  # a line of the page has four
        return [page.figures(items) for items in rows]
    return [page.figures([item for items in rows for item in items])]


def _caption(one: Reconstruction, place: int) -> tuple[str, ...]:
    lines = [f"code error {one.code_error[place].item():.2f}"]
    if one.image_error is not None:
        lines.append(f"image error {one.image_error[place].item():.2f}")
    return tuple(lines)


def sheet(found: Audit) -> Image.Image:
    """Several codes a row, each its original, if known, and what each method made."""
    known = found.subject.originals
    codes = []
    for place in shown_of(len(found.rows), SHOWN):
        name = found.subject.names[found.rows[place]]
        original = [] if known is None else [Cell(known[found.rows[place]], (name,))]
        heads = (name,) if known is None else ()
        made = [Cell(one.images[place], (*heads, *_caption(one, place))) for one in found.reconstructions]
        codes.append([*original, *made])
    columns = [] if known is None else ["original"]
    columns += [one.method for one in found.reconstructions]
    across = max(1, COLUMNS // len(columns))
    rows = [
        Row("", tuple(cell for cells in codes[start : start + across] for cell in cells))
        for start in range(0, len(codes), across)
    ]
    encoder = found.subject.encoder
    return contact_sheet(rows, columns * min(across, len(codes)), f"{encoder.network.name}, {encoder.layer}")


def table(found: Audit) -> dict[str, object]:
    """Every figure, ready for JSON."""
    names = [found.subject.names[row] for row in found.rows]
    return {
        "codes": len(found.subject.codes),
        "reconstructed": names,
        "equal_codes": {"groups": found.groups_of_equal[0], "codes": found.groups_of_equal[1]},
        "reconstructions": [
            {
                "method": one.method,
                "what": one.what,
                "cpu_seconds": one.cpu_seconds,
                "code_error_ijcv16": one.code_error,
                "image_error_cvpr16": one.image_error,
            }
            for one in found.reconstructions
        ],
        "identification": [
            {
                "pictures": one.method,
                "reader": one.reader.name,
                "independent": one.reader.independent,
                **asdict(one.found),
            }
            for one in found.identifications
        ],
        "attributes": [asdict(one) for one in found.probes],
        "notes": found.notes,
    }


def markdown(found: Audit, command: str) -> str:
    """The findings and the tables, without pictures."""
    encoder = found.subject.encoder
    parts = [
        f"# Privacy audit: {encoder.network.name}, layer {encoder.layer}",
        f"Made by `{command}`.",
        *subject_text(found),
        "## What was found",
        *identification_findings(found),
        *attribute_findings(found),
        "## Re-identification",
        *IDENTIFICATION_TEXT,
        _markdown_table(RATE_COLUMNS, [_rate_row(one) for one in found.identifications]),
        "## Attributes",
        *(ATTRIBUTES_TEXT if found.probes else ()),
        *(
            [_markdown_table(PROBE_COLUMNS, [_probe_row(one) for one in found.probes])]
            if found.probes
            else []
        ),
        *_remarks(found),
        "## What this does not show",
        "\n".join(f"- {text}" for text in limits(found)),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rate_row(one: Identification) -> tuple[str, ...]:
    cells = []
    for top in (1, 5):
        rate = next((rate for rate in one.found.rates if rate.top == top), None)
        cells.append(
            "–"
            if rate is None
            else f"{percent(rate.rate)} ({percent(rate.low)} to {percent(rate.high)}; "
            f"chance {percent(rate.chance)})"
        )
    above = bool(one.found.rates) and one.found.rates[0].above_chance
    who = one.reader.name + ("" if one.reader.independent else " (itself)")
    rank = f"{one.found.median_rank:g}"
    return one.method, who, one.found.metric, *cells, rank, "yes" if above else "no"


def _probe_row(one: ProbeRow) -> tuple[str, ...]:
    digits = 2
    reading = one.reading
    score, chance, high = (
        f"{value:.{digits}f}" for value in (reading.score, reading.chance, reading.chance_high)
    )
    what = f"{one.attribute}, {one.measure}" + (f" of {one.classes} classes" if one.classes else "")
    who = one.reader.name + ("" if one.reader.independent else " (itself)")
    read = "originals" if one.tested == ORIGINAL else one.tested
    return what, who, one.learned, read, score, chance, high, f"{reading.p:.3f}", str(one.codes)


def _remarks(found: Audit) -> list[str]:
    remarks = {one.attribute: one.remark for one in found.probes if one.remark}
    return [*(f"{name}: {text}." for name, text in remarks.items()), *(f"{note}." for note in found.notes)]
