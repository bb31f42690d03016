"""Cutting a network at a layer: run it up to there, take the output, run nothing behind it; and what dry runs
find on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from netinvert.errors import LayerError, NetworkError
from netinvert.models.private_copy import without_checkpoints

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
    input ``x``, ``cut.outputs(x)`` those of all. Threads may share it: they wait for one another."""

    def __init__(
        self, module: nn.Module, layer: LayerName, *more: LayerName, channels_last: bool = False
    ) -> None:
        self.module = module
        self.layers = (layer, *more)
        self.channels_last = channels_last
        self._alone = RLock()  # a hook sees the passes of all threads
        self.targets: dict[nn.Module | None, list[LayerName]] = {}
        for one in self.layers:
            self.targets.setdefault(one.module_of(module), []).append(one)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_alone"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _alone=RLock())

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

        with self._alone:
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


def is_map(output: Tensor, image: Tensor) -> bool:
    """Whether an output has the image's rows and columns: a tensor (N, heads, tokens, numbers) of a
    transformer, say, shrinks one of them only."""
    if output.ndim != 4 or output.shape[0] != image.shape[0] or min(output.shape[-2:]) < 2:
        return False
    down, right = (image.shape[side] / output.shape[side] for side in (-2, -1))
    return max(down, right) <= 1.5 * min(down, right)


class Strides:
    """Stride and receptive field of feature maps in pixels, as products and sums over the layers' windows
    (MatConvNet's arithmetic): ratios of sizes are off wherever a border is cut or padded.

    Maps of one size have one stride; where branches meet, the larger field counts. A change of size that no
    module tells of is taken for windows side by side. ``now`` is of the last map, or of the vector behind it.
    """

    def __init__(self, image: Tensor) -> None:
        self.image = image
        self.size = (image.shape[-2], image.shape[-1])
        self.known = {self.size: (1, 1)}

    @property
    def now(self) -> tuple[int, int]:
        """(stride, receptive field)."""
        return self.known[self.size]

    def see(self, part: nn.Module, first: Tensor | None, output: object) -> None:
        """Take note of what a module was given and what it gave."""
        leaf = not any(True for _ in part.children())
        if leaf and first is not None and self._is_map(first):
            self._reach((first.shape[-2], first.shape[-1]))
        rows, (stride, field) = self.size[0], self.now
        if isinstance(output, Tensor) and self._is_map(output):
            size = (output.shape[-2], output.shape[-1])
            kernel, step, dilation = (_rows(part, name) for name in ("kernel_size", "stride", "dilation"))
            mean = size == (1, 1) and not isinstance(part, nn.Conv2d | nn.MaxPool2d)  # over the whole map
            if leaf and kernel and step and size[0] <= rows and not mean:
                self._note(size, stride * step, field + (dilation or 1) * (kernel - 1) * stride)
            else:
                self._reach(size)
        elif isinstance(part, nn.Linear) and first is not None and first.ndim == 2:
            self._reach((1, 1))  # a window over the whole map

    def _is_map(self, output: Tensor) -> bool:
        return is_map(output, self.image) or (output.ndim == 4 and output.shape[-2:] == (1, 1))

    def _reach(self, size: tuple[int, int]) -> None:
        """Come to a map of this size without a module that tells how; to one value by all of the map."""
        stride, field = self.now
        rows, self.size = self.size[0], size
        if size == (1, 1):
            self._note(size, stride, field + (rows - 1) * stride)
        elif size not in self.known:
            times, back = max(1, round(rows / size[0])), max(1, round(size[0] / rows))
            self.known[size] = (max(1, stride * times // back), field + (times - 1) * stride)

    def _note(self, size: tuple[int, int], stride: int, field: int) -> None:
        before = self.known.get(size, (stride, field))
        self.size, self.known[size] = size, (stride, max(field, before[1]) if stride == before[0] else field)


def _rows(part: nn.Module, name: str) -> int | None:
    """A window's extent down the image: modules have an int or a pair."""
    value = getattr(part, name, None)
    value = value[0] if isinstance(value, tuple | list) and value else value
    return value if isinstance(value, int) else None


Observer = Callable[[str, nn.Module, Tensor | None, Any], None]


@dataclass(frozen=True)
class Trace:
    """The cut as a dry run found it: ``stride`` and ``receptive_field`` in pixels, by :class:`Strides`, and
    ``depth`` as a share of the layers: of the leaf modules but for those that pass on what they are given
    (dropout, flattening, a pooling to the size that is there). Heads side by side at the end are one layer.

    ``layer`` has its call made definite. ``behind`` are the names of the leaf modules that run after it, and
    not before. ``largest`` is the size in bytes of the largest output on the way, for one image."""

    layer: LayerName
    stride: int
    depth: float
    behind: frozenset[str] = frozenset()
    receptive_field: int = 1
    largest: int = 0


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
    beside = 0  # of the last of these, those that were given what the one before was given
    before: tuple[Any, Any] = (None, None)  # the last one's input and output
    largest = 0
    # Of each call of the target: leaves and layers run so far, stride and receptive field, largest output.
    at_call: list[tuple[int, int, tuple[int, int], int]] = []

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        nonlocal layers, beside, before, largest
        strides.see(part, first, output)
        largest = max(largest, output.nbytes // len(x) if isinstance(output, Tensor) else 0)
        if not any(True for _ in part.children()):
            order.append((name, part))
            same = isinstance(part, _ADAPTIVE) and first is not None and output.shape == first.shape
            layers += not (same or isinstance(part, _IDLE))
            beside = beside + 1 if first is not None and first is before[0] and first is not before[1] else 0
            before = first, output
        if part is target:
            at_call.append((len(order), layers, strides.now, largest))

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
    ran, passed, (stride, field), most = at_call[call]
    ran_before = {part for _, part in order[:ran]}
    behind = frozenset(name for name, part in order[ran:] if part not in ran_before)
    depth = min(passed / max(layers - beside, 1), 1.0)
    return Trace(replace(layer, call=call), stride, depth, behind, field, most)
