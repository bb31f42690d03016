"""Convolutions that do their ReLU themselves, and find the gradient of their input by quicker means.

Only the gradient of the image is ever wanted, never that of the weights. So the ReLU can be done in place, a
1 x 1 convolution is one product of matrices, and the gradient of a convolution is a transposed one, for which
torch has quicker code than for its own backward pass. Function and gradient stay the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from netinvert.models.dry_run import observed, put
from netinvert.models.layer_output import LayerCut
from netinvert.models.zoo.blocks import SameConv2d, pad_same

NHWC = torch.channels_last


@dataclass(frozen=True)
class _Geometry:
    """``low`` and ``high`` are where the ReLU clamps; no ``low`` is no ReLU."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    low: float | None
    high: float

    def is_product(self, weight: Tensor) -> bool:
        """Whether the convolution is a product of matrices."""
        plain = self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1
        return plain and tuple(weight.shape[2:]) == (1, 1)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: _Geometry) -> Tensor:  # noqa: ANN401
        x = x.contiguous(memory_format=NHWC)
        if how.is_product(weight):
            y = F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
            y = y.data  # no view any more: of one, the network could not change the values in place
        else:
            y = F.conv2d(x, weight, bias, how.stride, how.padding, how.dilation, how.groups)
        if how.low is not None:
            y.clamp_(how.low, how.high)
        ctx.how, ctx.size = how, x.shape[2:]
        ctx.save_for_backward(weight, None if how.low is None else y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        weight, y = ctx.saved_tensors
        how: _Geometry = ctx.how
        gradient = gradients[0].contiguous(memory_format=NHWC)
        if y is not None:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, how.low, how.high)
        if how.is_product(weight):
            back = (gradient.permute(0, 2, 3, 1) @ weight.flatten(1)).permute(0, 3, 1, 2)
            return back, None, None, None
        rest = [
            ctx.size[k]
            - (gradient.shape[2 + k] - 1) * how.stride[k]
            + 2 * how.padding[k]
            - how.dilation[k] * (weight.shape[2 + k] - 1)
            - 1
            for k in (0, 1)
        ]
        back = F.conv_transpose2d(
            gradient, weight, None, how.stride, how.padding, rest, how.groups, how.dilation
        )
        return back, None, None, None


class FusedConvolution(nn.Module):
    """A convolution, and the ReLU or ReLU6 behind it if there is one."""

    def __init__(self, convolution: nn.Conv2d, act: nn.Module | None) -> None:
        super().__init__()
        self.same = convolution if isinstance(convolution, SameConv2d) else None
        self.register_buffer("weight", convolution.weight.detach().contiguous(memory_format=NHWC))
        bias = convolution.bias
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.act = act
        self.stride, self.dilation = _two(convolution.stride), _two(convolution.dilation)
        self.padding = (0, 0) if self.same is not None else _two(convolution.padding)
        self.groups = convolution.groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        padding = self.padding
        if self.same is not None:
            x, found = pad_same(x, self.same)
            padding = _two(found)
        high = 6.0 if isinstance(self.act, nn.ReLU6) else torch.inf
        low = None if self.act is None else 0.0
        how = _Geometry(self.stride, padding, self.dilation, self.groups, low, high)
        result: Tensor = _Convolve.apply(x, self.weight, self.bias, how)
        return result


def _two(value: Any) -> tuple[int, int]:  # noqa: ANN401  (torch's own union of int, tuple and str)
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


@torch.no_grad()
def fuse_convolutions(cut: LayerCut, x: Tensor) -> None:
    """Put fused convolutions in the place of those that run once on the way to the cut, in place."""
    module = cut.module
    names = {part: name for name, part in module.named_modules()}
    runs: dict[nn.Module, int] = {}
    made_by: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensor is kept, so that its id stays its own
    act_of: dict[nn.Conv2d, tuple[nn.Module, Tensor, int]] = {}  # with its output, as it was then
    codes: set[int] = set()  # outputs that are codes themselves, from before any ReLU

    def observe(name: str, part: nn.Module, first: Tensor | None, output: object) -> None:
        runs[part] = runs.get(part, 0) + 1
        maker = None if first is None or id(first) in codes else made_by.get(id(first))
        if type(part) in (nn.Conv2d, SameConv2d) and isinstance(output, Tensor) and _fits(part):
            assert isinstance(part, nn.Conv2d)
            made_by[id(output)] = (part, output)
        elif maker is not None and type(part) is nn.Identity and isinstance(output, Tensor):
            made_by[id(output)] = maker  # where a BatchNorm was
        elif maker is not None and type(part) in (nn.ReLU, nn.ReLU6) and isinstance(output, Tensor):
            act_of[maker[0]] = (part, output, output._version)
        if part in cut.targets:
            codes.add(id(output))

    with observed(module, observe):
        cut.outputs(x)
    for conv in {conv for conv, _ in made_by.values()}:
        if runs[conv] > 1:
            continue
        act, output, version = act_of.get(conv, (None, x, x._version))
        # Of an output that is changed in place, the fused gradient would not know where it was clamped.
        if act is not None and (runs[act] > 1 or output._version != version):
            act = None
        put(module, names[conv], FusedConvolution(conv, act))
        if act is not None:
            put(module, names[act], nn.Identity())


def _fits(part: nn.Module) -> bool:
    assert isinstance(part, nn.Conv2d)
    return part.padding_mode == "zeros" and not isinstance(part.padding, str)
