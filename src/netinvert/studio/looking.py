"""The lanes of Look: a layer's units as tiles, one unit's map and what made it, what it responds to most."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.experiments.explain.top import mosaic
from netinvert.explain.deconvnet import around_grey, deconvnet, images_for, strongest
from netinvert.explain.pictures import overlaid
from netinvert.explain.top_patches import Basis, FieldOfView, Tops, field_of_view, top_responses
from netinvert.inversion.invert import maximise
from netinvert.inversion.result import StepInfo
from netinvert.io.assets import photographs, unseen_chairs
from netinvert.io.images import fit
from netinvert.models.encoder import Encoder
from netinvert.models.generator import load_generator
from netinvert.models.layers import list_layers, suggested_layers
from netinvert.studio.desk import Desk, Task

WIDE = 720
"""Pixels of all tiles together, at most."""
FULL = 0.9
"""Of units by their largest value: what is larger than this one's has the full colour."""
STEPS, SECONDS = 64, 0.25
"""Of a maximising image, and between two that are shown."""
CHAIRS = 36
"""Of the generator, beside photographs and rendered chairs, among which the top nine are found."""
LABELS = 400
"""Layers that are listed; networks may have thousands."""


class Looking:
    """What these lanes remember."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._encoders: OrderedDict[tuple[str, str], Encoder] = OrderedDict()
        self._tops: OrderedDict[tuple[str, str], tuple[Tops, FieldOfView, Tensor]] = OrderedDict()
        self._last = time.perf_counter()
        self._between = 0.0

    def layers(self, task: Task) -> None:
        """The names of a network's layers, and which are worth a look."""
        self.desk.show("look-tiles", f"opening {task.data['network']} …")
        network = self.desk.network(task.data["network"])
        found = list_layers(network)
        suggested = suggested_layers(network, found)
        names = {one.name: f"{one.name}  ·  {'×'.join(map(str, one.code_shape))}" for one in found[:LABELS]}
        first = {name: names[name] for name in suggested if name in names}
        middle = list(first or names)[len(first or names) // 2]
        about = {"names": {**first, **names}, "middle": middle, "suggested": list(first)}
        self.desk.say({f"layers {task.data['network']}": about})

    def look(self, task: Task) -> None:
        """Tiles, and the chosen unit, of the picture."""
        desk, data = self.desk, task.data
        image = desk.take("look", data)
        encoder = desk.encoder(self._encoders, data["network"], data["layer"])
        began = time.perf_counter()
        shown = images_for(
            encoder, image.mean(1, keepdim=True) if encoder.preprocessing.channels == 1 else image
        )
        with torch.no_grad():
            code = encoder(shown)
        maps = feature_maps(code[0])
        tiles, columns = tiled(maps, data["boost"])
        spent = 1000 * (time.perf_counter() - began)
        what = (
            f"{len(maps)} units of {maps.shape[1]}×{maps.shape[2]}"
            if maps[0].numel() > 1
            else f"{len(maps)} units"
        )
        text = f"{what} · {spent:.0f} ms · {self._rate():.1f} frames/s"
        desk.show("look-picture", None, shown[0])
        desk.show("look-tiles", text, tiles, columns=columns, count=len(maps))
        unit = data.get("unit")
        if unit is not None and 0 <= unit < len(maps):
            self._one(encoder, shown, maps[unit], unit, data["back"])

    def _rate(self) -> float:
        """Frames a second, lately."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        self._between = passed if not self._between else 0.6 * min(self._between, 1) + 0.4 * passed
        return 1 / max(self._between, 1e-3)

    def _one(self, encoder: Encoder, image: Tensor, own: Tensor, unit: int, back: str) -> None:
        """The unit's map over the picture, and the way back from where it is largest."""
        wide = F.interpolate(own[None, None], image.shape[2:], mode="bilinear")[0]
        text = f"unit {unit} · largest {own.max():.3g}"
        if own.numel() > 1:
            place = int(own.argmax())
            text += f" at row {place // own.shape[1]}, column {place % own.shape[1]}"
        self.desk.show("look-map", text, overlaid(image, wide)[0])
        if back == "gradient":
            seen = image.clone().requires_grad_()
            code = encoder(seen)
            (signal,) = torch.autograd.grad(code, seen, strongest(unit)(code.detach()))
            self.desk.show("look-back", "", around_grey(signal)[0])
        elif back == "deconvolution":
            self.desk.show("look-back", "", around_grey(deconvnet(encoder, image, strongest(unit)))[0])

    def unit(self, task: Task) -> None:
        """Of a unit the nine images that it responds to most, then one that is made for it, as it comes."""
        desk, data, unit = self.desk, task.data, task.data["unit"]
        key = data["network"], data["layer"]
        encoder = desk.encoder(self._encoders, *key)
        Basis.of_units(encoder, (unit,))  # refuses units that are not there
        if key not in self._tops:
            desk.show("unit-best", f"looking through {len(self._gallery)} images")
            seen = (
                self._gallery.mean(1, keepdim=True) if encoder.preprocessing.channels == 1 else self._gallery
            )

            def each() -> Iterator[Tensor]:
                for one in seen:
                    task.going()
                    yield encoder.fit(one[None])

            found = top_responses(encoder, Basis.of_units(encoder), each())
            self._tops[key] = (found, field_of_view(encoder), seen)
            while len(self._tops) > 2:
                self._tops.popitem(last=False)
        tops, field, seen = self._tops[key]
        patches = [
            field.crop(encoder.fit(seen[number][None])[0], row, column)
            for number, (row, column) in zip(
                tops.images[unit].tolist(), tops.places[unit].tolist(), strict=True
            )
        ]
        desk.show("unit-top", f"largest {tops.values[unit, 0]:.3g}", mosaic(patches))
        last = 0.0

        def callback(info: StepInfo) -> bool:
            nonlocal last
            if time.monotonic() - last >= SECONDS or info.step == info.steps:
                last = time.monotonic()
                desk.show("unit-best", f"step {info.step} of {info.steps}", info.best_image[0])
            return task.cancelled.is_set()

        maximise(encoder, f"neuron:{unit}", steps=STEPS, callback=callback)

    @cached_property
    def _gallery(self) -> Tensor:
        """Photographs and chairs (N, 3, H, W)."""
        views = torch.arange(CHAIRS) * (360 / CHAIRS)
        drawn = torch.cat([load_generator("chairs")(4 * k, float(a)) for k, a in enumerate(views)])
        size = (224, 224)
        return torch.cat([photographs(size)[1], fit(unseen_chairs().images, size), fit(drawn, size)])


def feature_maps(code: Tensor) -> Tensor:
    """A code as maps (C, h, w): of tokens (T, C) those of the patches, if they are a square; (D, 1, 1) of
    vectors."""
    if code.ndim == 3:
        return code
    if code.ndim == 2:
        side = math.isqrt(len(code))
        rest = len(code) - side * side
        return code.T[:, rest:].unflatten(1, (side, side)) if rest <= 16 else code.T[:, :, None]  # type: ignore[no-untyped-call]
    return code.flatten()[:, None, None]


def tiled(maps: Tensor, boost: float = 0.5) -> tuple[Tensor, int]:
    """All maps (C, h, w) in rows, as one image (3, H, W) that pages show larger, and how many are in a row.
    One scale for all; sizes to the power of ``boost``: bright is large, and what is below zero is blue."""
    count, height, width = maps.shape
    columns = math.ceil(math.sqrt(count))
    share = min(1.0, WIDE / columns / max(height, width))
    tall, wide = (max(1, round(share * side)) for side in (height, width))
    small = maps if share == 1 else F.adaptive_avg_pool2d(maps, (tall, wide))
    most = maps.abs().flatten(1).amax(1).quantile(FULL).clamp_min(1e-12)
    level = (small.abs() / most).clamp_max(1) ** boost
    bright = torch.stack([1.7 * level, 0.9 * level**1.5, 0.2 * level + 0.75 * level**5], 1)
    rows = math.ceil(count / columns)
    room = level.new_zeros(rows * columns, 3, tall, wide)
    room[:count] = torch.where(small[:, None] < 0, bright.flip(1), bright)
    grid = room.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)  # type: ignore[no-untyped-call]
    return grid.reshape(3, rows * tall, columns * wide).clamp(0, 1), columns
