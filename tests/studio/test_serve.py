"""What is said before the page is there, and by an empty environment."""

from __future__ import annotations

import socket
import sys

import pytest

from netinvert.cli.app import main
from netinvert.errors import ConfigError
from netinvert.experiments.configs.studio import Studio
from netinvert.studio.serve import listen, shown_host


def test_without_nicegui_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.delitem(sys.modules, "netinvert.studio.page", raising=False)
    assert main(["studio"]) == 2
    assert "pip install 'netinvert[studio]'" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_with_the_remedy():
    with listen("localhost", 0) as there:
        port = there.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} .*use another --port, or --port 0"):
            listen("localhost", port)


def test_a_host_that_is_not_this_machine_is_told():
    with pytest.raises(ConfigError, match=r"use localhost|cannot listen"):
        listen("nowhere.invalid", 0)


def test_by_default_nobody_else_can_reach_it():
    assert Studio().local
    assert not Studio(host="0.0.0.0").local
    with listen(Studio().host, 0) as there:
        assert there.getsockname()[0] == "127.0.0.1"
    assert isinstance(there, socket.socket)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", socket.gethostname()),
        ("::", socket.gethostname()),
        ("192.168.0.7", "192.168.0.7"),
        ("fe80::7", "[fe80::7]"),
    ],
)
def test_the_address_that_is_printed_is_where_it_listens(host, shown):
    assert shown_host(Studio(host=host)) == shown


@pytest.mark.parametrize("host", ["", "http://localhost"])
def test_hosts_are_names(host):
    with pytest.raises(ConfigError, match="--host is a name or an address"):
        Studio(host=host)
