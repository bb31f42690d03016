"""Who may talk to the studio: Host, Origin, the token, the visitor's name, the size of requests."""

from __future__ import annotations

import asyncio
import socket

import pytest

from netinvert.studio.guard import BODY, TOKEN, VISITOR, Guard

SECRET = "open-sesame"


class Inside:
    """The application within: remembers whom it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, scope, receive, send) -> None:
        self.seen.append(scope["visitor"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def asked(guard: Guard, kind: str = "http", query: str = "", **headers: str) -> list[dict]:
    """What is answered; headers by their names, with _ for -."""
    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(message)

    headers = {"host": "localhost:8080", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "headers": raw, "query_string": query.encode(), "path": "/"}
    asyncio.run(guard(scope, None, send))
    return sent


def status(messages: list[dict]) -> int:
    return messages[0].get("status", messages[0].get("code"))


def cookies(messages: list[dict]) -> list[str]:
    return [value.decode() for name, value in messages[0]["headers"] if name == b"set-cookie"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"host": "127.0.0.1:8080"}, True),
        ({"host": "[::1]:8080"}, True),
        ({"origin": "http://localhost:8080"}, True),
        ({"host": "evil.example"}, False),  # a name that was bound to this machine
        ({"host": "localhost.evil.example:8080"}, False),
        ({"host": "192.168.0.7:8080"}, False),
        ({"host": ""}, False),
        ({"host": "[::1"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://localhost:9999"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://[bad"}, False),
        ({"host": "localhost:port"}, False),
    ],
)
def test_foreign_hosts_and_origins_are_refused(kind, headers, passes):
    inside = Inside()
    answer = asked(Guard(inside, "localhost"), kind, **headers)
    assert bool(inside.seen) == passes
    assert passes or status(answer) == (403 if kind == "http" else 1008)


def test_elsewhere_a_token_is_asked_for():
    inside = Inside()
    guard = Guard(inside, "0.0.0.0", SECRET)
    for kind in ("http", "websocket"):
        for query in ("", "token=", "token=wrong"):
            assert status(asked(guard, kind, query)) in (403, 1008)
    assert inside.seen == []
    first = asked(guard, query=f"token={SECRET}")
    assert status(first) == 303  # so that the token is not in the address that is copied and shared
    assert any(one.startswith(f"{TOKEN}-8080={SECRET};") and "HttpOnly" in one for one in cookies(first))
    known = f"{TOKEN}-8080={SECRET}"
    for cookie in (known, f'a={{"b": 1, "c"}}; user[name]=Zoë; no value; {known}'):  # others' on this host
        assert status(asked(guard, cookie=cookie)) == 200
    assert status(asked(guard, "websocket", f"token={SECRET}")) == 1008  # a websocket needs the cookie
    for host in ("192.168.0.7:8080", f"{socket.gethostname()}:8080"):
        assert status(asked(guard, cookie=known, host=host)) == 200
    assert status(asked(guard, cookie=known, host="evil.example")) == 403


def test_a_visitor_has_a_name_that_nobody_guesses():
    inside = Inside()
    guard = Guard(inside, "localhost")
    (cookie,) = cookies(asked(guard))
    name = cookie.partition("=")[2].partition(";")[0]
    assert "SameSite=Lax" in cookie  # who follows a link from elsewhere is known
    assert inside.seen == [name]
    assert len(name) == 32
    assert cookies(asked(guard, cookie=f"{VISITOR}-8080={name}")) == []
    assert inside.seen == [name, name]
    assert cookies(asked(guard, host="localhost:9090", cookie=f"{VISITOR}-8080={name}"))[0].startswith(
        f"{VISITOR}-9090="  # another studio on this host
    )
    asked(guard, cookie=f"{VISITOR}-8080=../../etc/passwd")
    assert inside.seen[-1] not in (name, "../../etc/passwd")


@pytest.mark.parametrize("headers", [{"content_length": str(BODY + 1)}, {"transfer_encoding": "chunked"}])
def test_large_requests_are_refused_unread(headers):
    inside = Inside()
    assert status(asked(Guard(inside, "localhost"), **headers)) == 413
    assert inside.seen == []
