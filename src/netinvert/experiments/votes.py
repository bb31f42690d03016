"""Ballots of a run of ``netinvert study priors``, and the votes of people on them."""

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

from netinvert.errors import ConfigError
from netinvert.experiments.prior_judges import NINE
from netinvert.io.files import inside, read_json
from netinvert.io.manifest import MANIFEST

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
