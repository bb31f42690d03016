"""Configs: one frozen dataclass a command, from which its options, checks, manifest and repetition come; and
registries of what has a name on the command line.

A field says what it is by ``Annotated[TYPE, Option(…)]``. TYPE is ``str``, ``int``, ``float``, ``bool`` or
``Path``, one of these ``| None`` (default None), or a tuple of them, ``tuple[X, ...]`` (default empty) or of
a fixed length. Switches are False by default. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import math
import operator
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from netinvert.errors import ConfigError

C = TypeVar("C", bound="Config")
PROGRAM = "netinvert"
MOST = 10**9
"""Of whole numbers that say no ``max`` of their own: a manifest may hold any."""
COMMAND = "command"
"""The key of the command's name among its facts."""
SECTIONS = ("Network", "Unit", "Options", "Output", "Compute", "Preprocessing")
"""The headings of options in the help, in their order."""
WORDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}
METAVARS: Mapping[type, str] = {str: "TEXT", int: "N", float: "NUMBER", bool: "", Path: "PATH"}


@dataclass(frozen=True)
class Option:
    """What a field is beyond its type and default.

    ``help`` is a sentence or two. ``short`` is a letter; ``name`` replaces the field's own as the long
    option, ``also`` are more spellings of it. ``metavar`` is how the help calls a value, ``default`` how it
    shows an empty default. ``positional`` fields have no option.

    ``min``, ``max`` (both included), ``above`` and ``choices`` are checked of each value. ``choices`` may be
    the place, ``"package.module:NAME"``, of a container of texts or of a function that gives one; ``check``
    is that of a function that raises NetinvertError for a bad value. Both are looked up last: they may need
    torch.

    Of values that are tuples ``once`` says that each is given once. ``identity`` is False where the results
    do not depend on it. ``kept`` is the file in the folder of a finished run that stands in for this input
    when ``rerun`` finds it gone or changed.
    """

    help: str
    short: str = ""
    name: str = ""
    also: tuple[str, ...] = ()
    metavar: str = ""
    positional: bool = False
    min: float | None = None
    above: float | None = None
    max: float | None = None
    choices: tuple[str, ...] | str = ()
    check: str = ""
    default: str = ""
    once: bool = False
    identity: bool = True
    kept: str = ""


