"""A lock file: one process at a time, and a lock whose process has died is taken over."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path

from netinvert.errors import OutputError
from netinvert.io.files import output_error

_WRITING_SECONDS = 60.0  # a lock file that is empty for longer was left by a crash, not just made


class Lock:
    """The file `path`, made by `acquire`, holding this process's number, start time and host."""

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self.path = path
        self._held = False

    def acquire(self) -> None:
        """Make the lock file. Raises OutputError if a living process holds it or it cannot be made."""
        try:
            while not self._create():
                self._remove_stale()
        except OSError as error:
            raise output_error(self.path, error) from error
        self._held = True

    def release(self) -> None:
        """Remove the lock file if this object made it."""
        if self._held:
            self._held = False
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(_owner(os.getpid()))
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        return True

    def _remove_stale(self) -> None:
        try:
            owner = self.path.read_text(encoding="utf-8", errors="replace")
            age = time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return  # released in the meantime
        if _alive(owner, age):
            raise OutputError(
                f"another process writes there ({owner.strip() or 'just started'}): wait for it, choose "
                f"another folder, or delete {self.path} if that process is gone"
            )
        # Of several processes that see the same dead lock only one can rename it; one that comes late
        # would rename the winner's new lock, sees so by its content, and puts it back.
        taken = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            self.path.rename(taken)
        except FileNotFoundError:
            return
        if taken.read_text(encoding="utf-8", errors="replace") == owner:
            taken.unlink()
        else:
            taken.rename(self.path)


def _owner(pid: int) -> str:
    return f"process {pid} started {_start_time(pid)} on {socket.gethostname()}\n"


def _start_time(pid: int) -> str:
    """Return the process's start in clock ticks since boot, "unknown" where there is no /proc.

    Numbers of processes are used again, in containers nearly always; with the start time they are unique.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "unknown"


def _alive(owner: str, age: float) -> bool:
    words = owner.split()
    if len(words) < 6:
        return age < _WRITING_SECONDS
    if words[5] != socket.gethostname():
        return True  # cannot be told from here
    try:
        pid = int(words[1])
    except ValueError:
        return True
    return _exists(pid) and _start_time(pid) == words[3]


def _exists(pid: int) -> bool:
    if os.name == "nt":
        return True  # there, os.kill(pid, 0) would interrupt the process instead of asking
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
