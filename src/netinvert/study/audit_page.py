"""What an audit leaves behind: the page, the contact sheet and the table of every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape

from PIL import Image

from netinvert.pictures import Cell, Row, contact_sheet
from netinvert.study import page
from netinvert.study.audit import shown_of
from netinvert.study.audit_records import ORIGINAL, Audit, Identification, ProbeRow, Reconstruction
from netinvert.study.audit_words import (
    ATTRIBUTES_TEXT,
    IDENTIFICATION_TEXT,
    attribute_findings,
    identification_findings,
    limits,
    percent,
    subject_text,
)

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
