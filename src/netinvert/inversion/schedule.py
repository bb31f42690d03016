"""How the canvas moves: optimisers, the stages of a schedule, and the recipe they belong to.

An optimiser is told losses and gradients at its parameters, then moves them. One ``update`` is one evaluation
of network and gradient, whatever the method, so that steps compare. All state is tensors, so that a
checkpoint is nothing but these. In ours the sample is the first dimension, and none sees another's.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.objectives import AnyEncoder, Code, Term
from netinvert.inversion.transforms import Projection, Transform

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer

    TorchFactory = Callable[[list[nn.Parameter]], TorchOptimizer]

Moments = Sequence[Tensor]


def flat_state(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several parts in one dict, as ``part.name``; :func:`parted` takes them apart."""
    return {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}


def parted(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What :func:`flat_state` was given; a part that is not there is empty."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in state.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    return parts


class Updater(Protocol):
    """An optimiser's state on one canvas."""

    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Move the parameters, given losses (N,) and gradients there; False (N,) for those that are done."""

    def revive(self) -> None:
        """Let samples that are done go on: the objective has changed a little."""

    def state(self) -> dict[str, Tensor]:
        """Everything that the next updates depend on, beside the parameters."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`."""


class Optimizer(Protocol):
    """The settings of an optimiser."""

    needs_fixed_objective: ClassVar[bool]
    """Whether it compares losses of different steps, so that jitter or projections would mislead it."""

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters, each (N, ...)."""


class Rule:
    """An update rule with moments: tensors of the parameters' shapes, zero at first."""

    needs_fixed_objective: ClassVar[bool] = False
    moments: ClassVar[tuple[str, ...]] = ()

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        return _RuleUpdater(self, parameters)

    def rates(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """What :meth:`move` is to know of all parameters together, (N,)."""
        return losses

    def move(self, parameter: Tensor, gradient: Tensor, moments: Moments, step: int, rates: Tensor) -> None:
        """Move one parameter, in place; ``step`` counts from 1."""
        raise NotImplementedError


class _RuleUpdater:
    def __init__(self, rule: Rule, parameters: Sequence[nn.Parameter]) -> None:
        self._rule, self._parameters, self._made = rule, parameters, 0
        self._moments = {
            f"{name}.{index}": torch.zeros_like(parameter, requires_grad=False)
            for name in rule.moments
            for index, parameter in enumerate(parameters)
        }

    @torch.no_grad()
    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        self._made += 1
        rates = self._rule.rates(losses, gradients)
        for index, (parameter, gradient) in enumerate(zip(self._parameters, gradients, strict=True)):
            moments = [self._moments[f"{name}.{index}"] for name in self._rule.moments]
            self._rule.move(parameter, gradient, moments, self._made, rates)
        return torch.ones_like(losses, dtype=torch.bool)

    def revive(self) -> None: ...  # it has no end of its own

    def state(self) -> dict[str, Tensor]:
        copies = {name: moment.clone() for name, moment in self._moments.items()}
        return {"made": torch.tensor(self._made), **copies}

    def restore(self, state: dict[str, Tensor]) -> None:
        self._made = int(state["made"])
        for name, moment in self._moments.items():
            moment.copy_(state[name])


@dataclass(frozen=True)
class Adam(Rule):
    """Adam. Its eps lies far below the gradients of normalised losses, lest their scale matter.

    ``halving``: the rate halves every so many steps. A new stage at a lower rate is not the same, for it
    begins with no memory of the gradients, and so with steps of full size everywhere.
    """

    learning_rate: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-12
    halving: int | None = None
    moments: ClassVar[tuple[str, ...]] = ("means", "squares")

    def move(self, parameter: Tensor, gradient: Tensor, moments: Moments, step: int, rates: Tensor) -> None:
        """Kingma & Ba 2015, algorithm 1. Our own, for torch's takes a second to import on its first use."""
        mean, root, rate = self.direction(gradient, moments, step)
        parameter.addcdiv_(mean, root, value=-rate)

    def direction(self, gradient: Tensor, moments: Moments, step: int) -> tuple[Tensor, Tensor, float]:
        """The gradient's mean, the root of its mean square, and the rate to go along their ratio with."""
        mean, square = moments
        first, second = self.betas
        rate = self.learning_rate / (1 - first**step)
        if self.halving is not None:
            rate *= 0.5 ** ((step - 1) / self.halving)
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        return mean, square.sqrt().div_((1 - second**step) ** 0.5).add_(self.eps), rate


@dataclass(frozen=True)
class Momentum(Rule):
    """Gradient descent with momentum: μ ← momentum μ - lr g; x ← x + μ (Mahendran & Vedaldi 2015)."""

    learning_rate: float
    momentum: float = 0.9
    moments: ClassVar[tuple[str, ...]] = ("momenta",)

    def move(self, parameter: Tensor, gradient: Tensor, moments: Moments, step: int, rates: Tensor) -> None:
        """One step."""
        moments[0].mul_(self.momentum).sub_(gradient, alpha=self.learning_rate)
        parameter.add_(moments[0])


@dataclass(frozen=True)
class DecayingAdaGrad(Rule):
    """The "AdaGrad" of Mahendran & Vedaldi's code (2016): G ← ρ G + g², μ ← ρ μ - g / (1/η + √G).

    ``learning_rate`` is per pixel: η is the number of pixels of the network's view times it.
    """

    learning_rate: float
    pixels: int
    decay: float = 0.9
    moments: ClassVar[tuple[str, ...]] = ("squares", "momenta")

    def move(self, parameter: Tensor, gradient: Tensor, moments: Moments, step: int, rates: Tensor) -> None:
        """One step."""
        squares, momentum = moments
        squares.mul_(self.decay).addcmul_(gradient, gradient)
        momentum.mul_(self.decay).sub_(gradient / (1.0 / (self.pixels * self.learning_rate) + squares.sqrt()))
        parameter.add_(momentum)


@dataclass(frozen=True)
class FromTorch:
    """An optimiser of ``torch.optim``: a class, or a function of the parameters that makes one.

    Samples are independent only where it treats every number by itself, as Adam, AdamW, SGD and RMSprop do;
    Muon, Adafactor and clipping by a norm mix those of a batch.
    """

    make: TorchFactory
    needs_fixed_objective: ClassVar[bool] = False

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters. Raises ConfigError."""
        return _TorchUpdater(self.make, parameters)


class _TorchUpdater:
    def __init__(self, make: TorchFactory, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._torch = make(self._parameters)
        if not isinstance(self._torch, torch.optim.Optimizer):
            raise ConfigError(
                "the optimiser of a stage is one of netinvert's, a class of torch.optim, or a function of "
                f"the parameters that makes one; this one made {type(self._torch).__name__}"
            )
        if isinstance(self._torch, torch.optim.LBFGS):
            raise ConfigError("torch's LBFGS evaluates the network by itself: use netinvert.LBFGS")

    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._torch.step()
        for parameter in self._parameters:
            parameter.grad = None
        return torch.ones_like(losses, dtype=torch.bool)

    def revive(self) -> None: ...

    def state(self) -> dict[str, Tensor]:
        found: dict[int, dict[str, Any]] = self._torch.state_dict()["state"]
        return flat_state(
            {
                str(index): {k: torch.as_tensor(v).clone() for k, v in values.items() if v is not None}
                for index, values in found.items()
            }
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        found = {int(index): values for index, values in parted(state).items()}
        self._torch.load_state_dict({**self._torch.state_dict(), "state": found})


def as_optimizer(given: Optimizer | TorchFactory) -> Optimizer:
    """Ours as they are, torch's in :class:`FromTorch`. Raises ConfigError."""
    if not isinstance(given, type) and hasattr(given, "start"):
        return cast("Optimizer", given)
    if not callable(given):
        raise ConfigError(f"{given!r} is no optimiser: give netinvert.Adam(), say, or torch.optim.Adam")
    return FromTorch(given)


@dataclass(frozen=True)
class Stage:
    """So many steps of one optimiser; ``jitter`` shifts the view by up to ``jitter - 1`` pixels a step.

    ``optimizer`` is one of ours, a class of ``torch.optim`` or a function of the parameters that makes one
    (samples are independent then only where it treats every number by itself, as torch's Adam and SGD do).
    ``transforms`` change the view at random, ``projections`` the image after every step. ``resolution``, in
    (0, 1], is the share of the canvas's resolution that is refined: from coarse to fine, stage by stage.
    ``averaged``: what counts is the mean of the images of the last so many steps, not the best image, for
    under random transforms the best is the one with the luckiest view. ``rounded``: for the first so many
    steps the network computes in bfloat16 (:meth:`netinvert.Encoder.rounded`).

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
    rounded: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.jitter < 1:
            raise ConfigError(
                f"a stage needs at least 1 step and jitter 1, got {self.steps} and {self.jitter}"
            )
        for share, what in ((self.averaged, "average over"), (self.rounded, "round in")):
            if not 0 <= share <= self.steps:
                raise ConfigError(f"a stage of {self.steps} steps cannot {what} {share} of them")
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
        averaged, rounded = (min(steps, round(one * share)) for one in (self.averaged, self.rounded))
        return replace(self, steps=steps, optimizer=optimizer, averaged=averaged, rounded=rounded)


MakeCanvas = Callable[[AnyEncoder, Sequence[int], Tensor | None], Canvas]
"""Makes N start canvases for an encoder from N seeds, or shows start images (N, C, H, W)."""
MakeStart = Callable[[AnyEncoder, Code], Tensor]
"""Makes the images (N, C, H, W) of codes that an optimisation starts from."""


@dataclass(frozen=True)
class Recipe:
    """How a code is inverted, or an activation made large.

    ``canvas`` makes the start. ``data_weight`` multiplies the data term (the normalised squared code error,
    say); ``priors`` are (weight, prior), named by ``prior``. ``mask`` (what broadcasts to a code, 1 where it
    counts) leaves parts of the code free. ``unnormalised`` recipes have steps made for activations as the
    network gives them, in no other units. ``start`` makes the images to begin with where none are given;
    without it that is noise. A sample stops at an energy of ``below``, unless the run's stop rule has one.
    """

    name: str
    canvas: MakeCanvas
    data_weight: float
    priors: tuple[tuple[float, Term], ...]
    stages: tuple[Stage, ...]
    prior: str = "none"
    mask: Code | None = None
    unnormalised: bool = False
    start: MakeStart | None = None
    below: float = -math.inf

    def __post_init__(self) -> None:
        if not 0 < self.data_weight < float("inf"):
            raise ConfigError(f"the weight of the data term is a number above 0, got {self.data_weight}")

    @property
    def steps(self) -> int:
        """Evaluations of network and gradient at most."""
        return sum(stage.steps for stage in self.stages)

    def with_steps(self, steps: int) -> Recipe:
        """The same recipe with so many steps, shared among the stages as before, and not stopped earlier."""
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
        return replace(self, stages=tuple(stages), below=-math.inf)

    def in_bfloat16(self) -> Recipe:
        """The same with the network in bfloat16, but for the last steps: see EXACT_SHARE."""
        ends = itertools.accumulate(stage.steps for stage in self.stages)
        over = [max(0, end - round((1 - EXACT_SHARE) * self.steps)) for end in ends]
        pairs = zip(self.stages, over, strict=True)
        return replace(self, stages=tuple(replace(s, rounded=max(0, s.steps - n)) for s, n in pairs))


EXACT_SHARE = 0.4
"""Of the steps, the last, that stay in float32: with fewer, L-BFGS ends at larger code errors."""


def describe_recipe(recipe: Recipe, canvas: object) -> dict[str, object]:
    """A recipe in full, as plain JSON; ``canvas`` is one that it made."""
    return {
        "name": recipe.name,
        "canvas": type(canvas).__name__,
        "data_weight": recipe.data_weight,
        "priors": [{"weight": weight, **_settings_of(term)} for weight, term in recipe.priors],
        "stages": [
            {
                "steps": stage.steps,
                "jitter": stage.jitter,
                "optimizer": _settings_of(stage.method),
                "projections": [_settings_of(projection) for projection in stage.projections],
                "transforms": [_settings_of(transform) for transform in stage.transforms],
                "resolution": stage.resolution,
                "averaged": stage.averaged,
            }
            | ({"rounded": stage.rounded} if stage.rounded else {})
            for stage in recipe.stages
        ],
        **({} if recipe.below == -math.inf else {"below": recipe.below}),
    }


def _settings_of(thing: object) -> dict[str, object]:
    plain: dict[str, object] = {"type": type(thing).__name__}
    if is_dataclass(thing) and not isinstance(thing, type):
        plain.update(asdict(thing))
    return plain
