"""Cutting a network at a layer: run it up to there, take the output, run nothing behind it; and what dry runs
find on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netinvert.errors import LayerError, NetworkError
from netinvert.models.private_copy import HOOKS, without_checkpoints
from netinvert.models.strides import Strides

INPUT, OUTPUT = "input", "output"
_GRAMMAR = re.compile(r"(?P<name>[^:\[\]]+)(?::(?P<call>\d+))?(?P<items>(?:\[[^\[\]]+\])*)")


@dataclass(frozen=True)
class LayerName:
    """A layer as the user writes it: ``name``, ``name:call`` or ``name[item]`` (or both, in this order), with
    ``name[item][item]`` for an item of an item."""

    name: str
    call: int | None = None
    items: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, module: nn.Module) -> LayerName:
        """Read a layer's name and check that the module has it; LayerError with the nearest names if not."""
        found = _GRAMMAR.fullmatch(text.strip())
        names = [name for name in named_parts(module) if name]
        if found is None:
            raise LayerError(f"'{text}' is not a layer name; write name, name:call or name[item]")
        name = found["name"]
        if name not in names and name not in (INPUT, OUTPUT):
            near = difflib.get_close_matches(name, [*names, INPUT, OUTPUT], n=4, cutoff=0.4)
            hint = f"; the nearest are {', '.join(near)}" if near else f"; it has {', '.join(names[:8])}, …"
            raise LayerError(f"the network has no layer '{name}'{hint}")
        call = None if found["call"] is None else int(found["call"])
        return cls(name, call, tuple(re.findall(r"\[(.+?)\]", found["items"])))

    def __str__(self) -> str:
        call = "" if self.call is None else f":{self.call}"
        return f"{self.name}{call}" + "".join(f"[{item}]" for item in self.items)

    def module_of(self, module: nn.Module) -> nn.Module | None:
        """The module to cut behind; None for the network's input. A real module wins over a reserved word."""
        if self.name in (parts := named_parts(module)):
            return parts[self.name]
        if self.name not in (INPUT, OUTPUT):
            raise LayerError(f"layer '{self.name}' lies in a scripted part; choose that part as a whole")
        return module if self.name == OUTPUT else None


def named_parts(module: nn.Module) -> dict[str, nn.Module]:
    """All submodules by all their names."""
    return dict(module.named_modules(remove_duplicate=False))


class _Captured(BaseException):
    pass


