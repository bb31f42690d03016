"""The clock of a job, and copies of the picture as it gets better; copying does not count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

SPACING = 1.02
"""A copy is kept when the clock shows this much more than at the copy before, so that every time is known to
2 % and the copies stay few: at most about 350 between the first step and 40 seconds."""


class Finished(Exception):  # noqa: N818  (not an error)
    """Raised out of a peer's own loop when the time is over."""


class Recorder:
    """Counts optimisation seconds and keeps pictures (1, C, H, W), as floats, in a file.

    A file, so that the copies take no part in the peak of the process's memory. ``clock`` is ``wall``
    or ``cpu``, the time of the process on a core, for machines that are shared.
    """

    def __init__(self, limit: float, file: Path, clock: str = "wall") -> None:
        self.limit, self.file = limit, file
        self.clock = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
        self.times: list[float] = []
        self.steps_at: list[int] = []
        self.steps = 0
        self.elapsed = self.wall = self.cpu = 0.0
        self.shape: tuple[int, ...] = ()
        self._resumed: tuple[float, float, float] | None = None
        file.write_bytes(b"")

    @contextmanager
    def running(self) -> Iterator[None]:
        """The clock runs inside; :class:`Finished` ends it."""
        self._resume()
        try:
            yield
        except Finished:
            pass
        finally:
            self._pause()

    def step(self, image: Callable[[], Tensor]) -> None:
        """To be called after each step. Raises Finished when the time is over."""
        self._pause()
        self.steps += 1
        over = self.elapsed >= self.limit
        if over or not self.times or self.elapsed >= SPACING * self.times[-1]:
            self._keep(image())
        if over:
            raise Finished
        self._resume()

    def last(self, image: Tensor) -> None:
        """What the tool gave back when it ended by itself."""
        self._keep(image)

    @contextmanager
    def watching(self, image_of: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Every step of every torch optimiser is a step; ``image_of`` shows its (first) parameter."""

        def stepped(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
            self.step(lambda: image_of(optimizer.param_groups[0]["params"][0]))

        handle = register_optimizer_step_post_hook(stepped)
        try:
            with self.running():
                yield
        finally:
            handle.remove()

    def images(self, start: int, stop: int) -> Tensor:
        """Kept pictures, (N, C, H, W)."""
        numbers = torch.Size(self.shape).numel()
        with self.file.open("rb") as file:
            file.seek(4 * numbers * start)
            raw = bytearray(file.read(4 * numbers * (stop - start)))
        return torch.frombuffer(raw, dtype=torch.float32).view(-1, *self.shape)

    @torch.no_grad()
    def _keep(self, image: Tensor) -> None:
        image = image.detach().float().reshape(image.shape[-3:]).contiguous()
        self.shape = tuple(image.shape)
        with self.file.open("ab") as file:
            file.write(image.numpy().tobytes())
        self.times.append(self.elapsed)
        self.steps_at.append(self.steps)

    def _resume(self) -> None:
        self._resumed = (self.clock(), time.perf_counter(), time.process_time())

    def _pause(self) -> None:
        if self._resumed is None:
            return
        began, wall, cpu = self._resumed
        self.elapsed += self.clock() - began
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self._resumed = None
