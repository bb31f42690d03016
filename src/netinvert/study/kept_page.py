"""What layers keep, as tables in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from netinvert.study.kept import Findings, Kept
from netinvert.study.kept_measures import Agreement
from netinvert.study.kept_scenes import ATTRIBUTES


def markdown(findings: Findings, command: str) -> str:
    """The page: one table of all, then how decoded pictures agree, how far codes move, and curved probes."""
    settings, decoders = findings.settings, findings.decoders
    names = [name for name in settings.attributes if name in ATTRIBUTES]
    labels = [ATTRIBUTES[name].label for name in names]

    def table(cell: Callable[[Kept], str], more: Sequence[tuple[str, Sequence[str]]] = ()) -> list[str]:
        rows = [
            (f"`{layer}`", [cell(found[name]) for name in names]) for layer, found in findings.layers.items()
        ]
        return _table(["layer", *labels], [[head, *cells] for head, cells in [*rows, *more]])

    originals = [_share(findings.originals.get(name)) for name in names]
    chance = [_chance(findings, name) for name in names]
    lines = [
        f"# What the codes of {findings.network} keep of a picture",
        "",
        _filled(
            f"Made by `{command}`. Each attribute varies alone, by known amounts, over {_chairs(findings)} "
            f"that no network or decoder has seen (seed {settings.seed})."
        ),
        "",
        _filled(
            "Each cell: what a linear probe (ridge regression) reads of the attribute from codes of chairs "
            "that it was not fitted on / what is measured in the decoded picture, taken as it is. Both are "
            "shares of variance, R² (below 0: worse than no answer); of parts the share of pictures with the "
            "right answer. Values count about their chair's mean, in codes as in pictures: a chair is "
            "compared with itself. Pose in pictures is read by the network's judge, parts by lines fitted on "
            "the judge's codes of originals. Last: the same measurements on the originals, and the probe of "
            "shuffled labels (the highest of all layers)."
        ),
        "",
        *table(_both, [("originals", originals), ("shuffled", chance)]),
        "",
        *(_decoded(findings, names) if decoders else []),
        "## How far the code moves",
        "",
        "Mean ‖ΔΦ‖ at one step of the attribute, over the mean distance of the codes of two chairs, each in",
        "a view of its own.",
        "",
        *table(lambda kept: f"{kept.change:.2f}", [("step", [ATTRIBUTES[name].step for name in names])]),
        "",
        "## Without comparing a chair with itself",
        "",
        "R² of a linear probe of the attribute itself over all chairs / with all products of two units added",
        "to the code, which finds what is there, but not along straight lines (of parts too).",
        "",
        *table(lambda kept: f"{kept.absolute:.2f} / {kept.curved:.2f}"),
    ]
    return "\n".join(lines) + "\n"


def _decoded(findings: Findings, names: Sequence[str]) -> list[str]:
    used = ", ".join(f"{decoder} (`{layer}`)" for layer, decoder in findings.decoders.items())
    heads = ["attribute", *(f"`{layer}`" for layer in findings.decoders), "originals"]
    rows = []
    for name in names:
        shown = [findings.layers[layer][name].shown for layer in findings.decoders]
        cells = [_agreement(each, name) for each in (*shown, findings.originals.get(name))]
        rows.append([ATTRIBUTES[name].label, *cells])
    return [
        "## In the decoded pictures",
        "",
        _filled(
            f"Decoders: {used}. R² of measured values taken as they are; in brackets that of a straight line "
            "of measured over true values, with its slope (1: as strong as in the original; 0: not at all); "
            "and the median error with, in brackets, that against other pictures' truth."
        ),
        "",
        *_table(heads, rows),
        "",
    ]


def _agreement(one: Agreement | None, name: str) -> str:
    if one is None:
        return "–"
    if one.right is not None and one.right_by_chance is not None:
        return f"{one.right:.0%} right ({one.right_by_chance:.0%})"
    unit = ATTRIBUTES[name].unit
    digits = 1 if unit else 2
    line = f"{one.r2:.2f} (line {one.line:.2f}, slope {one.slope:.2f})"
    return f"{line}; {one.error:.{digits}f}{unit} ({one.chance:.{digits}f}{unit})"


def _both(kept: Kept) -> str:
    read = f"{kept.probe:.2f}" if kept.right is None else f"{kept.right:.0%}"
    return read if kept.shown is None else f"{read} / {_share(kept.shown)}"


def _share(one: Agreement | None) -> str:
    if one is None:
        return "–"
    return f"{one.r2:.2f}" if one.right is None else f"{one.right:.0%}"


def _chance(findings: Findings, name: str) -> str:
    """The highest of all layers."""
    found = [layer[name] for layer in findings.layers.values()]
    if found[0].right_by_chance is not None:
        return f"{max(each.right_by_chance or 0 for each in found):.0%}"
    return f"{max(each.probe_by_chance for each in found):.2f}"


def _chairs(findings: Findings) -> str:
    """How many chairs there are for which attribute."""
    others = [
        f"{count} for {ATTRIBUTES[name].label}"
        for name, count in findings.counts.items()
        if count != findings.settings.chairs
    ]
    return f"{findings.settings.chairs} chairs" + (f" ({', '.join(others)})" if others else "")


def _filled(text: str) -> str:
    return textwrap.fill(text, 108, break_on_hyphens=False, break_long_words=False)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)]
