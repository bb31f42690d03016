"""ReLUs with other gradients than their own, for as long as a context lasts; their values stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netinvert.errors import NetworkError


class _ReluGradient(torch.autograd.Function):
    """A ReLU with another gradient; the value is the plain one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: float | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward((x == value) if slope is not None else (x == value) & (value > 0))
        ctx.slope = slope
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (passes,) = ctx.saved_tensors
        gradient = gradients[0]
        leaks = torch.zeros_like(gradient) if ctx.slope is None else ctx.slope * gradient
        found = torch.where(passes, gradient, leaks)
        return found.clamp_min(0) if ctx.slope is None else found, None, None


class ReluRule(TorchFunctionMode):
    """Within, ReLUs and ReLU6s have another gradient: that of ``rule(x, value)``, which gives their value.
    Modules and functions alike, for torch runs both through the same functions."""

    def __init__(self, rule: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.rule, self.seen = rule, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)  # of hardtanh
        if func in _RELUS or (func is nn.functional.hardtanh and low == 0):  # what the module ReLU6 runs
            x, *others = args if args else [kwargs.pop("input")]
            with torch.no_grad():
                plain = x.detach().clone()
                value = func(plain, *others, **kwargs)
            changed, self.seen = self.rule(x, value), self.seen + 1
            return x.copy_(changed) if value is plain else changed  # in place where the function was
        return func(*args, **kwargs)


class _ReluGradients(ReluRule):
    def __init__(self, slope: float | None) -> None:
        super().__init__(lambda x, value: _ReluGradient.apply(x, value, slope))
        self.slope = slope

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        name = getattr(func, "__name__", "").rstrip("_")
        if self.slope is None and name in RECTIFIERS:
            raise NetworkError(
                f"guided backpropagation has a rule for ReLUs, none for {name}, which this network runs: "
                "choose another method, such as smoothgrad"
            )
        return super().__torch_function__(func, types, args, kwargs)


RECTIFIERS = frozenset(
    ["leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "softplus"]
)
"""Functions in the place of ReLUs, by torch's names."""
_RELUS = {
    nn.functional.relu,
    nn.functional.relu6,
    nn.functional.relu_,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
}


@contextmanager
def relu_gradients(slope: float | None) -> Iterator[None]:
    """Within, ReLUs keep their values but pass ``slope`` of the gradient where they clamp (fake ReLU); with
    None nothing there, and elsewhere only what is above zero (Springenberg et al. 2014, guided)."""
    with _ReluGradients(slope) as rule:
        yield
    if slope is None and not rule.seen:
        raise NetworkError(
            "no ReLU runs up to this layer, so that guided backpropagation is the plain gradient"
        )
