"""The directory of one run: published whole or not at all, and resumed by the same command."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from netinvert.errors import OutputError
from netinvert.io.files import (
    FileError,
    canonical,
    differences,
    fingerprint,
    inside,
    is_temporary,
    output_error,
    read_json,
    sha256_of,
    write_json,
)
from netinvert.io.folders import InUseError, bring_to_disk, names_in, remove_directory, remove_half_written
from netinvert.io.manifest import MANIFEST, files_of

FORMAT = 2
"""Of the entry "run" of manifests; 1 had none."""
_MARKER = "run.json"
_ANEW = "--overwrite (in Python overwrite=True)"


class FinishedError(OutputError):
    """The directory holds this very run, complete and unchanged: there is nothing to do."""


class RunDir:
    """The directory `out` of a run, as a context manager; `facts` are all that its results depend on.

    Everything that can be refused is refused on entering, before any work. Files are written to
    `path(name)`; `commit` publishes them. What takes long is kept as cells (`netinvert.io.cells`) and
    checkpoints, which survive whatever stops the run: the same facts find them again.

    Staged (the default), files wait in a hidden directory beside `out` and are moved there all at once;
    an older run is replaced (`overwrite`) only then. With `staged=False`, for datasets, caches and
    trainings, they are in `out` from the start, and the manifest comes last; such a directory is never
    overwritten, and a complete one may be entered again, to mend it.

    Raises:
        FinishedError: on entering; `out` is staged, complete, and of the same facts.
        InUseError: on entering; another process is in it.
        OutputError: on entering; `out` is a file, holds foreign files or another run, or cannot be written.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "out"
        >>> with RunDir(out, {"command": "greet", "name": "Ada"}) as run:
        ...     _ = run.path("greeting.txt").write_text("Hello, Ada")
        ...     _ = run.commit({"greeted": "Ada"})
        >>> sorted(path.name for path in out.iterdir())
        ['greeting.txt', 'manifest.json']
    """

    def __init__(self, out: str | Path, facts: object, overwrite: bool = False, staged: bool = True) -> None:
        from filelock import FileLock

        try:
            self.out = Path(os.path.realpath(out))
        except ValueError as error:
            raise OutputError(f"cannot write {out!r}: {error}: choose another name") from error
        if not self.out.name and staged:
            raise OutputError(f"{self.out} is a whole disk: choose a directory inside it")
        self.facts, self.identity = canonical(facts), fingerprint(facts)
        self.overwrite, self.staged = overwrite, staged
        self._entry = {"format": FORMAT, "identity": self.identity, "staged": staged, "facts": self.facts}
        self.resumes = False
        """Whether a stopped run of the same facts has left cells or checkpoints."""
        self.published: Mapping[str, str] = {}
        """Of a complete directory that is entered again: its files and their SHA-256."""
        place = self.out.parent if staged else self.out
        self._work = place / (f".{self.out.name}.partial" if staged else ".netinvert")
        self._replaced = place / f".{self.out.name}.netinvert-replaced"
        self._lock = FileLock(place / f"{self._work.name}.lock", thread_local=False)
        self._files = self._work / "files" if staged else self.out
        self._checkpoints = self._work / "checkpoints"
        self.cells = self._work / "cells"
        """Where `netinvert.io.cells` keeps the cells."""
        self._made: list[Path] = []
        self._inside = self._keep_all = False

    # -- for those who use it ----------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """Where to write the file `name` ("images/a.png"); its directory is made.

        Raises OutputError for names that leave the directory, are hidden, or are the manifest's.
        """
        parts = Path(name).parts
        foreign = not parts or Path(name).anchor or name.endswith("/") or parts == (MANIFEST,)
        if foreign or any(part.startswith(".") for part in parts):
            raise OutputError(f"{name!r} is no name for a file in {self.out}: choose another")
        path = inside(self._files, name, OutputError)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write {name!r} into {self.out}: {error}: choose another") from error
        return path

    def checkpoint(self, key: object, suffix: str = ".safetensors") -> Path:
        """Where the unfinished piece of work `key` keeps its state; it never reaches `out`."""
        return self._checkpoints / f"{fingerprint(key)}{suffix}"

    def require_space(self, needed: float) -> None:
        """Raise OutputError if the disk has less than `needed` bytes free."""
        free = shutil.disk_usage(self._work).free
        if needed > free:
            raise OutputError(
                f"{self.out} needs about {needed / 1e9:.1f} GB more and its disk has {free / 1e9:.1f} GB "
                "free: choose another disk, or make less"
            )

    def files(self) -> dict[str, str]:
        """The files so far and their SHA-256, by name; without the manifest and what is hidden.

        Raises OutputError, FileError.
        """
        try:
            names = sorted(names_in(self._files, hidden=False) - {MANIFEST})
        except OSError as error:
            raise output_error(self.out, error) from error
        return {name: sha256_of(self._files / name) for name in names}

    def commit(self, manifest: Mapping[str, object] | None = None) -> Path:
        """Write the manifest and publish; gives `out`. To `manifest` come "run", "files", "contents".

        Raises OutputError; an old run is then where it was, and the finished files stay beside it.
        """
        if not self._inside:
            raise OutputError(f"{self.out} is not being written: commit once, inside the with block")
        self._keep_all = True
        # Always these: they say which files are the run's own and may be replaced.
        try:
            facts = {**(manifest or {}), "run": self._entry, **files_of(self._files)}
            write_json(self._files / MANIFEST, facts)
            if self.staged:
                bring_to_disk(self._files)
                self._check_out()
                self._move_into_place()
        except (OSError, OutputError) as error:
            said = output_error(self.out, error) if isinstance(error, OSError) else error
            raise OutputError(f"{said} (the finished files are kept in {self._files})") from error
        self._inside = False
        remove_directory(self._work, _MARKER)
        remove_directory(self._replaced, MANIFEST)
        self._leave()
        return self.out

    def __enter__(self) -> RunDir:
        """Check, lock, and find what a stopped run has left."""
        if self._inside:
            raise OutputError(f"{self.out} is being written already: make another RunDir")
        self._keep_all = False
        try:
            self._check_out()
            for directory in reversed([self._work.parent, *self._work.parent.parents]):
                if not directory.exists():
                    directory.mkdir(exist_ok=True)
                    self._made.append(directory)
                elif not directory.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, "not a directory")
            self._acquire()
            # After a crash in the middle of `commit`: bring the old run back, or finish removing it.
            if self.staged and _manifest_of(self._replaced) is not None:
                if self.out.exists():
                    remove_directory(self._replaced, MANIFEST)
                else:
                    self._replaced.replace(self.out)
            self._check_out()  # again: now nobody else is at it
            self._take_up()
        except BaseException as error:
            self._leave()
            if isinstance(error, OSError):
                raise output_error(self.out, error) from error
            raise
        self._inside = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not committed, except cells and checkpoints."""
        if self._inside:
            self._inside = False
            if not self._keep_all:
                with contextlib.suppress(OSError):  # so that no other error is hidden
                    self._discard()
            self._leave()

    # -- what is in the way ------------------------------------------------------------------------------

    def _check_out(self) -> None:
        if not os.path.lexists(self.out):
            return
        if not self.out.is_dir():
            raise OutputError(f"{self.out} is a file: choose a directory")
        try:
            names = {entry.name for entry in self.out.iterdir()} - {".DS_Store"}
            movable = not os.path.ismount(self.out) and not Path.cwd().is_relative_to(self.out)
        except OSError as error:
            raise output_error(self.out, error) from error
        if self.staged and not movable:
            raise OutputError(
                f"{self.out} is a mounted disk or the current directory and cannot be replaced as a "
                f"whole: choose a directory inside it, such as {self.out / 'run'}"
            )
        if self.staged and names:
            self._check_staged()
        elif names - {self._work.name, Path(self._lock.lock_file).name}:
            self._check_growing()

    def _check_staged(self) -> None:
        manifest = _manifest_of(self.out)
        if manifest is None:
            lost = _some(names_in(self.out))
            raise OutputError(
                f"{self.out} holds files that are not of a run ({lost}): choose another directory"
            )
        if not manifest["run"].get("staged"):
            raise OutputError(f"{self.out} holds a dataset, cache or training: choose another directory")
        if self.overwrite:
            foreign = names_in(self.out) - {*manifest["files"], MANIFEST, ".DS_Store"}
            if foreign := {name for name in foreign if not is_temporary(Path(name))}:
                raise OutputError(
                    f"{self.out} holds files that are not of the run ({_some(foreign)}): choose another "
                    "directory"
                )
            return
        if manifest["run"]["identity"] != self.identity:
            raise OutputError(f"{self.out} holds another run; choose another directory or {_ANEW}")
        for name, sha256 in manifest["files"].items():
            with contextlib.suppress(FileError):
                if sha256_of(self.out / name) == sha256:
                    continue
            raise OutputError(
                f"{self.out} holds this run, but {name} is missing or was changed: {_ANEW} to "
                "make it again, or choose another directory"
            )
        mine = (_marker_of(self._work) or {}).get("identity") == self.identity
        if self._lock.is_locked and (mine or _is_bare(self._work)):
            remove_directory(self._work, _MARKER)  # left by a crash just after publishing
        left = (self._work, self._replaced, self._lock.lock_file)
        if self._lock.is_locked or not any(os.path.lexists(path) for path in left):
            raise FinishedError(
                f"{self.out} holds this run, complete: nothing to do ({_ANEW} makes it again)"
            )

    def _check_growing(self) -> None:
        manifest = _manifest_of(self.out)
        found = _marker_of(self._work) or (manifest or {}).get("run")
        if found is None or found.get("staged"):
            raise OutputError(f"{self.out} holds other files: choose another directory")
        if found["identity"] != self.identity:
            raise OutputError(
                f"{self.out} holds something else ({self._differing(found)}): give the same settings to go "
                "on with it, choose another directory, or delete it"
            )
        self.published = manifest["files"] if manifest is not None else {}

    def _differing(self, found: Mapping[str, Any]) -> str:
        return f"different {_some(differences(found.get('facts'), self.facts)) or 'settings'}"

    # -- steps of entering and leaving -------------------------------------------------------------------

    def _acquire(self) -> None:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            who = (_marker_of(self._work) or {}).get("process", "which has just started")
            raise InUseError(
                f"another process writes {self.out} ({who}): wait for it or choose another directory"
            ) from None

    def _take_up(self) -> None:
        work = self._work
        if os.path.lexists(work):
            if work.is_symlink() or not work.is_dir():
                raise OutputError(f"{work} is in the way: remove it")
            marker = _marker_of(work)
            # Nothing but a half-written marker: killed in its first moment.
            if marker is None and not _is_bare(work):
                raise OutputError(f"{work} is in the way and holds no run: remove it")
            if marker is not None and marker["identity"] != self.identity:
                if not self.overwrite or not self.staged:
                    raise OutputError(
                        f"an unfinished run with other settings is in {work} ({self._differing(marker)}): "
                        f"give its settings to resume it, choose another directory, or {_ANEW}"
                    )
                remove_directory(work, _MARKER)
            elif self.staged:
                shutil.rmtree(work / "files", ignore_errors=True)
        work.mkdir(exist_ok=True)
        try:
            write_json(work / _MARKER, {**self._entry, "process": f"{os.getpid()} on {socket.gethostname()}"})
        except BaseException:
            if not (work / _MARKER).exists():
                remove_directory(self._work, _MARKER)
            raise
        for place in (work, self.cells, self._checkpoints, self._files):
            inside(work.parent, os.path.relpath(place, work.parent), OutputError).mkdir(exist_ok=True)
            remove_half_written(place)
        self.resumes = self._has_pieces()

    def _has_pieces(self) -> bool:
        places = (self.cells, self._checkpoints)
        return any(place.is_dir() and any(place.iterdir()) for place in places)

    def _move_into_place(self) -> None:
        replaces = self.out.exists()
        try:
            if replaces:
                self.out.replace(self._replaced)
            self._files.replace(self.out)
        except BaseException:
            if replaces and self._replaced.exists() and not self.out.exists():
                self._replaced.replace(self.out)
            raise

    def _discard(self) -> None:
        # Of a complete directory that was entered again, the manifest knows the files.
        complete = not self.staged and _manifest_of(self.out) is not None
        begun = not self.staged and bool(names_in(self.out, hidden=False))
        if complete or not (begun or self._has_pieces()):
            remove_directory(self._work, _MARKER)
        elif self.staged:
            shutil.rmtree(self._files, ignore_errors=True)

    def _leave(self) -> None:
        if self._lock.is_locked:
            # While it is held, so that nobody's lock is removed but ours.
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink()
            self._lock.release()
        while self._made:
            with contextlib.suppress(OSError):  # not empty: the run, or what is left to resume, is in it
                self._made[-1].rmdir()
            self._made.pop()


def _manifest_of(directory: Path) -> dict[str, Any] | None:
    """The manifest of a run of ours, which may be overwritten; None if it is not one."""
    found = _read(directory / MANIFEST)
    run, files = found.get("run"), found.get("files")
    if not isinstance(files, dict) or not isinstance(run, dict) or run.get("format") != FORMAT:
        return None
    # What any program may call manifest.json does not have this.
    return found if run.get("identity") == fingerprint(run.get("facts")) else None


def _marker_of(work: Path) -> dict[str, Any] | None:
    found = _read(work / _MARKER)
    return found if isinstance(found.get("identity"), str) else None


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileError):
        found = read_json(path)
        return found if isinstance(found, dict) else {}
    return {}


def _is_bare(work: Path) -> bool:
    """Whether a work directory holds nothing: made, or removed but for itself, by a run that was killed."""
    return work.is_dir() and all(is_temporary(entry) for entry in work.iterdir())


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
