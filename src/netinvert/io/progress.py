"""How far long work is: a bar on a terminal or in a notebook, otherwise a line every ten seconds."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_DRAWINGS = 0.2


class Progress:
    """How many of `total` pieces are done, what goes on inside a piece, and the time left.

    Use as a context manager. A bar on a terminal, a bar in a notebook, otherwise a line on stderr every
    ten seconds at most; nothing at all unless `show`.

    Example:
        >>> with Progress("images", total=3, show=False) as progress:
        ...     for index in range(3):
        ...         progress.inside(index, 0.5, "step 5 of 10")
        ...         progress.advance(index)
        >>> progress.done
        3
    """

    def __init__(self, what: str, total: int, show: bool = True) -> None:
        """`what` names the pieces in the plural."""
        self.what, self.total, self.show = what, total, show
        self.done = 0
        self._shares: dict[object, float] = {}
        self._text = ""
        self._display: _Display | None = None
        self._drawn = self._began = time.monotonic()
        self._first = 0.0

    def __enter__(self) -> Progress:
        """Begin to show, and to measure the time."""
        self._began, self._first = time.monotonic(), self.position
        if self.show:
            self._display = _display()
            self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._display is not None:
            self._display.close()
            self._display = None

    @property
    def position(self) -> float:
        """How many pieces are done, with the shares of those at work."""
        return self.done + sum(self._shares.values())

    @property
    def seconds_left(self) -> float | None:
        """From the speed since this block was entered; None before anything is done."""
        made = self.position - self._first
        if made <= 0:
            return None
        return max(self.total - self.position, 0.0) * (time.monotonic() - self._began) / made

    def advance(self, piece: object = None, text: str = "") -> None:
        """One more is done: `piece`, if `inside` has told of it."""
        self._shares.pop(piece, None)
        self.done += 1
        self._tell(text, final=self.done >= self.total)

    def update(self, done: int, text: str = "") -> None:
        """So many are done."""
        self.done = done
        self._tell(text, final=done >= self.total)

    def inside(self, piece: object, share: float, text: str = "") -> None:
        """`share` (0 to 1) of a piece is done; `text` says more ("step 120 of 300: error 0.31")."""
        self._shares[piece] = min(max(share, 0.0), 1.0)
        self._tell(text)

    def _tell(self, text: str, final: bool = False) -> None:
        self._text = text
        if final or time.monotonic() - self._drawn >= _SECONDS_BETWEEN_DRAWINGS:
            self._draw(final)

    def _draw(self, final: bool = False) -> None:
        if self._display is not None:
            self._drawn = time.monotonic()
            left = self.seconds_left
            texts = [self._text, "" if left is None or final else f"{duration(left)} left"]
            self._display.draw(self, ", ".join(filter(None, texts)), final)


def duration(seconds: float) -> str:
    """Seconds as "45 s", "3 min 05 s" or "2 h 07 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class _Display(Protocol):
    def draw(self, progress: Progress, text: str, final: bool) -> None: ...

    def close(self) -> None: ...


def _display() -> _Display:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None:
        return _Notebook(sys.modules["IPython"].display)
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Lines:
    """The first line after ten seconds: short work says nothing."""

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._any = False

    def draw(self, progress: Progress, text: str, final: bool) -> None:
        now = time.monotonic()
        if now - self._said >= SECONDS_BETWEEN_LINES or (final and self._any):
            self._said, self._any = now, True
            line = f"netinvert: {progress.done} of {progress.total} {progress.what}"
            print(f"{line}: {text}" if text else line, file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        pass


class _Bar:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = [TextColumn("{task.description}", markup=False), BarColumn()]
        columns.append(TextColumn("{task.fields[text]}", markup=False))
        self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", text="")
        self._bar.start()

    def draw(self, progress: Progress, text: str, final: bool) -> None:
        said = f"{progress.done} of {progress.total} {progress.what}"
        self._bar.update(
            self._task, description=said, completed=progress.position, total=progress.total, text=text
        )

    def close(self) -> None:
        self._bar.stop()


class _Notebook:
    def __init__(self, display: Any) -> None:  # noqa: ANN401  (IPython's module)
        self._html: Callable[[str], Any] = display.HTML
        self._handle = display.display(self._html(""), display_id=True)

    def draw(self, progress: Progress, text: str, final: bool) -> None:
        said = html.escape(f"{progress.done} of {progress.total} {progress.what} {text}")
        bar = f'<progress value="{progress.position}" max="{progress.total}"></progress>'
        self._handle.update(self._html(f"{bar} {said}"))

    def close(self) -> None:
        pass  # the last state stays in the notebook
