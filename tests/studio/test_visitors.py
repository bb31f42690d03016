"""The queue, and what waits: no more at work than allowed, of everything only the newest."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest

from netinvert.studio import visitors
from netinvert.studio.desk import Sight
from netinvert.studio.visitors import Page, Visitor, Visitors, message


class Pipe:
    """What was sent to the process."""

    def __init__(self) -> None:
        self.sent: list[tuple] = []

    def put(self, what: tuple) -> None:
        self.sent.append(what)


@pytest.fixture
def unstarted(monkeypatch):
    """Processes that do nothing."""

    def start(self) -> None:
        self._process, self._pipe = object(), Pipe()
        self._outbox = self._pipe
        self._told.clear()
        for lane in list(self._waiting):
            self._next(lane)

    def stop(self) -> None:
        self._process = self._pipe = None
        self._busy.clear()

    monkeypatch.setattr(Visitor, "start", start)
    monkeypatch.setattr(Visitor, "stop", stop)


def read(data: bytes) -> tuple[dict, bytes]:
    size = int.from_bytes(data[:4], "big")
    return json.loads(data[4 : 4 + size]), data[4 + size :]


def test_so_many_work_and_others_queue(unstarted, monkeypatch):
    everyone = Visitors(2, Path("kept"), 1)
    people = [everyone.visitor(name) for name in "abcd"]
    pages = [Page() for _ in people]
    for one, page in zip(people, pages, strict=True):
        everyone.enter(one, page)
    assert [one.works for one in people] == [True, True, False, False]
    assert people[3].shown["note"].text == "2 at work already: you are number 2 in the queue."
    everyone.leave(people[0], pages[0])
    everyone.turn()
    assert people[0].works  # the page may only be loaded again
    people[0].left -= visitors.SHORT + 1
    everyone.turn()
    everyone.turn()
    assert [one.works for one in people] == [False, True, True, False]
    assert people[2].shown["note"].text == ""
    assert "number 1" in people[3].shown["note"].text


def test_who_has_been_away_longest_is_forgotten(unstarted):
    everyone = Visitors(1, Path("kept"), 1)
    first = everyone.visitor("first")
    here = everyone.visitor("here")
    here.pages.add(Page())
    for k in range(visitors.REMEMBERED - 2):
        everyone.visitor(str(k))
    assert everyone.visitor("first") is first
    first.left -= 1
    for k in range(visitors.REMEMBERED):
        everyone.visitor(str(k))
    assert len(everyone._known) == visitors.REMEMBERED
    assert everyone.visitor("here") is here
    assert everyone.visitor("first") is not first


def test_of_what_waits_only_the_newest_is_done(unstarted):
    visitor = Visitor(Path("kept"), 1)
    visitor.start()
    visitor.ask("look", unit=1)
    for k in range(100):
        visitor.ask("look", unit=k)
    visitor.ask("look", picture=b"file")
    visitor.ask("look", unit=7)
    pipe = visitor._pipe
    assert pipe.sent == [("look", {"unit": 1}, False)]
    visitor._heard(pipe, "look")  # it is done
    assert pipe.sent[1:] == [("look", {"unit": 7, "picture": b"file"}, False)]
    visitor.ask("look", sample="chair")
    assert visitor.sources["look"] == {"sample": "chair"}  # the last of both


def test_a_new_process_is_told_again_where_the_picture_comes_from(unstarted):
    visitor = Visitor(Path("kept"), 1)
    visitor.start()
    visitor.ask("look", unit=1, picture=b"file")
    visitor.ask("layers", network="posenet")
    visitor.stop()
    visitor.start()
    assert visitor._pipe.sent == []
    visitor.ask("look", unit=2)
    assert visitor._pipe.sent == [("look", {"unit": 2, "picture": b"file"}, False)]


def test_what_ends_its_process_twice_is_forgotten(unstarted):
    everyone = Visitors(1, Path("kept"), 1)
    visitor = everyone.visitor("one")
    everyone.enter(visitor, Page())
    for note, works in (("begun anew", True), ("choose a smaller layer or picture", False)):
        visitor.ask("look", layer="large", picture=b"file")
        visitor.ask("turn")
        visitor._heard(visitor._pipe, "turn")  # others' work does not make it better
        visitor._ended(visitor._pipe)
        assert note in visitor.shown["note"].text
        assert visitor.works == works
    everyone.turn()
    assert not visitor.works
    assert visitor.sources == {}
    visitor.ask("look", layer="small")
    everyone.turn()
    assert visitor._pipe.sent == [("look", {"layer": "small"}, False)]
    assert visitor.shown["note"].text == ""
    visitor._heard(visitor._pipe, "look")
    visitor.ask("look", layer="small")
    visitor._ended(visitor._pipe)
    assert visitor.works  # it was done since


def test_who_is_in_the_queue_is_not_forgotten(unstarted):
    everyone = Visitors(1, Path("kept"), 1)
    page, (first, second) = Page(), (everyone.visitor(name) for name in "ab")
    everyone.enter(first, Page())
    everyone.enter(second, page)
    everyone.leave(second, page)  # it is loaded again
    for k in range(2 * visitors.REMEMBERED):
        everyone.visitor(str(k))
    assert everyone.visitor("b") is second


def test_what_waits_is_changed_while_it_waits(unstarted):
    """A weight that is changed, a pause: in the queue, or while the work before is being ended."""
    visitor = Visitor(Path("kept"), 1)
    visitor.ask("left", weight=1.0)
    visitor.adjust("left", weight=2.0)
    visitor.start()
    visitor.adjust("left", weight=3.0)
    visitor.ask("left", weight=4.0)
    visitor.adjust("left", paused=True)
    visitor._heard(visitor._pipe, "left")
    assert visitor._pipe.sent == [
        ("left", {"weight": 2.0}, False),
        ("left", {"weight": 3.0}, True),
        ("left", {"weight": 4.0, "paused": True}, False),
    ]


def test_only_who_presses_stop_ends_what_others_do_beside_it(unstarted, monkeypatch):
    """Another unit, or a new start, waits for the work that does not stop."""
    monkeypatch.setattr(visitors, "CANCEL_SECONDS", 0.01)

    async def go() -> None:
        visitor = Visitor(Path("kept"), 1)
        visitor.start()
        visitor.ask("unit", unit=1)
        first = visitor._process
        visitor.cancel("unit")
        visitor.ask("unit", unit=2)
        await asyncio.sleep(0.05)
        assert visitor._process is first
        visitor.cancel("unit", by_force=True)
        await asyncio.sleep(0.05)
        assert visitor._process is not first

    asyncio.run(go())


class Idle:
    """A process that reads nothing until it is asked to."""

    def __init__(self, args: tuple, **how) -> None:
        self.pipe = Connection(os.dup(args[0].fileno()))
        self.start = self.terminate = self.join = self.is_alive = self.close = lambda *_: None


def test_a_process_that_reads_nothing_keeps_nobody_waiting(monkeypatch):
    idle = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Idle)
    monkeypatch.setattr(visitors.multiprocessing, "get_context", lambda kind: idle)

    async def go() -> None:
        visitor, large = Visitor(Path("kept"), 1), bytes(2**22)  # more than a pipe holds
        visitor.start()
        with visitor._process.pipe as there:
            visitor.ask("look", picture=large)
            visitor.cancel("look")
            visitor.stop()
            assert there.recv() == ("look", {"picture": large}, False)
            assert there.recv() == ("look", None, False)

    asyncio.run(go())


def test_a_slow_page_gets_the_newest_alone():
    async def go() -> None:
        page, visitor = Page(), Visitor(Path("kept"), 1)
        visitor.pages.add(page)
        for k in range(1000):
            visitor._put(Sight("tiles", f"frame {k}", {}, b"picture"))
        visitor.show("note", "<b>hello</b>")
        assert read(await page.next()) == ({"key": "tiles", "text": "frame 999"}, b"picture")
        assert read(await page.next())[0]["text"] == "<b>hello</b>"

    asyncio.run(go())


def test_what_was_shown_last_is_shown_to_a_page_that_is_loaded_again(unstarted):
    async def go() -> None:
        everyone = Visitors(1, Path("kept"), 1)
        visitor = everyone.visitor("one")
        visitor._put(Sight("left-image", "step 1", {"share": 0.5}, b"picture"))
        visitor._put(Sight("left-image", "step 2"))  # a text alone leaves the picture
        page = Page()
        everyone.enter(visitor, page)
        head, picture = read(await page.next())
        assert (head["text"], head["share"], picture) == ("step 2", 0.5, b"picture")

    asyncio.run(go())


def test_a_message_has_its_length_before_it():
    data = message(Sight("key", "ü", {"columns": 3}, b"\x00\x01"))
    assert read(data) == ({"key": "key", "text": "ü", "columns": 3}, b"\x00\x01")
