"""ONNX's Slice in place of onnx2torch's, which indexes with a list, where torch since 2.9 warns or fails."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OnnxSlice(nn.Module):
    """Cut a tensor from ``starts`` to ``ends`` along ``axes``, in ``steps`` that may be negative."""

    def forward(
        self,
        input_tensor: Tensor,
        starts: Tensor,
        ends: Tensor,
        axes: Tensor | None = None,
        steps: Tensor | None = None,
    ) -> Tensor:
        """The cut tensor."""
        first, last = starts.tolist(), ends.tolist()
        along = list(range(len(first))) if axes is None else axes.tolist()
        strides = [1] * len(first) if steps is None else steps.tolist()
        parts = [slice(None)] * input_tensor.dim()
        flipped = []
        for start, end, axis, stride in zip(first, last, along, strides, strict=True):
            if stride < 0:  # torch has no negative steps: turn the axis round
                flipped.append(axis)
                parts[axis] = slice(-start - 1, -end - 1, -stride)
            else:
                parts[axis] = slice(start, end, stride)
        turned = torch.flip(input_tensor, flipped) if flipped else input_tensor
        return turned[tuple(parts)]


def replace_slices(module: nn.Module) -> None:
    """Put ours in place of onnx2torch's everywhere in a converted module."""
    from onnx2torch.node_converters.slice import OnnxSlice as TheirSlice  # noqa: PLC0415  (optional)

    for name, part in list(module.named_modules()):
        if isinstance(part, TheirSlice):
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, OnnxSlice())
