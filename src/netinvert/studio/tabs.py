"""The tabs Look and Invert: controls, and where the worker's pictures go."""

from __future__ import annotations

import math
from typing import Any

from nicegui import ui

from netinvert.inversion.priors import NONE, PRIORS
from netinvert.studio.parts import (
    LayerChoice,
    card,
    choice,
    figure,
    layer_request,
    raw,
    slider,
    source,
    text,
    toggle,
)
from netinvert.studio.visitors import Visitor

BACK = {"none": "nothing", "deconvolution": "deconvnet", "gradient": "gradient"}
SIDES = {"left": "Left", "right": "Right"}
STEPS = (60, 150, 300)
VOTE_COMMANDS = """\
netinvert study priors --network posenet --layers relu5 --out out/priors
netinvert studio --votes out/priors"""


def look_request(visitor: Visitor) -> dict[str, Any]:
    """What the lane is told of Look's controls."""
    settings = visitor.settings
    return {
        **layer_request(visitor, "look"),
        "unit": settings.get("unit"),
        "boost": settings.get("boost", 0.5),
        "back": settings.get("back", "none"),
    }


def look_source(visitor: Visitor) -> dict[str, Any]:
    """Look's picture as it is now: another lane that is told of it need not wait until Look has seen it."""
    return visitor.sources.get("look") or {"sample": visitor.settings["sample-look"]}


class Tab:
    """What all tabs are asked."""

    def refresh(self) -> None:
        """Something is known that was not."""

    def shown(self) -> None:
        """The tab is opened."""


class LookTab(Tab):
    """The units of a layer, live."""

    def __init__(self, visitor: Visitor, networks: list[str]) -> None:
        self.visitor = visitor
        settings = visitor.settings
        self.started = visitor.facts.get("started")
        with ui.element("section").classes("s-page s-look"):
            with card():
                source(visitor, "look", lambda name: self.look(sample=name))
                self.camera = ui.switch("camera", on_change=self._film).props('dense aria-label="camera"')
                figure("look-picture", "What it sees")
                self.layers = LayerChoice(visitor, "look", networks, self._layer)
                slider(
                    "gamma", (0.2, 1.5, 0.05), settings.get("boost", 0.5), lambda one: self._set("boost", one)
                )
                text("look-note", "s-error")
                text("layers-note", "s-error")
            with card("All units: click one", "s-wide"):
                unit = "" if settings.get("unit") is None else settings["unit"]
                raw(
                    f'<div class="s-tiles" data-unit="{unit}"><img data-image="look-tiles" alt="units" '
                    'hidden><div class="s-mark" hidden></div></div>'
                )
                text("look-tiles")
            with card("One unit"):
                ui.label("Click a tile, or use the arrow keys.").classes("s-quiet")
                figure("look-map", "Where", "s-late")
                toggle(BACK, settings.get("back", "none"), lambda one: self._set("back", one))
                figure("look-back", "Back down", "s-late")
                figure("unit-top", "Top nine", "s-late")
                figure("unit-best", "Made for it", "s-late")
                text("unit-note", "s-error")
        ui.on("unit", lambda e: self._choose(int(e.args)))
        ui.on("camera", lambda e: self.camera.set_value(e.args is None and not self.camera.value))

    def look(self, **more: Any) -> None:  # noqa: ANN401
        """Ask for the tiles; of the sample that is chosen where nothing says of what."""
        if self.layers.ready:
            if not self.visitor.sources.get("look"):
                more = {"sample": self.visitor.settings["sample-look"], **more}
            self.visitor.ask("look", **look_request(self.visitor), **more)

    def refresh(self) -> None:
        """Something is known that was not."""
        self.layers.refresh()
        if self.visitor.facts.get("started") != self.started:
            self.started = self.visitor.facts.get("started")
            self.look()

    def _film(self, event: Any) -> None:  # noqa: ANN401
        ui.run_javascript(f"studio.film({str(bool(event.value)).lower()})")

    def _set(self, name: str, value: object) -> None:
        self.visitor.settings[name] = value
        self.look()

    def _layer(self) -> None:
        self.look()
        if self.visitor.settings.get("unit") is not None:
            self._choose(self.visitor.settings["unit"])

    def _choose(self, unit: int) -> None:
        self._set("unit", unit)
        self.visitor.cancel("unit")
        self.visitor.ask("unit", **layer_request(self.visitor, "look"), unit=unit)


