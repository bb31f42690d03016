"""The page on which people vote. Importing it needs the extra studio."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse

from netinvert.experiments.votes import ANSWERS, Ballot, VoteFile

LONGEST_NAME = 40
QUESTIONS = {
    "better": "Which of the two pictures shows better what is above?",
    "which": "Which of the two does the picture above show?",
}
Place = Literal["above", "left", "right"]
Side = Literal["left", "right", "tie"]


def voting_app(ballots: Sequence[Ballot], votes: VoteFile, seed: int) -> FastAPI:
    """The page, its pictures, and what takes votes. Nothing that the browser gets tells which prior made a
    picture. Every rater has an order and sides of their own, by the seed, and goes on where they stopped."""
    app = FastAPI(title="netinvert study vote", docs_url=None, redoc_url=None, openapi_url=None)
    known = {one.key: one for one in ballots}
    page = files("netinvert").joinpath("studio/static/vote.html").read_text("utf-8")

    def named(rater: str) -> str:
        name = " ".join(rater.split())
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise HTTPException(422, f"give a name of 1 to {LONGEST_NAME} letters")
        return name

    def left_is(rater: str, key: str) -> int:
        """Which of a ballot's two is on the left."""
        return random.Random(f"{seed} {rater} {key}").randrange(2)

    def following(rater: str) -> dict[str, Any]:
        order = list(ballots)
        random.Random(f"{seed} {rater}").shuffle(order)
        answered = {key for key, who, _ in votes.rows() if who == rater}
        left = [one for one in order if one.key not in answered]
        found: dict[str, Any] = {"done": len(order) - len(left), "of": len(order), "ballot": None}
        if left:
            found |= {"ballot": left[0].key, "question": QUESTIONS[left[0].kind]}
        return found

    @app.get("/", response_class=HTMLResponse)
    def root() -> str:
        return page

    @app.get("/next")
    def following_ballot(rater: str) -> dict[str, Any]:
        return following(named(rater))

    @app.get("/picture/{key}/{place}")
    def picture(key: str, place: Place, rater: str) -> FileResponse:
        if key not in known:
            raise HTTPException(404, "there is no such ballot")
        one = known[key]
        sides = {"left": left_is(named(rater), key), "right": 1 - left_is(named(rater), key)}
        file = one.above if place == "above" else one.files[sides[place]]
        return FileResponse(file, media_type="image/png", headers={"Cache-Control": "no-store"})

    @app.post("/vote")
    def vote(
        rater: Annotated[str, Body()],
        ballot: Annotated[str, Body()],
        side: Annotated[Side, Body()],
    ) -> dict[str, Any]:
        if ballot not in known:
            raise HTTPException(404, "there is no such ballot")
        name = named(rater)
        left = left_is(name, ballot)
        answer = ANSWERS[{"left": left, "right": 1 - left, "tie": 2}[side]]
        votes.add(ballot, name, answer)
        return following(name)

    return app
