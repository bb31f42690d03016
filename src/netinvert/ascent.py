"""Plain gradient steps, as long as Yosinski et al. 2015 have them (optimize/gradient_optimizer.py).

Their lengths are made for the raw activation of a pixel canvas in 0..255 (``Recipe.raw``, ``Pixels`` with a
unit of 1/255), whose energy is the negated activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.optimizers import Optimizer, Updater


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
