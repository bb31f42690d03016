"""A stretch of a descent: so many steps of one optimiser."""

from __future__ import annotations

from dataclasses import dataclass

from netinvert.errors import ConfigError
from netinvert.optimizers import Optimizer
from netinvert.projections import Projection


@dataclass(frozen=True)
class Stage:
    """So many steps of one optimiser; ``jitter`` shifts the view by up to ``jitter - 1`` pixels a step."""

    steps: int
    optimizer: Optimizer
    jitter: int = 1
    projections: tuple[Projection, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1 or self.jitter < 1:
            raise ConfigError(
                f"a stage needs at least 1 step and jitter 1, got {self.steps} and {self.jitter}"
            )
        if self.optimizer.needs_fixed_objective and (self.jitter > 1 or self.projections):
            raise ConfigError(
                f"{type(self.optimizer).__name__} compares the losses of different steps, so it cannot go "
                "with jitter or projections; use Adam for this stage, or leave them out"
            )