class LayerCut:
    """A module cut at a layer, or at several: ``cut(x)`` gives the (first) layer's output for the network
    input ``x``, ``cut.outputs(x)`` those of all."""

    def __init__(
        self, module: nn.Module, layer: LayerName, *more: LayerName, channels_last: bool = False
    ) -> None:
        self.module = module
        self.layers = (layer, *more)
        self.channels_last = channels_last
        self.targets: dict[nn.Module | None, list[LayerName]] = {}
        for one in self.layers:
            self.targets.setdefault(one.module_of(module), []).append(one)

    def __call__(self, x: Tensor) -> Tensor:
        """The code of the first layer."""
        return self.outputs(x)[0]

    def outputs(self, x: Tensor) -> list[Tensor]:
        """The codes of all layers, in their order, by one forward pass that ends at the last of them. Hooks
        live only for the length of this call."""
        found: dict[LayerName, Tensor] = dict.fromkeys(self.targets.get(None, ()), x)
        if len(found) == len(self.layers):
            return [x] * len(self.layers)
        # The network may change its input in place.
        x = x.clone()
        if self.channels_last and not torch._C._are_functorch_transforms_active():  # vmap knows no such copy
            x = x.contiguous(memory_format=torch.channels_last)
        calls: Counter[nn.Module] = Counter()

        def capture(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401 - networks return anything
            here = [layer for layer in self.targets[module] if (layer.call or 0) == calls[module]]
            calls[module] += 1
            found.update({layer: select(output, layer) for layer in here})
            if len(found) == len(self.layers):
                raise _Captured
            for layer in here:  # what comes next may change it in place
                found[layer] = found[layer].clone()

        handles = [part.register_forward_hook(capture) for part in self.targets if part is not None]
        try:
            with without_checkpoints():
                self.module(x)
        except _Captured:
            pass
        finally:
            for handle in handles:
                handle.remove()
        for layer, target in ((layer, target) for target, own in self.targets.items() for layer in own):
            if layer not in found and target is not None:
                raise LayerError(f"layer '{layer}' does not run ({calls[target]} calls)")
        return [found[layer] for layer in self.layers]


def select(output: Any, layer: LayerName) -> Tensor:  # noqa: ANN401 - networks return anything
    """The one tensor that a layer's output means: itself, ``[item]`` of it, or its only tensor."""
    name = layer.name
    for key in layer.items:
        if isinstance(output, Tensor):
            raise LayerError(f"layer '{name}' gives a single tensor; leave out [{key}]")
        inside = items_of(output)
        try:  # also from the end, as in hidden_states[-1]
            output = inside[key] if key in inside else output[int(key)]
        except (TypeError, ValueError, LookupError):
            known = [one for one, value in inside.items() if value is not None]
            raise LayerError(f"layer '{name}' has no [{key}]; it has {', '.join(known)}") from None
        name += f"[{key}]"
    if isinstance(output, Tensor):
        return output
    tensors = {id(tensor): (key, tensor) for key, tensor in tensors_of(output).items()}
    if len(tensors) == 1:
        return tensors.popitem()[1][1]
    keys = [key for key, _ in tensors.values()] or [k for k, v in items_of(output).items() if tensors_of(v)]
    if not keys:
        raise LayerError(f"layer '{name}' gives no tensor but {type(output).__name__}; choose another layer")
    choices = ", ".join(str(replace(layer, items=(*layer.items, key))) for key in keys)
    raise LayerError(f"layer '{name}' gives several tensors; choose one of {choices}")


def items_of(output: Any) -> dict[str, Any]:  # noqa: ANN401 - networks return anything
    """What a tuple, list, mapping or dataclass-like output holds, by key; a named tuple by both of its."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if isinstance(output, tuple | list):
        numbered = {str(index): value for index, value in enumerate(output)}
        return numbered | dict(zip(getattr(output, "_fields", ()), output, strict=False))
    slots = [one.name for one in dataclasses.fields(output)] if dataclasses.is_dataclass(output) else []
    return {name: getattr(output, name) for name in [*slots, *getattr(output, "__dict__", {})]}


def tensors_of(output: Any) -> dict[str, Tensor]:  # noqa: ANN401 - networks return anything
    """The tensors of a tuple, list, mapping or dataclass-like output, by key."""
    return {key: value for key, value in items_of(output).items() if isinstance(value, Tensor)}


class _LeakyGradient(torch.autograd.Function):
    """A ReLU whose gradient leaks where it is clamped; the value is the plain one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: float) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x == value)
        ctx.slope = slope
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (passes,) = ctx.saved_tensors
        gradient = gradients[0]
        return torch.where(passes, gradient, ctx.slope * gradient), None, None


