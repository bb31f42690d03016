"""The building blocks of the mobile families: SAME convolutions and inverted residuals."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["same", "symmetric"]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after) of one axis; the odd pixel goes *after*."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def pad_same(image: Tensor, module: nn.Conv2d) -> tuple[Tensor, tuple[int, int]]:
    """Pad (N, C, H, W) for a SAME convolution.

    Returns the image and the symmetric padding that the convolution still has to do itself: at stride 1 that
    is all of it, which spares a copy."""
    axes = range(2)
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    (top, bottom), (left, right) = (
        same_padding(image.shape[2 + i], kernel[i], stride[i], dilation[i]) for i in axes
    )
    if top == bottom and left == right:
        return image, (top, left)
    return F.pad(image, (left, right, top, bottom)), (0, 0)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, which is asymmetric at stride 2 on even sizes."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        padded, padding = pad_same(input, self)
        return F.conv2d(padded, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


@dataclass(frozen=True)
class Family:
    """What all convolutions of a family share. Without ``norm_eps`` BatchNorm is folded into biases."""

    padding: Padding
    norm_eps: float | None = None

    def unit(self, channels: tuple[int, int], kernel: int, stride: int = 1, act: bool = True) -> ConvUnit:
        """One full convolution."""
        return ConvUnit(self, channels, (kernel, stride), depthwise=False, act=act)

    def depthwise(self, channels: int, kernel: int, stride: int) -> ConvUnit:
        """One depthwise convolution."""
        return ConvUnit(self, (channels, channels), (kernel, stride), depthwise=True, act=True)


class ConvUnit(nn.Sequential):
    """``conv``, then ``norm`` (if the family has one), then ``act`` (ReLU6, if asked for)."""

    def __init__(
        self,
        family: Family,
        channels: tuple[int, int],
        window: tuple[int, int],
        *,
        depthwise: bool,
        act: bool,
    ) -> None:
        """``channels`` is (inputs, outputs), ``window`` (kernel, stride)."""
        kernel, stride = window
        same = family.padding == "same"
        conv = (SameConv2d if same else nn.Conv2d)(
            *channels,
            kernel,
            stride,
            padding=0 if same else kernel // 2,
            groups=channels[0] if depthwise else 1,
            bias=family.norm_eps is None,
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if family.norm_eps is not None:
            layers["norm"] = nn.BatchNorm2d(channels[1], eps=family.norm_eps)
        if act:
            layers["act"] = nn.ReLU6()
        super().__init__(layers)


@dataclass(frozen=True)
class BlockShape:
    """The numbers of one inverted residual block; ``hidden`` equal to ``inputs`` means no expansion."""

    inputs: int
    hidden: int
    outputs: int
    kernel: int
    stride: int


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (linear); a skip where it fits (Sandler et al., arXiv 1801.04381)."""

    def __init__(self, family: Family, shape: BlockShape) -> None:
        """One block of a family."""
        super().__init__()
        expands = shape.hidden != shape.inputs
        self.expand = family.unit((shape.inputs, shape.hidden), 1) if expands else nn.Identity()
        self.depthwise = family.depthwise(shape.hidden, shape.kernel, shape.stride)
        self.project = family.unit((shape.hidden, shape.outputs), 1, act=False)
        self.skips = shape.stride == 1 and shape.inputs == shape.outputs

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        result: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + result if self.skips else result


class GlobalPool(nn.Module):
    """The mean over positions: (N, C, H, W) to (N, C)."""

    def forward(self, features: Tensor) -> Tensor:
        """Average height and width away."""
        return features.mean(dim=(2, 3))


def block_shapes(inputs: int, stages: tuple[tuple[int, int, int, int, int], ...]) -> list[BlockShape]:
    """Blocks of the stages (expansion, outputs, kernel, stride of the first block, repeats)."""
    shapes = []
    for expansion, outputs, kernel, stride, repeats in stages:
        for index in range(repeats):
            first_stride = stride if index == 0 else 1
            shapes.append(BlockShape(inputs, inputs * expansion, outputs, kernel, first_stride))
            inputs = outputs
    return shapes
