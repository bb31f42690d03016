"""Strides and receptive fields of feature maps, as a dry run passes them."""

from __future__ import annotations

from torch import Tensor, nn


def is_map(output: Tensor, image: Tensor) -> bool:
    """Whether an output has the image's rows and columns: a tensor (N, heads, tokens, numbers) of a
    transformer, say, shrinks one of them only."""
    if output.ndim != 4 or output.shape[0] != image.shape[0] or min(output.shape[-2:]) < 2:
        return False
    down, right = (image.shape[side] / output.shape[side] for side in (-2, -1))
    return max(down, right) <= 1.5 * min(down, right)


class Strides:
    """Stride and receptive field of feature maps in pixels, as products and sums over the layers' windows
    (MatConvNet's arithmetic): ratios of sizes are off wherever a border is cut or padded.

    Maps of one size have one stride; where branches meet, the larger field counts. A change of size that no
    module tells of is taken for windows side by side. ``now`` is of the last map, or of the vector behind it.
    """

    def __init__(self, image: Tensor) -> None:
        self.image = image
        self.size = (image.shape[-2], image.shape[-1])
        self.known = {self.size: (1, 1)}

    @property
    def now(self) -> tuple[int, int]:
        """(stride, receptive field)."""
        return self.known[self.size]

    def see(self, part: nn.Module, first: Tensor | None, output: object) -> None:
        """Take note of what a module was given and what it gave."""
        leaf = not any(True for _ in part.children())
        if leaf and first is not None and self._is_map(first):
            self._reach((first.shape[-2], first.shape[-1]))
        rows, (stride, field) = self.size[0], self.now
        if isinstance(output, Tensor) and self._is_map(output):
            size = (output.shape[-2], output.shape[-1])
            kernel, step, dilation = (_rows(part, name) for name in ("kernel_size", "stride", "dilation"))
            mean = size == (1, 1) and not isinstance(part, nn.Conv2d | nn.MaxPool2d)  # over the whole map
            if leaf and kernel and step and size[0] <= rows and not mean:
                self._note(size, stride * step, field + (dilation or 1) * (kernel - 1) * stride)
            else:
                self._reach(size)
        elif isinstance(part, nn.Linear) and first is not None and first.ndim == 2:
            self._reach((1, 1))  # a window over the whole map

    def _is_map(self, output: Tensor) -> bool:
        return is_map(output, self.image) or (output.ndim == 4 and output.shape[-2:] == (1, 1))

    def _reach(self, size: tuple[int, int]) -> None:
        """Come to a map of this size without a module that tells how; to one value by all of the map."""
        stride, field = self.now
        rows, self.size = self.size[0], size
        if size == (1, 1):
            self._note(size, stride, field + (rows - 1) * stride)
        elif size not in self.known:
            times, back = max(1, round(rows / size[0])), max(1, round(size[0] / rows))
            self.known[size] = (max(1, stride * times // back), field + (times - 1) * stride)

    def _note(self, size: tuple[int, int], stride: int, field: int) -> None:
        before = self.known.get(size, (stride, field))
        self.size, self.known[size] = size, (stride, max(field, before[1]) if stride == before[0] else field)


def _rows(part: nn.Module, name: str) -> int | None:
    """A window's extent down the image: modules have an int or a pair."""
    value = getattr(part, name, None)
    value = value[0] if isinstance(value, tuple | list) and value else value
    return value if isinstance(value, int) else None