class _LeakyGradients(TorchFunctionMode):
    """Catches module and functional ReLUs alike, for torch runs both through the same functions."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)  # of hardtanh
        if func in _RELUS or (func is nn.functional.hardtanh and low == 0):  # what the module ReLU6 runs
            x, *others = args if args else [kwargs.pop("input")]
            with torch.no_grad():
                plain = x.detach().clone()
                value = func(plain, *others, **kwargs)
            leaky = _LeakyGradient.apply(x, value, self.slope)
            return x.copy_(leaky) if value is plain else leaky  # in place where the function was
        return func(*args, **kwargs)


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
def leaky_relu_gradients(slope: float) -> Iterator[None]:
    """Within, ReLUs keep their values but pass ``slope`` of the gradient where they clamp (fake ReLU)."""
    with _LeakyGradients(slope):
        yield


Observer = Callable[[str, nn.Module, Tensor | None, Any], None]


@dataclass(frozen=True)
class Trace:
    """The cut as a dry run found it: ``stride`` and ``receptive_field`` in pixels, by :class:`Strides`, and
    ``depth`` as a share of the layers: of the leaf modules but for those that pass on what they are given
    (dropout, flattening, a pooling to the size that is there).

    ``layer`` has its call made definite. ``behind`` are the names of the leaf modules that run after it, and
    not before."""

    layer: LayerName
    stride: int
    depth: float
    behind: frozenset[str] = frozenset()
    receptive_field: int = 1


@contextlib.contextmanager
def observed(module: nn.Module, observer: Observer) -> Iterator[None]:
    """Call ``observer(name, module, first input, output)`` after every submodule's forward."""

    def hook(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        observer(name, part, first, output)

    parts = [(name, part) for name, part in module.named_modules() if not isinstance(part, ScriptModule)]
    handles = [part.register_forward_hook(partial(hook, name)) for name, part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that read a tensor's memory, from modules and functions alike. What an operation
    in place leaves there is another version, with its own readers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of: Counter[tuple[int, int]] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler for that, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        self.read(args, kwargs)
        return func(*args, **kwargs or {})

    def read(self, *values: Any) -> None:  # noqa: ANN401
        """Count one reading of all tensors in these."""
        tensors = (one for one in tree_leaves(values) if isinstance(one, Tensor))
        self.of.update({memory_of(one) for one in tensors if one.layout is torch.strided})


def memory_of(tensor: Tensor) -> tuple[int, int]:
    """Where its numbers are, and how often they were changed in place."""
    return tensor.untyped_storage().data_ptr(), tensor._version


@dataclass
class Followers:
    """What a dry run up to a cut found: how often each module ran, the ``makers`` that did, and the ``pairs``
    of one and the only reader of its output, a module, with that one's own output and its version."""

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
    """Which modules that ``takes`` accepts are alone in reading what those that ``makes`` accepts make, also
    ``through`` one of a type. A code is read by its user; a module with hooks neither makes nor takes."""
    found, reads = Followers(), _Reads()
    # Tensors are kept, so that their ids and memory stay theirs; with what was read there before.
    made_by: dict[int, tuple[nn.Module, Tensor, tuple[int, int], int]] = {}
    places: list[tuple[tuple[int, int], int]] = []
    hooked = {part for part in cut.module.modules() if any(vars(part).get(name) for name in HOOKS)}

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        found.runs[part] += 1
        made = made_by.get(id(first))
        if not isinstance(output, Tensor) or part in hooked:
            return
        if makes(part):
            memory = memory_of(output)
            made_by[id(output)] = (part, output, memory, reads.of[memory])
            found.makers.add(part)
            return
        changes = -1 if made is None else made[1]._version - made[2][1]
        if made is not None and changes == 0 and type(part) is through:
            made_by[id(output)] = (made[0], output, *made[2:])
        elif made is not None and takes(part) and changes == (output is made[1]):  # by nobody else on the way
            found.pairs.append((made[0], part, output, output._version))
            places.append(made[2:])

    with observed(cut.module, observe), reads:
        reads.read(cut.outputs(x))
    alone = [reads.of[memory] - before == 1 for memory, before in places]
    found.pairs = [pair for pair, one in zip(found.pairs, alone, strict=True) if one]
    return found


_IDLE = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
_ADAPTIVE = (nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)


@torch.no_grad()
def trace(module: nn.Module, layer: LayerName, x: Tensor) -> Trace:
    """Run the whole network once on ``x``; LayerError if the layer never runs or runs ambiguously often."""
    target = layer.module_of(module)
    if target is None:
        return Trace(layer, 1, 0.0)
    strides = Strides(x)
    order: list[tuple[str, nn.Module]] = []  # of the leaf modules' calls
    layers = 0  # of these, what changes its input
    # Of each call of the target: leaves and layers run so far, stride and receptive field.
    at_call: list[tuple[int, int, tuple[int, int]]] = []

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        nonlocal layers
        strides.see(part, first, output)
        if not any(True for _ in part.children()):
            order.append((name, part))
            same = isinstance(part, _ADAPTIVE) and first is not None and output.shape == first.shape
            layers += not (same or isinstance(part, _IDLE))
        if part is target:
            at_call.append((len(order), layers, strides.now))

    failure: Exception | None = None
    with observed(module, observe), without_checkpoints():
        try:
            module(x.clone())
        except Exception as error:  # a head may refuse this image size; what ran before it is enough
            failure = error
    calls = len(at_call)
    ran_first = list(dict.fromkeys(name for name, _ in order))[:4]
    if calls == 0 and failure is not None:
        raise NetworkError(
            f"the network fails on an image of {tuple(x.shape[-2:])} pixels before layer '{layer}' runs: "
            f"{failure}"
        ) from failure
    if calls == 0:
        raise LayerError(
            f"layer '{layer}' exists but does not run when the network sees an image (its parent may run its "
            f"parts alone); choose one that does: {', '.join(ran_first) or OUTPUT}, …"
        )
    if layer.call is None and calls > 1:
        choices = ", ".join(str(replace(layer, call=call)) for call in range(calls))
        raise LayerError(f"layer '{layer}' runs {calls} times; choose one of {choices}")
    call = layer.call or 0
    if call >= calls:
        raise LayerError(
            f"layer '{layer.name}' runs {calls} times, so the last call is '{layer.name}:{calls - 1}'"
        )
    ran, passed, (stride, field) = at_call[call]
    before = {part for _, part in order[:ran]}
    behind = frozenset(name for name, part in order[ran:] if part not in before)
    return Trace(replace(layer, call=call), stride, passed / max(layers, 1), behind, field)
