"""Who is there: each visitor has a process that works, and what is shown; no more than so many at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from netinvert.studio.desk import Sight, Told
from netinvert.studio.worker import work

GRACE, SHORT = 60.0, 5.0
"""Seconds after the last page was closed, or is loaded again, before the process ends; where others wait."""
SOURCES = ("picture", "sample")
"""How values begin that tell a lane of a new picture: a file's bytes, or a name."""
CANCEL_SECONDS = 20.0
"""After which a process that does not stop its work is ended."""
REMEMBERED = 32
"""Visitors whose settings and last pictures are kept."""
START = "start"
"""For a lane, where a process ended before it had work."""
Asked = tuple[str, dict[str, Any] | None, bool]
"""What a process is sent: a lane, its values (None ends its work), whether they are for the work of now."""


class Page:
    """An open page's websocket: of everything that is shown only the newest waits to be sent."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._some = asyncio.Event()

    def put(self, key: str, data: bytes) -> None:
        """Send this soon; what waits under the same key is out of date."""
        self._waiting[key] = data
        self._some.set()

    async def next(self) -> bytes:
        """What waits longest."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class Visitor:
    """A browser: its settings, what it is shown, its process if it has its turn.

    ``asks`` are by lane, of each only the newest waits; a lane that works is asked again when it is done."""

    def __init__(self, kept: Path, threads: int) -> None:
        self.settings: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.shown: dict[str, Sight] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.pages: set[Page] = set()
        self.listeners: list[Callable[[], object]] = []
        self.left = time.monotonic()
        self._kept, self._threads = kept, threads
        self._process: BaseProcess | None = None
        self._burial = threading.Thread()
        self._pipe: Connection | None = None
        self._outbox: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._told: set[str] = set()
        self._busy: dict[str, float] = {}
        self._failed: set[str] = set()
        self._waiting: dict[str, dict[str, Any]] = {}

    @property
    def works(self) -> bool:
        """Whether it has a process."""
        return self._process is not None

    @property
    def waits(self) -> bool:
        """Whether something is to be done, without a process."""
        return not self.works and bool(self._waiting)

    def ask(self, lane: str, **data: Any) -> None:  # noqa: ANN401
        """Have this done when the lane is free; newer values replace those that wait. Where pictures come
        from is told to a new process again."""
        came = {key: value for key, value in data.items() if key.startswith(SOURCES)}
        for key in came:
            other = key.replace(*(SOURCES if key.startswith(SOURCES[0]) else SOURCES[::-1]))
            for known in (self.sources.get(lane, {}), self._waiting.get(lane, {})):
                known.pop(other, None)
        if came:
            self.sources.setdefault(lane, {}).update(came)
        self._waiting[lane] = {**self._waiting.get(lane, {}), **data}
        self._next(lane)

    def cancel(self, lane: str, by_force: bool = False) -> None:
        """End what the lane does: at its next step, or ``by_force`` with the whole process, and so with what
        other lanes do, if that does not come."""
        self._waiting.pop(lane, None)
        if lane in self._busy:
            self._tell(lane, None)
        if lane in self._busy and by_force:
            began = self._busy[lane]
            asyncio.get_running_loop().call_later(CANCEL_SECONDS, self._force, lane, began)

    def adjust(self, lane: str, **data: Any) -> None:  # noqa: ANN401
        """Change the work that waits for the lane, or else what it does now."""
        if lane in self._waiting:
            self._waiting[lane].update(data)
        elif lane in self._busy:
            self._tell(lane, data, now=True)

    def show(self, key: str, text: str | None = None, **more: Any) -> None:  # noqa: ANN401
        """Show a text on all pages of this browser."""
        self._put(Sight(key, text, more))

    def start(self) -> None:
        """Begin a process; what waits is done."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(theirs, str(self._kept), self._threads), name="studio", daemon=True
        )
        self._process.start()
        self.show("look-tiles", "starting …")
        theirs.close()
        loop = asyncio.get_running_loop()
        self._outbox = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(loop, self._pipe), daemon=True).start()
        threading.Thread(target=_send, args=(self._pipe, self._outbox), daemon=True).start()
        self._told.clear()
        self.facts["started"] = time.monotonic()
        self._changed()
        for lane in list(self._waiting):
            self._next(lane)

    def stop(self) -> None:
        """End the process; what is shown stays."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            self._burial = threading.Thread(target=_buried, args=(process,), daemon=True)
            self._burial.start()
            self._outbox.put(None)
        self._pipe = None
        for lane in self._busy:
            self.show(f"{lane}-note", "Stopped.")
            if f"{lane}-state" in self.shown:
                self.show(f"{lane}-state", "")
        self._busy.clear()

    def ended(self) -> None:
        """Wait until the process that was stopped is gone."""
        if self._burial.ident is not None:
            self._burial.join()

    def _next(self, lane: str) -> None:
        if self.works and lane not in self._busy and lane in self._waiting:
            self._busy[lane] = time.monotonic()
            data = self._waiting.pop(lane)
            self._tell(lane, data if lane in self._told else {**self.sources.get(lane, {}), **data})
            self._told.add(lane)

    def _tell(self, lane: str, data: dict[str, Any] | None, now: bool = False) -> None:
        if self.works:
            self._outbox.put((lane, data, now))

    def _force(self, lane: str, began: float) -> None:
        if self._busy.get(lane) == began:
            self.stop()
            self.start()

    def _listen(self, loop: asyncio.AbstractEventLoop, pipe: Connection) -> None:
        """In a thread of its own: what the process says, until it ends."""
        with contextlib.suppress(EOFError, OSError, TypeError, RuntimeError):
            while True:
                loop.call_soon_threadsafe(self._heard, pipe, pipe.recv())
        pipe.close()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._ended, pipe)

    def _ended(self, pipe: Connection) -> None:
        if pipe is self._pipe:  # it was not stopped
            lanes = {*self._busy} or {START}
            again = bool(lanes & self._failed)
            self._failed |= lanes
            self.stop()
            words = "What worked for you has ended, perhaps for want of memory. It is begun anew."
            if again:  # the same would end it for ever
                words = "What worked for you has ended again: choose a smaller layer or picture."
                self._waiting.clear()
                self.sources.clear()
            self.show("note", words)
            if not again:
                self.start()

    def _heard(self, pipe: Connection, told: Told) -> None:
        if pipe is not self._pipe:
            return
        if isinstance(told, Sight):
            self._put(told)
        elif isinstance(told, dict):
            self.facts |= told
            self._changed()
        else:
            self._busy.pop(told, None)
            self._failed -= {told, START}
            self.show("done", told)
            self._next(told)

    def _changed(self) -> None:
        for listener in list(self.listeners):
            listener()

    def _put(self, new: Sight) -> None:
        key = new.key
        if key == "done":
            key = f"done {new.text}"
        elif key in self.shown:
            old = self.shown[key]
            text = old.text if new.text is None else new.text
            picture = old.picture if new.picture is None else new.picture
            self.shown[key] = Sight(key, text, {**old.more, **new.more}, picture)
        else:
            self.shown[key] = new
        for page in self.pages:
            page.put(key, message(new))


