"""Networks in .tflite files: one torch module for each operator, in the order they run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.io.files import guarded, refusing
from netinvert.models.importers import optional
from netinvert.models.importers.tflite_ops import BUILDERS, Array, Operator, TensorRecord, to_nchw, to_nhwc
from netinvert.models.network import Network, load_weights, sidecar

MOST_CHANNELS = 4
NUMPY_TYPES = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT32": "<i4", "INT64": "<i8", "BOOL": "|b1"}
INTEGER_WEIGHTS = ("INT8", "UINT8", "INT16", "INT4")
UNPACKED = ("DEQUANTIZE", "DENSIFY")
"""What stands before weights that are stored as float16, or without their zeros."""
NAMES = {
    **{"CONV_2D": "conv", "DEPTHWISE_CONV_2D": "depthwise", "TRANSPOSE_CONV": "transposed"},
    **{"AVERAGE_POOL_2D": "avgpool", "MAX_POOL_2D": "maxpool", "FULLY_CONNECTED": "dense"},
    **{"RESIZE_BILINEAR": "resize", "CONCATENATION": "concat", "STRIDED_SLICE": "slice"},
}


class TFLiteModule(nn.Module):
    """The operators of a file's first subgraph in their order, each a submodule (``conv_0``, ``depthwise_0``,
    ``add_0``, …).

    Image (N, C, H, W) to the file's output, or to a dict of outputs by name if it has several. Layers are
    NCHW; outputs have the file's order of axes (NHWC), with any batch size."""

    def __init__(self, tflite: Any, content: bytes) -> None:  # noqa: ANN401  (flatbuffers have no types)
        super().__init__()
        model = tflite.Model.GetRootAsModel(content, 0)
        graph = model.Subgraphs(0)
        tensors = _tensors(tflite, model, graph)
        operators = _operators(tflite, model, graph, tensors)
        inputs, outputs = _indices(graph.InputsAsNumpy()), _indices(graph.OutputsAsNumpy())
        self.input_shape = _check(operators, tensors, [tensors[index] for index in inputs])
        self.channels_first = tensors[inputs[0]].shape[3] != self.input_shape[0]
        self.steps: list[tuple[str, tuple[int, ...], int]] = []
        self.entry = inputs[0]
        self.exits = {tensors[index].name: index for index in outputs}
        counts: Counter[str] = Counter()
        for operator in operators:
            if operator.kind in UNPACKED:
                data = operator.constant(0)
                if data is None:
                    raise NetworkError(
                        f"{operator.kind} of computed values: the network is quantised, export it as float"
                    )
                tensors[operator.outputs[0]].data = data.astype(np.float32)  # exact from float16
                continue
            base = NAMES.get(operator.kind, operator.kind.lower())
            name = f"{base}_{counts[base]}"
            counts[base] += 1
            self.add_module(name, operator.module())
            computed = tuple(index for index in operator.inputs if index >= 0 and tensors[index].data is None)
            self.steps.append((name, computed, operator.outputs[0]))

    def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
        """Run every operator; (N, C, H, W) to the outputs."""
        # files have channels last; in one that has them first, the same turn brings them there
        values = {self.entry: to_nchw(image) if self.channels_first else image}
        for name, inputs, output in self.steps:
            values[output] = self.get_submodule(name)(*(values[index] for index in inputs))
        results = {name: to_nhwc(values[index]) for name, index in self.exits.items()}
        return results if len(results) > 1 else next(iter(results.values()))


def _tensors(tflite: Any, model: Any, graph: Any) -> list[TensorRecord]:  # noqa: ANN401
    kinds = _names(tflite.TensorType)
    records = []
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        kind, shape, data = kinds[tensor.Type()], _indices(tensor.ShapeAsNumpy()), None
        buffer = model.Buffers(tensor.Buffer())
        if buffer is not None and buffer.DataLength() > 0 and kind in NUMPY_TYPES:
            values = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype=NUMPY_TYPES[kind])
            sparse = tensor.Sparsity()
            data = values.reshape(shape) if sparse is None else _dense(tflite, sparse, values, shape)
        records.append(TensorRecord((tensor.Name() or b"").decode(), shape, kind, data))
    return records


