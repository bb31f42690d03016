"""What the votes of ``netinvert study vote`` say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from netinvert.evaluation import report
from netinvert.evaluation.preferences import FIRST, SECOND, TIE, Votes, strengths
from netinvert.evaluation.report import Column, Estimate, code, counted
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.configs.priors import StudyVote
from netinvert.experiments.votes import ANSWERS, Ballot, VoteFile, ballots_of
from netinvert.io.manifest import Outcome

FEWEST = 20
"""Votes on pairs at a layer that strengths need."""
NOBODY = "No person has judged."
RIGHT = {"first": 1.0, "second": 0.0, "tie": 0.5}
"""What an answer to ``which`` counts."""

Answered = tuple[Ballot, int, str]
"""A ballot, who was asked, by number, and the answer."""


def votes_so_far(config: StudyVote) -> Outcome:
    """What the votes on a run say. Raises ConfigError: no such run, no pictures, or another run's votes."""
    # all ballots that there are, whatever was asked of people
    ballots, identity = ballots_of(config.run, 10**9, 0)
    if not config.votes_file.exists():
        return Outcome({"votes": 0}, NOBODY)
    known = {one.key: one for one in ballots}
    rows = [row for row in VoteFile(config.votes_file, identity).rows() if row[0] in known]
    raters = {name: k for k, name in enumerate(dict.fromkeys(rater for _, rater, _ in rows))}
    page = votes_report([(known[key], raters[rater], answer) for key, rater, answer in rows])
    return Outcome({"votes": len(rows), "raters": len(raters), **page.data()}, page.markdown())


def votes_report(answered: Sequence[Answered]) -> report.Report:
    """How strong each prior is, layer by layer; how often people choose rightly; if the machine agrees."""
    raters = len({rater for _, rater, _ in answered})
    if not answered:
        return report.Report("Votes", [], NOBODY)
    lead = f"{counted(len(answered), 'vote')} of {counted(raters, 'person', 'people')}."
    layers = dict.fromkeys(one.layer for one, *_ in answered)
    parts = [_layer(layer, [one for one in answered if one[0].layer == layer]) for layer in layers]
    how = (
        "Strength: Bradley–Terry with Davidson's ties and a sureness of each person; e to the difference of "
        "two is the odds that the one is preferred. Right: choices between two natural images, where a tie "
        "counts half; the machine's are of the same ballots. Intervals are 95 %, of the bootstrap."
    )
    return report.Report.of("Votes", lead, report.Prose(how, quiet=True), *parts)


def _layer(layer: str, answered: Sequence[Answered]) -> list[report.Part]:
    better = [one for one in answered if one[0].kind == "better"]
    which = [one for one in answered if one[0].kind == "which"]
    strong = _strengths(better) if len(better) >= FEWEST else {}
    rows: list[dict[str, report.Value]] = []
    for name in dict.fromkeys([*_compared(better), *(one.prior for one, *_ in which)]):
        own = [one for one in which if one[0].prior == name]
        rows.append(
            {
                "prior": name,
                "strength": strong.get(name),
                "compared": sum(name in one.names for one, *_ in better),
                "chosen": len(own),
                "right": _share(own, [RIGHT[answer] for *_, answer in own]),
                "machine right": _share(own, [RIGHT[one.machine] for one, *_ in own]),
            }
        )
    columns = ("prior", Column("strength", digits=2), "compared", "chosen", Column("right", percent=True))
    rows.sort(key=lambda row: -row["strength"].value if isinstance(row["strength"], Estimate) else 99.0)
    sure = [one for one in answered if one[2] != "tie"]
    agreed = _share(sure, [float(one.machine == answer) for one, _, answer in sure])
    text = "Nobody has decided for one side yet."
    if agreed is not None:
        shown = " ".join(Column("", percent=True).parts(agreed))
        count = counted(len(sure), "vote")
        text = f"The machine observer answers as people do in {shown} of {count} without a tie."
    few = f"Not enough votes for strengths: {len(better)}, and {FEWEST} are needed." if not strong else None
    return [
        f"## {code(layer)}",
        report.Table.of(rows, (*columns, Column("machine right", percent=True)), name=layer),
        text,
        few,
    ]


def _compared(better: Sequence[Answered]) -> list[str]:
    return list(dict.fromkeys(name for one, *_ in better for name in one.names))


def _strengths(better: Sequence[Answered]) -> Mapping[str, Estimate]:
    names = _compared(better)
    pictures = list(dict.fromkeys(one.picture for one, *_ in better))
    sides = [[names.index(one.names[side]) for one, *_ in better] for side in (0, 1)]
    numbers = dict(zip(ANSWERS, (FIRST, SECOND, TIE), strict=True))
    others = (
        [numbers[answer] for *_, answer in better],
        [rater for _, rater, _ in better],
        [pictures.index(one.picture) for one, *_ in better],
    )
    found = strengths(Votes(*map(torch.tensor, (*sides, *others))), len(names))
    return dict(zip(names, found.things, strict=True))


def _share(answered: Sequence[Answered], values: Sequence[float]) -> Estimate | None:
    """With its interval over pictures; None of nothing."""
    if not values:
        return None
    pictures = list(dict.fromkeys(one.picture for one, *_ in answered))
    groups = torch.tensor([pictures.index(one.picture) for one, *_ in answered])
    return estimate(torch.tensor(values), groups)
