"""What the lanes of a visitor's process share: their tasks, pictures, networks, and how they talk."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from torch import Tensor

from netinvert.io.assets import sample, unseen_chairs
from netinvert.io.images import fit, image_from_bytes, png_bytes, read_image, to_pil
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.models.registry import load_network

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
class Sight:
    """What a page is to show at a place: text, a picture's file, more that its script knows."""

    key: str
    text: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    picture: bytes | None = None


Told = Sight | dict[str, Any] | str
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
        self._networks: dict[str, Network] = {}
        self._opening = threading.Lock()

    def show(self, key: str, text: str | None = None, image: Tensor | None = None, **more: Any) -> None:  # noqa: ANN401
        """Show text and an image (C, H, W), if any."""
        self.say(Sight(key, text, more, None if image is None else image_file(image)))

    def network(self, name: str) -> Network:
        """The network of this name, loaded once. Raises NetworkError."""
        with self._opening:
            if name not in self._networks:
                self._networks = {name: load_network(name), **dict(list(self._networks.items())[:2])}
            return self._networks[name]

    def encoder(self, cache: OrderedDict[tuple[str, str], Encoder], name: str, layer: str) -> Encoder:
        """A lane's own encoder, for they keep state while they run. Raises NetworkError, LayerError."""
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
        if data.get("picture") is not None:
            image = image_from_bytes(data["picture"], most=MOST_PIXELS)
            height, width = image.shape[2:]
            scale = LARGEST / max(height, width)
            if scale < 1:
                image = fit(image, (max(1, round(height * scale)), max(1, round(width * scale))), "stretch")
            self.pictures[place] = image
        elif data.get("sample") is not None or place not in self.pictures:
            self.pictures[place] = sample_picture(data.get("sample") or "chair")
        return self.pictures[place]


SAMPLES = ("chair", "chair 1", "chair 2", "chair 3", "chair 4")
"""Before the photographs: the demo's chair, and chairs that posenet never saw."""


def sample_picture(name: str) -> Tensor:
    """A picture (1, 3, H, W) that comes with netinvert. Raises ConfigError: there is none of this name."""
    if name in SAMPLES[1:]:
        return unseen_chairs().images[SAMPLES.index(name) - 1][None]
    return read_image(sample(name))


def image_file(image: Tensor) -> bytes:
    """An image (C, H, W) or (1, C, H, W) as a file: small ones, which pages show larger, as PNG."""
    if image.shape[-2] * image.shape[-1] < EXACT:
        return png_bytes(image)
    buffer = BytesIO()
    to_pil(image).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
