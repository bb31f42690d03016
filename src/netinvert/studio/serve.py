"""``netinvert studio`` and the page of ``netinvert study vote``: the server."""

from __future__ import annotations

import contextlib
import secrets
import socket
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.evaluation.report import counted
from netinvert.experiments.configs.studio import LOCAL, Studio, StudyVote
from netinvert.experiments.votes import VoteFile, ballots_of, votes_so_far
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome

if TYPE_CHECKING:
    from netinvert.studio.guard import Guard


def run_studio(config: Studio, tell: Tell) -> Outcome:
    """Serve until Ctrl-C. Raises MissingExtraError: NiceGUI is not there; ConfigError: the port is taken, the
    host is none of this machine's, or what people are to vote on is no run of ``study priors``."""
    with needing_extra("the studio"):
        from netinvert.studio.guard import Guard
        from netinvert.studio.page import studio_app

    token = None if config.local else secrets.token_urlsafe(24)
    app = Guard(studio_app(config), config.host, token)
    with listen(config.host, config.port) as listening:
        port = listening.getsockname()[1]
        tell(f"open http://{shown_host(config)}:{port}/{f'?token={token}' if token else ''} (Ctrl-C ends it)")
        serve(app, listening)
    return Outcome({"kept": str(config.kept)}, "the studio is closed")


def study_vote(config: StudyVote, tell: Tell) -> Outcome:
    """Serve the page until Ctrl-C, or tell what the votes say.

    Raises ConfigError: no such run, no pictures, another run's votes, the port is taken; MissingExtraError
    without the extra studio."""
    if config.report:
        return votes_so_far(config)
    with needing_extra("the page for votes"):
        from netinvert.studio.guard import Guard
        from netinvert.studio.voting import voting_app

    ballots, identity = ballots_of(config.run, config.ballots, config.seed)
    votes = VoteFile(config.votes_file, identity)
    app = Guard(voting_app(ballots, votes, config.seed), LOCAL[0])
    with listen(LOCAL[0], config.port) as listening:
        port = listening.getsockname()[1]
        tell(f"open http://{LOCAL[0]}:{port}/ and vote; Ctrl-C ends it, and what was voted stays")
        serve(app, listening)
    return Outcome({"votes": len(votes.rows())}, f"{counted(len(votes.rows()), 'vote')} in {votes.path}")


def shown_host(config: Studio) -> str:
    """As addresses have it: the host that was named, unless that stands for all of this machine's."""
    if config.local:
        return LOCAL[0]
    name = socket.gethostname() if config.host in ("0.0.0.0", "::") else config.host
    return f"[{name}]" if ":" in name else name


@contextlib.contextmanager
def needing_extra(what: str) -> Iterator[None]:
    """Imports within are of the extra studio. Raises MissingExtraError."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(what, "studio") from error


def serve(app: Guard, listening: socket.socket) -> None:
    """Until Ctrl-C."""
    import uvicorn

    from netinvert.studio.parts import MOST_BYTES

    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", ws_max_size=MOST_BYTES + 1, timeout_graceful_shutdown=2)
    )
    with contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # NiceGUI looks at all objects, torch's too
        server.run(sockets=[listening])


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
            f"cannot listen at {host}, port {port} ({error.strerror}): another page may be there; use "
            "another --port, or --port 0 for a free one"
        ) from None
    return made
