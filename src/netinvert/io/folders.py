"""The folder of one run: complete or absent, and a stopped run can be taken up again."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from types import TracebackType

from netinvert.errors import ConfigError, NetinvertError, OutputError
from netinvert.io.files import output_error, read_json, write_atomic
from netinvert.io.locks import Lock

CHECKPOINT = "checkpoint.safetensors"
MANIFEST = "manifest.json"
_RUN_ID = "run.id"


class OutputFolder:
    """Stages a run's files beside `path` and moves them there by `commit`, all at once.

    Use as a context manager. Everything that can be refused is refused on entering, before any work:
    OutputError if `path` is a file, holds other files, holds a run and `overwrite` is not set, cannot
    be written, or is being written by another process. Leaving without `commit` removes what was
    staged, except a checkpoint, with which a run of the same `run_id` can go on.
    """

    def __init__(self, path: str | Path, run_id: str, overwrite: bool = False) -> None:
        """Touch nothing yet; `run_id` names the settings, so that only the same run is taken up again."""
        if not run_id.strip() or run_id != run_id.strip():
            raise ConfigError(f"a run id is a text without spaces around it, got {run_id!r}")
        self.path = Path(os.path.realpath(path))
        self.run_id = run_id
        self.overwrite = overwrite
        if not self.path.name:
            raise OutputError(f"{self.path} is a whole disk: choose a folder inside it")
        self._staging = self.path.with_name(f".{self.path.name}.partial")
        self._replaced = self.path.with_name(f".{self.path.name}.netinvert-replaced")
        self._lock = Lock(self.path.with_name(f".{self.path.name}.lock"))
        self._made_parents: list[Path] = []
        self._inside = False
        self._resumes = False
        self._commit_failed = False

    @property
    def staging(self) -> Path:
        """The hidden folder to write the run's files into."""
        return self._staging

    @property
    def checkpoint(self) -> Path:
        """Where the run keeps its checkpoint; it survives a stop and never reaches `path`."""
        return self._staging / CHECKPOINT

    def checkpoint_of(self, part: str) -> Path:
        """The same for a part of the run: done, or at work."""
        return self._staging / f"checkpoint-{part}.safetensors"

    @property
    def resumes(self) -> bool:
        """Whether a stopped run of the same id left a checkpoint to go on from."""
        return self._resumes

    def __enter__(self) -> OutputFolder:
        """Check, lock and make the staging folder."""
        if self._inside:
            raise OutputError(f"{self.path} is being written already: make another OutputFolder")
        self._commit_failed = False
        try:
            self._check_target()
            self._make_parents()
            self._lock.acquire()
            self._restore_replaced()
            self._check_target()  # again: now nobody else is at it
            self._stage()
        except BaseException as error:
            self._leave()
            if isinstance(error, OSError):
                raise output_error(self.path, error) from error
            raise
        self._inside = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not committed, except a checkpoint."""
        if self._inside:
            self._inside = False
            if not self._commit_failed:
                self._discard(keep_checkpoint=True)
            self._leave()

    def commit(self) -> None:
        """Move the staged files to `path`, replacing the old run there.

        Raises OutputError; the old run is then where it was, and the finished files stay in `staging`.
        """
        if not self._inside:
            raise OutputError(f"{self.path} is not being written: commit once, inside the with block")
        self._commit_failed = True
        try:
            self._check_target()
            self._move_into_place()
        except OSError as error:
            raise OutputError(f"{output_error(self.path, error)} ({self._kept})") from error
        except OutputError as error:
            raise OutputError(f"{error} ({self._kept})") from error
        self._commit_failed = False
        self._inside = False
        # Removed only now: until the move has succeeded, the checkpoint is the run's insurance.
        for left in (*self._checkpoints(self.path), self.path / _RUN_ID):
            with contextlib.suppress(OSError):
                left.unlink()
        shutil.rmtree(self._replaced, ignore_errors=True)
        self._leave()

    @property
    def _kept(self) -> str:
        return f"the finished files are kept in {self._staging}"

    def _move_into_place(self) -> None:
        replaces = self.path.exists()
        try:
            if replaces:
                self.path.replace(self._replaced)
            self._staging.replace(self.path)
        except BaseException:
            if replaces and self._replaced.exists() and not self.path.exists():
                self._replaced.replace(self.path)
            raise

    def _check_target(self) -> None:
        if not os.path.lexists(self.path):
            return
        if not self.path.is_dir():
            raise OutputError(f"{self.path} is a file: choose a folder")
        try:
            if os.path.ismount(self.path) or Path.cwd().is_relative_to(self.path):
                raise OutputError(
                    f"{self.path} is a mounted disk or the current folder and cannot be replaced as a "
                    f"whole: choose a folder inside it, such as {self.path / 'run'}"
                )
            names = {entry.name for entry in self.path.iterdir()}
        except OSError as error:
            raise output_error(self.path, error) from error
        if not names:
            return
        if not _is_run(self.path, names):
            raise OutputError(f"{self.path} holds files that are not of a run: choose another folder")
        if not self.overwrite:
            raise OutputError(f"{self.path} holds another run; choose another folder or --overwrite")

    def _make_parents(self) -> None:
        missing = [parent for parent in self.path.parents if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            self._made_parents.append(parent)

    def _restore_replaced(self) -> None:
        """Mend a crash in the middle of `commit`: bring the old run back, or finish removing it."""
        if not self._replaced.is_dir():
            return
        if not self.path.exists():
            self._replaced.replace(self.path)
        else:
            shutil.rmtree(self._replaced)

    def _stage(self) -> None:
        marker = self._staging / _RUN_ID
        if os.path.lexists(self._staging):
            if self._staging.is_symlink() or not self._staging.is_dir():
                raise OutputError(f"{self._staging} is in the way: remove it")
            found = marker.read_text(encoding="utf-8", errors="replace").strip() if marker.is_file() else None
            if found is None and any(self._staging.iterdir()):
                raise OutputError(f"{self._staging} is in the way and holds no run: remove it")
            if found not in (None, self.run_id) and not self.overwrite:
                raise OutputError(
                    f"an unfinished run with other settings is there ({self._staging}): go on with its "
                    "settings, choose another folder, or --overwrite"
                )
            self._discard(keep_checkpoint=found == self.run_id)
        self._staging.mkdir(exist_ok=True)
        self._resumes = bool(self._checkpoints())
        try:
            write_atomic(marker, f"{self.run_id}\n".encode())
        except BaseException:
            with contextlib.suppress(OSError):  # not empty: it holds a checkpoint, which stays
                self._staging.rmdir()
            raise

    def _checkpoints(self, folder: Path | None = None) -> list[Path]:
        """The files in the staging folder that a run can go on from."""
        found = (folder or self._staging).glob("checkpoint*.safetensors")
        return [path for path in found if path.is_file()]

    def _discard(self, keep_checkpoint: bool) -> None:
        """Empty and remove the staging folder; nothing is raised, so that no other error is hidden."""
        kept = {path.name for path in self._checkpoints()} if keep_checkpoint else set()
        if not kept:
            shutil.rmtree(self._staging, ignore_errors=True)
            return
        for entry in self._staging.iterdir():
            if entry.name in {*kept, _RUN_ID}:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    entry.unlink()

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            self._lock.release()
        while self._made_parents:
            with contextlib.suppress(OSError):  # not empty: the run or its checkpoint is in it
                self._made_parents[-1].rmdir()
            self._made_parents.pop()


def _is_run(folder: Path, names: set[str]) -> bool:
    """Tell a run of ours, which may be overwritten, from a folder of the user's (a .git, say)."""
    if any(name.startswith(".") and name != ".DS_Store" for name in names):
        return False
    try:
        return isinstance(read_json(folder / MANIFEST), dict)
    except NetinvertError:
        return False
