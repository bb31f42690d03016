"""The building blocks of the mobile families: SAME convolutions and inverted residuals."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

BlockShape = tuple[int, int, int, int, int]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after) of one axis; the odd pixel goes *after*."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def pad_same(image: Tensor, module: nn.Conv2d) -> tuple[Tensor, tuple[int, int]]:
    """Pad (N, C, H, W) for a SAME convolution.

    Returns the image and the symmetric padding that the convolution still has to do itself: at stride 1 that
    is all of it, which spares a copy."""
    windows = zip(image.shape[2:], module.kernel_size, module.stride, module.dilation, strict=True)
    (top, bottom), (left, right) = (same_padding(*window) for window in windows)
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

    padding: Literal["same", "symmetric"]
    norm_eps: float | None = None

    def unit(
        self, channels: tuple[int, int], kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> nn.Sequential:
        """``conv`` of (inputs, outputs), then ``norm`` (if the family has one), then ``act`` (ReLU6)."""
        same, bias = self.padding == "same", self.norm_eps is None
        convolution = SameConv2d if same else nn.Conv2d
        padding = 0 if same else kernel // 2
        conv = convolution(*channels, kernel, stride, padding, groups=groups, bias=bias)
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if self.norm_eps is not None:
            layers["norm"] = nn.BatchNorm2d(channels[1], eps=self.norm_eps)
        if act:
            layers["act"] = nn.ReLU6()
        return nn.Sequential(layers)

    def depthwise(self, channels: int, kernel: int, stride: int) -> nn.Sequential:
        """One depthwise convolution."""
        return self.unit((channels, channels), kernel, stride, groups=channels)


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (linear); a skip where it fits (Sandler et al., arXiv 1801.04381).

    ``shape`` is (inputs, hidden, outputs, kernel, stride); as many hidden as inputs mean no expansion."""

    def __init__(self, family: Family, shape: BlockShape) -> None:
        super().__init__()
        inputs, hidden, outputs, kernel, stride = shape
        self.expand = family.unit((inputs, hidden), 1) if hidden != inputs else nn.Identity()
        self.depthwise = family.depthwise(hidden, kernel, stride)
        self.project = family.unit((hidden, outputs), 1, act=False)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        result: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + result if self.skips else result


class GlobalPool(nn.Module):
    """The mean over positions: (N, C, H, W) to (N, C)."""

    def forward(self, features: Tensor) -> Tensor:
        """Average height and width away."""
        return features.mean(dim=(2, 3))


def block_shapes(inputs: int, stages: tuple[BlockShape, ...]) -> list[BlockShape]:
    """Blocks of the stages (expansion, outputs, kernel, stride of the first block, repeats)."""
    shapes = []
    for expansion, outputs, kernel, stride, repeats in stages:
        for index in range(repeats):
            shapes.append((inputs, inputs * expansion, outputs, kernel, stride if index == 0 else 1))
            inputs = outputs
    return shapes
