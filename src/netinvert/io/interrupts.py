"""Ctrl-C and SIGTERM that wait for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The work was stopped by Ctrl-C or SIGTERM; the message says how to resume it."""


class Interrupt:
    """Whether Ctrl-C or SIGTERM has come; the handler of both signals."""

    def __init__(self, patient: bool = False) -> None:
        """`patient`: the second signal does not raise either."""
        self.pending = False
        self.patient = patient
        self._outer: Interrupt | None = None

    def __call__(self, number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
        """Note the signal here and in the blocks around; raises KeyboardInterrupt the second time."""
        again, self.pending = self.pending, True
        if self._outer is not None:
            self._outer.pending = True
        if again and not self.patient:
            raise KeyboardInterrupt

    def inside(self, outer: object) -> None:
        """Tell the block around, whose handler `outer` is, of signals too, and be as patient as it is."""
        if isinstance(outer, Interrupt):
            self._outer, self.patient = outer, outer.patient


@contextmanager
def deferred_interrupt(patient: bool = False) -> Iterator[Interrupt]:
    """Within, the first Ctrl-C or SIGTERM only sets `pending`, so that a step is finished; the second raises.

    Blocks may be nested: the inner one stops first, and the outer one knows. In other threads than the
    main one, which get no signals, nothing happens.
    """
    interrupt = Interrupt(patient)
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, interrupt)
        interrupt.inside(before[signal.SIGINT])
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
