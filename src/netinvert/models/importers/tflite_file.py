"""A .tflite file as plain records: tensors, constants and operators in the order they run."""

# ruff: noqa: ANN401  (flatbuffers objects have no types)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import MissingExtraError, NetworkError

Array = NDArray[Any]
Option = int | float | bool

# Options of each operator that decide what it computes, by the flatbuffer's own names.
_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
_DILATED = (*_WINDOW, "DilationHFactor", "DilationWFactor")
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "Conv2DOptions": _DILATED,
    "DepthwiseConv2DOptions": _DILATED,
    "TransposeConvOptions": _WINDOW,
    "Pool2DOptions": (*_WINDOW, "FilterHeight", "FilterWidth"),
    "FullyConnectedOptions": ("FusedActivationFunction",),
    "AddOptions": ("FusedActivationFunction",),
    "SubOptions": ("FusedActivationFunction",),
    "MulOptions": ("FusedActivationFunction",),
    "ConcatenationOptions": ("Axis", "FusedActivationFunction"),
    "ReducerOptions": ("KeepDims",),
    "ResizeBilinearOptions": ("AlignCorners", "HalfPixelCenters"),
    "SoftmaxOptions": ("Beta",),
    "StridedSliceOptions": ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask"),
}
NUMPY_TYPES = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT32": "<i4", "INT64": "<i8", "BOOL": "|b1"}


@dataclass(frozen=True)
class TensorRecord:
    """One tensor: ``shape`` as in the file (NHWC), ``data`` only if it is constant."""

    name: str
    shape: tuple[int, ...]
    kind: str
    data: Array | None


@dataclass(frozen=True)
class OperatorRecord:
    """One operator: its name (``CONV_2D``), tensor indices (-1: left out), and options."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class TFLiteFile:
    """What is in the file's first subgraph."""

    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(path: str | Path) -> TFLiteFile:
    """Read a .tflite file. Raises MissingExtraError: the package ``tflite`` is not installed; NetworkError:
    no such file, not a .tflite file, or a damaged one."""
    try:
        import tflite
    except ImportError as error:
        raise MissingExtraError("reading .tflite files", "tflite") from error
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NetworkError(f"cannot read {file} ({error.strerror}): check the path") from error
    if content[4:8] != b"TFL3":
        raise NetworkError(f"{file} is not a .tflite file (no TFL3 mark): give a TensorFlow Lite model")
    try:
        return _parse(tflite, content)
    except Exception as error:  # a damaged flatbuffer fails in any way: struct, index, type, unicode …
        raise NetworkError(f"{file} is damaged ({type(error).__name__}: {error}): fetch it again") from error


def _parse(tflite: Any, content: bytes) -> TFLiteFile:
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    kinds = {value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
    operators = {
        value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)
    }
    options = {value: name for name, value in vars(tflite.BuiltinOptions).items() if isinstance(value, int)}
    return TFLiteFile(
        tensors=tuple(_tensor(model, graph.Tensors(i), kinds) for i in range(graph.TensorsLength())),
        operators=tuple(
            _operator(tflite, model, graph.Operators(i), (operators, options))
            for i in range(graph.OperatorsLength())
        ),
        inputs=_indices(graph.InputsAsNumpy()),
        outputs=_indices(graph.OutputsAsNumpy()),
    )


def _indices(array: Any) -> tuple[int, ...]:
    # flatbuffers gives the number 0 for a vector that is not there
    return () if isinstance(array, int) else tuple(int(value) for value in array)


def _tensor(model: Any, tensor: Any, kinds: Mapping[int, str]) -> TensorRecord:
    kind = kinds[tensor.Type()]
    shape = _indices(tensor.ShapeAsNumpy())
    buffer = model.Buffers(tensor.Buffer())
    data: Array | None = None
    if buffer is not None and buffer.DataLength() > 0 and kind in NUMPY_TYPES:
        data = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype=NUMPY_TYPES[kind]).reshape(shape)
    return TensorRecord(name=(tensor.Name() or b"").decode(), shape=shape, kind=kind, data=data)


def _operator(
    tflite: Any, model: Any, operator: Any, names: tuple[Mapping[int, str], Mapping[int, str]]
) -> OperatorRecord:
    operators, option_names = names
    code = model.OperatorCodes(operator.OpcodeIndex())
    # old files fill only the deprecated byte, new operators beyond 127 only the int
    kind = operators[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    if kind == "CUSTOM":
        kind = f"CUSTOM ({(code.CustomCode() or b'?').decode()})"
    values: dict[str, Option] = {}
    option_name = option_names.get(operator.BuiltinOptionsType(), "NONE")
    table = operator.BuiltinOptions()
    if option_name in OPTIONS and table is not None:
        reader = getattr(tflite, option_name)()
        reader.Init(table.Bytes, table.Pos)
        values = {name: getattr(reader, name)() for name in OPTIONS[option_name]}
    return OperatorRecord(
        kind, _indices(operator.InputsAsNumpy()), _indices(operator.OutputsAsNumpy()), values
    )
