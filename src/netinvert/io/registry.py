"""Things by name, to which others add their own: in code, or through entry points of a package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from netinvert.errors import ConfigError

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
            others = (entry.name for entry in entry_points(group=self.group))
            names = ", ".join(dict.fromkeys((*self._things, *others)))
            raise ConfigError(f"there is no {self.kind} '{name}'; choose from {names}")
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._things:
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
