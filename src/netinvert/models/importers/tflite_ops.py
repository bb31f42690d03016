"""TensorFlow Lite's operators as torch modules. Four-dimensional tensors are NCHW here, NHWC in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.models.fused_conv import SameConv2d, same_padding

Array = NDArray[Any]
FUSED: Mapping[int, Callable[[], nn.Module]]
FUSED = {1: nn.ReLU, 2: lambda: nn.Hardtanh(-1.0, 1.0), 3: nn.ReLU6, 4: nn.Tanh}
ARITHMETIC: Mapping[str, Callable[[Tensor, Tensor], Tensor]]
ARITHMETIC = {"ADD": torch.add, "SUB": torch.sub, "MUL": torch.mul}


@dataclass
class TensorRecord:
    """One tensor of a file: ``shape`` as there (NHWC), ``data`` only if it is constant."""

    name: str
    shape: tuple[int, ...]
    kind: str
    data: Array | None


@dataclass(frozen=True)
class Operator:
    """One operator of a file: its name (``CONV_2D``), the indices (-1: left out) of its ``tensors``,
    and the flatbuffer's own table of its ``options``."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    tensors: Sequence[TensorRecord]

    def option(self, name: str) -> float:
        """An option; what the file leaves out is 0 in flatbuffers."""
        return float(getattr(self.options, name, int)())

    def pair(self, first: str, second: str) -> tuple[int, int]:
        """Two options as (height, width)."""
        return int(self.option(first)), int(self.option(second))

    @property
    def same(self) -> bool:
        """Whether it pads as TensorFlow's SAME."""
        return self.option("Padding") == 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The output's."""
        return self.tensors[self.outputs[0]].shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The first input's."""
        return self.tensors[self.inputs[0]].shape

    def constant(self, position: int) -> Array | None:
        """The constant at an input, or None if the input is computed or left out."""
        index = self.inputs[position] if position < len(self.inputs) else -1
        return None if index < 0 else self.tensors[index].data

    def needed(self, position: int) -> Array:
        """The constant at an input that has to be one."""
        value = self.constant(position)
        if value is None:
            raise NetworkError(f"{self.kind} computes its input {position} at run time: not supported")
        return value

    def weights(self, position: int) -> Tensor:
        """A constant as float32 tensor."""
        return torch.from_numpy(np.array(self.needed(position), dtype=np.float32))

    def bias(self, position: int) -> Tensor | None:
        """An optional constant as float32 tensor."""
        return None if self.constant(position) is None else self.weights(position)

    def module(self) -> nn.Module:
        """What computes it, with its fused activation as ``act`` if it has one."""
        module = BUILDERS[self.kind](self)
        fused = int(self.option("FusedActivationFunction"))
        if fused == 0:
            return module
        if fused not in FUSED:
            raise NetworkError(f"{self.kind} has the fused activation {fused}: not supported")
        return Fused(module, FUSED[fused]())


def to_nhwc(values: Tensor) -> Tensor:
    """The file's order of axes; tensors that are not 4-D are as in the file already."""
    return values.permute(0, 2, 3, 1) if values.dim() == 4 else values


def to_nchw(values: Tensor) -> Tensor:
    """Torch's order of axes."""
    return values.permute(0, 3, 1, 2) if values.dim() == 4 else values


