"""The entry point: parse, perform, show; what becomes of errors and of Ctrl-C. No import of torch."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from cyclopts import CycloptsError, UnusedCliTokensError

from netinvert.cli.options import application
from netinvert.errors import NetinvertError
from netinvert.experiments.commands import COMMANDS, perform
from netinvert.io.config import PROGRAM, Config
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import FinishedError

BAD_INPUT, INTERRUPTED = 2, 130
REPORT = "report.html"
STOPPED = "stopped; the same command resumes"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        config = parse(words)
        if config is not None:
            show_outcome(perform(config, note), as_json=getattr(config, "json", False))
        return 0
    except FinishedError as nothing_to_do:
        note(str(nothing_to_do))
        return 0
    except NetinvertError as error:
        note(str(error))
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        note(str(stop) or STOPPED)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def parse(words: Sequence[str]) -> Config | None:
    """The config that is asked for; None if it is help, which is printed. Raises NetinvertError."""
    # Only what is asked for is loaded: one command, or all for an overview.
    names = [name for name in COMMANDS if list(words[: len(name.split())]) == name.split()]
    app = application(names if names or "--version" in words[:1] else COMMANDS, version)
    try:
        config = app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        where = " ".join((PROGRAM, *(names or [])))
        raise UsageError(f"{_sentence(error)}; see {where} --help") from None
    return config if isinstance(config, Config) else None


class UsageError(NetinvertError):
    """Words that the command line does not understand."""


def _sentence(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"nothing takes '{' '.join(error.unused_tokens or ())}': quote what belongs together"
    text = " ".join(str(error).split())
    if text.startswith("Command "):  # names the command, which the user has just typed
        text = text.partition('" ')[2]
    return text.removeprefix("parameter ").removeprefix("Parameter ").rstrip(".")


def show_outcome(outcome: Outcome, as_json: bool) -> None:
    """The outcome on stdout."""
    if as_json:
        from netinvert.io.files import plain_json

        folder = {} if outcome.folder is None else {"folder": str(outcome.folder)}
        print(json.dumps(plain_json({**folder, **outcome.facts}), indent=2, ensure_ascii=False))  # noqa: T201
        return
    if outcome.text:
        print(outcome.text)  # noqa: T201
    if outcome.folder is not None and (outcome.folder / REPORT).is_file():
        print(f"open {(outcome.folder / REPORT).resolve()}")  # noqa: T201


def note(text: str) -> None:
    """A line on stderr."""
    print(f"{PROGRAM}: {text}", file=sys.stderr, flush=True)  # noqa: T201


def version() -> str:
    """For --version."""
    from importlib.metadata import version as installed

    return f"{PROGRAM} {installed(PROGRAM)}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
