"""Convolutions by oneDNN's own operators: their weights brought into its order once and not at every call,
and the ReLU done in the same pass. The gradient of a convolution is a convolution again.

torch has these operators for its compiler, so they may be missing, or take other arguments one day: then a
convolution is run in torch's plain way, as are those that come out different (see ``rewrite.shortened``).
What is packed goes by shapes alone, never by a measurement, so that a run gives the same bits every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, ...]
FEW = 4
"""Channels of an image, at most: for these alone a gradient is made pixel by pixel (see ``_shuffled``)."""
LARGER = 1.2
"""How much longer a kernel may get by being cut into pieces of the stride's size."""


class Geometry(NamedTuple):
    """How a convolution goes over a map, in the order of torch's operators."""

    padding: Pair
    stride: Pair
    dilation: Pair
    groups: int


FLOATS = (torch.float32, torch.bfloat16)
"""What oneDNN's operators take."""


class Packed(NamedTuple):
    """A convolution of maps (N, C, H, W) of one size, with its ReLU, and the gradient of it without the ReLU;
    of FLOATS, on the CPU, channels last."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]


class Packs(dict[tuple[Pair, Pair], "Packed | None"]):
    """A convolution's :class:`Packed` by the maps' size and padding. What is copied or pickled packs anew."""

    def __reduce__(self) -> tuple[type[Packs], tuple[()]]:
        return Packs, ()


def pack(weight: Tensor, bias: Tensor | None, how: Geometry, size: Pair, high: float | None) -> Packed | None:
    """The convolution for maps of this size, clamped to [0, ``high``] unless that is None; None where oneDNN
    or its operators are missing, or do not know one like it."""
    act: tuple[str, list[float]] = ("none", [])
    if high is not None:
        act = ("relu", []) if high == math.inf else ("hardtanh", [0.0, high])
    try:
        if torch._C._get_mkldnn_enabled():
            return Packed(_convolution(weight, bias, how, size, act), _gradient(weight, how, size))
    except (AttributeError, RuntimeError, TypeError):  # no such operator; not for these; other arguments
        pass
    return None


def _convolution(
    weight: Tensor,
    bias: Tensor | None,
    how: Geometry,
    size: Pair,
    act: tuple[str, list[float]] = ("none", []),
) -> Callable[[Tensor], Tensor]:
    ops = torch.ops.mkldnn
    shape = (1, weight.shape[1] * how.groups, *size)
    # In an order that suits one image suits many: oneDNN would reorder it otherwise.
    own = ops._reorder_convolution_weight(weight.contiguous(memory_format=torch.channels_last), *how, shape)
    run = ops._convolution_pointwise.default
    return lambda x: run(x, own, bias, *how, *act, "")


def _gradient(weight: Tensor, how: Geometry, size: Pair) -> Callable[[Tensor], Tensor]:
    """The map's gradient by that of the result: of a convolution without strides, another one, with the
    kernel turned round; of one with strides, a transposed one."""
    reach = tuple(d * (k - 1) for d, k in zip(how.dilation, weight.shape[2:], strict=True))
    after = tuple(
        (n + 2 * p - r - 1) // s + 1 for n, p, r, s in zip(size, how.padding, reach, how.stride, strict=True)
    )
    turned = how._replace(padding=tuple(r - p for r, p in zip(reach, how.padding, strict=True)))
    if how.stride == (1, 1) and min(turned.padding) >= 0:
        kernels = weight.view(how.groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1).flip(2, 3)
        return _convolution(kernels, None, turned, after)
    side, step = weight.shape[2], how.stride[0]
    square = weight.shape[2:] == (side, side) and how.stride == (step, step) and how.dilation == (1, 1)
    if square and how.groups == 1 and weight.shape[1] <= FEW and -(-side // step) * step <= LARGER * side:
        return _shuffled(weight, how, size, after)
    rest = tuple(
        n - (a - 1) * s + 2 * p - r - 1
        for n, a, s, p, r in zip(size, after, how.stride, how.padding, reach, strict=True)
    )
    ops, form = torch.ops.mkldnn, (how.padding, rest, *how[1:])
    shape = (1, weight.shape[0], *after)
    own = ops._reorder_convolution_transpose_weight(weight, *form, shape)
    run = ops._convolution_transpose_pointwise.default
    return lambda y: run(y, own, None, *form, "none", [], "")


def _shuffled(weight: Tensor, how: Geometry, size: Pair, after: Pair) -> Callable[[Tensor], Tensor]:
    """An image's gradient: every stride x stride pixels are channels of a convolution without strides, which
    takes half the time of a transposed one (a network's first with a large kernel, a transformer's patches).
    """
    (wide, few, side, _), step = weight.shape, how.stride[0]
    pieces = -(-side // step)
    filled = F.pad(weight, (0, pieces * step - side) * 2).view(wide, few, pieces, step, pieces, step)
    kernels = filled.permute(1, 3, 5, 0, 2, 4).reshape(few * step * step, wide, pieces, pieces).flip(2, 3)
    run = _convolution(kernels, None, Geometry((pieces - 1,) * 2, (1, 1), (1, 1), 1), after)
    rows, columns = (
        (-p, p + n - step * (a + pieces - 1)) for p, n, a in zip(how.padding, size, after, strict=True)
    )
    return lambda y: F.pad(F.pixel_shuffle(run(y), step), (*columns, *rows))
