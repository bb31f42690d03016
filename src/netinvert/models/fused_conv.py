"""Convolutions that do their ReLU themselves, and find the gradient of their input by quicker means.

Only the gradient of the image is ever wanted, never that of the weights. So the ReLU can be done in place, a
1 x 1 convolution is one product of matrices, and the gradient of a convolution is a transposed one, for which
torch has quicker code than for its own backward pass. Function and gradient stay the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from netinvert.models.dry_run import followers, put
from netinvert.models.layer_output import LayerCut
from netinvert.models.zoo.blocks import SameConv2d, pad_same

NHWC = torch.channels_last


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        how: FusedConvolution,
        padding: tuple[int, int],
    ) -> Tensor:
        x = x.contiguous(memory_format=NHWC)
        plain = how.stride == (1, 1) and padding == (0, 0) and how.groups == 1
        ctx.is_product = plain and weight.shape[2:] == (1, 1)
        if ctx.is_product:
            y = F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
            y = y.data  # no view any more: of one, the network could not change the values in place
        else:
            y = F.conv2d(x, weight, bias, how.stride, padding, how.dilation, how.groups)
        if how.act is not None:
            y.clamp_(0.0, how.high)
        ctx.how, ctx.padding, ctx.size = how, padding, x.shape[2:]
        ctx.save_for_backward(weight, None if how.act is None else y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:  # noqa: ANN401
        weight, y = ctx.saved_tensors
        how: FusedConvolution = ctx.how
        gradient = gradients[0].contiguous(memory_format=NHWC)
        if y is not None:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, 0.0, how.high)
        if ctx.is_product:
            back = (gradient.permute(0, 2, 3, 1) @ weight.flatten(1)).permute(0, 3, 1, 2)
            return back, None, None, None, None
        rest = [
            ctx.size[k]
            - (gradient.shape[2 + k] - 1) * how.stride[k]
            + 2 * ctx.padding[k]
            - how.dilation[k] * (weight.shape[2 + k] - 1)
            - 1
            for k in (0, 1)
        ]
        back = F.conv_transpose2d(
            gradient, weight, None, how.stride, ctx.padding, rest, how.groups, how.dilation
        )
        return back, None, None, None, None


class FusedConvolution(nn.Module):
    """A convolution, and the ReLU or ReLU6 behind it if there is one."""

    def __init__(self, convolution: nn.Conv2d, act: nn.Module | None) -> None:
        super().__init__()
        self.same = convolution if isinstance(convolution, SameConv2d) else None
        self.register_buffer("weight", convolution.weight.detach().contiguous(memory_format=NHWC))
        bias = convolution.bias
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.act, self.high = act, 6.0 if isinstance(act, nn.ReLU6) else torch.inf
        self.stride, self.dilation = convolution.stride, convolution.dilation
        self.padding, self.groups = convolution.padding, convolution.groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        x, padding = (x, self.padding) if self.same is None else pad_same(x, self.same)
        result: Tensor = _Convolve.apply(x, self.weight, self.bias, self, padding)
        return result


@torch.no_grad()
def fuse_convolutions(cut: LayerCut, x: Tensor) -> None:
    """Put fused convolutions in the place of those that run once on the way to the cut, in place."""
    names = {part: name for name, part in cut.module.named_modules()}
    # Identities are where BatchNorms were.
    found = followers(cut, x, _fits, lambda part: type(part) in (nn.ReLU, nn.ReLU6), through=nn.Identity)
    act_of = {conv: (act, output, version) for conv, act, output, version in found.pairs}
    for conv in found.makers:
        if found.runs[conv] > 1:
            continue
        act, output, version = act_of.get(conv, (None, x, x._version))
        # Of an output that is changed in place, the fused gradient would not know where it was clamped.
        if act is not None and (found.runs[act] > 1 or output._version != version):
            act = None
        assert isinstance(conv, nn.Conv2d)
        put(cut.module, names[conv], FusedConvolution(conv, act))
        if act is not None:
            put(cut.module, names[act], nn.Identity())


def _fits(part: nn.Module) -> bool:
    plain = isinstance(part, nn.Conv2d) and type(part) in (nn.Conv2d, SameConv2d)
    return plain and part.padding_mode == "zeros" and not isinstance(part.padding, str)
