"""A copy of a network of any making, that shares nothing with it but, at first, the memory of its weights."""

from __future__ import annotations

import copy
import dis
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.jit import ScriptModule
from torch.utils import checkpoint
from torch.utils._pytree import tree_leaves

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
STATE = (list, dict, set, deque, bytearray, SimpleNamespace, Tensor)


@contextmanager
def plain_torch() -> Iterator[None]:
    """Within, torch computes as it does by default: with gradients to be had, in the tensors' own types."""
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():  # else it would end the caller's no_grad
            stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


_REENTRANT = checkpoint.CheckpointFunction


class _Kept:
    """In the place of a reentrant checkpoint, which knows no gradient of the image alone."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *inputs: Any) -> Any:  # noqa: ANN401
        return function(*inputs)


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Within, a checkpoint keeps what it would compute again: the values are the same."""
    checkpoint.CheckpointFunction = _Kept  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = _REENTRANT  # type: ignore[misc]


def as_usable(tensor: Tensor) -> Tensor:
    """The tensor, or a copy if it was made in inference mode, where no gradient can make use of it."""
    return tensor.clone() if tensor.is_inference() else tensor


class _Scripted(nn.Module):
    """A scripted part, which takes no hooks, as one that does."""

    def __init__(self, scripted: ScriptModule) -> None:
        super().__init__()
        self.scripted = scripted

    def forward(self, *inputs: Any, **more: Any) -> Any:  # noqa: ANN401
        return self.scripted(*inputs, **more)


def put(module: nn.Module, parts: Mapping[nn.Module, nn.Module]) -> None:
    """Replace submodules, under all their names."""
    for parent in list(module.modules()):
        for name, part in list(parent._modules.items()):
            if part is not None and part in parts and not isinstance(parent, ScriptModule | _Scripted):
                setattr(parent, name, parts[part].requires_grad_(False))


def shared_copy(module: nn.Module) -> nn.Module:
    """A frozen copy whose parameters lie in the same memory as the module's: see :func:`own_weights`.

    What ``deepcopy`` gets wrong is mended: tensors with a gradient's history (of ``weight_norm``), graphs
    that come back in training mode or hold fake tensors, scripted parts, and hooks, whose state it shares.
    """
    memo: dict[int, Any] = {}
    parts = list(module.modules())
    for part in parts:
        memo |= {id(hook): hook for name in HOOKS for hook in vars(part).get(name, {}).values()}
        for one in tree_leaves(list(vars(part).values())):
            if type(one) is nn.Parameter:
                memo[id(one)] = nn.Parameter(one.detach(), requires_grad=False)
            elif isinstance(one, Tensor) and one.grad_fn is not None:
                memo[id(one)] = one.detach().clone()
    shared: dict[type, Any] = copy._deepcopy_dispatch  # type: ignore[attr-defined]
    shared[FakeTensor] = lambda fake, memo: fake  # which have no values
    try:
        with torch.no_grad():  # or scripted parts would remember where they come from
            copied = copy.deepcopy(module, memo).requires_grad_(False)
    finally:
        shared.pop(FakeTensor, None)
    for part, own in zip(parts, copied.modules(), strict=True):
        if own.training != part.training:  # a graph of torchvision's feature extractors
            own.train(part.training)
        for hooks in (vars(own).get(name, {}) for name in HOOKS):
            hooks.update({key: _own_hook(hook, memo) for key, hook in hooks.items()})
    put(copied, {part: _Scripted(part).eval() for part in copied.modules() if isinstance(part, ScriptModule)})
    return copied


def own_weights(module: nn.Module) -> None:
    """Give a copy weights of its own, in place."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()


def _own_hook(hook: Callable[..., Any], memo: dict[int, Any]) -> Callable[..., Any]:
    """The hook with a copy of what it may write to, so that it records nothing on its owner's side."""
    memo.pop(id(hook), None)
    try:
        if not isinstance(hook, FunctionType):
            return copy.deepcopy(hook, memo)
        own = [CellType(_own_state(cell.cell_contents, memo)) for cell in hook.__closure__ or ()]
        code, known = hook.__code__, hook.__globals__
        ours = {name: _own_state(known[name], memo) for name in code.co_names if name in known}
        writes = any(one.opname == "STORE_GLOBAL" for one in dis.get_instructions(code))
        if writes or any(value is not known[name] for name, value in ours.items()):
            known = known | ours
        made = FunctionType(code, known, hook.__name__, hook.__defaults__, tuple(own))
        made.__kwdefaults__ = hook.__kwdefaults__
        return made
    except Exception:  # what it holds cannot be copied: a file, a lock
        return hook


def _own_state(value: Any, memo: dict[int, Any]) -> Any:  # noqa: ANN401
    """Containers and what was copied already; another object may be there once for all (a context, say)."""
    return copy.deepcopy(value, memo) if isinstance(value, STATE) or id(value) in memo else value
