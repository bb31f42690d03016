"""The tab Turn: an object's code as sliders, with the camera beside it."""

from __future__ import annotations

import math
from typing import Any

from nicegui import ui

from netinvert.scenes.cameras import heading
from netinvert.studio.parts import card, choice, figure, headline, raw, slider, source, text, toggle
from netinvert.studio.tabs import Tab
from netinvert.studio.visitors import Visitor

DECODERS = ["posenet-fc6", "posenet-fc7", "posenet-conv5"]
MODES = {"one": "A", "morph": "A → B", "sum": "A − B + C"}
LARGEST = 5
ELEVATIONS = (0.0, 50.0)
Point = tuple[float, float, float]


def turn_request(visitor: Visitor) -> dict[str, Any]:
    """What the lane is told of Turn's controls."""
    settings = visitor.settings
    names = ("decoder", "mode", "share", "azimuth", "elevation")
    return {one: settings.get(one) for one in names} | {"amounts": list(settings["amounts"])}


def defaults(settings: dict[str, Any]) -> None:
    """What the sliders are at first."""
    first = {"decoder": DECODERS[0], "mode": "one", "share": 0.5, "azimuth": None, "elevation": None}
    for name, value in (first | {"amounts": [0.0] * LARGEST}).items():
        settings.setdefault(name, value)


class TurnTab(Tab):
    """One chair, or what lies between several."""

    def __init__(self, visitor: Visitor, networks: list[str]) -> None:
        del networks
        self.visitor = visitor
        self.pose: object = visitor.facts.get("pose a")
        self.asked = False
        self.since: list[object] = []
        settings = visitor.settings
        defaults(settings)
        with ui.element("section").classes("s-page s-turn"):
            with card("Chairs"):
                toggle(MODES, settings["mode"], self._mode)
                self.slots = {}
                for slot in "abc":
                    with ui.element("div").classes("s-slot") as self.slots[slot]:
                        source(visitor, slot, lambda name, slot=slot: self._new(slot, name))
                        figure(f"slot-{slot}", slot.upper())
            with card("Drag to turn"):
                with ui.element("div").classes("s-pair s-turns"):
                    figure("turn-decoded", "From its code")
                    figure("turn-drawn", "By the generator")
                self.share = slider(
                    "morph", (0.0, 1.0, 0.02), settings["share"], lambda one: self._set("share", one)
                )
                text("turn-note", "s-error")
                with ui.element("div").classes("s-row"):
                    ui.button("find A in the generator", on_click=self._fit).props("flat dense").tooltip(
                        "Look for the chair with which the generator draws A best: some seconds"
                    )
                    text("fit-state")
                text("fit-note", "s-error")
            with card("The camera", "s-wide"):
                self.gizmo = raw(self._drawing()).classes("s-gizmo")
                azimuth, elevation = self._angles
                self.azimuth = slider(
                    "azimuth", (0, 360, 1), azimuth, lambda one: self._set("azimuth", one), "{:.0f}°".format
                )
                self.elevation = slider(
                    "elevation",
                    (*ELEVATIONS, 1),
                    elevation,
                    lambda one: self._set("elevation", one),
                    "{:.0f}°".format,
                )
                headline("Largest directions of codes")
                self.amounts = [
                    slider(
                        f"direction {k + 1}",
                        (-3, 3, 0.1),
                        settings["amounts"][k],
                        lambda one, k=k: self._amount(k, one),
                    )
                    for k in range(LARGEST)
                ]
                with ui.element("div").classes("s-row"):
                    ui.button("reset", on_click=self._reset).props("flat dense")
                choice("decoder", DECODERS, settings["decoder"], lambda one: self._set("decoder", one))
        self._mode(settings["mode"])
        ui.on("drag", lambda e: self._drag(*e.args))

    def refresh(self) -> None:
        """Something is known that was not: the pose in which A is seen, say."""
        pose = self.visitor.facts.get("pose a")
        if pose is not None and pose != self.pose:
            self.pose = pose
            self._reset()
        since = [self.visitor.facts.get(name) for name in ("fitted", "started")]
        if since != self.since:
            self.since = since
            self._turn()

    def shown(self) -> None:
        """The tab is opened: only now is learned how codes turn, which takes seconds."""
        if not self.asked:
            self.asked = True
            self._turn()

    @property
    def _angles(self) -> tuple[float, float]:
        settings = self.visitor.settings
        return (30.0 if settings["azimuth"] is None else settings["azimuth"]), (
            20.0 if settings["elevation"] is None else settings["elevation"]
        )

    def _turn(self, **more: Any) -> None:  # noqa: ANN401
        if self.asked:
            visitor, known = self.visitor, self.visitor.sources.get("turn", {})
            for slot in "abc":  # the samples that are chosen where nothing says what is there
                if not {f"picture-{slot}", f"sample-{slot}"} & {*known}:
                    more = {f"sample-{slot}": visitor.settings[f"sample-{slot}"], **more}
            visitor.ask("turn", **turn_request(visitor), **more)

    def _new(self, slot: str, name: str) -> None:
        self.asked = True
        self._turn(**{f"sample-{slot}": name})

    def _set(self, name: str, value: object) -> None:
        if self.visitor.settings[name] != value:
            self.visitor.settings[name] = value
            if name in ("azimuth", "elevation"):
                self.gizmo.set_content(self._drawing())
            self._turn()

    def _mode(self, mode: str) -> None:
        for slot, area in self.slots.items():
            area.set_visibility(slot == "a" or mode == "sum" or (slot == "b" and mode == "morph"))
        self.share.set_enabled(mode == "morph")
        self._set("mode", mode)

    def _amount(self, which: int, value: float) -> None:
        self.visitor.settings["amounts"][which] = value
        self._turn()

    def _drag(self, right: float, down: float) -> None:
        azimuth, elevation = self._angles
        self.azimuth.set_value(round(azimuth - 0.8 * right) % 360)
        self.elevation.set_value(min(max(round(elevation + 0.4 * down), ELEVATIONS[0]), ELEVATIONS[1]))

    def _reset(self) -> None:
        azimuth, elevation = self.pose if isinstance(self.pose, tuple) else (30.0, 20.0)
        self.azimuth.set_value(round(azimuth))
        self.elevation.set_value(min(max(round(elevation), ELEVATIONS[0]), ELEVATIONS[1]))
        for one in self.amounts:
            one.set_value(0.0)

    def _fit(self) -> None:
        if self.visitor.facts.get("pose a") is not None:
            self.visitor.ask("fit", slot="a", decoder=self.visitor.settings["decoder"])

    def _drawing(self) -> str:
        return gizmo(*self._angles)


