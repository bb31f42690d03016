"""What the study of priors and its votes are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.experiments.configs.studies import CHAIRS, PRIOR_WEIGHTS, TRIED_CANVASES, Grid
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Json, Seed
from netinvert.scenes.seeds import OPENED


@dataclass(frozen=True, kw_only=True)
class StudyPriors(Grid):
    """Find which prior makes the most interpretable images: priors and canvases at equal code error.

    Readers that took no part, and a machine that chooses between two natural images as people would, look at
    the images; natural images are the baseline. The first prior on the first canvas is what the others are
    held against. A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study priors"

    prior_weights: Annotated[
        tuple[float, ...], replace(PRIOR_WEIGHTS, default="0.1, 0.3, 1, 3 and 10 times each one's own")
    ] = ()
    canvases: Annotated[tuple[str, ...], replace(TRIED_CANVASES, default="fourier and pixels")] = ()
    images: Annotated[
        str,
        Option(
            "'chairs', rendered, of which poses and parts are known; or a folder of images or a quoted glob.",
            metavar="DIR|chairs",
        ),
    ] = CHAIRS
    count: Annotated[int, Option("Images whose codes are inverted: the first so many.", min=2)] = 60
    bank: Annotated[
        int, Option("Natural images beside them, for the baseline: the next so many.", min=9, max=10**5)
    ] = 1000
    restarts: Annotated[int, pieces.RESTARTS] = 2
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[
        int, replace(pieces.SEED, help="Which chairs; and of the noise to start from, SEED, SEED + 1, …")
    ] = OPENED


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
