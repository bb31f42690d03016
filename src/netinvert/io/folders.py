"""Folders: what is in them, what crashes have left there, and one process at a time in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from netinvert.errors import NetinvertError, OutputError
from netinvert.io.files import inside, is_temporary, output_error, refusing

if TYPE_CHECKING:
    from filelock import FileLock


class InUseError(OutputError):
    """Another process is at it."""


@contextlib.contextmanager
def alone(lock: Path, what: Path, files: Collection[str] = ()) -> Iterator[None]:
    """Within, no other process that asks for the same `lock`, a file that is gone afterwards, writes `what`.

    What killed processes left half-written beside it is removed first: of all files, or of those with these
    names.

    Raises InUseError, or OutputError: the folder cannot be written; the lock is a link out of it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with alone(folder / ".lock", folder):
    ...     _ = (folder / "a.txt").write_text("a")
    >>> [path.name for path in folder.iterdir()]
    ['a.txt']
    """
    from filelock import FileLock, Timeout

    held = FileLock(inside(lock.parent, lock.name, OutputError), thread_local=False)
    with contextlib.ExitStack() as leaving:
        try:
            held.acquire(timeout=0)
            leaving.callback(_let_go, held)
            remove_half_written(lock.parent, files)
        except Timeout:
            raise InUseError(f"another process writes {what}: wait, or choose another place") from None
        except OSError as error:
            raise output_error(what, error) from error
        yield


def _let_go(held: FileLock) -> None:
    with contextlib.suppress(OSError):
        Path(held.lock_file).unlink()  # while it is held, so that nobody's is removed but ours
    held.release()


def remove_half_written(folder: Path, files: Collection[str] = ()) -> None:
    """Remove what killed processes have left half-written: of all files, or of those with these names."""
    for entry in list(folder.iterdir()):
        if is_temporary(entry, files):
            entry.unlink(missing_ok=True)


def set_damaged_aside(path: Path, error: NetinvertError) -> str:
    """Rename a file that is damaged, as `error` says, so that its work may be begun anew; gives a sentence.

    Raises the error where the file cannot be read, or cannot be renamed: it may be whole.
    """
    aside = path.with_name(f"{path.name}.damaged")
    if isinstance(error.__cause__, OSError):
        raise error
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        try:
            path.replace(aside)
        except FileNotFoundError:
            raise
        except OSError:
            raise error from None
    return f"{error} (kept as {aside.name})"


def names_in(directory: Path, hidden: bool = True) -> set[str]:
    """All files below a directory by their names from there; links to directories count as files."""
    found = set()
    for entry in os.scandir(directory):
        if hidden or not entry.name.startswith("."):
            below = names_in(Path(entry.path), hidden) if entry.is_dir(follow_symlinks=False) else None
            found |= {entry.name} if below is None else {f"{entry.name}/{name}" for name in below}
    return found


def paths_in(folder: Path, pattern: str, error: type[NetinvertError]) -> list[Path]:
    """What in a folder fits a pattern, ``**`` being all folders below, in order. Raises `error`, which names
    the folder, where its disk or permissions are in the way."""
    with refusing(folder, error, "cannot be read", "check its disk and permissions"):
        return sorted(folder.glob(pattern))


def visible_files(root: Path, below: bool = True) -> tuple[list[Path], list[str]]:
    """The files of a folder, and of the folders ``below`` it, that are not hidden, in the order of their
    paths; and which of those folders cannot be read. Raises OSError where the folder itself cannot."""
    errors: list[OSError] = []
    shown: list[Path] = []
    for place, folders, names in os.walk(root, onerror=errors.append):
        folders[:] = [name for name in folders if below and not name.startswith(".")]
        shown += (Path(place, name) for name in names if not name.startswith("."))
    for error in errors:
        if Path(error.filename) == root:
            raise error
    locked = sorted(Path(error.filename).relative_to(root).as_posix() for error in errors)
    return sorted(path for path in shown if path.is_file()), locked


def make_directory(path: Path) -> None:
    """Make it where it is not there. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def bring_to_disk(folder: Path) -> None:
    """Wait until all files below a folder are on the disk, as `os.fsync` does for one: in one call for their
    file system where there is one (Linux; before 5.8 it does not tell of errors). Raises OSError."""
    with contextlib.suppress(AttributeError):  # no such call
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            return
        finally:
            os.close(descriptor)
    for name in names_in(folder):
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())


def remove_directory(directory: Path, last: str) -> None:
    """Remove a directory, its file `last` last: what a crash leaves is still known by it. Never raises."""
    with contextlib.suppress(OSError):
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != last:
                entry.unlink()
    shutil.rmtree(directory, ignore_errors=True)
