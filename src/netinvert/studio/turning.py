"""The lanes of Turn: an object's code as sliders, answered by a decoder and a generator."""

from __future__ import annotations

import threading
import time
from functools import cached_property

from torch import Tensor

from netinvert.models.decoder import load_decoder
from netinvert.models.generator import Generator, load_generator
from netinvert.scenes.cameras import heading
from netinvert.studio.desk import Desk, Task
from netinvert.views.turner import Turned, Turner

SLOTS = ("a", "b", "c")
DECODERS = ("posenet-fc6", "posenet-fc7", "posenet-conv5")
GENERATOR = "chairs"


class Turning:
    """What these lanes remember: the objects in three places."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._turners: dict[str, Turner] = {}
        self._objects: dict[str, tuple[Tensor, Turned]] = {}
        self._lock, self._building = threading.Lock(), threading.Lock()

    def turn(self, task: Task) -> None:
        """The images of the sliders' code, by both networks."""
        desk, data = self.desk, task.data
        turner = self._turner(data["decoder"])
        for slot in SLOTS:
            new = {"picture": data.get(f"picture-{slot}"), "sample": data.get(f"sample-{slot}")}
            image = desk.take(slot, new)
            with self._lock:
                known = self._objects.get(slot)
            if known is None or known[0] is not image or known[1].code.shape[1] != turner.directions.shape[1]:
                self._put(slot, image, turner.seen(image))
        began = time.perf_counter()
        with self._lock:
            a, b, c = (self._objects[slot][1] for slot in SLOTS)
        share = data["share"]
        parts = {
            "one": [(1.0, a)],
            "morph": [(1 - share, a), (share, b)],
            "sum": [(1.0, a), (-1.0, b), (1.0, c)],
        }
        azimuth, elevation = data["azimuth"], data["elevation"]
        if azimuth is None:  # as it is seen
            azimuth, elevation = a.azimuth, a.elevation
        what = turner.moved(turner.mixed(parts[data["mode"]], azimuth, elevation), data["amounts"])
        decoded, drawn = turner.decoded(what), turner.drawn(what)
        spent = 1000 * (time.perf_counter() - began)
        desk.show("turn-decoded", f"{spent:.0f} ms", decoded)
        desk.show("turn-drawn", "", drawn)

    def fit(self, task: Task) -> None:
        """Find the generator's object anew, which takes seconds, for what is in a place."""
        slot, turner = task.data["slot"], self._turner(task.data["decoder"])
        with self._lock:
            known = self._objects.get(slot)
        if known is None:
            return
        image, seen = known
        self.desk.show("fit-state", "looking for this chair …")
        refined = turner.refined(image, seen)
        with self._lock:
            if self._objects.get(slot) is known:
                self._objects[slot] = image, refined
        self.desk.show("fit-state", "found")
        self.desk.say({"fitted": time.time()})

    def _put(self, slot: str, image: Tensor, seen: Turned) -> None:
        with self._lock:
            self._objects[slot] = image, seen
        text = f"read: azimuth {heading(seen.azimuth)}, elevation {seen.elevation:.0f}°"
        self.desk.show(f"slot-{slot}", text, image)
        self.desk.say({f"pose {slot}": (seen.azimuth, seen.elevation)})

    def _turner(self, name: str) -> Turner:
        def told(share: float) -> None:
            self.desk.show("turn-decoded", f"learning how codes turn: {share:.0%}")

        with self._building:
            if name not in self._turners:
                self._turners = {name: Turner.fitted(load_decoder(name), self._generator, told=told)}
                self._objects = {}
            return self._turners[name]

    @cached_property
    def _generator(self) -> Generator:
        return load_generator(GENERATOR)
