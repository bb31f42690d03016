"""What long computations share: random numbers, threads, signals, and a display of how far they are."""

from __future__ import annotations

import contextlib
import html
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_DRAWINGS = 0.2


# -- random numbers: one generator a sample, so that no result depends on what else is in the batch --------


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a seed. CPU, so that every device starts from the same numbers."""
    import torch

    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw(seeds: Sequence[int], sample: Callable[[torch.Generator], Tensor]) -> Tensor:
    """Stack ``sample(generator)`` of one fresh generator a seed: (N, ...)."""
    import torch

    return torch.stack([sample(generator) for generator in generators(seeds)])


def shifts(sources: Sequence[torch.Generator], amount: int) -> list[tuple[int, int]]:
    """One random (down, right) shift in ``[0, amount)`` for each generator."""
    import torch

    pairs = [torch.randint(amount, (2,), generator=source).tolist() for source in sources]
    return [(down, right) for down, right in pairs]


def generator_at(seed: int, step: int) -> torch.Generator:
    """The generator of a step of a training; ``seed`` and ``step`` are not negative.

    The two are mixed, not packed into one number: of a seed, torch's generator on the CPU takes 32 bits.
    """
    import numpy as np

    return generators([int(np.random.SeedSequence([seed, step]).generate_state(1)[0])])[0]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what the device is still at: a training that waits
    with every number it draws spends most of its time so."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)  # what is expanded can't be pinned


# -- threads and signals -----------------------------------------------------------------------------------


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Within, torch computes with so many CPU threads; with as many as before for None."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Interrupted(KeyboardInterrupt):
    """The work was stopped by Ctrl-C or SIGTERM; the message says how to resume it."""


class Interrupt:
    """Whether Ctrl-C or SIGTERM has come; the handler of both signals.

    `patient`: the second signal does not raise either. The block around, whose handler is `outer`, is told
    too, and this one is as patient as that.
    """

    def __init__(self, patient: bool, outer: object) -> None:
        self.pending = self.terminated = False
        self._outer = outer if isinstance(outer, Interrupt) else None
        self.patient: bool = self._outer.patient if self._outer else patient

    def __call__(self, number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
        """Note the signal here and in the blocks around; raises KeyboardInterrupt the second time."""
        again = self.pending
        told: Interrupt | None = self
        while told is not None:
            told.pending, told.terminated = True, told.terminated or number == signal.SIGTERM
            told = told._outer
        if again and not self.patient:
            raise KeyboardInterrupt

    def end_if_terminated(self) -> None:
        """To be called where an interrupted block gives what it has: a SIGTERM that nobody else answers ends
        the process then, or a script that goes on with the next image could not be stopped by it."""
        if self.terminated and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def deferred_interrupt(patient: bool = False) -> Iterator[Interrupt]:
    """Within, the first Ctrl-C or SIGTERM only sets `pending`, so that a step is finished; the second raises.

    Blocks may be nested: the inner one stops first, and the outer one knows. In other threads than the
    main one, which get no signals, nothing happens.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if main}
    interrupt = Interrupt(patient, before.get(signal.SIGINT))
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- how far it is -----------------------------------------------------------------------------------------


class Progress:
    """How many of `total` pieces are done, what goes on inside a piece, and the time left.

    Use as a context manager; `what` names the pieces in the plural. A bar on a terminal, a bar in a notebook,
    otherwise a line on stderr every ten seconds at most; nothing at all unless `show`.

    Example:
        >>> with Progress("images", total=3, show=False) as progress:
        ...     for index in range(3):
        ...         progress.inside(index, 0.5, "step 5 of 10")
        ...         progress.advance(index)
        >>> progress.done
        3
    """

    def __init__(self, what: str, total: int, show: bool = True) -> None:
        self.what, self.total, self.show = what, total, show
        self.done = 0
        self._shares: dict[object, float] = {}
        self._closing = contextlib.ExitStack()
        self._display: _Display | None = None
        self._drawn = self._began = time.monotonic()
        self._first = 0.0

    def __enter__(self) -> Progress:
        """Begin to show, and to measure the time."""
        self._began, self._first = time.monotonic(), self.position
        if self.show:
            self._display = self._closing.enter_context(_display())
            self._tell("", now=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._display = None
        self._closing.close()

    def __str__(self) -> str:
        """How many are done."""
        return f"{self.done} of {self.total} {self.what}"

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
        self.update(self.done + 1, text)

    def update(self, done: int, text: str = "") -> None:
        """So many are done."""
        self.done = done
        self._tell(text, final=done >= self.total)

    def inside(self, piece: object, share: float, text: str = "") -> None:
        """`share` (0 to 1) of a piece is done; `text` says more ("step 120 of 300: error 0.31")."""
        self._shares[piece] = min(max(share, 0.0), 1.0)
        self._tell(text)

    def _tell(self, text: str, final: bool = False, now: bool = False) -> None:
        due = final or now or time.monotonic() - self._drawn >= _SECONDS_BETWEEN_DRAWINGS
        if self._display is not None and due:
            self._drawn = time.monotonic()
            left = self.seconds_left
            texts = [text, "" if left is None or final else f"{duration(left)} left"]
            self._display(self, ", ".join(filter(None, texts)), final)


def duration(seconds: float) -> str:
    """Seconds as "45 s", "3 min 05 s" or "2 h 07 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


_Display = Callable[[Progress, str, bool], None]


@contextlib.contextmanager
def _display() -> Iterator[_Display]:
    """What shows a progress with a text, perhaps for the last time."""
    ipython = notebook()
    if ipython is not None:
        yield _in_notebook(ipython)
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        said, more = (
            TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[text]")
        )
        with Bar(said, BarColumn(), more, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", text="")
            yield lambda progress, text, final: bar.update(
                task, description=str(progress), completed=progress.position, total=progress.total, text=text
            )
    else:
        yield _in_lines()


def notebook() -> Any:  # noqa: ANN401  (a module that need not be there)
    """IPython's module of displays where this runs in a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()
    return ipython.display if ipython and getattr(shell, "kernel", None) is not None else None


def _in_notebook(ipython: Any) -> _Display:  # noqa: ANN401  (its module of displays)
    handle = ipython.display(ipython.HTML(""), display_id=True)

    def show(progress: Progress, text: str, final: bool) -> None:
        bar = f'<progress value="{progress.position}" max="{progress.total}"></progress>'
        handle.update(ipython.HTML(f"{bar} {html.escape(f'{progress} {text}')}"))

    return show


def _in_lines() -> _Display:
    """The first line after ten seconds: short work says nothing."""
    last, said = time.monotonic(), False

    def show(progress: Progress, text: str, final: bool) -> None:
        nonlocal last, said
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or (final and said):
            last, said = now, True
            line = f"netinvert: {progress}: {text}" if text else f"netinvert: {progress}"
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    return show
