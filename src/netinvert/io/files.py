"""Files that are whole or absent: atomic writes, tensors, JSON, checksums; and what those of others may say.

Torch and NumPy are loaded by what needs them: JSON and bytes are wanted before any network is.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import json
import math
import os
import pickle
import secrets
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from netinvert.errors import ConfigError, MissingExtraError, NetinvertError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Tell = Callable[[str], None]
"""Says a line to the user."""
SMALL = 1 << 24
"""Bytes that may be asked for whatever a file says."""
STAGED = f".partial{os.sep}files{os.sep}"
"""In the paths of files that are brought to the disk together, with their folder (``RunDir.commit``)."""
_TEMPORARY = ".netinvert-"
_REASONS = {
    errno.ENOSPC: "the disk is full: free some space or choose another disk",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another disk",
    errno.EFBIG: "it is larger than the file system or a limit (ulimit -f) allows: choose another disk",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder or change its permissions",
    errno.EPERM: "no permission to write there: choose another folder or change its permissions",
    errno.ENOENT: "its folder does not exist: create it first",
    errno.ENOTDIR: "a part of its path is a file, not a folder: choose another path",
    errno.EISDIR: "it is a folder: name a file in it",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


class FileError(NetinvertError):
    """A file that cannot be read: missing, damaged, or of another kind."""


def output_error(path: str | Path, error: OSError) -> OutputError:
    """Name what keeps `path` from being written, and the remedy."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"cannot write {path}: {reason}")


def check_readable(path: str | Path, error: type[NetinvertError] = FileError) -> Path:
    """Return `path` if it is a file that can be read; raise `error` saying what it is instead."""
    file = Path(path)
    try:
        if not file.exists():
            raise error(f"{file} does not exist: check the path")
        if not file.is_file():
            raise error(f"{file} is a folder or a device, not a file: name a file")
        if file.stat().st_size == 0:
            raise error(f"{file} is empty: write it again")
        with file.open("rb"):
            return file
    except (OSError, ValueError) as problem:
        raise error(f"{file} cannot be read: {problem}") from problem


@contextmanager
def refusing(
    path: str | Path,
    error: type[NetinvertError],
    what: str = "",
    remedy: str = "make it again",
) -> Iterator[None]:
    """Raise whatever goes wrong inside as `error` that names the file at `path`: every reader's outer door.

    What parsers raise on damaged files has nothing in common, so no list of it would be whole. An error of
    netinvert that names the file keeps its words; MissingExtraError passes.

    >>> with refusing("a.txt", FileError):
    ...     {}["name"]
    Traceback (most recent call last):
    netinvert.io.files.FileError: a.txt is damaged or of another kind ('name'): make it again
    """
    try:
        yield
    except MissingExtraError:
        raise
    except Exception as problem:
        named = isinstance(problem, NetinvertError) and str(path) in str(problem)
        if named and isinstance(problem, error):
            raise
        if named or (isinstance(problem, NetinvertError) and not what):
            raise error(str(problem) if named else f"{path}: {problem}") from problem
        said = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise error(f"{path} {what or 'is damaged or of another kind'} ({said:.200}): {remedy}") from problem


def guarded(error: type[NetinvertError], remedy: str = "make it again") -> Callable[[F], F]:
    """The decorator of a reader whose first argument is a file's path: `refusing` around all of it."""

    def guard(read: F) -> F:
        @functools.wraps(read)
        def whole(path: str | Path, *args: object, **options: object) -> object:
            with refusing(path, error, remedy=remedy):
                return read(path, *args, **options)

        return cast(F, whole)

    return guard


