"""The parts of a page that its tabs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from netinvert.io.assets import sample_names
from netinvert.studio.desk import SAMPLES
from netinvert.studio.visitors import Visitor

PLACES = ("look", "a", "b", "c")
"""Of pictures, in the order of their numbers in the websocket."""
MOST_BYTES = 16_000_000
"""Of a picture's file."""
Ask = Callable[..., object]


NOTHING = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""An image of one clear pixel."""


def raw(markup: str) -> ui.html:
    """Markup of our own making, which holds nothing that came from elsewhere."""
    return ui.html(markup, sanitize=False).classes("w-full")


def figure(key: str, title: str, more: str = "") -> None:
    """A picture that comes, with its text below."""
    raw(
        f'<figure class="s-figure {more}"><img data-image="{key}" alt="{title or key}" '
        f'src="{NOTHING}" data-empty><figcaption><b>{title}</b><span data-text="{key}"></span></figcaption>'
        "</figure>"
    )


def text(key: str, kind: str = "s-quiet", first: str = "") -> None:
    """A text that comes; ``first`` is what stands there until then."""
    raw(f'<div class="{kind}" data-text="{key}">{first}</div>')


def card(words: str = "", more: str = "") -> ui.element:
    """An area with a frame; to be filled by ``with``."""
    made = ui.element("div").classes(f"s-card {more}")
    if words:
        with made:
            headline(words)
    return made


def headline(words: str) -> None:
    """Of a card."""
    raw(f"<h2>{words}</h2>")


def slider(
    label: str,
    bounds: tuple[float, float, float],
    value: float,
    changed: Ask,
    shown: Callable[[float], str] = "{:.2f}".format,
) -> ui.slider:
    """A slider of (low, high, step) with its name and its value, as it is to be shown."""
    with ui.element("div").classes("s-slider"):
        ui.label(label)
        low, high, step = bounds
        made = ui.slider(min=low, max=high, step=step, value=value, on_change=lambda e: changed(e.value))
        made.props(f'aria-label="{label}"')
        for key, end in (("home", low), ("end", high)):  # the keys of sliders that Quasar leaves out
            made.on(f"keydown.{key}.prevent", lambda end=end: made.set_value(end))
        ui.label().bind_text_from(made, "value", lambda one: shown(float(one)))
    return made


def toggle(options: Mapping[Any, str], value: object, changed: Ask) -> None:
    """One of a few."""
    made = ui.toggle(dict(options), value=value, on_change=lambda e: changed(e.value))
    made.props('dense flat no-caps spread size="13px"').classes("w-full")


def choice(label: str, options: dict[str, str] | list[str], value: str | None, changed: Ask) -> ui.select:
    """A list to choose from; it can be searched."""

    def chosen(event: Any) -> None:  # noqa: ANN401
        if event.value is not None:  # what is typed is not yet one of them
            changed(event.value)

    made = ui.select(options, label=label, value=value, with_input=True, on_change=chosen)
    made.props("dense outlined options-dense").classes("w-full")
    return made


def source(visitor: Visitor, place: str, given: Ask) -> None:
    """Where a picture comes from: one of netinvert's, or a file; Look's also a folder or the camera."""
    number = PLACES.index(place)
    names = list(dict.fromkeys((*SAMPLES, *sample_names())))
    key = f"sample-{place}"

    def sample(name: str) -> None:
        if name != visitor.settings[key]:  # not by another list of this place
            visitor.settings[key] = name
            ui.run_javascript("studio.film(false)")
            given(name)

    with ui.element("div").classes("s-row"):
        chosen = visitor.settings.setdefault(key, names[max(0, number)])
        choice("picture", names, chosen, sample).bind_value_from(visitor.settings, key)
        button("upload", "A picture of yours", f"studio.pick({number}, false)")
        if place == "look":
            button("folder_open", "A folder: n and p go through it", f"studio.pick({number}, true)")


def button(icon: str, words: str, script: str) -> ui.button:
    """A small button that calls the page's script."""
    made = ui.button(icon=icon).props(f'flat round dense aria-label="{words}"').tooltip(words)
    made.on("click", js_handler=f"() => {script}")
    return made


class LayerChoice:
    """Lists of networks and of the layers of the one that is chosen, as settings NAME-network, NAME-layer."""

    def __init__(
        self, visitor: Visitor, name: str, networks: list[str], changed: Callable[[], object]
    ) -> None:
        self.visitor, self.name = visitor, name
        settings = visitor.settings
        settings.setdefault(f"{name}-network", networks[0])
        settings.setdefault(f"{name}-layer", None)
        choice("network", networks, settings[f"{name}-network"], self._network)
        self.list = choice("layer", {}, None, self._layer)
        self.known: object = None
        self.changed: Callable[[], object] = lambda: None
        self.refresh()
        self.changed = changed

    @property
    def request(self) -> dict[str, Any]:
        """What a lane is told of them."""
        return layer_request(self.visitor, self.name)

    @property
    def ready(self) -> bool:
        """Whether a layer is chosen."""
        return self.visitor.settings[f"{self.name}-layer"] is not None

    def refresh(self) -> None:
        """The layers are known, or are asked for."""
        settings, name = self.visitor.settings, self.name
        network = settings[f"{name}-network"]
        found = self.visitor.facts.get(f"layers {network}")
        if found is None:
            self.visitor.ask("layers", network=network)
        elif found is not self.known:
            self.known = found
            if settings[f"{name}-layer"] not in found["names"]:
                settings[f"{name}-layer"] = found["middle"]
            self.list.set_options(found["names"], value=settings[f"{name}-layer"])

    def _network(self, network: str) -> None:
        if network != self.visitor.settings[f"{self.name}-network"]:
            self.visitor.settings |= {f"{self.name}-network": network, f"{self.name}-layer": None}
            self.known = None
            self.list.set_options({}, value=None)
            self.refresh()

    def _layer(self, layer: str) -> None:
        self.visitor.settings[f"{self.name}-layer"] = layer
        self.changed()


def layer_request(visitor: Visitor, name: str) -> dict[str, Any]:
    """The chosen network and layer."""
    return {one: visitor.settings.get(f"{name}-{one}") for one in ("network", "layer")}
