"""The schedule of an optimisation: stages of so many steps each, and the recipe they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.augmentations import Transform
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.codes import AnyEncoder, Code
from netinvert.inversion.constraints import Projection
from netinvert.inversion.objectives import Term
from netinvert.inversion.optimizers import Adam, Optimizer, as_optimizer

if TYPE_CHECKING:
    from netinvert.inversion.optimizers import TorchFactory


@dataclass(frozen=True)
class Stage:
    """So many steps of one optimiser; ``jitter`` shifts the view by up to ``jitter - 1`` pixels a step.

    ``optimizer`` is one of ours, a class of ``torch.optim`` or a function of the parameters that makes one
    (samples are independent then only where it treats every number by itself, as torch's Adam and SGD do).
    ``transforms`` change the view at random, ``projections`` the image after every step. ``resolution``, in
    (0, 1], is the share of the canvas's resolution that is refined: from coarse to fine, stage by stage.
    ``averaged``: what counts is the mean of the images of the last so many steps, not the best image, for
    under random transforms the best is the one with the luckiest view.

    >>> Stage(100, lambda parameters: torch.optim.Adam(parameters, lr=0.02), jitter=4).steps
    100
    """

    steps: int
    optimizer: Optimizer | TorchFactory
    jitter: int = 1
    projections: tuple[Projection, ...] = ()
    transforms: tuple[Transform, ...] = ()
    resolution: float = 1.0
    averaged: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.jitter < 1:
            raise ConfigError(
                f"a stage needs at least 1 step and jitter 1, got {self.steps} and {self.jitter}"
            )
        if not 0 <= self.averaged <= self.steps:
            raise ConfigError(f"a stage of {self.steps} steps cannot average over {self.averaged} of them")
        if not 0 < self.resolution <= 1:
            raise ConfigError(
                f"a stage refines a share of the resolution above 0 and up to 1, got {self.resolution}"
            )
        moves = self.jitter > 1 or self.projections or self.transforms
        if self.method.needs_fixed_objective and moves:
            raise ConfigError(
                f"{type(self.optimizer).__name__} compares the losses of different steps, so it cannot go "
                "with jitter, transforms or projections; use Adam for this stage, or leave them out"
            )

    @property
    def method(self) -> Optimizer:
        """The optimiser, torch's in ours."""
        return as_optimizer(self.optimizer)

    def with_steps(self, steps: int) -> Stage:
        """The same with more or fewer steps; what is counted in steps goes with them."""
        share = steps / self.steps
        optimizer = self.optimizer
        if isinstance(optimizer, Adam) and optimizer.halving is not None:
            optimizer = replace(optimizer, halving=max(1, round(optimizer.halving * share)))
        averaged = min(steps, round(self.averaged * share))
        return replace(self, steps=steps, optimizer=optimizer, averaged=averaged)


MakeCanvas = Callable[[AnyEncoder, Sequence[int], Tensor | None], Canvas]
"""Makes N start canvases for an encoder from N seeds, or shows start images (N, C, H, W)."""


@dataclass(frozen=True)
class Recipe:
    """How a code is inverted, or an activation made large.

    ``canvas`` makes the start. ``data_weight`` multiplies the data term (the normalised squared code error,
    say); ``priors`` are (weight, prior), named by ``prior``. ``mask`` (what broadcasts to a code, 1 where it
    counts) leaves parts of the code free. ``unnormalised`` recipes have steps made for activations as the
    network gives them, in no other units.
    """

    name: str
    canvas: MakeCanvas
    data_weight: float
    priors: tuple[tuple[float, Term], ...]
    stages: tuple[Stage, ...]
    prior: str = "none"
    mask: Code | None = None
    unnormalised: bool = False

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
