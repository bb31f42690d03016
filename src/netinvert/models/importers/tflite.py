"""One torch module for each operator of a .tflite file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from netinvert.errors import NetinvertError, NetworkError
from netinvert.models.importers import tflite_ops as ops
from netinvert.models.importers.tflite_file import (
    Array,
    OperatorRecord,
    Option,
    TensorRecord,
    TFLiteFile,
    read_tflite,
)
from netinvert.models.importers.tflite_ops import to_nhwc
from netinvert.models.network import Network, Preprocessing, sidecar
from netinvert.models.weights import load_weights
from netinvert.models.zoo.blocks import SameConv2d

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


INTEGER_WEIGHTS = ("INT8", "UINT8", "INT16", "INT4")


class TFLiteModule(nn.Module):
    """The operators of a file in their order, each a submodule (``conv_0``, ``depthwise_0``, ``add_0``, …).

    Image (N, C, H, W) to the file's output, or to a dict of outputs by name if it has several. Layers are
    NCHW; outputs have the file's order of axes (NHWC), with any batch size."""

    def __init__(self, file: TFLiteFile) -> None:
        """Every operator of ``file`` has to have a builder."""
        super().__init__()
        constants = {
            index: tensor.data for index, tensor in enumerate(file.tensors) if tensor.data is not None
        }
        self.steps: list[tuple[str, tuple[int, ...], int]] = []
        self.entry = file.inputs[0]
        self.exits = {file.tensors[index].name: index for index in file.outputs}
        counts: Counter[str] = Counter()
        for operator in file.operators:
            if operator.kind == "DEQUANTIZE":
                _dequantize(operator.inputs[0], operator.outputs[0], constants)
                continue
            base = NAMES.get(operator.kind, operator.kind.lower())
            name = f"{base}_{counts[base]}"
            counts[base] += 1
            self.add_module(name, build_operator(Site(operator, file.tensors, constants)))
            computed = tuple(index for index in operator.inputs if index >= 0 and index not in constants)
            self.steps.append((name, computed, operator.outputs[0]))

    def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
        """Run every operator; (N, C, H, W) to the outputs."""
        values = {self.entry: image}
        for name, inputs, output in self.steps:
            values[output] = self.get_submodule(name)(*(values[index] for index in inputs))
        results = {name: to_nhwc(values[index]) for name, index in self.exits.items()}
        return results if len(results) > 1 else next(iter(results.values()))


def tflite_module(path: str | Path) -> tuple[TFLiteModule, tuple[int, int, int]]:
    """The module of a file and its input's (channels, height, width). Raises MissingExtraError: the package
    ``tflite`` is not installed; NetworkError: not a usable file: damaged, quantised, or with operators
    unknown here."""
    file = read_tflite(path)
    missing = unsupported(file)
    if missing:
        raise NetworkError(
            f"{path}: operators not supported: {', '.join(missing)}. Convert the network to ONNX"
        )
    quantised = sorted({tensor.kind for tensor in file.tensors if tensor.kind in INTEGER_WEIGHTS})
    if quantised:
        raise NetworkError(
            f"{path}: the network is quantised to {', '.join(quantised)}, which has no gradient: "
            "export it with float32 or float16 weights"
        )
    inputs = [file.tensors[index] for index in file.inputs]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].kind != "FLOAT32":
        found = ", ".join(f"{tensor.kind} {tensor.shape}" for tensor in inputs) or "none"
        raise NetworkError(
            f"{path}: needs one float32 image input (1, H, W, C), the file's inputs are: {found}"
        )
    try:
        module = TFLiteModule(file)
    except NetinvertError as error:
        raise NetworkError(f"{path}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, RuntimeError, ZeroDivisionError) as error:
        # shapes and indices that no converter writes
        raise NetworkError(f"{path} is damaged ({type(error).__name__}: {error}): fetch it again") from error
    for name, tensor in module.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise NetworkError(f"{path}: {name} has NaN or infinite values: fetch the file again")
    _, height, width, channels = inputs[0].shape
    return module, (channels, height, width)


def load_tflite(path: str, weights: str | None = None) -> Network:
    """The network in a .tflite file, with the preprocessing of a JSON file beside it (``sidecar``), or images
    in [0, 1] as they are. Raises MissingExtraError: the package ``tflite`` is not installed; NetworkError:
    the file or the weights cannot be used."""
    if weights == "random":
        raise NetworkError("a .tflite file brings its own weights: leave weights out")
    module, (channels, height, width) = tflite_module(path)
    if weights is not None:
        load_weights(module, weights)
    return Network(
        name=f"tflite:{path}",
        module=module.eval(),
        preprocessing=sidecar(path) or Preprocessing((height, width), mean=(0.0,) * channels),
        source=str(path),
    )


def _dequantize(source: int, result: int, constants: dict[int, Array]) -> None:
    if source not in constants:
        raise NetworkError("DEQUANTIZE of computed values: the network is quantised, export it as float")
    # float16 to float32 is exact
    constants[result] = constants[source].astype(np.float32)
