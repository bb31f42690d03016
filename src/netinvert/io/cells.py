"""Cells: pieces of long work that are kept under the hash of their key as soon as they are done."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from netinvert.errors import ConfigError, OutputError
from netinvert.io.files import (
    FileError,
    fingerprint,
    load_tensors,
    read_json,
    sha256_of,
    tensor_bytes,
    write_atomic,
    write_json,
)
from netinvert.io.rundir import RunDir

if TYPE_CHECKING:
    from torch import Tensor

V = TypeVar("V")
K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)
_ENTRY = "cell"


@dataclass(frozen=True, eq=False)
class Cell:
    """What a piece of work has found: tensors by name, of any shape, and facts that JSON can hold."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Any = None


@dataclass(frozen=True)
class Piece:
    """What the maker of a cell is given besides its key.

    `checkpoint`: where it may keep its state, to be found if it was stopped (None on Ray, whose machines
    may share no disk). `tell(share, text)`: how much of it is done, 0 to 1, and more in words.
    """

    checkpoint: Path | None
    tell: Callable[[float, str], None]


class Work(Protocol[K_contra, V_co]):
    """Work on many keys; can be pickled, so it is small: the network is loaded by `open`."""

    def open(self) -> Callable[[K_contra, Piece], V_co]:
        """Called once in each process; gives what makes the cell (or the bytes of the file) of a key.

        A maker that stops at Ctrl-C (`deferred_interrupt`), with its state in the checkpoint, raises
        KeyboardInterrupt.
        """
        ...


class Cells:
    """The cells of a run that has been entered.

    A cell is named by its key: any facts that `fingerprint` takes. The value of a key is a `Cell`; or,
    where the run is not staged, a file of the run, whose name is the key and whose content (bytes) is made.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run

    @overload
    def keep(self, key: object, make: Callable[[], Cell]) -> Cell: ...
    @overload
    def keep(self, key: str, make: Callable[[], bytes]) -> Path: ...
    def keep(self, key: Any, make: Callable[[], Cell | bytes]) -> Cell | Path:
        """Give what is kept under `key`, or make it, keep it and give it as it will be found again.

        A file that is damaged counts as absent. Raises OutputError if the cell cannot be kept.
        """
        found = self.find(key)
        if found is None:
            self.put(key, encoded(key, make()))
            found = self.find(key)
            if found is None:
                raise FileError(f"{self._place(key)} is not what was written: the disk may be failing")
        return found

    def find(self, key: Any) -> Cell | Path | None:  # noqa: ANN401
        """What is kept under `key`; None if there is none, or it was cut off or changed."""
        name = fingerprint(key)
        with contextlib.suppress(Exception):  # whatever is in the file
            tensors, texts = load_tensors(self._place(key))
            if texts[_ENTRY] == _entry(name, tensors, facts := json.loads(texts[_ENTRY])["facts"]):
                return Cell(tensors, json.loads(facts))
        if not isinstance(key, str):
            return None
        try:
            sha256 = read_json(self._place(key, ".json"))["sha256"]
        except Exception:  # whatever is in the file
            sha256 = self.run.published.get(key)
        path = None if sha256 is None else self.run.path(key)
        return path if path is not None and path.is_file() and sha256_of(path) == sha256 else None

    def put(self, key: Any, content: Content) -> None:  # noqa: ANN401
        """Keep what `encoded` gave for the value of `key`."""
        if not content.is_file:
            write_atomic(self._place(key), content.data)
            return
        if self.run.staged:
            raise ConfigError("files are kept as cells where the run is not staged: give a Cell")
        path = self.run.path(key)
        write_atomic(path, content.data)
        write_json(self._place(key, ".json"), {"file": key, "sha256": sha256_of(path)})

    def _place(self, key: object, suffix: str = ".safetensors") -> Path:
        return self.run.cells / f"{fingerprint(key)}{suffix}"


class Kept(Sequence[V]):
    """The values of keys, in their order; until `commit`. Each is read when it is asked for."""

    def __init__(self, cells: Cells, keys: Sequence[Any]) -> None:
        self._cells, self._keys = cells, keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> Kept[V]: ...
    def __getitem__(self, index: int | slice) -> V | Kept[V]:
        """Raises FileError if the cell has been damaged since."""
        if isinstance(index, slice):
            return Kept(self._cells, self._keys[index])
        found: Any = self._cells.find(self._keys[index])
        if found is None:
            raise FileError(f"the piece {self._keys[index]!r:.80} was damaged or removed: run it again")
        return cast("V", found)


@dataclass(frozen=True)
class Content:
    """The bytes of a cell's file, or of a file of the run; of the same value always the same."""

    data: bytes
    is_file: bool


def encoded(key: object, value: object) -> Content:
    """A `Cell`, or the bytes of a file whose name is `key`, as it is kept.

    Raises ConfigError: the value is neither; OutputError: it cannot be stored.
    """
    if isinstance(value, bytes) and isinstance(key, str):
        return Content(value, is_file=True)
    if not isinstance(value, Cell):
        raise ConfigError(
            f"a piece of work gives a Cell, or bytes where its key is a file's name: {type(value).__name__}"
        )
    try:
        facts = json.dumps(value.facts, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise OutputError(f"the facts of a cell are JSON: {error}") from error
    entry = _entry(fingerprint(key), value.tensors, facts)
    return Content(tensor_bytes(value.tensors, {_ENTRY: entry}), is_file=False)


def _entry(name: str, tensors: Mapping[str, Tensor], facts: str) -> str:
    """What is beside the tensors. One text: of several, safetensors would keep the order by chance."""
    sha256 = fingerprint({"tensors": tensors, "facts": facts})
    return json.dumps({"key": name, "facts": facts, "sha256": sha256})