def _dense(tflite: Any, sparse: Any, values: Array, shape: tuple[int, ...]) -> Array:  # noqa: ANN401
    """A sparse tensor with its zeros. Its axes, then those of its blocks, are gone through in the order that
    it says; each is there in full, or as a list of places for each place of the axes before."""
    order, blocks = _indices(sparse.TraversalOrderAsNumpy()), _indices(sparse.BlockMapAsNumpy())
    places, lengths = np.zeros((1, 0), dtype=int), [1] * len(order)
    for level in map(sparse.DimMetadata, range(sparse.DimMetadataLength())):
        if level.Format() == tflite.DimensionType.DENSE:
            lengths[order[places.shape[1]]] = size = level.DenseSize()
            inner, times = np.tile(np.arange(size), len(places)), np.full(len(places), size)
        else:
            names = _names(tflite.SparseIndexVector)
            ends, inner = (
                _vector(tflite, names[kind], table)
                for kind, table in (
                    (level.ArraySegmentsType(), level.ArraySegments()),
                    (level.ArrayIndicesType(), level.ArrayIndices()),
                )
            )
            times = np.diff(ends)
        places = np.column_stack([np.repeat(places, times, axis=0), inner])
    found = places[:, np.argsort(order)]
    for block, axis in enumerate(blocks, len(shape)):
        found[:, axis] = found[:, axis] * lengths[block] + found[:, block]
    full = np.zeros(shape, dtype=values.dtype)
    full[tuple(found[:, : len(shape)].T)] = values
    return full


def _vector(tflite: Any, kind: str, table: Any) -> Array:  # noqa: ANN401
    vector = getattr(tflite, kind)()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), dtype=int)


def _operators(tflite: Any, model: Any, graph: Any, tensors: list[TensorRecord]) -> list[Operator]:  # noqa: ANN401
    kinds, tables = _names(tflite.BuiltinOperator), _names(tflite.BuiltinOptions)
    operators = []
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        # old files fill only the deprecated byte, new operators beyond 127 only the int
        kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if kind == "CUSTOM":
            kind = f"CUSTOM ({(code.CustomCode() or b'?').decode()})"
        options, table = None, operator.BuiltinOptions()
        name = tables.get(operator.BuiltinOptionsType(), "NONE")
        if table is not None and hasattr(tflite, name):
            options = getattr(tflite, name)()
            options.Init(table.Bytes, table.Pos)
        inputs, outputs = _indices(operator.InputsAsNumpy()), _indices(operator.OutputsAsNumpy())
        operators.append(Operator(kind, inputs, outputs, options, tensors))
    return operators


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _indices(array: Any) -> tuple[int, ...]:  # noqa: ANN401
    # flatbuffers gives the number 0 for a vector that is not there
    return () if isinstance(array, int) else tuple(int(value) for value in array)


def _check(
    operators: list[Operator], tensors: list[TensorRecord], inputs: list[TensorRecord]
) -> tuple[int, int, int]:
    """The input's (channels, height, width); NetworkError for a file that cannot be used."""
    missing = sorted({operator.kind for operator in operators} - {*BUILDERS, *UNPACKED})
    if missing:
        raise NetworkError(f"operators not supported: {', '.join(missing)}. Convert the network to ONNX")
    quantised = sorted({tensor.kind for tensor in tensors if tensor.kind in INTEGER_WEIGHTS})
    if quantised:
        raise NetworkError(
            f"the network is quantised to {', '.join(quantised)}, which has no gradient: "
            "export it with float32 or float16 weights"
        )
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].kind != "FLOAT32":
        found = ", ".join(f"{tensor.kind} {tensor.shape}" for tensor in inputs) or "none"
        raise NetworkError(f"needs one float32 image input (1, H, W, C), the file's inputs are: {found}")
    _, height, width, channels = inputs[0].shape
    if channels > MOST_CHANNELS >= height:  # of a network that was written in torch
        channels, height, width = height, width, channels
    if height == width == 1:
        raise NetworkError("the size of its images is free: convert the network with a fixed input size")
    return channels, height, width


def tflite_module(path: str | Path) -> tuple[TFLiteModule, tuple[int, int, int]]:
    """The module of a file and its input's (channels, height, width). Raises as ``load_tflite``."""
    tflite = optional("tflite", "reading .tflite files", "tflite")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise NetworkError(f"cannot read {path} ({error.strerror}): check the path") from error
    if content[4:8] != b"TFL3":
        raise NetworkError(f"{path} is not a .tflite file (no TFL3 mark): give a TensorFlow Lite model")
    with refusing(path, NetworkError, remedy="fetch it again"):
        module = TFLiteModule(tflite, content)
    for name, tensor in module.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise NetworkError(f"{path}: {name} has NaN or infinite values: fetch the file again")
    return module, module.input_shape


@guarded(NetworkError, "fetch it again")
def load_tflite(path: str, weights: str | None = None) -> Network:
    """The network in a .tflite file, with the preprocessing of a JSON file beside it (``sidecar``); without
    one it is assumed to take images in [0, 1] as they are. Raises MissingExtraError: the package ``tflite``
    is not installed; NetworkError: the file is damaged, quantised or has operators unknown here, or the
    weights cannot be used."""
    if weights == "random":
        raise NetworkError("a .tflite file brings its own weights: leave weights out")
    module, (channels, height, width) = tflite_module(path)
    if weights is not None:
        load_weights(module, weights)
    form, assumed = sidecar(path, (height, width), channels)
    return Network(f"tflite:{path}", module.eval(), form, source=str(path), assumed=assumed)
