"""Files that are whole or absent: atomic writes, tensors, JSON, codes, checksums.

Torch and NumPy are loaded by what needs them: JSON and bytes are wanted before any network is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import pickle
import secrets
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinvert.errors import CodeError, ConfigError, NetinvertError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

Tell = Callable[[str], None]
"""Says a line to the user."""
_REASONS = {
    errno.ENOSPC: "the disk is full: free some space or choose another disk",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another disk",
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


def make_directory(path: Path) -> None:
    """Make it where it is not there. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


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


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write `data` so that `path` holds either all of it or what it held before.

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
        temporary = target.parent / f".netinvert-{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
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
        return save(copies, dict(metadata or {}))
    except (SafetensorError, TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise OutputError(f"safetensors holds dense tensors by name, and texts: {error}") from error


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote: the tensors (on the CPU) and the metadata. Raises FileError."""
    from safetensors import SafetensorError, safe_open

    file = check_readable(path)
    try:
        with safe_open(str(file), framework="pt", device="cpu") as stored:
            # Clones: the file may be replaced or removed while the tensors live on.
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
            return tensors, dict(stored.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise FileError(
            f"{file} is not a whole safetensors file ({error}): it is damaged or cut off; make it again"
        ) from error


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
    try:
        return json.loads(file.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise FileError(f"{file} is not valid JSON ({error}): mend it or make it again") from error


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes (64 hex digits). Raises FileError."""
    file = Path(path)
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except (OSError, ValueError) as error:
        raise FileError(f"{file} cannot be read: {error}") from error
    return digest.hexdigest()


def is_temporary(path: Path) -> bool:
    """Whether a file is one that a killed process has left half-written."""
    return path.name.startswith(".netinvert-") and path.suffix == ".tmp"


def names_in(directory: Path, hidden: bool = True) -> set[str]:
    """All files below a directory by their names from there; links to directories count as files."""
    found = set()
    for entry in os.scandir(directory):
        if hidden or not entry.name.startswith("."):
            below = names_in(Path(entry.path), hidden) if entry.is_dir(follow_symlinks=False) else None
            found |= {entry.name} if below is None else {f"{entry.name}/{name}" for name in below}
    return found


def remove_directory(directory: Path, last: str) -> None:
    """Remove a directory, its file `last` last: what a crash leaves is still known by it. Never raises."""
    with contextlib.suppress(OSError):
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != last:
                entry.unlink()
    shutil.rmtree(directory, ignore_errors=True)


def read_code(path: str | Path) -> Tensor:
    """Read a code of any shape as float32 from `.npy`, `.safetensors`, `.pt` or `.pth`; no code is run.

    Raises CodeError: missing, damaged, empty, not real numbers, NaN or Inf, several tensors.
    """
    import torch

    file = check_readable(path, CodeError)
    suffix = file.suffix.lower()
    if suffix == ".npy":
        code = _read_npy(file)
    elif suffix == ".safetensors":
        try:
            code = _the_code(file, load_tensors(file)[0])
        except FileError as error:
            raise CodeError(str(error)) from error
    elif suffix in {".pt", ".pth"}:
        code = _the_code(file, _read_pt(file))
    else:
        raise CodeError(
            f"{file}: a code is a .npy, .safetensors, .pt or .pth file; encode an image to get it"
        )
    if code.is_complex() or code.is_quantized or code.layout != torch.strided:
        raise CodeError(f"{file} holds {code.dtype} {code.layout}: save it as dense real numbers")
    if code.numel() == 0:
        raise CodeError(f"{file} holds an empty code of shape {tuple(code.shape)}: encode an image again")
    code = code.detach().to(torch.float32).contiguous()
    if bad := int((~torch.isfinite(code)).sum()):
        raise CodeError(
            f"{file}: {bad} of {code.numel()} values are NaN or infinite as float32: "
            "mend them (numpy.nan_to_num) or encode again"
        )
    return code


def _read_npy(file: Path) -> Tensor:
    import numpy as np
    import torch

    try:
        with np.errstate(over="ignore"):  # what overflows float32 is reported as infinite
            array = np.load(file, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                array.close()
                raise CodeError(f"{file} is an .npz archive: save one array with numpy.save")
            if array.dtype.kind not in "biuf":
                raise CodeError(f"{file} holds {array.dtype}: save real numbers, such as float32")
            return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise CodeError(
            f"{file} is not a whole .npy file of numbers ({error}): save the code again"
        ) from error


def _read_pt(file: Path) -> object:
    import torch

    # torch before 2.6 could be made to run code by files of the older layout even with weights_only
    # (CVE-2025-32434); every torch since 1.6 writes zip archives, so nothing else is opened.
    if not zipfile.is_zipfile(file):
        raise CodeError(f"{file} is damaged or of an old layout: save the code again with numpy.save")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CodeError(
            f"{file} holds more than tensors, which could run code: save the tensor alone"
        ) from error
    except Exception as error:  # torch raises nearly anything on a damaged archive
        raise CodeError(f"{file} is damaged ({error}): save the code again with numpy.save") from error


def _the_code(file: Path, stored: object) -> Tensor:
    from torch import Tensor

    if isinstance(stored, Tensor):
        return stored
    if isinstance(stored, list | tuple) and len(stored) == 1:
        return _the_code(file, stored[0])
    if not isinstance(stored, Mapping):
        several = f" of {len(stored)}: torch.stack them, or" if isinstance(stored, list | tuple) else ":"
        raise CodeError(f"{file} holds a {type(stored).__name__}{several} save one tensor")
    tensors = {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
    if isinstance(stored.get("code"), Tensor | list | tuple):
        return _the_code(file, stored["code"])
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    names = ", ".join(sorted(tensors)[:8]) + (", …" if len(tensors) > 8 else "")
    raise CodeError(f'{file} holds {len(tensors)} tensors ({names}): name the code "code", or save it alone')


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
        content = facts.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
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
