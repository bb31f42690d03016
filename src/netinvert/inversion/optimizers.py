"""How the canvas moves. An optimiser is told losses and gradients at its parameters, then moves them.

One ``update`` is one evaluation of network and gradient, whatever the method, so that steps compare.
All state is tensors, so that a checkpoint is nothing but these. In ours the sample is the first dimension,
and none sees another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer

    TorchFactory = Callable[[list[nn.Parameter]], TorchOptimizer]

Moments = Sequence[Tensor]


class Updater(Protocol):
    """An optimiser's state on one canvas."""

    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Move the parameters, given losses (N,) and gradients there; False (N,) for those that are done."""

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


class _Rule:
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
    def __init__(self, rule: _Rule, parameters: Sequence[nn.Parameter]) -> None:
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

    def state(self) -> dict[str, Tensor]:
        copies = {name: moment.clone() for name, moment in self._moments.items()}
        return {"made": torch.tensor(self._made), **copies}

    def restore(self, state: dict[str, Tensor]) -> None:
        self._made = int(state["made"])
        for name, moment in self._moments.items():
            moment.copy_(state[name])


@dataclass(frozen=True)
class Adam(_Rule):
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
class Momentum(_Rule):
    """Gradient descent with momentum: μ ← momentum μ - lr g; x ← x + μ (Mahendran & Vedaldi 2015)."""

    learning_rate: float
    momentum: float = 0.9
    moments: ClassVar[tuple[str, ...]] = ("momenta",)

    def move(self, parameter: Tensor, gradient: Tensor, moments: Moments, step: int, rates: Tensor) -> None:
        """One step."""
        moments[0].mul_(self.momentum).sub_(gradient, alpha=self.learning_rate)
        parameter.add_(moments[0])


@dataclass(frozen=True)
class DecayingAdaGrad(_Rule):
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


G = TypeVar("G", bound="GradientSteps")


@dataclass(frozen=True)
class GradientSteps(_Rule):
    """Downhill on the energy, each sample at its own rate; nothing is kept from step to step."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigError(f"{field.name} of {type(self).__name__} is a number above 0, got {value}")

    def times(self: G, factor: float) -> G:
        """The same rule with steps so many times as long."""
        return replace(self, **{field.name: factor * getattr(self, field.name) for field in fields(self)})

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """Learning rates (N,) from the energies and the gradients' squared norms, both (N,)."""
        raise NotImplementedError

    def rates(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Each sample's rate, (N,)."""
        squares = torch.zeros_like(losses)
        for gradient in gradients:
            squares = squares + gradient.flatten(1).square().sum(1)
        return self.rule(losses, squares)

    def move(self, parameter: Tensor, gradient: Tensor, moments: Moments, step: int, rates: Tensor) -> None:
        """One step."""
        parameter.sub_(rates.view(-1, *[1] * (gradient.ndim - 1)) * gradient)


@dataclass(frozen=True)
class ConstantRate(GradientSteps):
    """``constant``: x ← x + lr ∂a/∂x."""

    rate: float

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """The rate, (N,)."""
        return torch.full_like(losses, self.rate)


@dataclass(frozen=True)
class ProgressRate(GradientSteps):
    """``progress``: lr = min(``most``, ``desired`` / ‖g‖²): a linear activation gains ``desired``."""

    desired: float
    most: float

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """The highest rate where there is no gradient."""
        return (self.desired / squares).clamp_max(self.most)


@dataclass(frozen=True)
class Progress01Rate(GradientSteps):
    """``progress01``, for activations a in [0, 1] (a softmax): slower as a comes near 1.

    lr = min(``most``, min(``early``, ``late`` (1 - a)) / ‖g‖²).
    """

    early: float
    late: float
    most: float

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """Zero where there is no gradient."""
        desired = (self.late * (1 + losses)).clamp_max(self.early)  # the energy is -a
        return torch.where(squares > 0, desired / squares, 0.0).clamp_max(self.most)


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

    def state(self) -> dict[str, Tensor]:
        found: dict[int, dict[str, Any]] = self._torch.state_dict()["state"]
        return {
            f"{index}.{name}": torch.as_tensor(value).clone()
            for index, values in found.items()
            for name, value in values.items()
            if value is not None
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        found: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            index, _, name = key.partition(".")
            found.setdefault(int(index), {})[name] = value
        self._torch.load_state_dict({**self._torch.state_dict(), "state": found})


def as_optimizer(given: Optimizer | TorchFactory) -> Optimizer:
    """Ours as they are, torch's in :class:`FromTorch`. Raises ConfigError."""
    if not isinstance(given, type) and hasattr(given, "start"):
        return cast("Optimizer", given)
    if not callable(given):
        raise ConfigError(f"{given!r} is no optimiser: give netinvert.Adam(), say, or torch.optim.Adam")
    return FromTorch(given)