def message(shown: Sight) -> bytes:
    """As it goes through the websocket: the length of a head, the head, a picture."""
    head = json.dumps({"key": shown.key, "text": shown.text, **shown.more}).encode()
    return len(head).to_bytes(4, "big") + head + (shown.picture or b"")


def _send(pipe: Connection, outbox: queue.SimpleQueue[Asked | None]) -> None:
    """In a thread of its own, for a process that is not yet ready reads nothing: until None, or its end."""
    with contextlib.suppress(OSError, TypeError):
        while (asked := outbox.get()) is not None:
            pipe.send(asked)


def _buried(process: BaseProcess) -> None:
    process.join(3)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()


class Visitors:
    """All of them; ``most`` at work, others in a queue."""

    def __init__(self, most: int, kept: Path, threads: int | None) -> None:
        self.most, self.kept = most, kept
        self.threads = threads or max(1, (os.cpu_count() or 1) // min(most, 2))
        self._known: dict[str, Visitor] = {}
        self._queue: list[Visitor] = []

    def visitor(self, name: str) -> Visitor:
        """The one of this name; who has been away longest is forgotten for a new one."""
        if name not in self._known:
            away = [
                key for key, one in self._known.items() if not (one.pages or one.works or one in self._queue)
            ]
            many = max(0, len(self._known) + 1 - REMEMBERED)
            for key in sorted(away, key=lambda key: self._known[key].left)[:many]:
                del self._known[key]
            self._known[name] = Visitor(self.kept, self.threads)
        return self._known[name]

    def enter(self, visitor: Visitor, page: Page) -> None:
        """A page is open: it is shown what there was last."""
        visitor.pages.add(page)
        for key, shown in visitor.shown.items():
            page.put(key, message(shown))
        if not visitor.works and visitor not in self._queue:
            self._queue.append(visitor)
        self.turn()

    def leave(self, visitor: Visitor, page: Page) -> None:
        """A page is closed."""
        visitor.pages.discard(page)
        visitor.left = time.monotonic()

    def turn(self) -> None:
        """Who has gone makes place for who waits. Called every second."""
        now = time.monotonic()
        for one in self._known.values():
            if one.waits and one.pages and one not in self._queue:  # after its process had ended twice
                self._queue.append(one)
            if one.works and not one.pages and now - one.left > (SHORT if self._queue else GRACE):
                one.stop()
                one.sources.clear()
        self._queue = [one for one in self._queue if one.pages or now - one.left < GRACE]
        while self._queue and sum(one.works for one in self._known.values()) < self.most:
            first = self._queue.pop(0)
            first.start()
            first.show("note", "")
        for place, one in enumerate(self._queue, 1):
            one.show("note", f"{self.most} at work already: you are number {place} in the queue.")

    def close(self) -> None:
        """End all processes, and wait for that: the interpreter would do it once more as it ends."""
        for one in self._known.values():
            one.stop()
        for one in self._known.values():
            one.ended()
