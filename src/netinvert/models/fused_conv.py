"""Convolutions of which only the gradient of the image is wanted, never that of the weights.

They do their ReLU in place, a 1 x 1 convolution is one product of matrices, and the gradient of a convolution
is a transposed one, for which torch has quicker code than for its own backward pass. By oneDNN's operators
all of it is quicker still: see ``packed``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from netinvert.models.packed import FLOATS, Geometry, Packed, Packs, pack

NHWC = torch.channels_last


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
        ctx.packed = packed = how.packed(x, padding)
        plain = how.stride == (1, 1) and padding == (0, 0) and how.groups == 1
        ctx.is_product = plain and weight.shape[2:] == (1, 1)
        if packed is not None:
            y = packed.forward(x)
        elif ctx.is_product:
            y = F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
            y = y.data  # no view any more: of one, the network could not change the values in place
        else:
            y = F.conv2d(x, weight, bias, how.stride, padding, how.dilation, how.groups)
        if how.act is not None and packed is None:
            y.clamp_(0.0, how.high)
        ctx.how, ctx.padding, ctx.size = how, padding, x.shape[2:]
        ctx.save_for_backward(weight, None if how.act is None else y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:  # noqa: ANN401
        weight, y = ctx.saved_tensors
        how: FusedConvolution = ctx.how
        gradient = gradients[0].contiguous(memory_format=NHWC)
        if y is not None:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, 0.0, how.high)
        if ctx.packed is not None and not torch.is_grad_enabled():  # of which no gradient can be had
            return ctx.packed.backward(gradient), None, None, None, None
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
    """A convolution, and the ReLU or ReLU6 behind it if there is one; with ``packs`` by oneDNN's operators
    where they are to be had, whose ReLU makes 0 of NaN."""

    def __init__(self, convolution: nn.Conv2d, act: nn.Module | None, packs: bool = True) -> None:
        super().__init__()
        self._packs = Packs() if packs else None
        self.same = convolution if isinstance(convolution, SameConv2d) else None
        self.weight: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", convolution.weight.detach().contiguous(memory_format=NHWC))
        bias = convolution.bias
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.act, self.high = act, 6.0 if isinstance(act, nn.ReLU6) else torch.inf
        self.stride, self.dilation = convolution.stride, convolution.dilation
        self.padding, self.groups = convolution.padding, convolution.groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        x, padding = (x, self.padding) if self.same is None else pad_same(x, self.same)
        if _needs_torch_s_own(x):
            plain = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
            return plain if self.act is None else plain.clamp(0.0, self.high)
        result: Tensor = _Convolve.apply(x, self.weight, self.bias, self, padding)
        return result

    def packed(self, x: Tensor, padding: tuple[int, int]) -> Packed | None:
        """What runs this map, if not torch's plain way."""
        usual = type(x) is Tensor and x.dtype in FLOATS and x.device.type == "cpu" and x.numel() > 0
        if self._packs is None or not usual:
            return None
        key = (tuple(x.shape[2:]), padding)
        if key not in self._packs:
            how = Geometry(padding, self.stride, self.dilation, self.groups)
            high = None if self.act is None else self.high
            self._packs[key] = pack(self.weight, self.bias, how, key[0], high)
        return self._packs[key]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FusedConvolution:
        if self._packs:  # of weights that will be others
            self._packs.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _needs_torch_s_own(x: Tensor) -> bool:
    """Under autocast, ``torch.func`` and forward-mode derivatives, which ``_Convolve`` knows nothing of."""
    transformed = torch.is_autocast_enabled(x.device.type) or torch._C._are_functorch_transforms_active()
    return transformed or forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]
