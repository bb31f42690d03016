"""Votes of people on the images of ``netinvert study priors``: the ballots, the file that keeps the votes,
what they say."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.preferences import FIRST, SECOND, TIE, Votes, strengths
from netinvert.evaluation.report import Column, Estimate, code, counted
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.configs.studio import StudyVote
from netinvert.experiments.prior_measures import NINE
from netinvert.io.files import inside, read_json
from netinvert.io.manifest import MANIFEST, Outcome

WITHIN = 1.25
"""By what factor the code error of a picture may miss that at which priors are compared."""
Kind = Literal["better", "which"]
ANSWERS = ("first", "second", "tie")


@dataclass(frozen=True)
class Ballot:
    """A question of two answers: which of two pictures shows the natural image ``above`` ``better``, or
    ``which`` of two natural images the picture above shows, of which the first is right. Pictures are by
    their priors' names, natural images by their own."""

    kind: Kind
    layer: str
    picture: str
    above: Path
    names: tuple[str, str]
    files: tuple[Path, Path]
    prior: str = ""
    machine: str = ""
    """What the observer answers."""

    @property
    def key(self) -> str:
        """By which votes know it; tells nobody what is shown."""
        text = repr((self.kind, self.layer, self.picture, self.prior, self.names))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def ballots_of(run: Path, count: int, seed: int) -> tuple[list[Ballot], str]:
    """So many ballots of a run, half of each kind, layers and priors in turn; and the run's identity.

    Raises ConfigError: there is no such run, it is of another command, or has no pictures to compare."""
    facts = read_json(run / MANIFEST) if (run / MANIFEST).is_file() else None
    if facts is None:
        raise ConfigError(f"{run} holds no run: give the folder of a run of 'netinvert study priors'")
    try:
        rows, identity = facts["shown"], str(facts["run"]["identity"])
        every = [*_better(run, rows), *_which(run, rows)]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(f"{run} is no run of 'netinvert study priors': give the folder of one") from error
    missing = [path for one in every for path in (one.above, *one.files) if not path.is_file()]
    if missing:
        raise ConfigError(f"{run} lacks {missing[0].name}: run 'netinvert study priors' again")
    if not every:
        raise ConfigError(f"{run} holds no two pictures of one code by two priors: study more priors")
    source = random.Random(seed)
    chosen = list[Ballot]()
    for kind in ("better", "which"):
        groups: dict[tuple[str, ...], list[Ballot]] = {}
        for one in every:
            if one.kind == kind:
                alike = one.names if kind == "better" else (one.prior,)
                groups.setdefault((one.layer, *alike), []).append(one)
        turns = [source.sample(some, len(some)) for some in groups.values()]
        source.shuffle(turns)
        mixed = [one for some in itertools.zip_longest(*turns) for one in some if one is not None]
        chosen += mixed[: count // 2 + (count % 2 if kind == "better" else 0)]
    return chosen, identity


def _close(row: Mapping[str, Any]) -> bool:
    """Whether a picture has the code error at which priors are compared; natural ones have none."""
    error, level = (row.get(name, 1.0) for name in ("code_error", "level"))
    if error is None or level is None:  # unknown
        return False
    return abs(math.log(max(error, 1e-9) / max(level, 1e-9))) <= math.log(WITHIN)


def _better(run: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[Ballot]:
    codes: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if _close(row) and row["prior"] != NINE:
            codes.setdefault((row["layer"], row["picture"]), []).append(row)
    for (layer, picture), some in codes.items():
        for one, other in itertools.combinations(some, 2):
            if one["file"] != other["file"]:  # both are without any prior
                files = (inside(run, one["file"], ConfigError), inside(run, other["file"], ConfigError))
                machine = ANSWERS[one["alike"] < other["alike"]]
                names = (one["prior"], other["prior"])
                yield Ballot("better", layer, picture, _original(run, picture), names, files, "", machine)


def _which(run: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[Ballot]:
    for row in filter(_close, rows):
        names = (row["picture"], row["other"])
        files = (_original(run, names[0]), _original(run, names[1]))
        machine = ANSWERS[row["alike"] < row["alike_other"]]
        above = inside(run, row["file"], ConfigError)
        yield Ballot("which", row["layer"], row["picture"], above, names, files, row["prior"], machine)


def _original(run: Path, picture: str) -> Path:
    return inside(run, f"images/{picture}.png", ConfigError)


@dataclass(frozen=True)
class VoteFile:
    """Votes in an SQLite file: one a ballot and rater, which later ones do not change; what is answered is
    kept although the process or the machine dies the next moment. Of one run alone.

    Raises ConfigError: the file is none of votes, is of another run, or cannot be written."""

    path: Path
    identity: str

    def __post_init__(self) -> None:
        with self._open() as file:
            file.execute("PRAGMA journal_mode=WAL")
            file.execute("CREATE TABLE IF NOT EXISTS run (identity TEXT PRIMARY KEY)")
            file.execute(
                "CREATE TABLE IF NOT EXISTS votes (ballot TEXT, rater TEXT, answer TEXT, "
                "at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (ballot, rater))"
            )
            if file.execute("SELECT COUNT(*) FROM run").fetchone() == (0,):
                file.execute("INSERT INTO run VALUES (?)", (self.identity,))
            if file.execute("SELECT identity FROM run").fetchall() != [(self.identity,)]:
                raise ConfigError(f"{self.path} holds votes on another run: name another file with --votes")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as file, file:
                yield file
        except sqlite3.Error as error:
            raise ConfigError(
                f"{self.path} is no file of votes ({error}): name another with --votes"
            ) from error

    def add(self, ballot: str, rater: str, answer: str) -> bool:
        """Keep a vote; False if this rater has answered already, and the first answer stays."""
        with self._open() as file:
            row = (ballot, rater, answer)
            done = file.execute("INSERT OR IGNORE INTO votes (ballot, rater, answer) VALUES (?, ?, ?)", row)
            return done.rowcount == 1

    def rows(self) -> list[tuple[str, str, str]]:
        """(ballot, rater, answer) of all, in their order."""
        with self._open() as file:
            return file.execute(
                "SELECT ballot, rater, answer FROM votes ORDER BY at, ballot, rater"
            ).fetchall()


# -- what they say -------------------------------------------------------------------------------------

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
        shown = Column("", percent=True).words(agreed)
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
