"""A stretch of a descent: so many steps of one optimiser."""

from __future__ import annotations

from dataclasses import dataclass, replace

from netinvert.errors import ConfigError
from netinvert.optimizers import Adam, Optimizer
from netinvert.projections import Projection
from netinvert.transforms import Transform


@dataclass(frozen=True)
class Stage:
    """So many steps of one optimiser; ``jitter`` shifts the view by up to ``jitter - 1`` pixels a step.

    ``transforms`` change the view at random, ``projections`` the image after every step. ``detail``, in
    (0, 1], is the share of the canvas's resolution that is refined: from coarse to fine, stage by stage.
    ``averaged``: what counts is the mean of the images of the last so many steps, not the best image, for
    under random transforms the best is the one with the luckiest view.
    """

    steps: int
    optimizer: Optimizer
    jitter: int = 1
    projections: tuple[Projection, ...] = ()
    transforms: tuple[Transform, ...] = ()
    detail: float = 1.0
    averaged: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.jitter < 1:
            raise ConfigError(
                f"a stage needs at least 1 step and jitter 1, got {self.steps} and {self.jitter}"
            )
        if not 0 <= self.averaged <= self.steps:
            raise ConfigError(f"a stage of {self.steps} steps cannot average over {self.averaged} of them")
        if not 0 < self.detail <= 1:
            raise ConfigError(f"a stage refines a share of the detail above 0 and up to 1, got {self.detail}")
        moves = self.jitter > 1 or self.projections or self.transforms
        if self.optimizer.needs_fixed_objective and moves:
            raise ConfigError(
                f"{type(self.optimizer).__name__} compares the losses of different steps, so it cannot go "
                "with jitter, transforms or projections; use Adam for this stage, or leave them out"
            )

    def with_steps(self, steps: int) -> Stage:
        """The same with more or fewer steps; what is counted in steps goes with them."""
        share = steps / self.steps
        optimizer = self.optimizer
        if isinstance(optimizer, Adam) and optimizer.halving is not None:
            optimizer = replace(optimizer, halving=max(1, round(optimizer.halving * share)))
        averaged = min(steps, round(self.averaged * share))
        return replace(self, steps=steps, optimizer=optimizer, averaged=averaged)
