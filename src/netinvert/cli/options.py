"""From configs to the options of the command line. Nothing here imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeVar, cast

from cyclopts import App, Group, Parameter, Token

from netinvert.errors import ConfigError
from netinvert.experiments.commands import COMMANDS, GROUPS, SECTIONS
from netinvert.io import config
from netinvert.io.config import PROGRAM, WORDS, Config, Field, fields_of

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


def application(names: Iterable[str], version: Callable[[], str]) -> App:
    """The command line with these commands of the table; calling it gives the config that was asked for."""
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
        place.command(_app(command.load(), **about, **common))
    return app


def reader(cls: type[C]) -> Callable[[Sequence[str]], C]:
    """A function from the words behind a command to its config. Raises CycloptsError, NetinvertError."""
    app = _app(cls)
    return lambda words: cast(C, app(words, exit_on_error=False, print_error=False))


def _app(cls: type[Config], **more: Any) -> App:  # noqa: ANN401
    app = App(
        (cls.command or PROGRAM).split()[-1],
        help=_paragraphs(cls),
        group_arguments=_OPTIONS["Arguments"],
        result_action="return_value",
        **more,
    )
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
        field.name,
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