def gizmo(azimuth: float, elevation: float) -> str:
    """The camera on its way around a chair that faces the reader at the left, as SVG; angles in degrees,
    PASCAL3D+ frame."""
    turn, tilt = math.radians(-28), math.radians(24)

    def seen(point: Point) -> tuple[float, float]:
        x, y, z = point
        right = x * math.cos(turn) + y * math.sin(turn)
        back = -x * math.sin(turn) + y * math.cos(turn)
        return 130 + 66 * right, 112 - 66 * (z * math.cos(tilt) + back * math.sin(tilt))

    def at(angle: float, height: float, far: float = 1.5) -> Point:
        a, e = math.radians(angle), math.radians(height)
        return far * math.cos(e) * math.sin(a), -far * math.cos(e) * math.cos(a), far * math.sin(e)

    def path(points: list[Point], kind: str) -> str:
        corners = "L".join(f"{x:.1f},{y:.1f}" for x, y in map(seen, points))
        return f'<path d="M{corners}" class="{kind}"/>'

    low, high, seat, top = -0.32, 0.32, 0.38, 0.95
    here, foot = at(azimuth, elevation), at(azimuth, 0)
    x, y = seen(here)
    fx, fy = seen((0, -1.5, 0))
    ground = [path([at(a, 0) for a in range(0, 361, 10)], "line")]
    ground.append(path([at(azimuth, e) for e in range(0, 91, 6)], "line"))
    chair = [path([(a, b, 0), (a, b, seat)], "chair") for a in (low, high) for b in (high, low)]
    back = [(low, high, seat), (high, high, seat), (high, high, top), (low, high, top), (low, high, seat)]
    flat = [(low, low, seat), (high, low, seat), (high, high, seat), (low, high, seat), (low, low, seat)]
    chair += [path(back, "chair"), path(flat, "chair")]
    eye = [path([foot, here], "foot"), path([here, (0, 0, seat)], "view")]
    eye.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
    behind = math.cos(math.radians(azimuth)) < 0
    parts = [*ground, *(eye + chair if behind else chair + eye)]
    words = f"the camera at azimuth {heading(azimuth)}, elevation {elevation:.0f}°"
    front = f'<text x="{fx:.1f}" y="{fy + 14:.1f}">front</text>'
    return f'<svg viewBox="0 0 260 200" role="img" aria-label="{words}">{"".join(parts)}{front}</svg>'
