"""How far a run is: a bar on a terminal, otherwise a line every ten seconds; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from netinvert.cli.console import note
from netinvert.inversion.history import StepInfo

SECONDS_BETWEEN_LINES = 10.0


class Reporter:
    """Loss, best code error and time left of a run in chunks, each of ``steps`` steps."""

    def __init__(self, chunks: int, steps: int, data_weight: float) -> None:
        self._chunks, self._steps, self._data_weight = chunks, steps, data_weight
        self._began = self._said = time.monotonic()
        self._made = 0  # steps in this session, from which the speed is told
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Reporter:
        if self._bar is not None:
            self._task = self._bar.add_task("at work", total=self._chunks * self._steps, figures="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def of_chunk(self, chunk: int) -> Callable[[StepInfo], None]:
        """The callback for this chunk's descent."""
        best: list[torch.Tensor] = []

        def callback(snapshot: StepInfo) -> None:
            values = snapshot.losses[0] / self._data_weight  # the data term comes first
            matched = snapshot.terms[0] == "code"
            values = values.sqrt() if matched else values
            best[:] = [torch.fmin(best[0], values) if best else values.clone()]
            self._made += 1
            done = chunk * self._steps + snapshot.step
            left = (self._chunks * self._steps - done) * (time.monotonic() - self._began) / self._made
            loss, error = snapshot.losses.sum(0).nanmean().item(), best[0].nanmean().item()
            what = "error" if matched else snapshot.terms[0]
            self._say(done, f"loss {loss:.4f}, best {what} {error:.3f}, {_duration(left)} left")

        return callback

    def _say(self, done: int, figures: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=figures)
        elif time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            note(f"step {done} of {self._chunks * self._steps}: {figures}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
