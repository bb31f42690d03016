"""One torch module for each operator of a .tflite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.networks import tflite_ops as ops
from netinvert.networks.blocks import SameConv2d
from netinvert.networks.tflite_file import Array, OperatorRecord, Option, TensorRecord, TFLiteFile

FUSED: Mapping[int, Callable[[], nn.Module]] = {
    1: nn.ReLU,
    2: lambda: nn.Hardtanh(-1.0, 1.0),
    3: nn.ReLU6,
    4: nn.Tanh,
}
SAME = 0


class Site:
    """An operator with what is known of its tensors: constants, shapes, options."""

    def __init__(
        self, operator: OperatorRecord, tensors: tuple[TensorRecord, ...], constants: dict[int, Array]
    ) -> None:
        """``constants`` has the data of constant tensors by index, float16 already widened."""
        self.operator = operator
        self.tensors = tensors
        self.constants = constants

    def option(self, name: str) -> Option:
        """An option of the operator; what the file leaves out is 0 in flatbuffers."""
        return self.operator.options.get(name, 0)

    def constant(self, position: int) -> Array | None:
        """The constant at an input, or None if the input is computed or left out."""
        inputs = self.operator.inputs
        return self.constants.get(inputs[position]) if position < len(inputs) else None

    def needed(self, position: int) -> Array:
        """The constant at an input that has to be one."""
        value = self.constant(position)
        if value is None:
            raise NetworkError(
                f"{self.operator.kind} computes its input {position} at run time: not supported"
            )
        return value

    def weights(self, position: int) -> Tensor:
        """A constant as float32 tensor."""
        return torch.from_numpy(np.array(self.needed(position), dtype=np.float32))

    def bias(self, position: int) -> Tensor | None:
        """An optional constant as float32 tensor."""
        return None if self.constant(position) is None else self.weights(position)

    def shape(self, position: int = 0) -> tuple[int, ...]:
        """The shape of an output."""
        return self.tensors[self.operator.outputs[position]].shape

    def pair(self, first: str, second: str) -> tuple[int, int]:
        """Two options as (height, width)."""
        return int(self.option(first)), int(self.option(second))


def build_operator(site: Site) -> nn.Module:
    """The module of an operator, with its fused activation as ``act`` if it has one."""
    module = BUILDERS[site.operator.kind](site)
    fused = int(site.option("FusedActivationFunction"))
    if fused == 0:
        return module
    if fused not in FUSED:
        raise NetworkError(f"{site.operator.kind} has the fused activation {fused}: not supported")
    return ops.Fused(module, FUSED[fused]())


def _convolution(site: Site, depthwise: bool) -> nn.Module:
    weight = site.weights(1).permute((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)).contiguous()
    bias = site.bias(2)
    inputs = site.tensors[site.operator.inputs[0]].shape[3]
    conv = (SameConv2d if site.option("Padding") == SAME else nn.Conv2d)(
        inputs,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        site.pair("StrideH", "StrideW"),
        dilation=site.pair("DilationHFactor", "DilationWFactor"),
        groups=inputs // weight.shape[1],
        bias=bias is not None,
        device="meta",  # the weights come from the file
    )
    conv.weight = nn.Parameter(weight)
    if bias is not None:
        conv.bias = nn.Parameter(bias)
    return conv


def _arithmetic(site: Site) -> nn.Module:
    for position in (0, 1):
        if site.constant(position) is not None:
            return ops.Arithmetic(site.operator.kind, site.weights(position), first=position == 0)
    return ops.Arithmetic(site.operator.kind)


def _pool(site: Site) -> nn.Module:
    return ops.Pool(
        site.operator.kind == "MAX_POOL_2D",
        site.pair("FilterHeight", "FilterWidth"),
        site.pair("StrideH", "StrideW"),
        site.option("Padding") == SAME,
    )


def _transposed(site: Site) -> nn.Module:
    height, width = site.shape()[1:3]
    return ops.TransposedConv(
        site.weights(1).permute(3, 0, 1, 2).contiguous(),
        site.bias(3),
        site.pair("StrideH", "StrideW"),
        (height, width),
        site.option("Padding") == SAME,
    )


def _dense(site: Site) -> nn.Module:
    inputs = site.tensors[site.operator.inputs[0]].shape
    weight = site.weights(1)
    keep = len(site.shape()) == len(inputs) and inputs[-1] == weight.shape[1]
    return ops.Dense(weight, site.bias(2), keep)


def _mean(site: Site) -> nn.Module:
    rank = len(site.tensors[site.operator.inputs[0]].shape)
    axes = [int(axis) % rank for axis in np.ravel(site.needed(1))]
    if 0 in axes:
        raise NetworkError("MEAN over the batch mixes images: not supported")
    return ops.Mean(axes, bool(site.option("KeepDims")))


def _reshape(site: Site) -> nn.Module:
    before, after = site.tensors[site.operator.inputs[0]].shape, site.shape()
    if not after or before[0] != after[0]:
        raise NetworkError(f"RESHAPE from {before} to {after} mixes images: not supported")
    return ops.Reshape(after[1:])


def _concatenate(site: Site) -> nn.Module:
    if any(index in site.constants for index in site.operator.inputs):
        raise NetworkError("CONCATENATION with a constant: not supported")
    axis = int(site.option("Axis")) % len(site.shape())
    if axis == 0:
        raise NetworkError("CONCATENATION along the batch mixes images: not supported")
    return ops.Concatenate(axis)


def _pad(site: Site) -> nn.Module:
    return ops.Pad([(int(before), int(after)) for before, after in site.needed(1)])


def _slice(site: Site) -> nn.Module:
    if site.option("EllipsisMask") or site.option("NewAxisMask"):
        raise NetworkError("STRIDED_SLICE with an ellipsis or a new axis: not supported")
    begin, end, step = (np.ravel(site.needed(i)).tolist() for i in (1, 2, 3))
    parts, drop = [], []
    for axis in range(len(begin)):
        bit = 1 << axis
        if int(site.option("ShrinkAxisMask")) & bit:
            drop.append(axis)
            parts.append(slice(begin[axis], begin[axis] + 1 or None))
            continue
        first = None if int(site.option("BeginMask")) & bit else begin[axis]
        last = None if int(site.option("EndMask")) & bit else end[axis]
        if axis == 0 and first in (None, 0):
            last = None  # all images, however many the file has
        parts.append(slice(first, last, step[axis]))
    if 0 in drop or parts[0].start not in (None, 0) or parts[0].stop is not None or step[0] != 1:
        raise NetworkError("STRIDED_SLICE along the batch mixes images: not supported")
    if min(step) < 1:
        raise NetworkError("STRIDED_SLICE with a negative step: not supported")
    return ops.Slice(parts, drop)


def _resize(site: Site) -> nn.Module:
    height, width = site.shape()[1:3]
    return ops.ResizeBilinear(
        (height, width), bool(site.option("AlignCorners")), bool(site.option("HalfPixelCenters"))
    )


def _prelu(site: Site) -> nn.Module:
    slope = site.weights(1)
    if len(site.shape()) == 4:
        slope = slope.reshape((1,) * (4 - slope.dim()) + tuple(slope.shape)).permute(0, 3, 1, 2).contiguous()
    return ops.PReLU(slope)


BUILDERS: Mapping[str, Callable[[Site], nn.Module]] = {
    "CONV_2D": lambda site: _convolution(site, depthwise=False),
    "DEPTHWISE_CONV_2D": lambda site: _convolution(site, depthwise=True),
    "TRANSPOSE_CONV": _transposed,
    "ADD": _arithmetic,
    "SUB": _arithmetic,
    "MUL": _arithmetic,
    "MEAN": _mean,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "FULLY_CONNECTED": _dense,
    "LOGISTIC": lambda _: nn.Sigmoid(),
    "RELU": lambda _: nn.ReLU(),
    "RELU6": lambda _: nn.ReLU6(),
    "PRELU": _prelu,
    "TANH": lambda _: nn.Tanh(),
    "HARD_SWISH": lambda _: nn.Hardswish(),
    "PAD": _pad,
    "RESHAPE": _reshape,
    "CONCATENATION": _concatenate,
    "RESIZE_BILINEAR": _resize,
    "SOFTMAX": lambda site: ops.Softmax(float(site.option("Beta"))),
    "STRIDED_SLICE": _slice,
}
NAMES: Mapping[str, str] = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "TRANSPOSE_CONV": "transposed",
    "AVERAGE_POOL_2D": "avgpool",
    "MAX_POOL_2D": "maxpool",
    "FULLY_CONNECTED": "dense",
    "RESIZE_BILINEAR": "resize",
    "CONCATENATION": "concat",
    "STRIDED_SLICE": "slice",
}


def unsupported(file: TFLiteFile) -> list[str]:
    """The kinds of operators in a file that have no module here, each once."""
    known = {*BUILDERS, "DEQUANTIZE"}
    return sorted({operator.kind for operator in file.operators} - known)