def inside(folder: str | Path, name: str, error: type[NetinvertError] = FileError) -> Path:
    """The path of what is called `name` in a folder, by a file that may come from anywhere.

    Raises `error` if that is an absolute path or a URL, or leads out of the folder, be it by a link.
    """
    path = Path(folder) / name
    try:
        leaves = not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (OSError, ValueError):  # too long, or with a zero byte
        leaves = True
    if leaves or not name or Path(name).anchor or "://" in name:
        raise error(f"{name!r} is no name for a file in {folder}, or leads out of it: name one in it")
    return path


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write `data` so that `path` holds either all of it or what it held before, also when the power fails.

    A symbolic link is followed. Raises OutputError, leaving nothing behind.
    """
    try:
        # Replacing a link would cut it off from its target, so the target is what is replaced.
        target = Path(path).resolve()
        if target.is_dir():
            raise OSError(errno.EISDIR, "is a folder")
        if target.exists() and not target.is_file():
            raise OutputError(f"cannot write {path}: it is a device, not a file: choose another path")
        # Not tempfile: its files are private to the user (mode 600), and the final file would stay so.
        temporary = target.parent / f"{_temporary(target.name)}{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                if STAGED not in str(target):
                    os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except ValueError as error:
        raise OutputError(f"cannot write {path!r}: {error}: choose another name") from error
    except OSError as error:
        raise output_error(path, error) from error


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors (any shapes, also views of one another) and texts as safetensors, atomically.

    Raises OutputError if they cannot be stored or the file cannot be written.
    """
    write_atomic(path, tensor_bytes(tensors, metadata))


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of the file that `save_tensors` writes. Raises OutputError if it cannot hold them."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save

    try:
        # Clones: safetensors refuses tensors that share memory, such as slices or tied weights.
        copies = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        return _in_order(save(copies, dict(metadata or {})))
    except (SafetensorError, TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise OutputError(f"safetensors holds dense tensors by name, and texts: {error}") from error


def _in_order(data: bytes) -> bytes:
    """The content of a safetensors file with its texts in order; safetensors has them by chance."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    texts = header.pop("__metadata__", {})
    if len(texts) < 2:
        return data
    head = json.dumps({"__metadata__": dict(sorted(texts.items())), **header}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # as safetensors does, so that tensors are aligned
    return len(head).to_bytes(8, "little") + head + data[start:]


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote: the tensors (on the CPU) and the metadata. Raises FileError."""
    from safetensors import safe_open

    file = check_readable(path)
    damaged = ("is not a whole safetensors file", "it is damaged or cut off; make it again")
    with (
        refusing(file, FileError, *damaged),
        safe_open(str(file), framework="pt", device="cpu") as stored,
    ):
        # Clones: the file may be replaced or removed while the tensors live on.
        tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
        return tensors, dict(stored.metadata() or {})


def load_torch(path: str | Path, known: str = "") -> object:
    """What `torch.save` wrote, on the CPU: tensors, and texts, numbers, lists and dicts of them.

    No code is run. ``known`` is the SHA-256 of a file that may have the layout before torch 1.6. Raises
    FileError: damaged, of that layout, more than that, or tensors that take more memory than the file holds.
    """
    import torch

    file = check_readable(path)
    with file.open("rb") as stream:
        # Torch before 2.6 could be made to run code by files of the older layout even with weights_only
        # (CVE-2025-32434). Torch itself goes by these bytes; a zip archive may begin with anything.
        if stream.read(4) != b"PK\x03\x04" and sha256_of(file) != known:
            raise FileError(
                f"{file} is damaged, or of torch's layout before 1.6, which could run code: load it with "
                "weights_only=True in torch 2.6 or newer and save it again, best as .safetensors"
            )
    with refusing(file, FileError, "is damaged", "fetch it again"), warnings.catch_warnings():
        # torch warns of its own old storage classes; that is no news to the user
        warnings.simplefilter("ignore")
        try:
            content: object = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise FileError(
                f"{file} refused, since unpickling it could run code: save the tensor or state_dict() alone, "
                "best as .safetensors"
            ) from error
        # Strides of 0 make any size of a few bytes.
        if _dense_bytes(content) > max(SMALL, 2 * file.stat().st_size):
            raise FileError(f"{file} holds tensors that are larger than the file: save their .contiguous()")
    return content


def _dense_bytes(content: object) -> int:
    from torch import Tensor

    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, Mapping):
        return sum(map(_dense_bytes, content.values()))
    return sum(map(_dense_bytes, content)) if isinstance(content, list | tuple) else 0


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as JSON in its own order, atomically; numbers that are not finite become null.

    Holds dataclasses, mappings, sequences, paths, enums, NumPy values and tensors. Raises OutputError.
    """
    try:
        text = json.dumps(plain_json(value), indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    # A file name that is not UTF-8 holds lone surrogates; \udc80 is also how JSON escapes them.
    write_atomic(path, (text + "\n").encode("utf-8", "backslashreplace"))


def plain_json(value: object) -> object:
    """The value as JSON can hold it, as `write_json` writes it. Raises TypeError."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if callable(tolist := getattr(value, "tolist", None)):  # tensors, NumPy's arrays and numbers
        return plain_json(tolist())
    return _simple(value, plain_json)


