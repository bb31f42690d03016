"""A visitor's process: lanes, each a thread, that look, invert and turn at once."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from netinvert.models.encoder import Encoder

CANCEL_SECONDS = 20.0
"""After which a process that does not stop its work is ended."""
ENCODERS = 2
"""That a lane keeps: of what it looks at now, and before."""
MOST_PIXELS = 40_000_000
"""Of a picture from outside."""
LARGEST = 768
"""Pixels of the longer side that are kept of it."""
EXACT = 20_000
"""Pixels below which an image is not compressed with losses."""
Data = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """What a page is to show at a place: text, a picture's file, more that its script knows."""

    key: str
    text: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    picture: bytes | None = None


Told = Shown | dict[str, Any] | str
"""What a process says: something to show, facts, or the lane that is done."""


class CancelledError(Exception):
    """Work was ended between two steps."""


class Task:
    """What a lane is asked, and what comes while it works: ``cancelled``, and changes by ``adjust``."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.cancelled = threading.Event()
        self._changes: queue.SimpleQueue[Data] = queue.SimpleQueue()

    def going(self) -> None:
        """Raises CancelledError."""
        if self.cancelled.is_set():
            raise CancelledError

    def adjust(self, data: Data) -> None:
        """From another thread."""
        self._changes.put(data)

    def changes(self, wait: bool = False) -> Data:
        """What has come since; with ``wait``, for a moment, if nothing has."""
        found: dict[str, Any] = {}
        try:
            found |= self._changes.get(timeout=0.1) if wait else self._changes.get_nowait()
            while True:
                found |= self._changes.get_nowait()
        except queue.Empty:
            return found


class Desk:
    """What lanes share: pictures by their place, networks, and how they talk to the page."""

    def __init__(self, say: Callable[[Told], None], kept: Path, threads: int) -> None:
        self.say, self.kept, self.threads = say, kept, threads
        self.pictures: dict[str, Tensor] = {}
        self.commands: set[subprocess.Popen[str]] = set()
        self._networks: dict[str, Any] = {}
        self._opening = threading.Lock()

    def show(self, key: str, text: str | None = None, image: Tensor | None = None, **more: Any) -> None:  # noqa: ANN401
        """Show text and an image (C, H, W), if any."""
        self.say(Shown(key, text, more, None if image is None else encoded(image)))

    def network(self, name: str) -> Any:  # noqa: ANN401
        """The network of this name, loaded once. Raises NetworkError."""
        from netinvert.models.registry import load_network

        with self._opening:
            if name not in self._networks:
                self._networks = {name: load_network(name), **dict(list(self._networks.items())[:2])}
            return self._networks[name]

    def encoder(self, cache: OrderedDict[tuple[str, str], Encoder], name: str, layer: str) -> Encoder:
        """A lane's own encoder, for they keep state while they run. Raises NetworkError, LayerError."""
        from netinvert.models.encoder import Encoder

        if (name, layer) not in cache:
            network = self.network(name)
            with self._opening:  # copies of networks are made one after another
                cache[name, layer] = Encoder(network, layer)
            while len(cache) > ENCODERS:
                cache.popitem(last=False)
        cache.move_to_end((name, layer))
        return cache[name, layer]

    def take(self, place: str, data: Data) -> Tensor:
        """The picture (1, 3, H, W) at a place, after a new one of the task, if it brings one. Raises
        ImageError, ConfigError."""
        from netinvert.io.images import fit, image_from_bytes

        if data.get("picture") is not None:
            image = image_from_bytes(data["picture"], most=MOST_PIXELS)
            scale = LARGEST / max(image.shape[2:])
            if scale < 1:
                image = fit(image, (round(image.shape[2] * scale), round(image.shape[3] * scale)), "stretch")
            self.pictures[place] = image
        elif data.get("sample") is not None or place not in self.pictures:
            self.pictures[place] = sample_picture(data.get("sample") or "chair")
        return self.pictures[place]


SAMPLES = ("chair", "chair 1", "chair 2", "chair 3", "chair 4")
"""Before the photographs: the demo's chair, and chairs that posenet never saw."""


def sample_picture(name: str) -> Tensor:
    """A picture (1, 3, H, W) that comes with netinvert. Raises ConfigError: there is none of this name."""
    from netinvert.io.assets import sample, unseen_chairs
    from netinvert.io.images import read_image

    if name in SAMPLES[1:]:
        return unseen_chairs().images[SAMPLES.index(name) - 1][None]
    return read_image(sample(name))


def encoded(image: Tensor) -> bytes:
    """An image (C, H, W) or (1, C, H, W) as a file: small ones, which pages show larger, as PNG."""
    from netinvert.io.images import png_bytes, to_pil

    if image.shape[-2] * image.shape[-1] < EXACT:
        return png_bytes(image)
    buffer = BytesIO()
    to_pil(image).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


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
        import torch

        from netinvert.errors import NetinvertError

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
    from netinvert.studio.inverting import Inverting
    from netinvert.studio.looking import Looking
    from netinvert.studio.turning import Turning

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
