"""A stretch of a descent: so many steps of one optimiser."""

from __future__ import annotations

from dataclasses import dataclass

from netinvert.errors import ConfigError
from netinvert.optimizers import Optimizer
from netinvert.projections import Projection
from netinvert.transforms import Transform


@dataclass(frozen=True)
class Stage:
    """So many steps of one optimiser; ``jitter`` shifts the view by up to ``jitter - 1`` pixels a step.

    ``transforms`` change the view at random, ``projections`` the image after every step. ``detail``, in
    (0, 1], is the share of the canvas's resolution that is refined: from coarse to fine, stage by stage.
    """

    steps: int
    optimizer: Optimizer
    jitter: int = 1
    projections: tuple[Projection, ...] = ()
    transforms: tuple[Transform, ...] = ()
    detail: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.jitter < 1:
            raise ConfigError(
                f"a stage needs at least 1 step and jitter 1, got {self.steps} and {self.jitter}"
            )
        if not 0 < self.detail <= 1:
            raise ConfigError(f"a stage refines a share of the detail above 0 and up to 1, got {self.detail}")
        moves = self.jitter > 1 or self.projections or self.transforms
        if self.optimizer.needs_fixed_objective and moves:
            raise ConfigError(
                f"{type(self.optimizer).__name__} compares the losses of different steps, so it cannot go "
                "with jitter, transforms or projections; use Adam for this stage, or leave them out"
            )
