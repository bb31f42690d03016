"""The command line: it parses, calls and shows; what becomes of errors and of Ctrl-C. No import of torch."""

from __future__ import annotations

import inspect
import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Annotated, Any, TypeVar, cast

from cyclopts import App, CycloptsError, Group, MissingArgumentError, Parameter, Token, UnusedCliTokensError

from netinvert.errors import ConfigError, NetinvertError
from netinvert.experiments.commands import COMMANDS, GROUPS, SECTIONS, perform
from netinvert.io import config
from netinvert.io.config import PROGRAM, WORDS, Config, Field, fields_of
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import FinishedError

BAD_INPUT, INTERRUPTED = 2, 130
REPORT = "report.html"
STOPPED = "stopped; the same command resumes"
_METAVARS = (
    "metavar" in inspect.signature(Parameter).parameters
)  # not in cyclopts 4, the last for Python 3.10
C = TypeVar("C", bound=Config)
HELP = "Turn a neural network's code back into an image."
EPILOGUE = "Each command has a --help with an example. First steps: netinvert demo"
_HEADINGS = {name: Group.create_ordered(name) for name in (*SECTIONS, "Help")}
_COMMANDS = Group("Commands")
"""The heading of a group's commands, one for all of them."""
_OPTIONS = {name: Group.create_ordered(name) for name in ("Arguments", *config.SECTIONS)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    heard = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        config = parse(words)
        if config is not None:
            show_outcome(perform(config, note), as_json=getattr(config, "json", False))
        return 0
    except FinishedError as nothing_to_do:
        note(str(nothing_to_do))
        return 0
    except KeyboardInterrupt as stop:
        note(str(stop) or STOPPED)
        return INTERRUPTED
    except Exception as error:
        if came:  # packages that are being imported make errors of their own of it
            note(STOPPED)
            return INTERRUPTED
        if not isinstance(error, NetinvertError):
            raise
        note(str(error))
        return BAD_INPUT
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse(words: Sequence[str]) -> Config | None:
    """The config that is asked for; None if it is help, which is printed. Raises NetinvertError."""
    # Only what is asked for is loaded: one command, or what an overview says of all.
    said = [word for word in words if word not in ("--help", "-h")]
    names = [name for name in COMMANDS if said[: len(name.split())] == name.split()]
    shown = names if names or "--version" in words[:1] else COMMANDS
    app = application(shown, version, with_options=bool(names))
    try:
        config = app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        where = " ".join((PROGRAM, *(names or [])))
        missing = names and isinstance(error, MissingArgumentError)
        example = f", as in: {COMMANDS[names[0]].example}" if missing else ""
        raise UsageError(f"{_sentence(error)}{example}; see {where} --help") from None
    return config if isinstance(config, Config) else None


class UsageError(NetinvertError):
    """Words that the command line does not understand."""


def _sentence(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"nothing takes '{' '.join(error.unused_tokens or ())}': quote what belongs together"
    text = " ".join(str(error).split()).partition(" Available commands: ")[0]
    text = text.replace(" requires an argument", " is missing", isinstance(error, MissingArgumentError))
    if text.startswith("Command "):  # names the command, which the user has just typed
        text = text.partition('" ')[2]
    return text.removeprefix("parameter ").removeprefix("Parameter ").rstrip(".")


def show_outcome(outcome: Outcome, as_json: bool) -> None:
    """The outcome on stdout."""
    if as_json:
        from netinvert.io.files import plain_json

        folder = {} if outcome.folder is None else {"folder": str(outcome.folder)}
        facts = plain_json({**folder, **outcome.facts})
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        if _shown(text) != text:
            text = json.dumps(facts, indent=2)
        _print(text)
        return
    if outcome.text:
        _print(outcome.text)
    if outcome.folder is not None and (outcome.folder / REPORT).is_file():
        _print(f"open {(outcome.folder / REPORT).resolve()}")


def _print(text: str) -> None:
    print(_shown(text))  # noqa: T201


def _shown(text: str) -> str:
    """Names that are not UTF-8, or that the terminal cannot show, are escaped, as Python does on stderr."""
    coding = sys.stdout.encoding or "utf-8"
    return text.encode(coding, "backslashreplace").decode(coding)


def note(text: str) -> None:
    """A line on stderr."""
    print(f"{PROGRAM}: {text}", file=sys.stderr, flush=True)  # noqa: T201


def version() -> str:
    """For --version."""
    from importlib.metadata import version as installed

    return f"{PROGRAM} {installed(PROGRAM)}"


# -- from configs to options -------------------------------------------------------------------------------


def application(names: Iterable[str], version: Callable[[], str], with_options: bool = True) -> App:
    """The command line with these commands of the table; calling it gives the config that was asked for.
    Without options it can be looked at only, and is there in half the time."""
    common: dict[str, Any] = {"help_format": "plaintext", "help_flags": ["--help", "-h"], "version_flags": []}
    app = App(
        PROGRAM,
        help=HELP,
        help_epilogue=EPILOGUE,
        version=version,
        result_action="return_value",
        group_commands=_HEADINGS["Help"],
        **{**common, "version_flags": ["--version"]},
    )
    groups: dict[str, App] = {}
    for number, name in enumerate(sorted(names, key=list(COMMANDS).index)):
        command, (first, *rest) = COMMANDS[name], name.split()
        place, heading = app, _HEADINGS[command.section]
        if rest:
            if first not in groups:
                section, line = GROUPS[first]
                groups[first] = App(first, help=line, group=_HEADINGS[section], sort_key=number, **common)
                app.command(groups[first])
            place, heading = groups[first], _COMMANDS
        about = {"help_epilogue": f"Example: {command.example}", "group": heading, "sort_key": number}
        place.command(_app(command.load(), with_options, **about, **common))
    return app


def reader(cls: type[C]) -> Callable[[Sequence[str]], C]:
    """A function from the words behind a command to its config. Raises CycloptsError, NetinvertError."""
    app = _app(cls)
    return lambda words: cast(C, app(words, exit_on_error=False, print_error=False))


def _app(cls: type[Config], with_options: bool = True, **more: Any) -> App:  # noqa: ANN401
    app = App(
        (cls.command or PROGRAM).split()[-1],
        help=_paragraphs(cls),
        group_arguments=_OPTIONS["Arguments"],
        result_action="return_value",
        **more,
    )
    if with_options:
        app.default(_maker(cls))
    return app


def _paragraphs(cls: type[Config]) -> str:
    """The docstring, to be wrapped anew."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(cls) or "").split("\n\n"))


def _maker(cls: type[Config]) -> Callable[..., Config]:
    """A function whose parameters are the fields of a config, which it makes."""
    fields = fields_of(cls)

    def make(*args: object, **options: object) -> Config:
        places = [field.name for field in fields if field.option.positional]
        return cls(**dict(zip(places, args, strict=False)), **options)

    make.__signature__ = inspect.Signature([_parameter(field) for field in fields])  # type: ignore[attr-defined]
    return make


def _parameter(field: Field) -> inspect.Parameter:
    hint: Any = field.kind if field.length is None else tuple[field.kind, ...]  # type: ignore[name-defined]
    if field.optional:  # cyclopts checks the default too where pydantic happens to be loaded
        hint = hint | None
    option = field.option
    metavar: dict[str, Any] = {"metavar": field.metavar} if _METAVARS else {}
    shown = Parameter(
        name=None if option.positional else field.flags,
        help=option.help,
        group=_OPTIONS["Arguments" if option.positional else field.section],
        consume_multiple=field.length is not None,
        negative="",
        converter=None if field.kind is bool else lambda hint, tokens: read(field, tokens),
        show_default=_default(field),
        **metavar,
    )
    return inspect.Parameter(
        field.metavar.lower() if option.positional else field.name,  # as which the help shows arguments
        inspect.Parameter.POSITIONAL_ONLY if option.positional else inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.required else field.default,
        annotation=Annotated[hint, shown],
    )


def _default(field: Field) -> Callable[[Any], str] | bool:
    """How the help shows the default: not at all, or as it would be typed."""
    if field.option.default:
        return lambda value: field.option.default
    if field.required or field.kind is bool or not field.values(field.default):
        return False
    return lambda value: " ".join(map(str, field.values(value)))


def read(field: Field, tokens: Sequence[Token]) -> Any:  # noqa: ANN401
    """The value that these words stand for; several numbers may stand in one word with commas between.

    Raises ConfigError.
    """
    words = [token.value for token in tokens]
    if field.length is None:
        return _value(field, words[0])
    if field.kind in (int, float):
        words = [part for word in words for part in word.split(",")]
    return tuple(_value(field, word) for word in words)


def _value(field: Field, word: str) -> object:
    try:
        return field.kind(word)
    except ValueError:
        raise ConfigError(f"{field.flag} is {WORDS[field.kind]}, got '{word}'") from None
