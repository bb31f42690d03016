"""How the canvas moves. An optimiser is told losses and gradients at its parameters, then moves them.

One ``update`` is one evaluation of network and gradient, whatever the method, so that steps compare.
All state is tensors with the sample as first dimension: no sample sees another's, and a checkpoint is
nothing but these tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn


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
    """Adam. Its eps lies far below the gradients of normalised losses, lest their scale matter."""

    learning_rate: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-12
    needs_fixed_objective: ClassVar[bool] = False

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate, betas=self.betas, eps=self.eps)
        return _TorchUpdater(optimizer, parameters)


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum: μ ← momentum μ - lr g; x ← x + μ (Mahendran & Vedaldi 2015)."""

    learning_rate: float
    momentum: float = 0.9
    needs_fixed_objective: ClassVar[bool] = False

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters."""
        optimizer = torch.optim.SGD(parameters, lr=self.learning_rate, momentum=self.momentum)
        return _TorchUpdater(optimizer, parameters)


class _TorchUpdater:
    """An element-wise optimiser of torch, which is independent for every sample by itself."""

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        self._optimizer = optimizer
        self._parameters = parameters

    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad()
        return torch.ones_like(losses, dtype=torch.bool)

    def state(self) -> dict[str, Tensor]:
        return {
            f"{index}.{name}": value.detach().clone()
            for index, entries in self._optimizer.state_dict()["state"].items()
            for name, value in entries.items()
            if isinstance(value, Tensor)
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            index, _, name = key.partition(".")
            entries.setdefault(int(index), {})[name] = value.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": entries, "param_groups": groups})


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
        names = {"squares": self._squares, "momenta": self._momenta}
        return {
            f"{name}.{i}": value.clone() for name, values in names.items() for i, value in enumerate(values)
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        for index in range(len(self._squares)):
            self._squares[index].copy_(state[f"squares.{index}"])
            self._momenta[index].copy_(state[f"momenta.{index}"])
