"""TensorFlow Lite's operators as torch modules. Four-dimensional tensors are NCHW here, NHWC in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.models.zoo.blocks import same_padding

ARITHMETIC: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ADD": torch.add,
    "SUB": torch.sub,
    "MUL": torch.mul,
}


def to_nhwc(values: Tensor) -> Tensor:
    """The file's order of axes; tensors that are not 4-D are as in the file already."""
    return values.permute(0, 2, 3, 1) if values.dim() == 4 else values


def to_nchw(values: Tensor) -> Tensor:
    """Torch's order of axes."""
    return values.permute(0, 3, 1, 2) if values.dim() == 4 else values


class Fused(nn.Module):
    """An operator and the activation that the file fuses to it; ``op`` is the layer before activation."""

    def __init__(self, op: nn.Module, act: nn.Module) -> None:
        """Run ``op``, then ``act``."""
        super().__init__()
        self.op, self.act = op, act

    def forward(self, *inputs: Tensor) -> Tensor:
        """The activation of the operator's output."""
        result: Tensor = self.act(self.op(*inputs))
        return result


class Arithmetic(nn.Module):
    """Add, subtract or multiply two tensors, or one and a ``constant`` that stands ``first`` or second."""

    constant: Tensor | None

    def __init__(self, function: str, constant: Tensor | None = None, first: bool = False) -> None:
        """``function`` is the operator's name in the file."""
        super().__init__()
        self.function = ARITHMETIC[function]
        self.first = first
        self.register_buffer("constant", constant)

    def forward(self, left: Tensor, right: Tensor | None = None) -> Tensor:
        """Broadcast as NHWC does, then back."""
        other = right if right is not None else self.constant
        assert other is not None
        if left.dim() != other.dim() or right is None:
            # a constant is kept in the file's order, so that (C,) meets the channels
            other = other if right is None else to_nhwc(other)
            pair = (other, to_nhwc(left)) if self.first else (to_nhwc(left), other)
            return to_nchw(self.function(*pair))
        return self.function(left, other)


class Pool(nn.Module):
    """Max or average pooling with TensorFlow's padding; the average leaves padded places out."""

    def __init__(self, maximum: bool, kernel: tuple[int, int], stride: tuple[int, int], same: bool) -> None:
        """``same`` pads, else only whole windows count."""
        super().__init__()
        self.maximum, self.kernel, self.stride, self.same = maximum, kernel, stride, same

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        height, width = features.shape[2:]
        padding = (0, 0, 0, 0)
        if self.same:
            top, bottom = same_padding(height, self.kernel[0], self.stride[0])
            left, right = same_padding(width, self.kernel[1], self.stride[1])
            padding = (left, right, top, bottom)
        if self.maximum:
            padded = F.pad(features, padding, value=float("-inf")) if any(padding) else features
            return F.max_pool2d(padded, self.kernel, self.stride)
        if not any(padding):
            return F.avg_pool2d(features, self.kernel, self.stride)
        inside = F.pad(torch.ones_like(features[:1, :1]), padding)
        total = F.avg_pool2d(F.pad(features, padding), self.kernel, self.stride)
        return total / F.avg_pool2d(inside, self.kernel, self.stride)


class TransposedConv(nn.Module):
    """A transposed convolution cropped or padded to ``size`` as TensorFlow does."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], size: tuple[int, int], same: bool
    ) -> None:
        """``weight`` (inputs, outputs, kH, kW); ``size`` of the output."""
        super().__init__()
        self.weight = nn.Parameter(weight)  # (inputs, outputs, kH, kW)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.stride, self.size, self.same = stride, size, same

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', *size)."""
        full = F.conv_transpose2d(features, self.weight, None, self.stride)
        pads: list[int] = []
        for axis in (1, 0):  # F.pad wants the last axis first
            surplus = full.shape[2 + axis] - self.size[axis]
            before = max(surplus, 0) // 2 if self.same else 0
            pads += [-before, before - surplus]
        cropped = F.pad(full, pads)
        return cropped if self.bias is None else cropped + self.bias[:, None, None]


class Dense(nn.Linear):
    """A fully connected layer on the file's order of axes; without ``keep`` it flattens to (N, inputs)."""

    def __init__(self, weight: Tensor, bias: Tensor | None, keep: bool) -> None:
        """``weight`` (outputs, inputs)."""
        super().__init__(weight.shape[1], weight.shape[0], bias=bias is not None)
        self.weight = nn.Parameter(weight)
        if bias is not None:
            self.bias = nn.Parameter(bias)
        self.keep = keep

    def forward(self, input: Tensor) -> Tensor:
        """(N, …) to (N, outputs), or (…, inputs) to (…, outputs)."""
        ordered = to_nhwc(input)
        if not self.keep:
            ordered = ordered.reshape(len(input), -1)
        return to_nchw(super().forward(ordered))


