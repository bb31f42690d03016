"""Networks in .onnx files, converted by onnx2torch."""

# ruff: noqa: ANN401  (onnx objects have no types)

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.models.importers import first_line, optional
from netinvert.models.network import Network, Preprocessing, load_weights, sidecar
from netinvert.models.private_copy import put

OPSET = 11  # from here on onnx2torch knows Slice, Pad and Clip with their bounds as inputs
DEFAULT_SIZE = 224
REBUILD = "Rebuild the network in torch and give it as module:FILE.py:FACTORY"


class OnnxSlice(nn.Module):
    """Cut a tensor from ``starts`` to ``ends`` along ``axes``, in ``steps`` that may be negative.

    In place of onnx2torch's, which indexes with a list, where torch since 2.9 warns or fails."""

    def forward(
        self,
        input_tensor: Tensor,
        starts: Tensor,
        ends: Tensor,
        axes: Tensor | None = None,
        steps: Tensor | None = None,
    ) -> Tensor:
        """The cut tensor."""
        first, last = starts.tolist(), ends.tolist()
        along = list(range(len(first))) if axes is None else axes.tolist()
        strides = [1] * len(first) if steps is None else steps.tolist()
        parts = [slice(None)] * input_tensor.dim()
        flipped = []
        for start, end, axis, stride in zip(first, last, along, strides, strict=True):
            if stride < 0:  # torch has no negative steps: turn the axis round
                flipped.append(axis)
                parts[axis] = slice(-start - 1, -end - 1, -stride)
            else:
                parts[axis] = slice(start, end, stride)
        turned = torch.flip(input_tensor, flipped) if flipped else input_tensor
        return turned[tuple(parts)]


def load_onnx(path: str, weights: str | None = None) -> Network:
    """The network in an .onnx file, with the preprocessing of a JSON file beside it (``sidecar``), or images
    in [0, 1] as they are. Raises MissingExtraError: onnx or onnx2torch is not installed; NetworkError: the
    file is damaged, or has operators that onnx2torch cannot convert."""
    if weights == "random":
        raise NetworkError("an .onnx file brings its own weights: leave weights out")
    onnx, onnx2torch = (optional(name, "reading .onnx files", "onnx") for name in ("onnx", "onnx2torch"))
    model = _read(onnx, Path(path))
    channels, size = _image_input(path, model)
    module = _convert(onnx2torch, path, model)
    if weights is not None:
        load_weights(module, weights)
    form = sidecar(path) or Preprocessing(size, mean=(0.0,) * channels)
    return Network(f"onnx:{path}", module.eval(), form, source=path)


def _read(onnx: Any, path: Path) -> Any:
    if not path.is_file():
        raise NetworkError(f"no file at {path}: check the path")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's, onnx's and the file system's errors have nothing in common
        raise NetworkError(f"{path} is no valid ONNX file ({first_line(error)}): export it again") from error
    version = max(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0
    )
    if version >= OPSET:
        return model
    try:
        from onnx import version_converter

        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError) as error:
        raise NetworkError(
            f"{path} has opset {version}, which cannot be brought to {OPSET} ({first_line(error)}): "
            f"export it with opset {OPSET} or later"
        ) from error


def _image_input(path: str, model: Any) -> tuple[int, tuple[int, int]]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    shapes = [[axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] < 1:
        raise NetworkError(f"{path}: needs one image input (N, C, H, W), the file's inputs are {shapes}")
    _, channels, height, width = shapes[0]
    # 0 is a free axis: any size will do
    return channels, (height or DEFAULT_SIZE, width or DEFAULT_SIZE)


def _convert(onnx2torch: Any, path: str, model: Any) -> nn.Module:
    from onnx2torch.node_converters.registry import get_converter
    from onnx2torch.node_converters.slice import OnnxSlice as TheirSlice

    versions = {entry.domain or "": entry.version for entry in model.opset_import}
    missing = set()
    for node in model.graph.node:
        try:
            get_converter(node.op_type, version=versions.get(node.domain, OPSET), domain=node.domain)
        except NotImplementedError:
            missing.add(node.op_type)
    if missing:
        raise NetworkError(
            f"{path}: operators that onnx2torch cannot convert: {', '.join(sorted(missing))}. {REBUILD}"
        )
    try:
        module = cast(nn.Module, onnx2torch.convert(model))
    except (NotImplementedError, RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise NetworkError(
            f"{path}: onnx2torch cannot convert it ({first_line(error)}). {REBUILD}"
        ) from error
    put(module, {part: OnnxSlice() for part in module.modules() if isinstance(part, TheirSlice)})
    return module
