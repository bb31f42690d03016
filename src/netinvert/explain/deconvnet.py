"""The deconvnet of Zeiler & Fergus 2013 (arXiv 1311.2901, section 2.1): a code sent back down to pixels.

On the way down each pooling puts its signal where its maximum was (the "switches" of this very image), each
ReLU keeps what is positive of the signal, each convolution or linear layer is transposed, without its bias.
What is linear for one image (BatchNorm in eval mode, average pooling, padding, sums of branches) is
transposed as it is; response normalisation lets the signal through, as in the authors' network. The image
has a say in the switches alone: of a network without max pooling all images get the same picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert.errors import ConfigError, NetworkError
from netinvert.inversion.units import channel_axis
from netinvert.io.images import ImageLike, as_images
from netinvert.models.cut import observed
from netinvert.models.encoder import Encoder
from netinvert.models.private_copy import as_usable, plain_torch
from netinvert.models.relus import ReluRule

Overlaps = Literal["place", "sum"]
Start = Callable[[Tensor], Tensor]
"""What of codes (N, *code_shape) is sent down, of the same shape."""
_LINEAR = """Add Sub Neg Sum Mean Cat Stack View ReshapeAlias UnsafeView Squeeze Unsqueeze Transpose Permute T
Flip Roll Expand Repeat Slice Select Split SplitWithSizes Unbind Clone Alias AsStrided ToCopy NativeBatchNorm
CudnnBatchNorm AvgPool2D AdaptiveAvgPool2D ConstantPadNd ReflectionPad2D ReplicationPad2D UpsampleNearest2D
UpsampleBilinear2D PixelShuffle _Rectified _Switched _Through"""
LINEAR = {*(f"{name}Backward" for name in _LINEAR.split()), "AccumulateGrad", "CopyBackwards", "CopySlices"}
PRODUCTS = {f"{name}Backward" for name in ("Convolution", "Addmm", "Mm", "Bmm", "Mul", "Div")}
"""Linear where one factor alone depends on the image."""


class _Rectified(torch.autograd.Function):
    """A ReLU that keeps what is positive of the signal, wherever its own input was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return signals[0].clamp_min(0), None


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return signals[0], None