class Fused(nn.Module):
    """An operator and the activation that the file fuses to it; ``op`` is the layer before activation."""

    def __init__(self, op: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.op, self.act = op, act

    def forward(self, *inputs: Tensor) -> Tensor:
        """The activation of the output."""
        result: Tensor = self.act(self.op(*inputs))
        return result


class Plain(nn.Module):
    """An operator without weights: a function of its inputs and of constant ``options``, which sees the
    tensors in the file's order of axes if ``nhwc``."""

    def __init__(self, function: Callable[..., Tensor], *options: Any, nhwc: bool = False) -> None:  # noqa: ANN401
        super().__init__()
        self.function, self.options, self.nhwc = function, options, nhwc

    def forward(self, *values: Tensor) -> Tensor:
        """The function's value."""
        if self.nhwc:
            return to_nchw(self.function([to_nhwc(value) for value in values], *self.options))
        return self.function(values, *self.options)


def of_torch(name: str, function: Callable[..., Tensor], *options: Any, nhwc: bool = False) -> nn.Module:  # noqa: ANN401
    """A Plain of a class of its own name: what layers are is told by their classes."""
    made: Plain = type(name, (Plain,), {})(function, *options, nhwc=nhwc)
    return made


class Arithmetic(nn.Module):
    """Add, subtract or multiply two tensors, or one and a ``constant`` that stands ``first`` or second."""

    constant: Tensor | None

    def __init__(self, function: str, constant: Tensor | None = None, first: bool = False) -> None:
        super().__init__()
        self.function, self.first = ARITHMETIC[function], first
        self.register_buffer("constant", constant)

    def forward(self, left: Tensor, right: Tensor | None = None) -> Tensor:
        """Broadcast as NHWC does, then back."""
        if right is not None and left.dim() == right.dim():
            return self.function(left, right)
        # a constant is kept in the file's order, so that (C,) meets the channels
        other = self.constant if right is None else to_nhwc(right)
        assert other is not None
        pair = (other, to_nhwc(left)) if self.first else (to_nhwc(left), other)
        return to_nchw(self.function(*pair))


class TransposedConv(nn.Module):
    """A transposed convolution, (N, C, H, W) to (N, C', *size), cropped or padded as TensorFlow does."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.weight = nn.Parameter(operator.weights(1).permute(3, 0, 1, 2).contiguous())
        bias = operator.bias(3)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.stride, self.size = operator.pair("StrideH", "StrideW"), operator.shape[1:3]
        self.same = operator.same

    def forward(self, features: Tensor) -> Tensor:
        """The new feature map."""
        full = F.conv_transpose2d(features, self.weight, None, self.stride)
        pads: list[int] = []
        for axis in (1, 0):  # F.pad wants the last axis first
            surplus = full.shape[2 + axis] - self.size[axis]
            before = max(surplus, 0) // 2 if self.same else 0
            pads += [-before, before - surplus]
        cropped = F.pad(full, pads)
        return cropped if self.bias is None else cropped + self.bias[:, None, None]


class Dense(nn.Linear):
    """A fully connected layer on the file's order of axes: (N, …) to (N, outputs), or where the file keeps
    the axes (…, inputs) to (…, outputs)."""

    def __init__(self, operator: Operator) -> None:
        weight, bias, shape = operator.weights(1), operator.bias(2), operator.input_shape
        super().__init__(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        self.weight = nn.Parameter(weight)
        if bias is not None:
            self.bias = nn.Parameter(bias)
        self.keep = len(operator.shape) == len(shape) and shape[-1] == weight.shape[1]

    def forward(self, input: Tensor) -> Tensor:
        """The weighted sums."""
        ordered = to_nhwc(input)
        return to_nchw(super().forward(ordered if self.keep else ordered.reshape(len(input), -1)))


class PReLU(nn.Module):
    """Leaky below zero, with a slope for each channel (or place), kept in torch's order."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        slope = operator.weights(1)
        if len(operator.shape) == 4:
            slope = slope.reshape((1,) * (4 - slope.dim()) + tuple(slope.shape))
            slope = slope.permute(0, 3, 1, 2).contiguous()
        self.slope = nn.Parameter(slope)

    def forward(self, features: Tensor) -> Tensor:
        """The same shape."""
        return features.clamp(min=0) + self.slope * features.clamp(max=0)


def _convolution(operator: Operator) -> nn.Module:
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    weight = operator.weights(1).permute((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)).contiguous()
    bias, inputs = operator.bias(2), operator.input_shape[3]
    conv = (SameConv2d if operator.same else nn.Conv2d)(
        inputs,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        operator.pair("StrideH", "StrideW"),
        dilation=operator.pair("DilationHFactor", "DilationWFactor"),
        groups=inputs // weight.shape[1],
        bias=bias is not None,
        device="meta",  # the weights come from the file
    )
    conv.weight = nn.Parameter(weight)
    if bias is not None:
        conv.bias = nn.Parameter(bias)
    return conv


def _arithmetic(operator: Operator) -> nn.Module:
    for position in (0, 1):
        if operator.constant(position) is not None:
            return Arithmetic(operator.kind, operator.weights(position), first=position == 0)
    return Arithmetic(operator.kind)


def _pool(operator: Operator) -> nn.Module:
    kernel, stride = operator.pair("FilterHeight", "FilterWidth"), operator.pair("StrideH", "StrideW")
    return of_torch("Pool", _pooled, operator.kind == "MAX_POOL_2D", kernel, stride, operator.same)


def _pooled(
    values: Sequence[Tensor], maximum: bool, kernel: tuple[int, int], stride: tuple[int, int], same: bool
) -> Tensor:
    """With TensorFlow's padding; the average leaves padded places out."""
    (features,) = values
    padding = (0, 0, 0, 0)
    if same:
        top, bottom = same_padding(features.shape[2], kernel[0], stride[0])
        left, right = same_padding(features.shape[3], kernel[1], stride[1])
        padding = (left, right, top, bottom)
    if maximum:
        padded = F.pad(features, padding, value=float("-inf")) if any(padding) else features
        return F.max_pool2d(padded, kernel, stride)
    if not any(padding):
        return F.avg_pool2d(features, kernel, stride)
    inside = F.pad(torch.ones_like(features[:1, :1]), padding)
    total = F.avg_pool2d(F.pad(features, padding), kernel, stride)
    return total / F.avg_pool2d(inside, kernel, stride)


def _mean(operator: Operator) -> nn.Module:
    axes = tuple(int(axis) % len(operator.input_shape) for axis in np.ravel(operator.needed(1)))
    if 0 in axes:
        raise NetworkError("MEAN over the batch mixes images: not supported")
    keep = bool(operator.option("KeepDims"))
    return of_torch("Mean", lambda values: values[0].mean(dim=axes, keepdim=keep), nhwc=True)


def _transpose(operator: Operator) -> nn.Module:
    axes = [int(axis) for axis in np.ravel(operator.needed(1))]
    if axes[0] != 0:
        raise NetworkError("TRANSPOSE of the batch mixes images: not supported")
    return of_torch("Transpose", lambda values: values[0].permute(axes), nhwc=True)


def _reshape(operator: Operator) -> nn.Module:
    before, after = operator.input_shape, operator.shape
    if not after or before[0] != after[0]:
        raise NetworkError(f"RESHAPE from {before} to {after} mixes images: not supported")
    return of_torch("Reshape", lambda values: values[0].reshape(len(values[0]), *after[1:]), nhwc=True)


def _concatenate(operator: Operator) -> nn.Module:
    if any(operator.constant(position) is not None for position in range(len(operator.inputs))):
        raise NetworkError("CONCATENATION with a constant: not supported")
    axis = int(operator.option("Axis")) % len(operator.shape)
    if axis == 0:
        raise NetworkError("CONCATENATION along the batch mixes images: not supported")
    return of_torch("Concatenate", torch.cat, axis, nhwc=True)


def _pad(operator: Operator) -> nn.Module:
    amounts = [int(number) for pair in reversed(list(operator.needed(1))) for number in pair]
    return of_torch("Pad", lambda values: F.pad(values[0], amounts), nhwc=True)


def _slice(operator: Operator) -> nn.Module:
    if operator.option("EllipsisMask") or operator.option("NewAxisMask"):
        raise NetworkError("STRIDED_SLICE with an ellipsis or a new axis: not supported")
    begin, end, step = (np.ravel(operator.needed(i)).tolist() for i in (1, 2, 3))
    no_begin, no_end, shrinks = (
        [bool(int(operator.option(mask)) & 1 << axis) for axis in range(len(begin))]
        for mask in ("BeginMask", "EndMask", "ShrinkAxisMask")
    )
    parts: list[slice | int] = []
    for axis, first in enumerate(begin):
        if shrinks[axis]:
            parts.append(first)
            continue
        start, stop = None if no_begin[axis] else first, None if no_end[axis] else end[axis]
        if axis == 0 and start in (None, 0):
            stop = None  # all images, however many the file has
        parts.append(slice(start, stop, step[axis]))
    if parts[0] not in (slice(None, None, 1), slice(0, None, 1)):
        raise NetworkError("STRIDED_SLICE along the batch mixes images: not supported")
    if min(step) < 1:
        raise NetworkError("STRIDED_SLICE with a negative step: not supported")
    return of_torch("Slice", lambda values: values[0][tuple(parts)], nhwc=True)


def _resize(operator: Operator) -> nn.Module:
    size, aligned = operator.shape[1:3], bool(operator.option("AlignCorners"))
    if aligned or operator.option("HalfPixelCenters"):
        return of_torch(
            "ResizeBilinear",
            lambda values: F.interpolate(values[0], size, mode="bilinear", align_corners=aligned),
        )
    return of_torch(
        "ResizeBilinear", lambda values: _stretched(_stretched(values[0], 2, size[0]), 3, size[1])
    )


def _stretched(features: Tensor, axis: int, size: int) -> Tensor:
    """Bilinear in TensorFlow's old way, which torch lacks: output i lies at i * in / out."""
    length = features.shape[axis]
    place = torch.arange(size, device=features.device, dtype=features.dtype) * (length / size)
    low = place.floor().long().clamp(max=length - 1)
    share = (place - low).reshape([-1 if i == axis else 1 for i in range(features.dim())])
    high = (low + 1).clamp(max=length - 1)
    return features.index_select(axis, low) * (1 - share) + features.index_select(axis, high) * share


BUILDERS: Mapping[str, Callable[[Operator], nn.Module]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _pool),
    "TRANSPOSE_CONV": TransposedConv,
    "MEAN": _mean,
    "FULLY_CONNECTED": Dense,
    "LOGISTIC": lambda _: nn.Sigmoid(),
    "RELU": lambda _: nn.ReLU(),
    "RELU6": lambda _: nn.ReLU6(),
    "PRELU": PReLU,
    "TANH": lambda _: nn.Tanh(),
    "HARD_SWISH": lambda _: nn.Hardswish(),
    "PAD": _pad,
    "RESHAPE": _reshape,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenate,
    "RESIZE_BILINEAR": _resize,
    "SOFTMAX": lambda operator: of_torch(
        "Softmax", lambda values, beta: (values[0] * beta).softmax(dim=-1), operator.option("Beta"), nhwc=True
    ),
    "STRIDED_SLICE": _slice,
}
