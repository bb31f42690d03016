"""A network up to a cut, rewritten to take less memory and time where it stays the same function.

Only the gradient of the image is ever wanted, never that of the weights. So convolutions do their ReLU in
place, a 1 x 1 convolution is one product of matrices, and the gradient of a convolution is a transposed one,
for which torch has quicker code than for its own backward pass. Function and gradient stay the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from netinvert.models.cut import LayerCut, followers, put

NHWC = torch.channels_last
EXACT = 1e-5
"""How far (relative L2) a code may move when the network is rewritten for speed."""
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


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


@torch.no_grad()
def shortened(cut: LayerCut, behind: Iterable[str], probe: Tensor, fast: bool) -> tuple[LayerCut, LayerCut]:
    """The cut without the modules ``behind`` it, and if it is to be ``fast`` with BatchNorm folded, channels
    last and ReLUs fused where the codes of ``probe`` stay the same; and the same without fused ReLUs."""
    exact = cut.outputs(probe)
    _drop(cut, behind, exact, probe)
    if not fast:
        return cut, cut
    unfused = cut
    rewrites: list[Callable[[LayerCut, Tensor], None]] = [fold_batchnorm, _channels_last, fuse_convolutions]
    for rewrite in rewrites:
        if rewrite is fuse_convolutions:
            unfused = cut
            if not cut.channels_last:
                break
        try:
            module = copy.deepcopy(cut.module)
            rewrite(LayerCut(module, *cut.layers, channels_last=cut.channels_last), probe)
            last = cut.channels_last or rewrite is _channels_last
            candidate = LayerCut(module, *cut.layers, channels_last=last)
            found = candidate.outputs(probe)
        except Exception:  # a module that cannot be rewritten (weight_norm, say) runs as it is
            continue
        pairs = [(one.double(), other.double()) for one, other in zip(found, exact, strict=True)]
        # of a code of zeros nothing is known
        if all(other.norm() > 0 and (one - other).norm() / other.norm() <= EXACT for one, other in pairs):
            cut = candidate
    return cut, unfused


def _drop(cut: LayerCut, names: Iterable[str], exact: Sequence[Tensor], probe: Tensor) -> None:
    """Take modules out that run behind the cut alone, to save their memory; leave them where the code needs
    them all the same (weights that are used without their module, say)."""
    parts = {name: cut.module.get_submodule(name) for name in names}
    for name in parts:
        put(cut.module, name, nn.Identity())
    try:
        if all(map(torch.equal, cut.outputs(probe), exact)):
            return
    except Exception:  # whatever the user's code raises
        pass
    for name, part in parts.items():
        put(cut.module, name, part)


@torch.no_grad()
def fold_batchnorm(cut: LayerCut, x: Tensor) -> None:
    """Fold every BatchNorm that follows a convolution on the way to the cut into it, in place."""
    names = {part: name for name, part in cut.module.named_modules()}
    found = followers(
        cut, x, lambda part: isinstance(part, Convolution), lambda part: isinstance(part, _BatchNorm)
    )
    for conv, norm, *_ in found.pairs:
        if found.runs[conv] == found.runs[norm] == 1:
            assert isinstance(conv, Convolution)
            assert isinstance(norm, _BatchNorm)
            put(cut.module, names[conv], fuse_conv_bn_eval(conv, norm))
            put(cut.module, names[norm], nn.Identity())


def _channels_last(cut: LayerCut, probe: Tensor) -> None:
    cut.module.to(memory_format=torch.channels_last)
