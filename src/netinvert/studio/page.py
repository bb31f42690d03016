"""The page, and the websocket of its pictures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.resources import files

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from nicegui import ui

from netinvert.experiments.configs.studio import Studio, StudyVote
from netinvert.experiments.votes import VoteFile, ballots_of
from netinvert.models.registry import list_networks
from netinvert.studio.parts import PLACES, raw
from netinvert.studio.tabs import InvertTab, LookTab, Tab, VoteTab, look_request
from netinvert.studio.turn_tab import TurnTab, turn_request
from netinvert.studio.visitors import Page, Visitor, Visitors
from netinvert.studio.voting import voting_app

TABS: dict[str, type[LookTab | InvertTab | TurnTab]] = {"Look": LookTab, "Invert": InvertTab, "Turn": TurnTab}
"""By their names; beside them is Vote."""
VOTES = "/votes/"
LOST = "The studio does not answer: is it still running?"


def networks_of(config: Studio) -> list[str]:
    """The names of networks to choose from, the one that is shown first at the beginning."""
    cards = [card for card in list_networks() if ":" not in card.name and card.installed]
    names = list(dict.fromkeys((*config.networks, *(card.name for card in cards))))
    first = next((one for one in (*config.networks, "mobilenet-v2", "posenet") if one in names), names[0])
    return sorted(names, key=lambda name: name != first)


def received(visitor: Visitor, data: bytes) -> None:
    """A picture has come: a byte for its place, and the file."""
    place = PLACES[data[0]] if data and data[0] < len(PLACES) else None
    if place == "look" and visitor.settings.get("look-layer"):
        visitor.ask("look", **look_request(visitor), picture=data[1:])
        visitor.settings["sample-look"] = None
    elif place in PLACES[1:] and "decoder" in visitor.settings:
        visitor.ask("turn", **turn_request(visitor), **{f"picture-{place}": data[1:]})
        visitor.settings[f"sample-{place}"] = None


async def talk(everyone: Visitors, connection: WebSocket) -> None:
    """With one page, until it is closed."""
    await connection.accept()
    visitor, page = everyone.visitor(connection.scope["visitor"]), Page()
    everyone.enter(visitor, page)

    async def send() -> None:
        while True:
            await connection.send_bytes(await page.next())

    sending = asyncio.create_task(send())
    try:
        while True:
            received(visitor, await connection.receive_bytes())
    except (WebSocketDisconnect, KeyError, RuntimeError):  # it is gone, or sent no bytes
        pass
    finally:
        sending.cancel()
        everyone.leave(visitor, page)


def build(visitor: Visitor, networks: list[str], voting: bool) -> None:
    """The page of a visitor; ``voting`` says whether there is something to vote on."""
    settings, static = visitor.settings, files("netinvert") / "studio" / "static"
    script, style = ((static / name).read_text() for name in ("studio.js", "studio.css"))
    ui.add_head_html(f"<style>{style}</style><script>{script}</script>")
    dark = ui.dark_mode(settings.get("dark"))
    tabs: dict[str, Tab] = {}
    areas: dict[str, ui.element] = {}

    def switch(name: str) -> None:
        settings["tab"] = name
        for one, area in areas.items():
            area.set_visibility(one == name)
        tabs[name].shown()

    def shade() -> None:
        settings["dark"] = not dark.value
        dark.set_value(settings["dark"])

    with ui.header().classes("s-head items-center no-wrap q-py-none q-px-md"):
        ui.html("netinvert<span> studio</span>", sanitize=False).classes("s-name")
        with ui.tabs(value=settings.setdefault("tab", "Look"), on_change=lambda e: switch(e.value)) as bar:
            for name in (*TABS, "Vote"):
                ui.tab(name)
        ui.space()
        ui.button(icon="contrast", on_click=shade).props('flat round dense aria-label="Dark or light"')
    for marks, words in (('class="s-note" data-text="note"', ""), ('class="s-note s-gone"', LOST)):
        raw(f'<div {marks} role="status">{words}</div>')
    for name, kind in TABS.items():
        with ui.element("main").classes("w-full") as areas[name]:
            tabs[name] = kind(visitor, networks)
    with ui.element("main").classes("w-full") as areas["Vote"]:
        tabs["Vote"] = VoteTab(VOTES if voting else None)
    raw("<i data-ready></i>")
    switch(settings["tab"])

    def refresh() -> None:
        for one in tabs.values():
            one.refresh()

    visitor.listeners.append(refresh)
    ui.context.client.on_delete(lambda: visitor.listeners.remove(refresh))
    ui.on("tab", lambda e: bar.set_value([*tabs][min(int(e.args), len(tabs)) - 1]))


def studio_app(config: Studio) -> FastAPI:
    """The page, and /live for its pictures."""
    networks = networks_of(config)
    everyone = Visitors(config.visitors, config.kept, config.threads)

    async def turns() -> None:
        while True:
            await asyncio.sleep(1)
            everyone.turn()

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(turns())
        yield
        task.cancel()
        everyone.close()

    app = FastAPI(lifespan=life, openapi_url=None)

    @app.websocket("/live")
    async def live(connection: WebSocket) -> None:
        await talk(everyone, connection)

    if config.votes is not None:
        asked = StudyVote(run=config.votes)
        ballots, identity = ballots_of(asked.run, asked.ballots, asked.seed)
        app.mount(VOTES, voting_app(ballots, VoteFile(asked.votes_file, identity), asked.seed))

    @ui.page("/", title="netinvert studio")
    def page(request: Request) -> None:
        build(everyone.visitor(request.scope["visitor"]), networks, config.votes is not None)

    ui.run_with(app, title="netinvert studio", show_welcome_message=False, message_history_length=100)
    return app
