"""ONNX graphs made as onnx2torch takes: no constant nodes, any batch, channels first, padded in torch."""

# ruff: noqa: ANN401  (onnx objects have no types)

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert.errors import NetworkError
from netinvert.models.fused_conv import same_padding
from netinvert.models.network import MOST_NUMBERS

DRAWN = ("Bernoulli", "Dropout", "Multinomial")
GROWING = ("ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample")
"""What makes much of a few bytes."""
ASIDE = "netinvert.aside"
TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
"""How Transpose brings channels first, and last."""


def attributes(onnx: Any, node: Any) -> dict[str, Any]:
    """A node's attributes as plain values."""
    found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def image_input(graph: Any) -> list[Any]:
    """The graph's inputs that are no constants."""
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def fold_constants(onnx: Any, model: Any) -> None:
    """Compute what no image has a part in, such as weights in Constant nodes, cast or transposed ones."""
    from onnx.reference import ReferenceEvaluator

    graph, grown = model.graph, 0
    known = {tensor.name: tensor for tensor in graph.initializer}
    fixed = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        if (
            node.op_type == "CastLike" and node.input[0] in known
        ):  # spelt-out functions have it; all are floats
            node.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], node.output, node.name))
        names = [name for name in node.input if name]
        free = node.op_type.startswith("Random") or node.op_type in DRAWN or fixed & set(node.output)
        if free or not (names or node.op_type == "Constant") or not all(name in known for name in names):
            kept.append(node)
            continue
        try:
            infos = [onnx.ValueInfoProto(name=name) for name in node.output if name]
            part = onnx.helper.make_model(
                onnx.helper.make_graph([node], "part", [], infos, [known[name] for name in names]),
                opset_imports=model.opset_import,
                ir_version=model.ir_version,
            )
            if node.op_type in GROWING:
                grown += _size(onnx, part)
                if grown > MOST_NUMBERS:
                    raise MemoryError
            values = ReferenceEvaluator(part).run(None, {})
            tensors = [
                onnx.numpy_helper.from_array(*pair)
                for pair in zip(values, (i.name for i in infos), strict=True)
            ]
        except MemoryError:
            raise NetworkError(
                f"{node.op_type} {node.name} makes a constant that is larger than {MOST_NUMBERS:,} numbers: "
                "export the network without it"
            ) from None
        except Exception:  # onnx's evaluator lacks it, or fails: onnx2torch may not
            kept.append(node)
            continue
        graph.initializer.extend(tensors)
        known |= {tensor.name: tensor for tensor in tensors}
    del graph.node[:]
    graph.node.extend(kept)


def _size(onnx: Any, model: Any) -> int:
    """How many numbers the outputs of a model of constants hold, before they are computed."""
    shaped = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    return sum(math.prod(axis.dim_value for axis in one.type.tensor_type.shape.dim) for one in shaped)


@contextmanager
def set_aside(onnx: Any, model: Any) -> Iterator[None]:
    """Hide Pad, Split and some more from onnx's version converter, which cannot bring them to older opsets,
    where they mean the same if they have nothing new."""
    hidden = []
    for node in model.graph.node:
        new = len(node.input) > 3 or attributes(onnx, node).get("mode") == "wrap"
        if node.op_type in ("Split", "ConstantOfShape", "Cast", "Equal") or (
            node.op_type == "Pad" and not new
        ):
            node.domain = ASIDE
            hidden.append(node)
    model.opset_import.append(onnx.helper.make_opsetid(ASIDE, 1))
    try:
        yield
    finally:
        del model.opset_import[-1]
        for node in hidden:
            node.domain = ""


def take_back(model: Any) -> None:
    """Show again what ``set_aside`` has hidden."""
    kept = [entry for entry in model.opset_import if entry.domain != ASIDE]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for node in model.graph.node:
        if node.domain == ASIDE:
            node.domain = ""
            kept = [one for one in node.attribute if one.name != "num_outputs"]
            del node.attribute[:]
            node.attribute.extend(kept)


def is_channels_last(onnx: Any, graph: Any, image: Any, axes: Sequence[int]) -> bool:
    """Whether an input of these axes (0: free) is (N, H, W, C), as the first node says, or their numbers."""
    users = [node for node in graph.node if image.name in node.input]
    if len(users) == 1 and attributes(onnx, users[0]).get("perm") == TO_FIRST:
        return True
    few = range(1, 5)
    return axes[3] in few and axes[1] not in few and not any(node.op_type == "Conv" for node in users)


def channels_first(onnx: Any, graph: Any, image: Any) -> None:
    """Let an input (N, H, W, C) be (N, C, H, W)."""
    turned = f"{image.name}_channels_last"
    for node in graph.node:
        node.input[:] = [turned if name == image.name else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node("Transpose", [image.name], [turned], perm=TO_LAST))
    axes = image.type.tensor_type.shape.dim
    copies = [onnx.TensorShapeProto.Dimension() for _ in TO_FIRST]
    for copy, place in zip(copies, TO_FIRST, strict=True):
        copy.CopyFrom(axes[place])
    del axes[:]
    axes.extend(copies)


