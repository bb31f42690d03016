"""Who may talk to the studio: no page of another site, no name that was rebound, no unknown guest."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from netinvert.experiments.configs.studio import LOCAL

VISITOR, TOKEN = "netinvert-visitor", "netinvert-token"
"""Cookies, with the port after a hyphen, for browsers send those of all ports: who it is, and that the token
was known."""
BODY = 64_000
"""Bytes of a request: pictures come through the websocket."""
_COOKIE = "; HttpOnly; SameSite=Lax; Path=/"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another, which sees only what may pass, with ``scope["visitor"]``, a random
    name kept in a cookie. ``token`` is None where only this machine can reach it."""

    app: App
    host: str
    token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        cookies = _cookies(headers.get("cookie", ""))
        wrong = self.refusal(headers)
        if wrong:
            return await _refuse(scope, send, 403, wrong)
        port = urlsplit(f"//{headers['host']}").port or 80
        visitor_cookie, token_cookie = f"{VISITOR}-{port}", f"{TOKEN}-{port}"
        new: list[str] = []
        if self.token is not None and not _same(cookies.get(token_cookie, ""), self.token):
            given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
            if scope["type"] != "http" or not _same(given, self.token):
                return await _refuse(scope, send, 403, "Open the address with the token that was printed.")
            new.append(f"{token_cookie}={self.token}{_COOKIE}")
        who = cookies.get(visitor_cookie, "")
        if not (who.isalnum() and len(who) == 32):
            who = secrets.token_hex(16)
            new.append(f"{visitor_cookie}={who}{_COOKIE}")
        if scope["type"] == "http" and any(cookie.startswith(TOKEN) for cookie in new):
            return await _answer(send, 303, b"", [(b"location", b"/"), *_set(new)])
        scope["visitor"] = who

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                rules = [(b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"SAMEORIGIN")]
                message["headers"] = [*message.get("headers", []), *_set(new), *rules]
            await send(message)

        large = int(headers.get("content-length") or 0) > BODY or "transfer-encoding" in headers
        if scope["type"] == "http" and large:
            return await _refuse(scope, send, 413, "This is too much.")
        await self.app(scope, receive, sending)

    def refusal(self, headers: Mapping[str, str]) -> str:
        """What is wrong with the names in a request's headers; nothing if they may pass."""
        host = headers.get("host", "")
        if not self.known(host):
            return "This host's name is not mine: open the address that was printed."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "Pages of other sites may not talk to the studio."
        return ""

    def known(self, host: str) -> bool:
        """Whether a Host header names this machine. Addresses do wherever strangers need the token: only a
        name can be bound to another machine later."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:  # of the port, too
            return False
        if name in LOCAL or name == self.host.lower():
            return True
        if self.token is None:
            return False
        if name == socket.gethostname().lower():
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _cookies(text: str) -> dict[str, str]:
    """As browsers write them: those of others on this host may be anything, JSON say."""
    pairs = (one.strip().partition("=") for one in text.split(";"))
    return {name: value for name, _, value in pairs}


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


def _set(cookies: list[str]) -> list[tuple[bytes, bytes]]:
    return [(b"set-cookie", cookie.encode()) for cookie in cookies]


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008, "reason": text[:100]})
    await _answer(send, status, text.encode(), [(b"content-type", b"text/plain; charset=utf-8")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
