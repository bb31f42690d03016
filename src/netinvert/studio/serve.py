"""``netinvert studio``: the server."""

from __future__ import annotations

import contextlib
import secrets
import socket
import warnings

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.experiments.configs.studio import LOCAL, Studio
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome


def run_studio(config: Studio, tell: Tell) -> Outcome:
    """Serve until Ctrl-C. Raises MissingExtraError: NiceGUI is not there; ConfigError: the port is taken, or
    the host is none of this machine's."""
    try:
        import nicegui  # noqa: F401
        import uvicorn
    except ImportError:
        raise MissingExtraError("the studio", "studio") from None
    from netinvert.studio.guard import Guard
    from netinvert.studio.page import studio_app
    from netinvert.studio.parts import MOST_BYTES

    listening = listen(config.host, config.port)
    token = None if config.local else secrets.token_urlsafe(24)
    port = listening.getsockname()[1]
    name = "localhost" if config.local else socket.gethostname()
    tell(f"open http://{name}:{port}/{f'?token={token}' if token else ''} (Ctrl-C ends it)")
    app = Guard(studio_app(config), config.host, token)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", ws_max_size=MOST_BYTES + 1, timeout_graceful_shutdown=2)
    )
    with listening, contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # NiceGUI looks at all objects, torch's too
        server.run(sockets=[listening])
    return Outcome({"kept": str(config.kept)}, "the studio is closed")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError that names the remedy."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            "127.0.0.1" if host == LOCAL[0] else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"--host {host} is no name of this machine ({error}): use localhost") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(64)
    except OSError as error:
        made.close()
        raise ConfigError(
            f"cannot listen at {host}, port {port} ({error.strerror}): another studio may be there; use "
            "another --port, or --port 0 for a free one"
        ) from None
    return made