def channels_wanted(onnx: Any, graph: Any, image: Any) -> int:
    """How many channels the convolution takes that sees the image first; 0 if that is not known."""
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    seen = {image.name}
    for node in graph.node:
        if seen & set(node.input):
            if node.op_type == "Conv" and node.input[1] in weights:
                return int(weights[node.input[1]][1] * attributes(onnx, node).get("group", 1))
            seen |= set(node.output)
    return 0


def free_batch(onnx: Any, model: Any, image: Any) -> None:
    """Let Reshape and Squeeze keep any number of images where the file was written for one (or another fixed
    number), as in a reshape to [1, -1]."""
    graph, first = model.graph, image.type.tensor_type.shape.dim[0]
    batch = first.dim_value or 1
    before = onnx.TensorShapeProto.Dimension()
    before.CopyFrom(first)
    first.dim_value = batch
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # too large for it, say; the encoder will say what mixes images
        return
    finally:
        first.CopyFrom(before)
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
    }
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        shape = shapes.get(node.input[0] if node.input else "", [])
        if not shape or shape[0] != batch:
            continue
        name, options = f"{node.op_type}_{index}_any_batch", attributes(onnx, node)
        if node.op_type == "Reshape" and node.input[1] in constants and not options.get("allowzero"):
            target = onnx.numpy_helper.to_array(constants[node.input[1]]).copy()
            if not target.size or target[0] != batch:
                continue
            target[0] = 0  # as many as there are
            graph.initializer.append(onnx.numpy_helper.from_array(target, name))
            node.input[1] = name
        elif node.op_type == "Squeeze" and len(node.input) == 1 and not options and all(shape):
            axes = [axis for axis, length in enumerate(shape) if axis and length == 1]
            node.attribute.append(onnx.helper.make_attribute("axes", axes))


class Padded(nn.Module):
    """An operator behind padding of ``pads(size)``, which averages leave out unless it is ``counted``."""

    def __init__(
        self, op: nn.Module, pads: Callable[[Sequence[int]], list[int]], value: float, counted: bool
    ) -> None:
        super().__init__()
        self.op, self.pads, self.value, self.counted = op, pads, value, counted

    def forward(self, features: Tensor) -> Tensor:
        """The operator's value."""
        amounts = self.pads(features.shape[2:])
        padded = F.pad(features, amounts, value=self.value) if any(amounts) else features
        result: Tensor = self.op(padded)
        if self.counted or not any(amounts):
            return result
        inside: Tensor = self.op(F.pad(torch.ones_like(features[:1, :1]), amounts))
        return result / inside


def take_padding(onnx: Any, graph: Any) -> dict[int, Callable[[nn.Module], nn.Module]]:
    """Take away padding that onnx2torch has not: of sides that depend on the image's size (``auto_pad``), and
    of averages that is not the same on both sides. Gives what puts it before the operator of that node."""
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    found: dict[int, Callable[[nn.Module], nn.Module]] = {}
    for index, node in enumerate(graph.node):
        if node.op_type not in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            continue
        options = attributes(onnx, node)
        auto, pads = options.get("auto_pad", "NOTSET"), options.get("pads", [])
        kernel = options.get("kernel_shape") or weights.get(node.input[1], ())[2:]
        ones = [1] * len(kernel)
        strides, dilations = options.get("strides", ones), options.get("dilations", ones)
        windows = list(zip(kernel, strides, dilations, strict=True))
        average = node.op_type == "AveragePool"
        if average and dilations != ones:
            raise NetworkError("AveragePool with dilations, which torch has not")
        if auto == "NOTSET":
            half = len(pads) // 2
            if not average or pads[:half] == pads[half:] or options.get("ceil_mode"):
                continue
            sides = zip(pads[:half], pads[half:], strict=True)
            amounts = [amount for pair in reversed(list(sides)) for amount in pair]
            before: Callable[[Sequence[int]], list[int]] = partial(_fixed, amounts)
        else:
            before = partial(_same, windows, auto == "SAME_LOWER")
        kept = [one for one in node.attribute if one.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend(kept)
        if node.op_type == "ConvTranspose":
            if auto != "VALID" and "output_shape" not in options:
                more = options.get("output_padding", [0] * len(kernel))
                totals = [m + (k - 1) * d + 1 - s for m, (k, s, d) in zip(more, windows, strict=True)]
                less, rest = [one // 2 for one in totals], [one - one // 2 for one in totals]
                node.attribute.append(
                    onnx.helper.make_attribute("pads", less + rest if auto == "SAME_UPPER" else rest + less)
                )
        elif auto != "VALID":
            value = float("-inf") if node.op_type == "MaxPool" else 0.0
            counted = not average or bool(options.get("count_include_pad"))
            found[index] = partial(Padded, pads=before, value=value, counted=counted)
    return found


def _same(windows: Sequence[tuple[int, int, int]], lower: bool, size: Sequence[int]) -> list[int]:
    """SAME padding as F.pad wants it, the last axis first, for windows (kernel, stride, dilation)."""
    pairs = [same_padding(side, *window) for side, window in zip(size, windows, strict=True)]
    return [amount for pair in reversed(pairs) for amount in (pair[::-1] if lower else pair)]


def _fixed(amounts: list[int], size: Sequence[int]) -> list[int]:
    return amounts
