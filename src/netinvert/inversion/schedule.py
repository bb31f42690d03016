"""A stretch of a descent: so many steps of one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.augmentations import Transform
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.constraints import Projection
from netinvert.inversion.objectives import Term
from netinvert.inversion.optimizers import Adam, Optimizer


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


MakeCanvas = Callable[[Sequence[int], Tensor | None], Canvas]


@dataclass(frozen=True)
class Recipe:
    """How a code is inverted, or an activation made large.

    ``canvas`` makes N start canvases from N seeds, or shows a start image. ``data_weight`` multiplies the
    data term (the normalised squared code error, say); ``priors`` are (weight, prior), named by ``prior``.
    ``mask`` (a tensor that broadcasts to a code, 1 where it counts) leaves parts of the code free. ``raw``
    recipes have steps made for activations as the network gives them, in no other units.
    """

    name: str
    canvas: MakeCanvas
    data_weight: float
    priors: tuple[tuple[float, Term], ...]
    stages: tuple[Stage, ...]
    prior: str = "none"
    mask: Tensor | None = None
    raw: bool = False

    @property
    def steps(self) -> int:
        """Evaluations of network and gradient at most."""
        return sum(stage.steps for stage in self.stages)

    def with_steps(self, steps: int) -> Recipe:
        """The same recipe with so many steps, shared among the stages as before."""
        if steps < len(self.stages):
            raise ConfigError(
                f"the recipe '{self.name}' has {len(self.stages)} stages and needs as many steps"
            )
        stages: list[Stage] = []
        before = done = 0  # so far, in this recipe and in the new one
        for stage in self.stages:
            before += stage.steps
            left = len(self.stages) - len(stages) - 1  # stages, a step each at least
            end = min(max(done + 1, round(before * steps / self.steps)), steps - left)
            stages.append(stage.with_steps(end - done))
            done = end
        return replace(self, stages=tuple(stages))