class InvertTab(Tab):
    """Two inversions of the picture of Look, side by side."""

    def __init__(self, visitor: Visitor, networks: list[str]) -> None:
        self.visitor = visitor
        with ui.element("section").classes("s-page s-invert"):
            with card("The picture", "s-wide"):
                source(
                    visitor, "look", lambda name: visitor.ask("look", **look_request(visitor), sample=name)
                )
                figure("look-picture", "As the network of Look sees it")
                ui.label(
                    "Each side makes an image from the code alone. A change of the weight goes on from the "
                    "image that is there; what is kept is made anew by the command, from noise."
                ).classes("s-quiet")
            self.sides = [Side(visitor, side, networks) for side in SIDES]

    def refresh(self) -> None:
        """Something is known that was not."""
        for side in self.sides:
            side.layers.refresh()


class Side:
    """One of the two."""

    def __init__(self, visitor: Visitor, side: str, networks: list[str]) -> None:
        self.visitor, self.side = visitor, side
        settings = visitor.settings
        for name, value in (
            ("prior", "tv-isotropic"),
            ("weight", 0.1 if side == "left" else 3.0),
            ("steps", STEPS[1]),
        ):
            settings.setdefault(f"{side}-{name}", value)
        with card(SIDES[side]):
            with ui.element("div").classes("s-pair s-small-first"):
                figure(f"{side}-original", "From the code of")
                figure(f"{side}-image", "")
            raw(f'<div class="s-bar"><div data-share="{side}-image"></div></div>')
            with ui.element("div").classes("s-row"):
                for icon, words, does in (
                    ("play_arrow", "Start", self._start),
                    ("pause", "Pause, or go on", self._pause),
                    ("stop", "Stop", self._stop),
                    ("save_alt", "Keep", self._keep),
                ):
                    flat = "" if icon == "play_arrow" else "flat"
                    ui.button(icon=icon, on_click=does).props(
                        f'round dense {flat} aria-label="{SIDES[side]}: {words}"'
                    ).tooltip(words)
                text(f"{side}-state", first="▶ starts it")
            text(f"{side}-note", "s-error")
            self.layers = LayerChoice(visitor, side, networks, lambda: None)
            choice(
                "prior",
                [*PRIORS, NONE],
                settings[f"{side}-prior"],
                lambda one: self._set("prior", one),
            )
            weight = math.log10(settings[f"{side}-weight"])
            slider("weight", (-3, 2, 0.05), weight, lambda one: self._set("weight", 10**one), _power).on(
                "change", self._adjust, args=[]
            )
            counts = {count: f"{count} steps" for count in STEPS}
            toggle(counts, settings[f"{side}-steps"], lambda one: self._set("steps", one))
            text(f"{side}-kept")
            raw(f'<pre class="s-command" data-command="{side}-kept" hidden></pre>')
            text(f"keep-{side}-note", "s-error")

    @property
    def request(self) -> dict[str, Any]:
        """What the lane is told."""
        names = ("prior", "weight", "steps")
        return layer_request(self.visitor, self.side) | {
            one: self.visitor.settings[f"{self.side}-{one}"] for one in names
        }

    def _set(self, name: str, value: object) -> None:
        self.visitor.settings[f"{self.side}-{name}"] = value
        if name == "prior":
            self._adjust()

    def _adjust(self) -> None:
        request = self.request
        self.visitor.adjust(self.side, prior=request["prior"], weight=request["weight"])

    def _start(self) -> None:
        if self.layers.ready:
            self.visitor.settings[f"{self.side}-paused"] = False
            self.visitor.cancel(self.side)
            self.visitor.ask(self.side, **self.request, **look_source(self.visitor))

    def _pause(self) -> None:
        paused = not self.visitor.settings.get(f"{self.side}-paused", False)
        self.visitor.settings[f"{self.side}-paused"] = paused
        self.visitor.adjust(self.side, paused=paused)

    def _stop(self) -> None:
        for lane in (self.side, f"keep-{self.side}"):
            self.visitor.cancel(lane, by_force=True)

    def _keep(self) -> None:
        if self.layers.ready:
            self.visitor.cancel(f"keep-{self.side}")
            known = self.visitor.sources.get(self.side) or look_source(self.visitor)  # what is shown is kept
            self.visitor.ask(f"keep-{self.side}", **self.request, **known)


def _power(exponent: float) -> str:
    return f"{10**exponent:.3g}"


class VoteTab(Tab):
    """The page of ``study vote`` at an address, or how one is had."""

    def __init__(self, address: str | None) -> None:
        with ui.element("section").classes("s-page"):
            if address is not None:
                raw(f'<iframe class="s-votes" title="vote" loading="lazy" src="{address}"></iframe>')
                return
            with card("Which prior's picture is better?"):
                raw('<p class="s-quiet">Make pictures, open the studio with them, and people choose:</p>')
                raw(f'<pre class="s-command">{VOTE_COMMANDS}</pre>')
