"""How the canvas moves. An optimiser is told losses and gradients at its parameters, then moves them.

One ``update`` is one evaluation of network and gradient, whatever the method, so that steps compare.
All state is tensors with the sample as first dimension: no sample sees another's, and a checkpoint is
nothing but these tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError


class Updater(Protocol):
    """An optimiser at work on one canvas."""

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


@dataclass(frozen=True)
class Adam:
    """Adam. Its eps lies far below the gradients of normalised losses, lest their scale matter.

    ``halving``: the rate halves every so many steps. A new stage at a lower rate is not the same, for it
    begins with no memory of the gradients, and so with steps of full size everywhere.
    """

    learning_rate: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-12
    halving: int | None = None
    needs_fixed_objective: ClassVar[bool] = False

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        return _AdamUpdater(self, parameters)


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum: μ ← momentum μ - lr g; x ← x + μ (Mahendran & Vedaldi 2015)."""

    learning_rate: float
    momentum: float = 0.9
    needs_fixed_objective: ClassVar[bool] = False

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        return _MomentumUpdater(self, parameters)


class _AdamUpdater:
    """Kingma & Ba 2015, algorithm 1. Our own, for torch's takes a second to import on its first use."""

    def __init__(self, settings: Adam, parameters: Sequence[nn.Parameter]) -> None:
        self._settings = settings
        self._parameters = parameters
        self._made = 0
        self._means = [torch.zeros_like(parameter) for parameter in parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        self._made += 1
        first, second = self._settings.betas
        rate = self._settings.learning_rate / (1 - first**self._made)
        if self._settings.halving is not None:
            rate *= 0.5 ** ((self._made - 1) / self._settings.halving)
        scale = (1 - second**self._made) ** 0.5
        rows = zip(self._parameters, gradients, self._means, self._squares, strict=True)
        for parameter, gradient, mean, square in rows:
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            parameter.addcdiv_(mean, square.sqrt().div_(scale).add_(self._settings.eps), value=-rate)
        return torch.ones_like(losses, dtype=torch.bool)

    def state(self) -> dict[str, Tensor]:
        names = {"means": self._means, "squares": self._squares}
        return {"made": torch.tensor(self._made), **_numbered(names)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self._made = int(state["made"])
        for index in range(len(self._means)):
            self._means[index].copy_(state[f"means.{index}"])
            self._squares[index].copy_(state[f"squares.{index}"])


class _MomentumUpdater:
    def __init__(self, settings: Momentum, parameters: Sequence[nn.Parameter]) -> None:
        self._settings = settings
        self._parameters = parameters
        self._momenta = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        rate = self._settings.learning_rate
        for parameter, gradient, momentum in zip(self._parameters, gradients, self._momenta, strict=True):
            momentum.mul_(self._settings.momentum).sub_(gradient, alpha=rate)
            parameter.add_(momentum)
        return torch.ones_like(losses, dtype=torch.bool)

    def state(self) -> dict[str, Tensor]:
        return _numbered({"momenta": self._momenta})

    def restore(self, state: dict[str, Tensor]) -> None:
        for index in range(len(self._momenta)):
            self._momenta[index].copy_(state[f"momenta.{index}"])


@dataclass(frozen=True)
class DecayingAdaGrad:
    """The "AdaGrad" of Mahendran & Vedaldi's code (2016): G ← ρ G + g², μ ← ρ μ - g / (1/η + √G).

    ``learning_rate`` is per pixel: η is the number of pixels of the network's view times it.
    """

    learning_rate: float
    pixels: int
    decay: float = 0.9
    needs_fixed_objective: ClassVar[bool] = False

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        return _DecayingAdaGradUpdater(self, parameters)


class _DecayingAdaGradUpdater:
    def __init__(self, settings: DecayingAdaGrad, parameters: Sequence[nn.Parameter]) -> None:
        self._settings = settings
        self._parameters = parameters
        self._squares = [torch.zeros_like(parameter) for parameter in parameters]
        self._momenta = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        decay = self._settings.decay
        floor = 1.0 / (self._settings.pixels * self._settings.learning_rate)
        rows = zip(self._parameters, gradients, self._squares, self._momenta, strict=True)
        for parameter, gradient, squares, momentum in rows:
            squares.mul_(decay).addcmul_(gradient, gradient)
            momentum.mul_(decay).sub_(gradient / (floor + squares.sqrt()))
            parameter.add_(momentum)
        return torch.ones_like(losses, dtype=torch.bool)

    def state(self) -> dict[str, Tensor]:
        return _numbered({"squares": self._squares, "momenta": self._momenta})

    def restore(self, state: dict[str, Tensor]) -> None:
        for index in range(len(self._squares)):
            self._squares[index].copy_(state[f"squares.{index}"])
            self._momenta[index].copy_(state[f"momenta.{index}"])


def _numbered(lists: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Copies under ``name.0``, ``name.1``, …"""
    return {f"{name}.{i}": value.clone() for name, values in lists.items() for i, value in enumerate(values)}


class Rate(Optimizer, Protocol):
    """How long the steps are."""

    def rates(self, losses: Tensor, squares: Tensor) -> Tensor:
        """Learning rates (N,) from the energies and the gradients' squared norms, both (N,)."""

    def times(self, factor: float) -> Rate:
        """The same rule with steps so many times as long."""


@dataclass(frozen=True)
class ConstantRate:
    """``constant``: x ← x + lr ∂a/∂x."""

    rate: float
    needs_fixed_objective: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)

    def rates(self, losses: Tensor, squares: Tensor) -> Tensor:
        """The rate, (N,)."""
        return torch.full_like(losses, self.rate)

    def times(self, factor: float) -> ConstantRate:
        """Steps so many times as long."""
        return ConstantRate(factor * self.rate)

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        return _Steps(self, parameters)


@dataclass(frozen=True)
class ProgressRate:
    """``progress``: lr = min(``most``, ``desired`` / ‖g‖²): a linear activation gains ``desired``."""

    desired: float
    most: float
    needs_fixed_objective: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("desired progress", self.desired)
        _check_positive("highest rate", self.most)

    def rates(self, losses: Tensor, squares: Tensor) -> Tensor:
        """Each sample's rate, (N,); the highest where there is no gradient."""
        return (self.desired / squares).clamp_max(self.most)

    def times(self, factor: float) -> ProgressRate:
        """Steps so many times as long."""
        return ProgressRate(factor * self.desired, factor * self.most)

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        return _Steps(self, parameters)


@dataclass(frozen=True)
class Progress01Rate:
    """``progress01``, for activations a in [0, 1] (a softmax): slower as a comes near 1.

    lr = min(``most``, min(``early``, ``late`` (1 - a)) / ‖g‖²).
    """

    early: float
    late: float
    most: float
    needs_fixed_objective: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("early progress", self.early)
        _check_positive("late progress", self.late)
        _check_positive("highest rate", self.most)

    def rates(self, losses: Tensor, squares: Tensor) -> Tensor:
        """Each sample's rate, (N,)."""
        desired = (self.late * (1 + losses)).clamp_max(self.early)  # the energy is -a
        return torch.where(squares > 0, desired / squares, 0.0).clamp_max(self.most)

    def times(self, factor: float) -> Progress01Rate:
        """Steps so many times as long."""
        return Progress01Rate(factor * self.early, factor * self.late, factor * self.most)

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        return _Steps(self, parameters)


class _Steps:
    """Downhill on the energy, each sample at its own rate; nothing is kept from step to step."""

    def __init__(self, rule: Rate, parameters: Sequence[nn.Parameter]) -> None:
        self._rule = rule
        self._parameters = parameters

    @torch.no_grad()
    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        squares = torch.zeros_like(losses)
        for gradient in gradients:
            squares = squares + gradient.flatten(1).square().sum(1)
        rates = self._rule.rates(losses, squares)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.sub_(rates.view(-1, *[1] * (gradient.ndim - 1)) * gradient)
        return torch.ones_like(losses, dtype=torch.bool)

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        pass


def _check_positive(what: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"the {what} is a number above 0, got {value}")
