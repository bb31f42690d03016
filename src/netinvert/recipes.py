"""A recipe says how an image is found: where it lives, what weighs how much, in which steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from netinvert.canvas import Canvas
from netinvert.energy import Term
from netinvert.errors import ConfigError
from netinvert.stages import Stage

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
