"""Votes of people on a run of ``study priors``: ballots, the file, the page, and what they say."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from netinvert import ConfigError, write_png
from netinvert.cli.app import main
from netinvert.evaluation.report import Estimate
from netinvert.experiments.prior_measures import NINE
from netinvert.experiments.votes import FEWEST, NOBODY, Ballot, VoteFile, ballots_of, votes_report

fastapi = pytest.importorskip("fastapi", reason="the page for votes needs the extra studio")
import uvicorn  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from netinvert.studio.guard import Guard  # noqa: E402
from netinvert.studio.serve import study_vote  # noqa: E402
from netinvert.studio.voting import voting_app  # noqa: E402

PRIORS = ("tv-isotropic, fourier", "second-order, pixels", "far, fourier")
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def run(tmp_path):
    """Two codes by two priors, by a third at another code error, and by natural images."""
    folder, rows = tmp_path / "priors", []
    (folder / "images").mkdir(parents=True)
    for k, picture in enumerate(("chair-1", "chair-2")):
        write_png(torch.full((3, 16, 16), 0.2 + 0.5 * k), folder / f"images/{picture}.png")
        for place, prior in enumerate((*PRIORS, NINE)):
            file = f"images/relu7-{place}-{picture}.png"
            write_png(torch.full((3, 16, 16), 0.1 * place + 0.4 * k), folder / file)
            row = {
                "layer": "relu7",
                "prior": prior,
                "picture": picture,
                "other": f"chair-{2 - k}",
                "file": file,
            }
            row |= {"alike": 0.5 + 0.1 * place, "alike_other": 0.55}
            row |= {} if prior == NINE else {"level": 0.1, "code_error": 0.2 if place == 2 else 0.11}
            rows.append(row)
    facts = {"shown": rows, "run": {"identity": "abc"}}
    (folder / "manifest.json").write_text(json.dumps(facts))
    return folder


# -- ballots -----------------------------------------------------------------------------------------------


def test_pictures_of_one_code_and_one_code_error_are_compared(run):
    ballots, identity = ballots_of(run, 100, 0)
    better = [one for one in ballots if one.kind == "better"]
    assert identity == "abc"
    assert [one.names for one in better] == [PRIORS[:2]] * 2
    assert {one.picture for one in better} == {"chair-1", "chair-2"}
    assert {one.machine for one in better} == {"second"}
    which = {(one.prior, one.picture): one for one in ballots if one.kind == "which"}
    assert {prior for prior, _ in which} == {*PRIORS[:2], NINE}
    assert which[NINE, "chair-2"].names == ("chair-2", "chair-1")
    assert which[PRIORS[0], "chair-1"].machine == "second"
    assert len({one.key for one in ballots}) == len(ballots) == 8
    assert ballots_of(run, 4, 3) == ballots_of(run, 4, 3)
    assert [one.kind for one in ballots_of(run, 4, 3)[0]] == ["better"] * 2 + ["which"] * 2
    unknown = (run / "manifest.json").read_text().replace('"code_error": 0.11', '"code_error": null')
    (run / "manifest.json").write_text(unknown)
    assert {one.names for one in ballots_of(run, 100, 0)[0] if one.kind == "better"} == set()


def test_what_is_no_run_of_priors(run, tmp_path):
    manifest = run / "manifest.json"
    facts = json.loads(manifest.read_text())
    for changed, said in (
        ({}, "no run of 'netinvert study priors'"),
        (facts | {"shown": []}, "no two pictures"),
        (facts | {"shown": [facts["shown"][0] | {"file": "../../secret.png"}]}, "leads out of it"),
        (facts | {"shown": [facts["shown"][0] | {"file": "images/gone.png"}]}, "gone.png"),
    ):
        manifest.write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match=said):
            ballots_of(run, 10, 0)
    with pytest.raises(ConfigError, match="holds no run"):
        ballots_of(tmp_path / "nowhere", 10, 0)


# -- the file ----------------------------------------------------------------------------------------------


def test_a_vote_is_kept_once_and_outlives_the_process(tmp_path):
    file = tmp_path / "votes.sqlite"
    votes = VoteFile(file, "abc")
    assert [votes.add("b1", "Ada", "first"), votes.add("b1", "Ada", "second")] == [True, False]
    assert votes.add("b1", "Bo", "tie")
    again = VoteFile(file, "abc")
    assert {row[:3] for row in again.rows()} == {("b1", "Ada", "first"), ("b1", "Bo", "tie")}
    with contextlib.closing(sqlite3.connect(file)) as opened:
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_clicks_at_the_same_moment_count_once(tmp_path):
    votes, kept = VoteFile(tmp_path / "votes.sqlite", "abc"), []
    clicks = [threading.Thread(target=lambda: kept.append(votes.add("b1", "Ada", "first"))) for _ in range(8)]
    for one in clicks:
        one.start()
    for one in clicks:
        one.join()
    assert sorted(kept) == [False] * 7 + [True]


def test_files_that_are_not_of_this_run(tmp_path):
    VoteFile(tmp_path / "votes.sqlite", "abc")
    with pytest.raises(ConfigError, match="another run"):
        VoteFile(tmp_path / "votes.sqlite", "xyz")
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 9)
    with pytest.raises(ConfigError, match="no file of votes"):
        VoteFile(tmp_path / "text", "abc")
    with pytest.raises(ConfigError, match="--votes"):
        VoteFile(tmp_path / "no" / "votes.sqlite", "abc")


# -- the page ----------------------------------------------------------------------------------------------


@pytest.fixture
def page(run):
    votes = VoteFile(run.with_name("votes.sqlite"), "abc")
    app = Guard(voting_app(ballots_of(run, 100, 0)[0], votes, 0), "localhost")
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        yield client, votes


def test_a_person_votes_and_goes_on_after_a_restart(page, run):
    client, votes = page
    told = client.get("/next", params={"rater": "Ada"}).json()
    assert (told["done"], told["of"]) == (0, 8)
    for k in range(3):
        vote = {"rater": "Ada", "ballot": told["ballot"], "side": ("left", "right", "tie")[k]}
        told = client.post("/vote", json=vote).json()
        assert told["done"] == k + 1
        assert client.post("/vote", json=vote).json() == told  # a double click
    fresh = TestClient(voting_app(ballots_of(run, 100, 0)[0], VoteFile(votes.path, "abc"), 0))
    fresh.base_url = client.base_url
    assert fresh.get("/next", params={"rater": "Ada"}).json() == told
    assert fresh.get("/next", params={"rater": "Bo"}).json()["done"] == 0
    assert len(votes.rows()) == 3


def test_the_side_that_was_chosen_is_what_was_seen_there(page, run):
    client, votes = page
    known = {one.key: one for one in ballots_of(run, 100, 0)[0]}
    sides = set()
    told = client.get("/next", params={"rater": "Ada"}).json()
    while told["ballot"]:
        one = known[told["ballot"]]
        left = client.get(f"/picture/{one.key}/left", params={"rater": "Ada"}).content
        assert (
            client.get(f"/picture/{one.key}/above", params={"rater": "Ada"}).content == one.above.read_bytes()
        )
        told = client.post("/vote", json={"rater": "Ada", "ballot": one.key, "side": "left"}).json()
        answer = {key: said for key, _, said in votes.rows()}[one.key]
        assert one.files[("first", "second").index(answer)].read_bytes() == left
        sides.add(answer)
    assert sides == {"first", "second"}


def test_nothing_that_the_browser_gets_names_a_prior(page):
    client, _ = page
    told = client.get("/next", params={"rater": "Ada"})
    picture = client.get(f"/picture/{told.json()['ballot']}/left", params={"rater": "Ada"})
    seen = [
        client.get("/").text,
        told.text,
        str(told.headers),
        str(picture.headers),
        picture.content.decode("latin1"),
    ]
    for word in ("tv-isotropic", "second-order", "natural", "relu7", "chair-1"):
        assert not any(word in text for text in seen)


def test_foreign_pages_and_names_are_refused(page):
    client, votes = page
    key = client.get("/next", params={"rater": "Ada"}).json()["ballot"]
    vote = {"rater": "Ada", "ballot": key, "side": "left"}
    for headers, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Host": "evil.example"}, 403),
    ):
        assert client.post("/vote", json=vote, headers=headers).status_code == status
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert votes.rows() == []
    assert client.post("/vote", json=vote, headers={"Origin": "http://127.0.0.1:8765"}).status_code == 200
    assert client.get("/", headers={"Host": "localhost:8765"}).status_code == 200


def test_bad_requests(page):
    client, votes = page
    key = client.get("/next", params={"rater": "Ada"}).json()["ballot"]
    assert client.get("/next", params={"rater": "  "}).status_code == 422
    assert client.get("/next", params={"rater": "x" * 41}).status_code == 422
    assert client.get("/picture/none/left", params={"rater": "Ada"}).status_code == 404
    assert client.get(f"/picture/{key}/../../manifest.json", params={"rater": "Ada"}).status_code == 404
    assert client.post("/vote", json={"rater": "Ada", "ballot": "none", "side": "left"}).status_code == 404
    assert client.post("/vote", json={"rater": "Ada", "ballot": key, "side": "up"}).status_code == 422
    assert votes.rows() == []


# -- the command -------------------------------------------------------------------------------------------


def test_the_command_refuses(run, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, said in (
            ([str(tmp_path / "nowhere")], "holds no run"),
            ([str(run), "--port", port], f"port {port}"),
            ([str(run), "--port", "0"], "--port is at least 1"),
            ([str(run), "--votes", str(run / "manifest.json")], "no file of votes"),
        ):
            assert main(["study", "vote", *words]) == 2
            assert said in capsys.readouterr().err


def test_without_votes_nobody_has_judged(run, capsys):
    assert main(["study", "vote", str(run), "--report"]) == 0
    assert NOBODY in capsys.readouterr().out
    assert not run.with_name("priors.votes.sqlite").exists()
    VoteFile(run.with_name("priors.votes.sqlite"), "abc")
    assert main(["study", "vote", str(run), "--report"]) == 0
    assert NOBODY in capsys.readouterr().out


def test_what_votes_say():
    def ballot(kind: str, picture: int, prior: str = "") -> Ballot:
        names = ("tv", "none") if kind == "better" else ("a", "b")
        return Ballot(kind, "relu7", str(picture), Path(), names, (Path(), Path()), prior, "first")

    better = [(ballot("better", k), k % 2, "first" if k % 3 else "second") for k in range(FEWEST)]
    which = [(ballot("which", k, NINE), 0, ("first", "tie")[k % 2]) for k in range(4)]
    page = votes_report([*better, *which])
    rows = {row[0]: row for row in next(one for one in page.blocks if hasattr(one, "rows")).rows}
    assert rows["tv"][1].value > 0 > rows["none"][1].value
    assert isinstance(rows[NINE][4], Estimate)
    assert (rows[NINE][4].value, rows[NINE][5].value) == (0.75, 1)
    assert "Not enough votes" not in page.markdown()
    assert "Not enough votes for strengths: 19" in votes_report(better[1:]).markdown()


# -- a browser ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(run, votes):
    """The page on a free port."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        app = voting_app(ballots_of(run, 100, 0)[0], votes, 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height", "touch"), [(390, 844, True), (1280, 800, False)])