class _Switched(torch.autograd.Function):
    """Max pooling whose signal is put where the maximum was, once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, switches: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(switches)
        ctx.size = x.shape[-2:]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (switches,) = ctx.saved_tensors
        return unpool(signals[0], switches, ctx.size), None, None


def unpool(signal: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    """A signal (..., h, w) put at its switches, places in maps of ``size`` (H, W) counted row by row; zeros
    elsewhere. Where overlapping windows share a place, the last window (row by row) has it: what
    ``torch.max_unpool2d`` does on a CPU, here on every device.

    >>> unpool(torch.tensor([[1.0, 2.0]]), torch.tensor([[1, 1]]), (1, 3))
    tensor([[0., 2., 0.]])
    """
    flat, places = signal.flatten(-2), switches.flatten(-2)
    order = torch.arange(flat.shape[-1], device=flat.device).expand_as(places)
    last = order.new_full((*flat.shape[:-1], size[0] * size[1]), -1).scatter_reduce(-1, places, order, "amax")
    put = flat.gather(-1, last.clamp_min(0)).where(last >= 0, 0)
    return put.reshape(*flat.shape[:-1], *size)


class _Rules(ReluRule):
    """What differs from a gradient."""

    def __init__(self, overlaps: Overlaps) -> None:
        super().__init__(_Rectified.apply)
        self.overlaps = overlaps

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        how = dict(kwargs or {})
        pools = func in (F.max_pool2d, torch.max_pool2d) and self.overlaps == "place"
        if not pools and func is not F.local_response_norm:
            return super().__torch_function__(func, types, args, kwargs)
        x, *others = args if args else [how.pop("input")]
        with torch.no_grad():
            how.pop("return_indices", None)
            value, *switches = (
                F.max_pool2d_with_indices(x, *others, **how) if pools else (func(x, *others, **how),)
            )
        return (_Switched if pools else _Through).apply(x, value, *switches)

    def known(self, node: Any) -> bool:  # noqa: ANN401 - a node of autograd
        """Whether there is a rule for an operation on the way from the image to the code."""
        name = node.name().rpartition("::")[2].rstrip("0123456789")
        if name == "MaxPool2DWithIndicesBackward":
            return self.overlaps == "sum"
        if name in PRODUCTS:
            return sum(one is not None for one, _ in node.next_functions) <= 1
        return name in LINEAR


@plain_torch()
@torch.enable_grad()
def deconvnet(
    encoder: Encoder, images: ImageLike, start: Start | None = None, overlaps: Overlaps = "place"
) -> Tensor:
    """The signal (N, C, H, W) at the network's input, in its units (RGB in any case), of codes sent down.

    ``start`` says what of the codes is sent: ``strongest(k)``, one number of a channel, all else zero, as in
    the paper; any function of them; None: the whole code. ``overlaps``: where windows of a pooling overlap
    and have their maximum at the same place, ``"place"`` puts one window's signal there, as unpooling by
    switches does; ``"sum"`` adds them up, as the gradient of a pooling does, and Caffe's deconvolution. Where
    windows lie side by side both are the same.

    A network may branch and join by sums. Raises NetworkError, with the module's name, where there is no rule
    (products of activations as in attention and squeeze-and-excitation; other non-linearities than ReLU and
    ReLU6), ConfigError, ImageError.

    >>> from netinvert.models.registry import load_network
    >>> encoder = Encoder(load_network("posenet"), "relu5")
    >>> deconvnet(encoder, torch.rand(2, 3, 128, 128), strongest(7)).shape
    torch.Size([2, 3, 128, 128])
    """
    if overlaps not in get_args(Overlaps):
        raise ConfigError(f"overlaps are {' or '.join(get_args(Overlaps))}, got {overlaps!r}")
    image = images_for(encoder, images).requires_grad_(True)
    rules = _Rules(overlaps)
    with encoder.as_given() as module, rules:
        codes = encoder(image)
        if any(not rules.known(node) for node in _nodes(codes.grad_fn)):
            raise NetworkError(_refusal(encoder, module, image, rules))
    signal = codes.detach() if start is None else start(codes.detach())
    if signal.shape != codes.shape:
        raise ConfigError(f"what is sent down has the code's shape {(*codes.shape,)}, got {(*signal.shape,)}")
    (pixels,) = torch.autograd.grad(codes, image, signal.to(codes))
    form = encoder.preprocessing
    std = pixels.new_tensor(form.std[::-1] if form.order == "BGR" else form.std)
    return pixels * (std / form.scale)[:, None, None]


def strongest(*channels: int) -> Start:
    """Of each of some channels the largest value alone, where it is.

    >>> strongest(1)(torch.tensor([[[[5.0, 2.0]], [[1.0, 3.0]]]]))
    tensor([[[[0., 0.]],
    <BLANKLINE>
             [[0., 3.]]]])
    """

    def keep(codes: Tensor) -> Tensor:
        axis = 1 + channel_axis(codes.shape[1:])
        if not channels or not all(0 <= one < codes.shape[axis] for one in channels):
            raise ConfigError(f"the channels of this layer are 0 to {codes.shape[axis] - 1}, got {channels}")
        maps = codes.movedim(axis, 1).reshape(len(codes), codes.shape[axis], -1)
        largest = maps.argmax(2, keepdim=True)[:, list(channels)]
        index = torch.tensor(channels, device=codes.device)[:, None].expand_as(largest)
        kept = torch.zeros_like(maps)
        rows = torch.arange(len(codes), device=codes.device)[:, None, None]
        kept[rows, index, largest] = maps[rows, index, largest]
        return kept.reshape(codes.movedim(axis, 1).shape).movedim(1, axis)

    return keep


def images_for(encoder: Encoder, images: ImageLike) -> Tensor:
    """Images as the network sees them, (N, C, *size) in [0, 1], none of the caller's own tensors. Raises
    ImageError."""
    found = as_images(images, encoder.preprocessing.channels)
    if isinstance(images, Tensor):  # keeps its precision
        found = as_usable(images.detach()).reshape(found.shape)
    return encoder.fit(found.to(encoder.device, encoder.dtype)).clone()


def around_grey(signals: Tensor) -> Tensor:
    """Signals (N, C, H, W) as images: nothing is grey, the largest number of each is black or white."""
    most = signals.abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(signals.dtype).tiny)
    return 0.5 + signals / most / 2


# -- what has no rule ------------------------------------------------------------------------------------


def _nodes(root: Any, seen: set[Any] | None = None) -> Iterator[Any]:  # noqa: ANN401 - nodes of autograd
    """Each operation from a result down to the image, once; those already ``seen`` and below are left out."""
    seen, waiting = set() if seen is None else seen, [root]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [one for one, _ in node.next_functions]


def _refusal(encoder: Encoder, module: nn.Module, image: Tensor, rules: _Rules) -> str:
    """Which module has no rule: the innermost whose output is the first to need one."""
    found: list[str] = []
    seen: set[Any] = set()

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        made = output.grad_fn if isinstance(output, Tensor) else None
        odd = [node.name() for node in _nodes(made, seen) if not rules.known(node)]
        if odd:
            found.append(f"{f'{name} ' if name else ''}({type(part).__name__}: {odd[0]})")

    with observed(module, observe):
        encoder(image)
    where = found[0] if found else f"({type(module).__name__})"
    return (
        f"the deconvnet has no rule for {where} of {encoder.network.name}, before layer "
        f"'{encoder.layer}'; it has rules for convolutions, linear layers, pooling, ReLU, ReLU6, BatchNorm "
        "and sums: choose an earlier layer, or another method"
    )
