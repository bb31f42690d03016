"""What is recorded while an optimisation runs, and when it may stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GOING, CONVERGED, STOPPED, DIVERGED, NO_GRADIENT = range(5)
STATUS = ("all steps done", "converged", "stopped by rule", "diverged (NaN)", "no gradient")


@dataclass(frozen=True)
class EarlyStopping:
    """When a sample may stop early: at an energy of ``below``, or after ``patience`` steps without progress.

    Progress is an energy smaller than the best by the share ``improvement`` of it.

    >>> EarlyStopping(below=0.01, patience=50).improvement
    0.0001
    """

    below: float = -math.inf
    patience: int | None = None
    improvement: float = 1e-4


@dataclass(frozen=True, eq=False)
class StepInfo:
    """What a callback sees after a step.

    ``losses`` (T, N) weighted values of ``terms``; ``image`` (N, C, H, W) the view just evaluated;
    ``best_image`` (N, C, H, W) and ``best_loss`` (N,) so far. Tensors are live: clone what you keep.
    """

    step: int
    steps: int
    terms: tuple[str, ...]
    losses: Tensor
    image: Tensor
    best_image: Tensor
    best_loss: Tensor


class History:
    """Losses, best images and status of every sample. ``view`` (N, C, H, W) is what the network sees."""

    def __init__(self, view: Tensor, terms: tuple[str, ...], steps: int) -> None:
        count = view.shape[0]
        self.terms = terms
        self.steps = steps
        self.step = 0
        self.losses = view.new_full((steps, len(terms), count), torch.nan)
        self.best_image = view.detach().clone()
        self.best_loss = view.new_full((count,), torch.inf)
        self.best_step = torch.zeros(count, dtype=torch.long, device=view.device)
        self.status = torch.full((count,), GOING, dtype=torch.long, device=view.device)
        self._mark = self.best_loss.clone()  # the energy from which progress is counted, and when it was met
        self._marked = self.best_step.clone()

    @property
    def going(self) -> Tensor:
        """Which samples go on, (N,)."""
        return self.status == GOING

    def forget(self) -> None:
        """Start to look for the best anew: energies of random views say little of the image."""
        self.best_loss.fill_(torch.inf)
        self._mark.fill_(torch.inf)
        self._marked.fill_(self.step)

    def record(
        self, values: Tensor, view: Tensor, finite: Tensor, stop: EarlyStopping, averaged: int | None = None
    ) -> None:
        """Take the weighted terms (T, N) of a step and the views they belong to.

        ``averaged``: this view is to be averaged with so many before it, instead of competing with them.
        """
        going = self.going
        losses = values.sum(0)
        self.losses[self.step] = torch.where(going, values, torch.nan)
        better = going & finite & (losses < self.best_loss)
        if averaged is not None:
            better = going & finite
            view = torch.lerp(view, self.best_image, averaged / (averaged + 1))
        if bool(better.all()):  # the usual case, and a plain copy is much quicker than a masked one
            self.best_image.copy_(view)
        else:
            self.best_image[better] = view[better]
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best_step[better] = self.step
        progress = better & ~(losses >= self._mark - stop.improvement * self._mark.abs())
        self._mark = torch.where(progress, losses, self._mark)
        self._marked[progress] = self.step
        self.step += 1
        self.end(self.best_loss <= stop.below, STOPPED)
        if stop.patience is not None:
            self.end(self.step - self._marked > stop.patience, STOPPED)

    def end(self, which: Tensor, status: int) -> None:
        """Set the status of those of ``which`` (N,) that were still going."""
        self.status = torch.where(self.going & which, status, self.status)

    def snapshot(self, values: Tensor, view: Tensor) -> StepInfo:
        """For the callback."""
        return StepInfo(self.step, self.steps, self.terms, values, view, self.best_image, self.best_loss)

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        return {
            "losses": self.losses[: self.step],
            "best_image": self.best_image,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "status": self.status,
            "mark": self._mark,
            "marked": self._marked,
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`."""
        self.step = state["losses"].shape[0]
        self.losses[: self.step] = state["losses"]
        self.best_image, self.best_loss = state["best_image"], state["best_loss"]
        self.best_step, self.status = state["best_step"], state["status"]
        self._mark, self._marked = state["mark"], state["marked"]
