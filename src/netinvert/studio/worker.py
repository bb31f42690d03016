"""A visitor's process: lanes, each a thread, that look, invert and turn at once."""

from __future__ import annotations

import os
import queue
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from netinvert.errors import NetinvertError
from netinvert.studio.desk import CancelledError, Data, Desk, Task, Told
from netinvert.studio.inverting import Inverting
from netinvert.studio.looking import Looking
from netinvert.studio.turning import Turning


class Lane(threading.Thread):
    """Does one kind of work, task after task."""

    def __init__(self, name: str, do: Callable[[Task], None], desk: Desk) -> None:
        super().__init__(name=name, daemon=True)
        self.do, self.desk = do, desk
        self.task: Task | None = None
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()

    def put(self, data: Data) -> None:
        """A new task."""
        self.task = Task(data)
        self._tasks.put(self.task)

    def run(self) -> None:
        """Until the process ends."""
        torch.set_num_threads(self.desk.threads)  # of this thread
        said: str | None = None
        while True:
            task, note = self._tasks.get(), ""
            try:
                self.do(task)
            except CancelledError:
                pass
            except NetinvertError as error:
                note = str(error)
            except Exception as error:  # of networks that are the user's own, say
                note = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            if note != said:
                self.desk.show(f"{self.name}-note", note)
            said = note
            self.desk.say(self.name)


def work(pipe: Connection, kept: str, threads: int) -> None:
    """The process: until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's
    warnings.simplefilter("ignore")
    lock = threading.Lock()

    def say(told: Told) -> None:
        with lock:
            pipe.send(told)

    desk = Desk(say, Path(kept), threads)

    def end(*signalled: object) -> None:
        for command in desk.commands:
            command.terminate()
        os._exit(0)  # lanes may be at work

    signal.signal(signal.SIGTERM, end)
    looking, turning = Looking(desk), Turning(desk)
    work_of: dict[str, Callable[[Task], None]] = {
        "look": looking.look,
        "layers": looking.layers,
        "unit": Looking(desk).unit,
        "turn": turning.turn,
        "fit": turning.fit,
    }
    for side in ("left", "right"):
        inverting = Inverting(desk, side)
        work_of |= {side: inverting.invert, f"keep-{side}": inverting.keep}
    lanes = {name: Lane(name, do, desk) for name, do in work_of.items()}
    for lane in lanes.values():
        lane.start()
    try:
        while True:
            name, data, now = pipe.recv()
            lane = lanes[name]
            if data is None and lane.task is not None:
                lane.task.cancelled.set()
            elif now and lane.task is not None:
                lane.task.adjust(data)
            elif data is not None:
                lane.put(data)
    except (EOFError, OSError):  # the server is gone
        end()
