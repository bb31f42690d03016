"""What the studio, and its page of votes, are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Json, Seed, Threads

LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Studio(Threads):
    """See networks at work in the browser: layers live from a camera, inversions as they come, chairs turned
    by their codes; and vote.
    """

    command: ClassVar[str] = "studio"

    port: Annotated[int, Option("Of the page; 0 takes a free one.", short="p", min=0, max=65535)] = 8080
    host: Annotated[
        str,
        Option(
            "Where to listen; any other than localhost asks for the token that is printed.", metavar="NAME"
        ),
    ] = "localhost"
    networks: Annotated[
        tuple[str, ...],
        Option("More networks to choose from, such as timm:NAME or onnx:FILE.", short="n", metavar="NAME"),
    ] = ()
    kept: Annotated[
        Path, Option("The folder of the runs that are kept.", short="o", metavar="DIR", identity=False)
    ] = Path("studio")
    votes: Annotated[
        Path | None,
        Option("A folder of 'netinvert study priors': its page for votes is a tab, too.", metavar="RUN"),
    ] = None
    visitors: Annotated[int, Option("Browsers at work at once; others wait.", min=1, max=64)] = 2

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if not self.host or "/" in self.host:
            raise ConfigError(
                f"--host is a name or an address, such as localhost or 0.0.0.0, got {self.host!r}"
            )

    @property
    def local(self) -> bool:
        """Whether nobody else can reach it."""
        return self.host in LOCAL


@dataclass(frozen=True, kw_only=True)
class StudyVote(Json, Seed):
    """Ask people which prior makes the most interpretable images: a page on this machine, by keys or touch.

    Votes are kept beside the run as they come in; the same command goes on. --report tells what they say.
    """

    command: ClassVar[str] = "study vote"

    run: Annotated[Path, Option("A folder of 'netinvert study priors'.", positional=True, metavar="RUN")]
    votes: Annotated[
        Path | None,
        Option("The file of votes, SQLite.", metavar="FILE", default="RUN.votes.sqlite", identity=False),
    ] = None
    ballots: Annotated[int, Option("How many each person is asked.", min=1, max=10**4)] = 60
    port: Annotated[int, Option("Of the page, http://127.0.0.1:PORT.", min=1, max=65535, identity=False)] = (
        8765
    )
    report: Annotated[bool, Option("Show no page: tell what the votes so far say.", identity=False)] = False
    seed: Annotated[int, replace(pieces.SEED, help="Of which ballots there are, and of their order.")] = 0

    @property
    def votes_file(self) -> Path:
        """Where the votes are."""
        return self.votes or self.run.with_name(f"{self.run.name}.votes.sqlite")

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if not self.run.name:
            raise ConfigError(f"{self.run} has no name: give the folder of a run of 'netinvert study priors'")