def test_in_a_browser(run, width, height, touch):
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested by playwright")
    if not CHROMIUM.exists() or not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"the page is tested in Chromium, and {CHROMIUM} is not there")
    votes, wrong = VoteFile(run.with_name("votes.sqlite"), "abc"), []
    with served(run, votes) as address, playwright.sync_playwright() as how:
        browser = how.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": height}, has_touch=touch).new_page()
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.fill("#name", "Ada")
        page.keyboard.press("Enter")
        page.wait_for_selector("#left:enabled")
        size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert size <= [width, height]  # all in sight
        for k in range(8):
            page.wait_for_selector(f"#bar[value='{k}']", state="attached")
            page.wait_for_selector("#left:enabled")
            if touch:
                page.tap(("#left", "#right", "#tie")[k % 3])
            else:
                page.keyboard.press(("ArrowLeft", "ArrowRight", "Space")[k % 3])
            if k == 3:  # goes on where it was
                page.wait_for_selector("#bar[value='4']", state="attached")
                page.reload()
                assert page.input_value("#name") == "Ada"
                page.keyboard.press("Tab")
                page.click("#who button")
        page.wait_for_selector("text=all 8 are answered")
        browser.close()
    assert wrong == []
    answers = [said for *_, said in votes.rows()]
    assert (len(answers), answers.count("tie")) == (8, 2)


def test_the_server_ends_by_an_interrupt(run, monkeypatch):
    """And gives its port back."""
    from netinvert.experiments.configs.studio import StudyVote

    def stopped(self, sockets):
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", stopped)
    said = []
    assert study_vote(StudyVote(run=run, port=8799), said.append).facts == {"votes": 0}
    assert "http://localhost:8799/" in said[0]


def test_it_is_a_part_of_the_studio(run):
    pytest.importorskip("nicegui", reason="the studio needs its extra")
    code = (
        "import sys; from pathlib import Path; from starlette.testclient import TestClient\n"
        "from netinvert.experiments.configs.studio import Studio\n"
        "from netinvert.studio.page import studio_app\n"
        "client = TestClient(studio_app(Studio(votes=Path(sys.argv[1]))))\n"
        "told = client.get('/votes/next', params={'rater': 'Ada'}).json()\n"
        "picture = client.get(f\"/votes/picture/{told['ballot']}/above\", params={'rater': 'Ada'})\n"
        "print(told['of'], picture.headers['content-type'], 'id=\"left\"' in client.get('/votes/').text)\n"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, str(run)]  # the studio's pages are global
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["8", "image/png", "True"]
