"""Resident memory of this process in MB: now, and its peak since a moment of our choice (on Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from pathlib import Path

STATUS = Path("/proc/self/status")


def reset_peak() -> None:
    """Give freed memory back and let the peak start from here; elsewhere than on Linux nothing happens."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def resident() -> float:
    """What the process holds now."""
    return _status("VmRSS:")


def peak() -> float:
    """The most it held since :func:`reset_peak`."""
    return _status("VmHWM:")


def _status(name: str) -> float:
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