def _simple(value: object, inner: Callable[[object], Any]) -> Any:  # noqa: ANN401, PLR0911
    """Texts, numbers, paths, enums, dataclasses, mappings and sequences as JSON has them; their parts are
    given to ``inner``. Raises TypeError for anything else.
    """
    if isinstance(value, Enum):
        return inner(value.value)
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: inner(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [inner(item) for item in value]
    if not isinstance(value, Mapping):
        raise TypeError(f"JSON cannot hold a {type(value).__name__}: {value!r:.80}")
    plain: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str | int) or isinstance(key, bool) or str(key) in plain:
            raise TypeError(f"JSON cannot hold the key {key!r:.80}: it is no text, or is there twice")
        plain[str(key)] = inner(item)
    return plain


def read_json(path: str | Path) -> Any:  # noqa: ANN401
    """Read a JSON file (UTF-8). Raises FileError naming the place of a mistake."""
    file = check_readable(path)
    with refusing(file, FileError, "is not valid JSON", "mend it or make it again"):
        return json.loads(file.read_bytes().decode("utf-8-sig"))


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes (64 hex digits). Raises FileError."""
    file = Path(path)
    digest = hashlib.sha256()
    try:
        if not file.is_file():  # a device may have no end
            raise FileError(f"{file} cannot be read: it does not exist, or is no file")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except (OSError, ValueError) as error:
        raise FileError(f"{file} cannot be read: {error}") from error
    return digest.hexdigest()


def is_temporary(path: Path, of: Collection[str] = ()) -> bool:
    """Whether a killed process has left this half-written, be it for any file or for one of these names."""
    return path.name.startswith(tuple(map(_temporary, of)) or _TEMPORARY) and path.suffix == ".tmp"


def _temporary(name: str) -> str:
    return f"{_TEMPORARY}{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}-"


def fingerprint(facts: object) -> str:
    """SHA-256 (64 hex digits) of `canonical(facts)`: equal for equal facts, in any order of keys.

    Raises ConfigError: the facts hold something that has no canonical form.

    >>> fingerprint({"steps": 3, "size": (8, 8)}) == fingerprint({"size": [8, 8], "steps": 3})
    True
    """
    return hashlib.sha256(_text(canonical(facts)).encode("ascii")).hexdigest()


def canonical(facts: object) -> Any:  # noqa: ANN401
    """Facts as plain JSON that tells them apart.

    Tensors and arrays become their dtype, shape and hash, dataclasses keep the name of their class, and
    numbers that are not finite become texts. Raises ConfigError for what is no fact (a function, say).
    """
    if isinstance(facts, float) and not math.isfinite(facts):
        return {"float": str(float(facts))}
    if isinstance(facts, bytes):
        return {"bytes": hashlib.sha256(facts).hexdigest()}
    # Asked of sys.modules: who holds a tensor has imported torch, and nobody else has to.
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(facts, torch.Tensor):
        flat = facts.detach().cpu().contiguous().as_strided((facts.numel(),), (1,))
        content = flat.view(torch.uint8).numpy()
        return {"tensor": [str(facts.dtype), list(facts.shape), hashlib.sha256(content).hexdigest()]}
    if numpy is not None and isinstance(facts, numpy.generic):
        return canonical(facts.item())
    if numpy is not None and isinstance(facts, numpy.ndarray) and not facts.dtype.hasobject:
        content = numpy.ascontiguousarray(facts).reshape(-1).view(numpy.uint8)
        return {"array": [str(facts.dtype), list(facts.shape), hashlib.sha256(content).hexdigest()]}
    try:
        found = _simple(facts, canonical)
    except TypeError as error:
        raise ConfigError(f"{facts!r:.80} is no fact that can be named: {error}") from error
    return {"type": type(facts).__name__, **found} if dataclasses.is_dataclass(facts) else found


def differences(theirs: object, mine: object, name: str = "") -> list[str]:
    """The names of the facts (both canonical) that differ, as "command.seed"."""
    if isinstance(theirs, Mapping) and isinstance(mine, Mapping):
        found = [f"{name}.{key}" if name else key for key in sorted(theirs.keys() ^ mine.keys())]
        for key in sorted(theirs.keys() & mine.keys()):
            found += differences(theirs[key], mine[key], f"{name}.{key}" if name else key)
        return sorted(found)
    # As texts: True == 1 and 0.0 == -0.0, and yet they differ.
    return [] if _text(theirs) == _text(mine) else [name or "facts"]


def _text(facts: object) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))
