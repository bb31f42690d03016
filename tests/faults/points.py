"""Faults before the n-th file operation of this process.

Counted are, below one folder: all that tells Python's audit hooks of itself (opening for writing; mkdir,
rename and replace, unlink, rmdir, link, symlink, truncate, chmod, listing; locking), `os.fsync`, and every
`write` of a file that Python opened. A kill or an error at a write comes when half of it is on the disk.
Not counted: what Rust and C++ open by themselves (safetensors reads so, and nothing of netinvert writes
so), `stat`, which changes nothing, and reading, which the fuzzers are for.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

KILLS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "pause": signal.SIGSTOP}
GROWING = ("open", "write", "os.fsync", "os.mkdir", "os.rename", "os.link", "os.symlink")
CHANGES = (*GROWING, "os.remove", "os.rmdir", "os.truncate", "os.chmod", "fcntl.flock")
FORBIDDEN = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.listdir")
ERRORS = {
    # What fails, and whether it goes on failing: a disk stays full, a block is bad once.
    "ENOSPC": (errno.ENOSPC, GROWING, True),
    "EIO": (errno.EIO, (*CHANGES, "os.listdir"), False),
    "EACCES": (errno.EACCES, FORBIDDEN, True),
}
KILLED = (None, CHANGES, False)
FAULTS = (*KILLS, *ERRORS)
NOWHERE = 1 << 60
_EVENTS = {
    "os.mkdir": (0, 2),
    "os.rename": (1, 3),
    "os.remove": (0, 1),
    "os.rmdir": (0, 1),
    "os.link": (1, 3),
    "os.symlink": (1, 2),
    "os.truncate": (0, None),
    "os.chmod": (0, 2),
    "os.listdir": (0, None),
    "os.scandir": (0, None),
    "fcntl.flock": (0, None),
}
"""Where the arguments of an audit event have the path, or a descriptor, and the descriptor of its folder."""


def points_of(fault: str, met: Mapping[str, int]) -> int:
    """How many of the operations that were met a fault can strike."""
    return sum(met.get(event, 0) for event in ERRORS.get(fault, KILLED)[1])


class Points:
    """Counts the operations below `root` that a fault of this kind can strike, and strikes at number `at`.

    Once made, it stays until the process ends.
    """

    def __init__(self, root: Path, fault: str, at: int) -> None:
        self.root, self.fault, self.at = os.path.realpath(root), fault, at
        self.count, self.met, self.inside = 0, Counter(), False
        sys.addaudithook(self._audit)
        for module, name in ((builtins, "open"), (io, "open"), (Path, "open")):
            setattr(module, name, self._opening(getattr(module, name)))
        os.fsync = self._syncing(os.fsync)

    def reach(self, event: str, half: Callable[[], object] = lambda: None) -> None:
        """Before an operation; `half` does half of it."""
        self.met[event] += 1
        number, events, lasting = ERRORS.get(self.fault, KILLED)
        if event not in events:
            return
        self.count += 1
        if self.count < self.at or (self.count > self.at and not lasting):
            return
        if self.count == self.at and self.fault not in ("term", "pause"):  # after which it goes on
            half()
        if number is not None:
            raise OSError(number, os.strerror(number))
        os.kill(os.getpid(), KILLS[self.fault])

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self._below(path):
                self.reach(event)
        elif event in _EVENTS and (event != "fcntl.flock" or arguments[1] != fcntl.LOCK_UN):
            place, folder = _EVENTS[event]
            if self._below(arguments[place], None if folder is None else arguments[folder]):
                self.reach("os.listdir" if event == "os.scandir" else event)

    def _below(self, path: Any, folder: int | None = None) -> bool:
        if self.inside:
            return False
        self.inside = True  # of what is asked here
        try:
            if isinstance(path, int):
                path = Path(f"/proc/self/fd/{path}").readlink()
            base = Path.cwd() if folder in (None, -1) else Path(f"/proc/self/fd/{folder}").readlink()
            return os.path.normpath(base / os.fsdecode(path)).startswith(self.root + os.sep)
        except (OSError, TypeError):
            return False
        finally:
            self.inside = False

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(*args: Any, **kwargs: Any) -> Any:
            file = real(*args, **kwargs)
            if file.writable() and not hasattr(file, "whole_write") and self._below(file.fileno()):
                file.whole_write = whole = file.write

                def write(data: Any) -> int:
                    self.reach("write", lambda: (whole(data[: len(data) // 2]), file.flush()))
                    return whole(data)

                file.write = write
            return file

        return opened

    def _syncing(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            if self._below(descriptor):
                self.reach("os.fsync")
            real(descriptor)

        return fsync