@dataclass(frozen=True)
class Field:
    """A field of a config, its annotation taken apart. ``length``: None for one value, 0 for any number."""

    name: str
    kind: type
    length: int | None
    optional: bool
    default: Any
    option: Option
    section: str

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @property
    def flag(self) -> str:
        """How the command line names it."""
        if self.option.positional:
            return self.metavar
        return "--" + (self.option.name or self.name.replace("_", "-"))

    @property
    def flags(self) -> tuple[str, ...]:
        """All its spellings."""
        short = (f"-{self.option.short}",) if self.option.short else ()
        return (self.flag, *(f"--{name}" for name in self.option.also), *short)

    @property
    def metavar(self) -> str:
        """What stands for a value in the help."""
        return self.option.metavar or (self.name.upper() if self.option.positional else METAVARS[self.kind])

    def convert(self, value: object) -> Any:  # noqa: ANN401
        """The value with its exact type: lists become tuples, texts paths, whole numbers numbers.

        Raises ConfigError where that would change it.
        """
        if value is None and self.optional:
            return None
        if self.length is None:
            return self._one(value)
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{self.flag} takes several values, got {value!r}")
        if self.length and len(value) != self.length:
            raise ConfigError(f"{self.flag} takes {self.length} values, got {len(value)}")
        return tuple(self._one(item) for item in value)

    def _one(self, value: object) -> Any:  # noqa: ANN401
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) <= sys.float_info.max else math.inf  # refused as not finite
        if self.kind is Path and isinstance(value, str):
            value = Path(value)
        fits = isinstance(value, self.kind) and (self.kind is bool or not isinstance(value, bool))
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{self.flag} is {WORDS[self.kind]}, got {value!r}")
        return value

    def check(self, value: object) -> None:
        """Raises ConfigError if a value is out of bounds."""
        option = self.option
        most = MOST if self.kind is int else None
        if self.length == 0 and self.required and not self.values(value):
            raise ConfigError(f"{self.flag} takes at least one value")
        if option.once and len(set(self.values(value))) < len(self.values(value)):
            raise ConfigError(f"{self.flag} names one twice: give each once")
        for one in self.values(value):
            for bound, words, wrong in (
                (option.min, "at least", operator.lt),
                (option.above, "above", operator.le),
                (most if option.max is None else option.max, "at most", operator.gt),
            ):
                if bound is not None and wrong(one, bound):
                    raise ConfigError(f"{self.flag} is {words} {bound:g}, got {one}")
            if isinstance(option.choices, tuple) and option.choices:
                self._choose(one, option.choices)

    def check_names(self, value: object) -> None:
        """Raises NetinvertError if a value names something unknown; this may import torch."""
        for one in self.values(value):
            if isinstance(self.option.choices, str):
                found = imported(self.option.choices)
                self._choose(one, found() if callable(found) else found)
            if self.option.check:
                imported(self.option.check)(one)

    def values(self, value: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """One by one; none for None."""
        if value is None:
            return ()
        return (value,) if self.length is None else tuple(value)

    def _choose(self, value: str, choices: Iterable[str]) -> None:
        known = list(choices)
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {near[0]}? There are" if near else "choose from"
            raise ConfigError(f"{self.flag}: there is no '{value}'; {hint} {', '.join(known)}")

    def words(self, value: object) -> list[str]:
        """The option and its values as the shell's words."""
        if self.kind is bool:
            return [self.flag]
        texts = [repr(one) if self.kind is float else str(one) for one in self.values(value)]
        if self.option.positional:
            return texts
        if any(text.startswith("-") for text in texts):  # else they would be read as options
            return [f"{self.flag}={text}" for text in texts]
        return [self.flag, *texts]


def imported(place: str) -> Any:  # noqa: ANN401
    """What ``package.module:NAME`` stands for; NAME may have dots."""
    module, _, name = place.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def fields_of(cls: type[Config]) -> tuple[Field, ...]:
    """The fields of a config in the order of the help: by section, positional arguments first."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = [_field(cls, each, hints[each.name]) for each in dataclasses.fields(cls)]
    order = {name: k for k, name in enumerate(SECTIONS)}
    return tuple(sorted(found, key=lambda one: (not one.option.positional, order[one.section])))


def _field(cls: type[Config], field: dataclasses.Field[Any], hint: Any) -> Field:  # noqa: ANN401
    option = next(each for each in hint.__metadata__ if isinstance(each, Option))
    kinds = [hint.__origin__]
    if typing.get_origin(kinds[0]) in (types.UnionType, typing.Union):
        kinds = list(typing.get_args(kinds[0]))
    optional = type(None) in kinds
    kind = next(each for each in kinds if each is not type(None))
    length = None
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        kind, length = parts[0], 0 if parts[-1] is Ellipsis else len(parts)
    first = next(
        base for base in reversed(cls.__mro__) if field.name in vars(base).get("__annotations__", {})
    )
    section = vars(first).get("section", Config.section)
    return Field(field.name, kind, length, optional, field.default, option, section)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The base of all configs. One that exists is valid: making one raises ConfigError that names options."""

    command: ClassVar[str] = ""
    """The words of the command, such as ``study attributes``."""
    section: ClassVar[str] = "Options"
    """The heading in the help of the fields that this class itself brings: one of SECTIONS."""

    def __post_init__(self) -> None:
        """Give values their exact types and check them, what may need torch last."""
        fields = fields_of(type(self))
        for field in fields:
            value = field.convert(getattr(self, field.name))
            field.check(value)
            object.__setattr__(self, field.name, value)
        self.check()
        for field in fields:
            field.check_names(getattr(self, field.name))

    def check(self) -> None:
        """What must hold between fields. Overrides call ``super().check()`` and raise ConfigError."""

    def to_facts(self) -> dict[str, Any]:
        """The command's name and every field, as plain JSON, for the manifest."""
        names = [field.name for field in dataclasses.fields(self)]
        return {COMMAND: self.command} | {name: _plain(getattr(self, name)) for name in names}

    def identity(self) -> dict[str, Any]:
        """The facts that results depend on; a run directory tells by them whether a run is the same."""
        facts = self.to_facts()
        for field in fields_of(type(self)):
            if not field.option.identity:
                del facts[field.name]
        return facts

    @classmethod
    def from_facts(cls: type[C], facts: object) -> C:
        """From what :meth:`to_facts` gave. Raises ConfigError: other command, unknown option, wrong type."""
        if not isinstance(facts, Mapping) or facts.get(COMMAND) != cls.command:
            raise ConfigError(
                f"this is not the manifest of a '{PROGRAM} {cls.command}' run; give one that is"
            )
        given = {str(key): value for key, value in facts.items() if key != COMMAND}
        known = {field.name: field for field in fields_of(cls)}
        if unknown := sorted(given.keys() - known.keys()):
            raise ConfigError(
                f"the manifest has an option '{unknown[0]}' that '{PROGRAM} {cls.command}' does not know; "
                "use the version of netinvert that wrote it"
            )
        if missing := [one.flag for one in known.values() if one.required and one.name not in given]:
            raise ConfigError(f"the manifest lacks {', '.join(missing)}; mend it, or run the command itself")
        return cls(**given)

    def command_line(self, without: Iterable[str] = ()) -> str:
        """The shell command that does the same, with the options that differ from their defaults."""
        left_out = set(without)
        words, last = [PROGRAM, *self.command.split()], list[str]()
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if field.name in left_out or (not field.required and value == field.default):
                continue
            found = field.words(value)
            if field.option.positional and any(text.startswith("-") for text in found):
                last = ["--", *found]
            else:
                words += found
        return shlex.join(words + last)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """What has a name on the command line. ``kind`` is the word for it in messages.

    A name that is not known is looked for among the entry points of ``group``; only then is their package
    imported.

    >>> shapes = Registry[int]("shape", "example.shapes")
    >>> shapes.add("triangle", 3)
    >>> shapes["triangle"]
    3
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> None:
        """Give a thing its name. Raises ConfigError if something else has it, or if it cannot be typed."""
        if name in self._things:
            raise ConfigError(f"there is a {self.kind} '{name}' already; choose another name")
        if not name or any(sign in name for sign in "=+, "):
            raise ConfigError(f"'{name}' is no name for a {self.kind}: leave out '=', '+', ',' and spaces")
        self._things[name] = thing

    def remove(self, name: str) -> None:
        """Forget a name: in notebooks that define a thing again, and in tests."""
        self._things.pop(name, None)

    def register(self, name: str, thing: T | None = None) -> Callable[[T], T]:
        """Add a thing, or give the decorator that does."""

        def keep(thing: T) -> T:
            self.add(name, thing)
            return thing

        if thing is not None:
            keep(thing)
        return keep

    def find(self, name: str) -> T:
        """The thing of this name. Raises ConfigError that lists the names."""
        if name not in self:
            from importlib.metadata import entry_points

            others = (entry.name for entry in entry_points(group=self.group))
            names = ", ".join(dict.fromkeys((*self._things, *others)))
            raise ConfigError(f"there is no {self.kind} '{name}'; choose from {names}")
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._things:
            from importlib.metadata import entry_points

            for entry in entry_points(group=self.group, name=str(name)):
                loaded = entry.load()
                if name not in self._things:  # else its module has registered it
                    self.add(entry.name, loaded)
        return name in self._things

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise KeyError(name)
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)