class Mean(nn.Module):
    """The mean over ``axes`` of the file's order."""

    def __init__(self, axes: Sequence[int], keep: bool) -> None:
        """``keep`` leaves the axes in with length 1."""
        super().__init__()
        self.axes, self.keep = tuple(axes), keep

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C) for axes (1, 2)."""
        return to_nchw(to_nhwc(features).mean(dim=self.axes, keepdim=self.keep))


class Reshape(nn.Module):
    """Give each sample a new shape (without the batch axis)."""

    def __init__(self, shape: Sequence[int]) -> None:
        """``shape`` in the file's order."""
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, values: Tensor) -> Tensor:
        """(N, …) to (N, *shape)."""
        return to_nchw(to_nhwc(values).reshape(len(values), *self.shape))


class Concatenate(nn.Module):
    """Put tensors side by side along ``axis`` of the file's order."""

    def __init__(self, axis: int) -> None:
        """``axis`` counts the batch as 0."""
        super().__init__()
        self.axis = axis

    def forward(self, *parts: Tensor) -> Tensor:
        """One tensor of all parts."""
        return to_nchw(torch.cat([to_nhwc(part) for part in parts], dim=self.axis))


class Pad(nn.Module):
    """Zeros around a tensor: (before, after) for each axis of the file's order."""

    def __init__(self, amounts: Sequence[tuple[int, int]]) -> None:
        """One pair for each axis, the batch included."""
        super().__init__()
        self.flat = [number for pair in reversed(amounts) for number in pair]

    def forward(self, values: Tensor) -> Tensor:
        """The padded tensor."""
        return to_nchw(F.pad(to_nhwc(values), self.flat))


class Slice(nn.Module):
    """Every ``step``-th entry from ``begin`` to ``end`` along each axis of the file's order."""

    def __init__(self, parts: Sequence[slice], drop: Sequence[int]) -> None:
        """``drop`` names axes, cut to length 1, that vanish."""
        super().__init__()
        self.parts, self.drop = tuple(parts), tuple(sorted(drop, reverse=True))

    def forward(self, values: Tensor) -> Tensor:
        """The cut tensor, without the axes in ``drop``."""
        cut = to_nhwc(values)[self.parts]
        for axis in self.drop:
            cut = cut.squeeze(axis)
        return to_nchw(cut)


class ResizeBilinear(nn.Module):
    """Bilinear resizing to ``size`` with TensorFlow's three ways to place the samples."""

    def __init__(self, size: tuple[int, int], align_corners: bool, half_pixel: bool) -> None:
        """Neither flag: the oldest way."""
        super().__init__()
        self.size, self.align_corners, self.half_pixel = size, align_corners, half_pixel

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, *size)."""
        if self.align_corners or self.half_pixel:
            return F.interpolate(features, self.size, mode="bilinear", align_corners=self.align_corners)
        # TensorFlow's old way, which torch lacks: output i lies at i * in / out
        for axis in (2, 3):
            features = _stretch(features, axis, self.size[axis - 2])
        return features


def _stretch(features: Tensor, axis: int, size: int) -> Tensor:
    length = features.shape[axis]
    place = torch.arange(size, device=features.device, dtype=features.dtype) * (length / size)
    low = place.floor().long().clamp(max=length - 1)
    share = (place - low).reshape([-1 if i == axis else 1 for i in range(features.dim())])
    high = (low + 1).clamp(max=length - 1)
    return features.index_select(axis, low) * (1 - share) + features.index_select(axis, high) * share


class PReLU(nn.Module):
    """Leaky below zero, with a slope for each channel (or place), kept in torch's order."""

    def __init__(self, slope: Tensor) -> None:
        """``slope`` broadcasts against a sample."""
        super().__init__()
        self.slope = nn.Parameter(slope)

    def forward(self, features: Tensor) -> Tensor:
        """The same shape."""
        return features.clamp(min=0) + self.slope * features.clamp(max=0)


class Softmax(nn.Module):
    """Softmax over the file's last axis, sharpened by ``beta``."""

    def __init__(self, beta: float) -> None:
        """``beta`` is 1 for the ordinary softmax."""
        super().__init__()
        self.beta = beta

    def forward(self, values: Tensor) -> Tensor:
        """The same shape, positive, summing to 1."""
        return to_nchw((to_nhwc(values) * self.beta).softmax(dim=-1))
