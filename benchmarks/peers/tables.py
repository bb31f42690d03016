"""From the answers of jobs to the tables: medians over repeats, and who is how many times quicker."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from peers.jobs import LAYERS, depth_of
from peers.tools import OURS, OURS_QUICK, TOOLS, tool

LEVELS = ("0.5", "0.3", "0.2", "0.1")
DISTURBED = 1.1
"""A job that took this many times as long by the wall as on its core shared it with something else."""


@dataclass(frozen=True, order=True)
class Place:
    """Where tools are compared."""

    network: str
    layer: str
    picture: str


@dataclass(frozen=True)
class Row:
    """A tool at a place: medians over repeats; None for what it did not reach."""

    tool: str
    seconds: dict[str, float | None]
    ssim_there: dict[str, float | None]
    error: float | None
    ssim: float | None
    peak_mb: float
    extra_mb: float
    limit: float


@dataclass(frozen=True)
class Lead:
    """The quickest of some tools to an error, and how many times as long as netinvert it takes.

    With ``tool`` None nobody got there, and the ratio is a lower bound.
    """

    tool: str | None
    ratio: float
    ssim: float | None


def rows(results: dict[str, dict]) -> dict[Place, list[Row]]:
    """All that finished: places by network and depth, tools in the order of TOOLS."""
    grouped: dict[Place, dict[str, list[dict]]] = {}
    for record in results.values():
        if "failed" not in record:
            job = record["job"]
            place = Place(job["network"], job["layer"], job["picture"])
            grouped.setdefault(place, {}).setdefault(job["tool"], []).append(record)
    return {
        place: [summary(each.name, of[each.name]) for each in TOOLS if each.name in of]
        for place, of in sorted(grouped.items(), key=lambda item: _order(item[0]))
    }


def _order(place: Place) -> tuple[int, int, Place]:
    networks = list(LAYERS)
    if place.network not in networks or place.layer not in LAYERS[place.network].values():
        return len(networks), 0, place
    return networks.index(place.network), list(LAYERS[place.network].values()).index(place.layer), place


def summary(name: str, records: Sequence[dict]) -> Row:
    """Medians; what half of the repeats did not reach was not reached."""
    reached = {level: [record["reached"][level] for record in records] for level in LEVELS}
    return Row(
        tool=name,
        seconds={level: median(each and each["seconds"] for each in reached[level]) for level in LEVELS},
        ssim_there={
            level: median(each["ssim"] for each in reached[level] if each is not None) for level in LEVELS
        },
        error=median(record["error"] for record in records),
        ssim=median(record["ssim"] for record in records),
        peak_mb=statistics.median(record["peak_mb"] for record in records),
        extra_mb=statistics.median(record["extra_mb"] for record in records),
        limit=records[0]["job"]["seconds"],
    )


def median(values: Iterable[float | None]) -> float | None:
    """With None as infinity; None for an infinite median, or that of nothing."""
    numbers = [math.inf if value is None else value for value in values]
    if not numbers:
        return None
    middle = statistics.median(numbers)
    return middle if math.isfinite(middle) else None


def lead(ours: Row, others: Sequence[Row], level: str) -> Lead | None:
    """None if netinvert itself did not get there, or there are no others."""
    mine = ours.seconds[level]
    if mine is None or not others:
        return None
    best = min(others, key=lambda row: _or_infinite(row.seconds[level]))
    theirs = best.seconds[level]
    if theirs is None:
        return Lead(None, max(row.limit for row in others) / mine, None)
    return Lead(best.tool, theirs / mine, best.ssim_there[level])


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


# -- markdown ------------------------------------------------------------------------------------------


def markdown(results: dict) -> str:
    """The whole page: a table a place, then the ratios, then how each tool was run."""
    machine, jobs = results["machine"], results["jobs"]
    table = rows(jobs)
    limits = sorted({row.limit for found in table.values() for row in found})
    intro = (
        "Made by `python benchmarks/peers.py`: each tool in its own environment and process, the same "
        f"network, picture, seed and {machine['threads']} thread(s), {_listed(limits)} seconds of "
        f"optimisation each, on {machine['cpu']}, torch {machine['torch']}. "
        f"Seconds ({machine['clock']} clock) until the "
        "code error ‖Φ - Φ0‖ / ‖Φ0‖ (`ijcv16`) of the picture, clamped to [0, 1], is first at most so much, "
        "with the SSIM to the original there in brackets; error and SSIM at the end; peak memory, and how "
        "much of it came after the network was loaded and warmed up." + _disturbed(jobs)
    )
    lines = ["# Inversion beside other tools", "", intro, ""]
    for place, found in table.items():
        lines += [*_place_table(place, found), ""]
    lines += [*_lead_table(table), "", "## How each tool is run", ""]
    lines += [f"- **{each.title}**: {each.settings}." for each in TOOLS]
    failed = {name: record["failed"] for name, record in jobs.items() if "failed" in record}
    if failed:
        lines += ["", "## Failed", "", *(f"- {name}: {why}" for name, why in failed.items())]
    return "\n".join(lines) + "\n"


def _place_table(place: Place, found: Sequence[Row]) -> list[str]:
    lines = [
        f"## {_heading(place)}",
        "",
        f"| tool | {' | '.join(f'to {level}' for level in LEVELS)} | error, SSIM at the end | MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found:
        cells = [_reached(row, level) for level in LEVELS]
        end = f"{_figure(row.error, 3)}, {_figure(row.ssim, 2)}"
        memory = f"{row.peak_mb:.0f} (+{row.extra_mb:.0f})"
        lines.append(f"| {tool(row.tool).title} | {' | '.join(cells)} | {end} | {memory} |")
    return lines


def _lead_table(table: dict[Place, list[Row]]) -> list[str]:
    explained = (
        "To the same error; with the SSIM of both there, ours first, for our default preset and for `quick`. "
        "Of all forms: those with everything switched off too."
    )
    lines = [
        "## How many times as long as netinvert the quickest peer takes",
        "",
        explained,
        "",
        "| network, layer, picture | error | netinvert | quickest as users run it | quickest of all forms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for place, found in table.items():
        peers = [row for row in found if row.tool not in (OURS, OURS_QUICK)]
        as_run = [row for row in peers if not tool(row.tool).strongest]
        for ours in (row for row in found if row.tool in (OURS, OURS_QUICK)):
            where = _heading(place) + (", `quick`" if ours.tool == OURS_QUICK else "")
            for level in LEVELS:
                cells = [_lead_cell(ours, lead(ours, others, level), level) for others in (as_run, peers)]
                lines.append(f"| {where} | {level} | {_reached(ours, level)} | {' | '.join(cells)} |")
    return lines


def _lead_cell(ours: Row, found: Lead | None, level: str) -> str:
    if found is None:
        return "–"
    if found.tool is None:
        return f"nobody in time: over {found.ratio:.1f}×"
    both = f"{_figure(ours.ssim_there[level], 2)} / {_figure(found.ssim, 2)}"
    return f"**{found.ratio:.1f}×** {tool(found.tool).title} ({both})"


def _heading(place: Place) -> str:
    depth = depth_of(place.network, place.layer)
    return f"{place.network}, {depth + ' ' if depth else ''}{place.layer}, {place.picture}"


def _reached(row: Row, level: str) -> str:
    seconds = row.seconds[level]
    if seconds is None:
        return "–"
    return f"{seconds:.2f} s ({_figure(row.ssim_there[level], 2)})"


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _listed(values: Sequence[float]) -> str:
    return " or ".join(f"{value:g}" for value in values)


def _disturbed(jobs: dict[str, dict]) -> str:
    finished = [record for record in jobs.values() if "failed" not in record]
    count = sum(record["wall"] > DISTURBED * record["cpu"] for record in finished)
    return f" {count} of {len(finished)} jobs had to share their core with something else." if count else ""
