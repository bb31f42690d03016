"""Networks in .onnx files, converted by onnx2torch."""

# ruff: noqa: ANN401  (onnx objects have no types)

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.io.files import guarded, inside, refusing
from netinvert.models.importers import first_line, optional
from netinvert.models.importers import onnx_graph as graph
from netinvert.models.network import Network, load_weights, sidecar
from netinvert.models.private_copy import put

OPSET = 11  # from here on onnx2torch knows Slice, Pad and Clip with their bounds as inputs
MOST_OPSETS = 100
MAIN = ("", "ai.onnx")
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


class OnnxSplit(nn.Module):
    """Cut a tensor into ``count`` parts, the last of which may be smaller, or into given sizes.

    In place of onnx2torch's, which has one part too many where the length is no multiple."""

    def __init__(self, axis: int, count: int) -> None:
        super().__init__()
        self.axis, self.count = axis, count

    def forward(self, input_tensor: Tensor, split: Tensor | None = None) -> tuple[Tensor, ...]:
        """The parts."""
        size = -(-input_tensor.shape[self.axis] // self.count)
        parts: tuple[Tensor, ...] = torch.split(
            input_tensor, size if split is None else split.tolist(), self.axis
        )
        return parts


class OnnxConcat(nn.Module):
    """Join tensors; what is there once, such as a class token, is for every image.

    In place of onnx2torch's, for files that were written for one image."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *tensors: Tensor) -> Tensor:
        """The joined tensor."""
        count = max(len(one) for one in tensors)
        if self.axis not in (0, -tensors[0].ndim):
            tensors = tuple(one.expand(count, *one.shape[1:]) if len(one) == 1 else one for one in tensors)
        return torch.cat(tensors, self.axis)


@guarded(NetworkError, "export it again")
def load_onnx(path: str, weights: str | None = None) -> Network:
    """The network in an .onnx file, with the preprocessing of a JSON file beside it (``sidecar``); without
    one it is assumed to take images in [0, 1] as they are. Raises MissingExtraError: onnx or onnx2torch is
    not installed; NetworkError: the file is damaged, or has operators that onnx2torch cannot convert."""
    if weights == "random":
        raise NetworkError("an .onnx file brings its own weights: leave weights out")
    onnx, onnx2torch = (optional(name, "reading .onnx files", "onnx") for name in ("onnx", "onnx2torch"))
    model = _read(onnx, Path(path))
    graph.fold_constants(onnx, model)
    model = _known_opset(onnx, path, model)
    channels, size = _image_input(onnx, path, model)
    module = _convert(onnx, onnx2torch, path, model)
    if weights is not None:
        load_weights(module, weights)
    form, assumed = sidecar(path, size, channels)
    return Network(f"onnx:{path}", module.eval(), form, source=path, assumed=assumed)


def _read(onnx: Any, path: Path) -> Any:
    if not path.is_file():
        raise NetworkError(f"no file at {path}: check the path")
    with refusing(path, NetworkError, "is no valid ONNX file", "export it again"):
        helper = importlib.import_module("onnx.external_data_helper")
        model = onnx.load(str(path), load_external_data=False)
        for tensor in filter(helper.uses_external_data, helper._get_all_tensors(model)):
            named = {entry.key: entry.value for entry in tensor.external_data}
            beside = inside(path.parent, named.get("location", ""))
            last = int(named.get("offset", 0)) + int(named.get("length", 0))
            if not beside.is_file() or last > beside.stat().st_size:
                raise NetworkError(f"{path}: {beside}, which holds {tensor.name}, is missing or short")
        helper.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
        if model.functions:
            model = importlib.import_module("onnx.inliner").inline_local_functions(model)
        return model


def _known_opset(onnx: Any, path: str, model: Any) -> Any:
    """The model in the newest opset, up to its own, in which onnx2torch knows its operators."""
    version, opset, missing = _newest(model)
    if missing and version >= OPSET:  # operators that the standard spells out in others, such as Gelu
        with contextlib.suppress(Exception):
            inliner, names = importlib.import_module("onnx.inliner"), [("", name) for name in missing]
            typed = onnx.shape_inference.infer_shapes(model)
            info = onnx.helper.make_tensor_value_info
            typed.graph.value_info.extend(info(t.name, t.data_type, t.dims) for t in typed.graph.initializer)
            model = inliner.inline_selected_functions(typed, names, inline_schema_functions=True)
            old = {node.name for node in typed.graph.node}
            for index, node in enumerate(model.graph.node):  # its names would be those of others once more
                node.name = node.name if node.name in old else f"{node.op_type}_inlined_{index}"
            graph.fold_constants(onnx, model)
            version, opset, missing = _newest(model)
    if missing and version >= OPSET:
        raise NetworkError(
            f"{path}: operators that onnx2torch cannot convert: {', '.join(sorted(missing))}. {REBUILD}"
        )
    if opset == version:
        return model
    try:
        with graph.set_aside(onnx, model):
            converted = importlib.import_module("onnx.version_converter").convert_version(model, opset)
        graph.take_back(converted)
        return converted
    except Exception as error:  # RuntimeError, ValueError, protobuf's for more than 2 GB, its own …
        raise NetworkError(
            f"{path} has opset {version}, which cannot be brought to {opset} ({first_line(error)}): "
            f"export it with opset {opset}. Or r{REBUILD[1:]}"
        ) from error


def _newest(model: Any) -> tuple[int, int, set[str]]:
    """The model's opset, the newest up to it in which onnx2torch knows most operators, and which it lacks."""
    from onnx2torch.node_converters.registry import get_converter

    def missing(opset: int) -> set[str]:
        found = set()
        for kind, domain in {(node.op_type, node.domain) for node in model.graph.node}:
            try:
                get_converter(kind, version=opset if domain in MAIN else others.get(domain, 1), domain=domain)
            except Exception:  # onnx's own, if an operator is newer than the opset
                found.add(kind)
        return found

    others = {entry.domain: entry.version for entry in model.opset_import}
    version = max((entry.version for entry in model.opset_import if entry.domain in MAIN), default=0)
    if version > MOST_OPSETS:
        raise ValueError(f"it says that it has opset {version}")
    tried = {opset: missing(opset) for opset in range(max(version, OPSET), OPSET - 1, -1)}
    best = min(tried, key=lambda opset: len(tried[opset]))  # of equal ones the first, the newest
    return version, best, tried[best]


def _image_input(onnx: Any, path: str, model: Any) -> tuple[int, tuple[int, int]]:
    """Channels and size of the image input, which is brought to (N, C, H, W)."""
    inputs = graph.image_input(model.graph)
    shapes = [[axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise NetworkError(f"{path}: needs one image input (N, C, H, W), the file's inputs are {shapes}")
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        name = onnx.TensorProto.DataType.Name(kind)
        raise NetworkError(f"{path} takes {name} images, which have no gradient: export it with float input")
    if graph.is_channels_last(onnx, model.graph, inputs[0], shapes[0]):
        graph.channels_first(onnx, model.graph, inputs[0])
    graph.free_batch(onnx, model, inputs[0])
    _, channels, height, width = (axis.dim_value for axis in inputs[0].type.tensor_type.shape.dim)
    # 0 is a free axis: of the size any will do
    channels = channels or graph.channels_wanted(onnx, model.graph, inputs[0])
    if not channels:
        raise NetworkError(f"{path} does not say how many channels its images have: export it with a number")
    return channels, (height or DEFAULT_SIZE, width or DEFAULT_SIZE)


def _convert(onnx: Any, onnx2torch: Any, path: str, model: Any) -> nn.Module:
    from onnx2torch.node_converters import concat, slice, split
    from onnx2torch.onnx_graph import OnnxGraph

    try:
        padding = graph.take_padding(onnx, model.graph)
        names = list(OnnxGraph(model.graph).nodes)
        module = cast(nn.Module, onnx2torch.convert(model))
    except Exception as error:  # whatever onnx2torch meets
        raise NetworkError(
            f"{path}: onnx2torch cannot convert it ({first_line(error)}). {REBUILD}"
        ) from error
    parts: dict[nn.Module, nn.Module] = {
        part: padded(part)
        for index, padded in padding.items()
        if (part := module.get_submodule(names[index]))
    }
    for part in module.modules():
        if isinstance(part, slice.OnnxSlice):
            parts[part] = OnnxSlice()
        elif isinstance(part, concat.OnnxConcat):
            parts[part] = OnnxConcat(part.axis)
        elif isinstance(part, split.OnnxSplit13):
            parts[part] = OnnxSplit(part.axis, part.num_splits)
    put(module, parts)
    return module
