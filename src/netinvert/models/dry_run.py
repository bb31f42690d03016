"""Dry runs: what a network does on its way to a layer."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import LayerError, NetworkError
from netinvert.models.layer_output import LayerCut, LayerName

Observer = Callable[[str, nn.Module, Tensor | None, Any], None]


@dataclass(frozen=True)
class Trace:
    """The cut as a dry run found it: ``stride`` in pixels, ``depth`` as a share of the leaf modules.

    ``layer`` has its call made definite. ``behind`` are the names of the leaf modules that run after it, and
    not before."""

    layer: LayerName
    stride: int
    depth: float
    behind: frozenset[str] = frozenset()


@contextlib.contextmanager
def observed(module: nn.Module, observer: Observer) -> Iterator[None]:
    """Call ``observer(name, module, first input, output)`` after every submodule's forward."""
    handles = []

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
            first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
            observer(name, part, first, output)

        return hook

    try:
        for name, part in module.named_modules(remove_duplicate=True):
            handles.append(part.register_forward_hook(hook_of(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Followers:
    """What a dry run up to a cut found: how often each module ran, the ``makers`` that did, and the ``pairs``
    of one and a module that takes its output, with that module's own output and its version."""

    runs: Counter[nn.Module] = field(default_factory=Counter)
    makers: set[nn.Module] = field(default_factory=set)
    pairs: list[tuple[nn.Module, nn.Module, Any, int]] = field(default_factory=list)


def followers(
    cut: LayerCut,
    x: Tensor,
    makes: Callable[[nn.Module], bool],
    takes: Callable[[nn.Module], bool],
    through: type[nn.Module] | None = None,
) -> Followers:
    """Which modules that ``takes`` accepts take what those that ``makes`` accepts make, also ``through`` one
    of a type. An output that is a code itself is taken by none."""
    found = Followers()
    made_by: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensor is kept, so that its id stays its own
    codes: set[int] = set()

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        found.runs[part] += 1
        made = None if first is None or id(first) in codes else made_by.get(id(first))
        if isinstance(output, Tensor):
            if makes(part):
                made_by[id(output)] = (part, output)
                found.makers.add(part)
            elif made is not None and type(part) is through:
                made_by[id(output)] = (made[0], output)
            elif made is not None and takes(part):
                found.pairs.append((made[0], part, output, output._version))
        if part in cut.targets:
            codes.add(id(output))

    with observed(cut.module, observe):
        cut.outputs(x)
    return found


def is_map(output: Tensor, image: Tensor) -> bool:
    """Whether an output has the image's rows and columns: a tensor (N, heads, tokens, numbers) of a
    transformer, say, shrinks one of them only."""
    if output.ndim != 4 or output.shape[0] != image.shape[0] or min(output.shape[-2:]) < 2:
        return False
    down, right = (image.shape[side] / output.shape[side] for side in (-2, -1))
    return max(down, right) <= 1.5 * min(down, right)


@torch.no_grad()
def trace(module: nn.Module, layer: LayerName, x: Tensor) -> Trace:
    """Run the whole network once on ``x``; LayerError if the layer never runs or runs ambiguously often."""
    target = layer.module_of(module)
    if target is None:
        return Trace(layer, 1, 0.0)
    calls = 0
    leaves = 0
    strides = [1]
    order: list[tuple[str, nn.Module]] = []  # of the leaf modules' calls
    at_call: list[tuple[int, int]] = []  # of each call of the target: leaves run so far, stride so far

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        nonlocal calls, leaves
        if not any(True for _ in part.children()):
            leaves += 1
            order.append((name, part))
            if isinstance(output, Tensor) and is_map(output, x):
                strides.append(max(1, round(x.shape[-2] / output.shape[-2])))
        if part is target:
            calls += 1
            at_call.append((leaves, strides[-1]))

    failure: Exception | None = None
    with observed(module, observe):
        try:
            module(x)
        except Exception as error:  # a head may refuse this image size; what ran before it is enough
            failure = error
    if calls == 0 and failure is not None:
        raise NetworkError(
            f"the network fails on an image of {tuple(x.shape[-2:])} pixels before layer '{layer}' runs: "
            f"{failure}"
        ) from failure
    if calls == 0:
        raise LayerError(f"layer '{layer}' exists but does not run when the network sees an image")
    if layer.call is None and calls > 1:
        choices = ", ".join(str(replace(layer, call=call)) for call in range(calls))
        raise LayerError(f"layer '{layer}' runs {calls} times; choose one of {choices}")
    call = layer.call or 0
    if call >= calls:
        raise LayerError(
            f"layer '{layer.name}' runs {calls} times, so the last call is '{layer.name}:{calls - 1}'"
        )
    ran, stride = at_call[call]
    before = {part for _, part in order[:ran]}
    behind = frozenset(name for name, part in order[ran:] if part not in before)
    return Trace(replace(layer, call=call), stride, ran / leaves, behind)


def put(module: nn.Module, name: str, part: nn.Module) -> None:
    """Set the submodule of this dotted name."""
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, part.requires_grad_(False))
