"""What layers a network has, their codes' shapes, strides and receptive fields, which are worth inverting."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.models.cut import INPUT, OUTPUT, Strides, is_map, observed, tensors_of
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network, Preprocessing
from netinvert.models.registry import load_network

MOST_SHIFTS = 32
"""The largest stride whose receptive field is found exactly."""
STRIP = 32
"""Columns of an image that show how far a row reaches."""
COUNT = 5
"""Images at once that show what a network gives: a number by which the sizes of constants seldom divide."""
MOST_PREFIXED = 16
"""Tokens before those of the patches that are still taken for class tokens and registers."""


@dataclass(frozen=True)
class LayerInfo:
    """A layer as :class:`Encoder` takes it. ``stride`` and ``receptive_field`` in pixels, None for codes
    without space; a receptive field that covers the whole image is given as the image's height. Of tokens (T,
    C) they are those of the patches' tokens."""

    name: str
    type: str
    code_shape: tuple[int, ...]
    stride: int | None
    receptive_field: int | None


def architecture(name: str, preprocessing: Preprocessing | None = None) -> Network:
    """A network by name as it takes least to have it: with random weights where it can be built without its
    own. Raises as ``load_network``."""
    try:
        return load_network(name, "random", preprocessing)
    except NetworkError:  # weights are all that it has, as a file's
        return load_network(name, None, preprocessing)


@torch.no_grad()
def list_layers(
    network: Network | nn.Module | str, preprocessing: Preprocessing | None = None, everything: bool = False
) -> list[LayerInfo]:
    """Every module that runs on an image, in the order in which they finish, but those that give no codes
    (integers, or the same for all images, such as shapes and constants) unless ``everything`` is asked for.
    Names are those of ``load_network``; no weights are fetched for them.

    Modules that give several tensors appear once a tensor, ``name[item]``; those that run several times once
    a call, ``name:call``. Raises NetworkError for a network that no image can pass.

    >>> list_layers("posenet")[0]
    LayerInfo(name='conv1', type='Conv2d', code_shape=(40, 32, 32), stride=4, receptive_field=11)
    """
    if isinstance(network, str):
        network = architecture(network, preprocessing)
    encoder = Encoder(network, INPUT, preprocessing)
    channels, (height, width) = encoder.preprocessing.channels, encoder.size
    image = torch.rand(1, channels, height, width, dtype=encoder.dtype, device=encoder.device)
    # A row of NaN, in the middle or outermost, reaches just those units that depend on it.
    shifts = min(MOST_SHIFTS, height)
    top = (height - shifts) // 2
    rows = [*range(top, top + shifts), 0, height - 1]
    marked = image.repeat(len(rows), 1, 1, 1)
    for index, row in enumerate(rows):
        marked[index, :, row, :] = torch.nan
    shown = None
    if width > STRIP:
        shown = _seen_in_a_strip(encoder, image.expand(COUNT, -1, -1, -1), marked[..., :STRIP], everything)
    seen = [
        LayerInfo(one.name, one.type, one.shape, *one.extent(height))
        for one in shown or _seen(encoder, marked, everything)
    ]
    counts = Counter(info.name for info in seen)
    called: Counter[str] = Counter()
    found = []
    for info in seen:
        base, bracket, item = info.name.partition("[")
        call = f":{called[info.name]}" if counts[info.name] > 1 else ""
        called[info.name] += 1
        found.append(replace(info, name=f"{base}{call}{bracket}{item}"))
    return found


@dataclass(frozen=True)
class _Seen:
    """An output: of a map or of tokens, its ``rows``, the stride and field that the windows have, and
    ``reached`` (images, rows), where NaN has come to."""

    name: str
    type: str
    shape: tuple[int, ...]
    rows: int | None
    windows: tuple[int, int]
    reached: Tensor | None

    def extent(self, height: int) -> tuple[int | None, int | None]:
        """Stride and receptive field."""
        return (None, None) if self.reached is None else _extent(self.reached, height, *self.windows)


def _seen_in_a_strip(encoder: Encoder, few: Tensor, strip: Tensor, everything: bool) -> list[_Seen] | None:
    """What whole images show, but how far NaN comes, which a strip of them shows in a fraction of the time;
    None if it does not: it may stop where maps end, at a Linear, but has to have as many rows everywhere."""
    whole = _seen(encoder, few, everything)
    part: list[_Seen] = []
    with suppress(NetworkError):
        _seen(encoder, strip, everything, part, whole)
    pairs = list(zip(whole, part, strict=False))
    rest = whole[len(part) :]
    if any(one.name != other.name for one, other in pairs) or any(one.rows is not None for one in rest):
        return None
    return [replace(one, reached=other.reached) for one, other in pairs] + rest


def _seen(
    encoder: Encoder,
    images: Tensor,
    everything: bool,
    found: list[_Seen] | None = None,
    whole: Sequence[_Seen] | None = None,
) -> list[_Seen]:
    """All outputs that are wanted, of images (N, C, H, W), in their order; into ``found``. Of a strip, what
    the ``whole`` images showed says which are maps. Raises NetworkError."""
    found = [] if found is None else found
    strides = Strides(images)
    grid = encoder.size  # rows and columns of the last feature map, which patches' tokens keep

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        nonlocal grid
        strides.see(part, first, output)
        outputs = {"": output} if isinstance(output, Tensor) else tensors_of(output)
        for key, tensor in outputs.items():
            coded = tensor.is_floating_point() and tensor.ndim > 0 and tensor.shape[0] % len(images) == 0
            if not (coded or everything):
                continue
            full = f"{name or OUTPUT}{f'[{key}]' if key else ''}"
            if whole is None:
                space = tensor if is_map(tensor, images) else _of_tokens(tensor, grid)
            else:
                space = None if whole[len(found)].rows is None else tensor
                if space is not None and space.shape[-2] != whole[len(found)].rows:
                    raise ValueError("a strip has other rows")
            if space is not None:
                grid = (space.shape[-2], space.shape[-1])
            # NaN is the largest wherever there is any, in one pass.
            reached = None if space is None else torch.isnan(space.amax(dim=(1, 3)))
            rows = None if space is None else space.shape[-2]
            shape = tuple(tensor.shape[1:])
            found.append(_Seen(full, type(part).__name__, shape, rows, strides.now, reached))

    with observed(encoder.module, observe):
        try:
            encoder.module(encoder.network_input(images))
        except Exception as error:
            raise NetworkError(
                f"{encoder.network.name} fails on an image of {encoder.size} pixels: {error}"
            ) from error
    return found


def _of_tokens(code: Tensor, grid: tuple[int, int]) -> Tensor | None:
    """Tokens (shifts, T, C) as the feature map (shifts, C, h, w) that they were made of; None if they are
    none of it. Class tokens and registers come first, and are left out."""
    if code.ndim != 3 or not 0 <= code.shape[1] - math.prod(grid) <= MOST_PREFIXED:
        return None
    patches = code[:, code.shape[1] - math.prod(grid) :]
    return patches.transpose(1, 2).reshape(code.shape[0], code.shape[2], *grid)


def _extent(reached: Tensor, height: int, stride: int, field: int) -> tuple[int | None, int | None]:
    """Stride and receptive field of a feature map, by which of its rows each marked row has reached,
    (shifts + 2, h); what the windows say of them counts where that does not tell."""
    reached, ends = reached[:-2], reached[-2:]  # (shifts, h), (2, h)
    if bool(reached.all()):  # a few large fields that overlap in the middle, or the whole image
        return stride, height if bool(ends.all(0).any()) else min(field, height)
    units = [row.nonzero().flatten().tolist() for row in reached]
    if all(units):  # without padding, the map shrinks by more than the stride; how the marks move is exact
        stride = _period([unit[-1] for unit in units]) or _period([unit[0] for unit in units]) or stride
    # Over as many neighbouring rows as the stride (those farthest from the borders), units are reached as
    # often as their field is high.
    period = min(stride, len(units))
    start = (len(units) - period) // 2
    reaches = sum(unit[-1] - unit[0] + 1 for unit in units[start : start + period] if unit)
    return stride, min(height, math.ceil(reaches * stride / period))


def _period(edges: list[int]) -> int | None:
    """Every how many rows the edge of what is reached moves; None if not regularly."""
    moves = [row for row in range(1, len(edges)) if edges[row] != edges[row - 1]]
    gaps = {after - before for before, after in itertools.pairwise(moves)}
    return gaps.pop() if len(gaps) == 1 else None


ACTIVATIONS = set(nn.modules.activation.__all__) - {"MultiheadAttention"}
FEWEST_BLOCKS = 3
MOST_SUGGESTED = 6
"""About how many layers, besides the output, are suggested."""


def suggested_layers(network: Network, layers: Sequence[LayerInfo]) -> tuple[str, ...]:
    """The layers that are worth inverting, early to late: those that the network names itself, otherwise some
    outputs of its blocks (or of its activations and poolings, where it has no blocks) at every stride, the
    pooled code and the output.

    >>> from netinvert.models.layers import architecture, list_layers
    >>> network = architecture("posenet")
    >>> suggested_layers(network, list_layers(network))[-2:]
    ('relu7', 'fc8')
    """
    if network.layers or not layers:
        return network.layers
    names = [layer.name for layer in layers]
    blocks = [layer.name for layer in layers if _is_block(layer, names)]
    # Of blocks within blocks the outer ones; an outer one ends after those inside it.
    blocks = [name for name in blocks if not any(name.startswith(f"{other}.") for other in blocks)]
    if len(blocks) < FEWEST_BLOCKS:
        blocks = []
    candidates = [
        layer
        for layer in layers[:-1]
        if layer.name in blocks
        or (
            not any(layer.name.startswith(f"{block}.") for block in blocks)
            and ("Pool" in layer.type or (layer.type in ACTIVATIONS and not blocks))
            and (not blocks or layer.stride is None)
        )
    ]
    groups = [list(group) for _, group in groupby(candidates, key=lambda layer: layer.stride)]
    some = max(1, MOST_SUGGESTED // max(len(groups), 1))
    chosen = [layer.name for group in groups for layer in _spread(group, some)]
    return (*chosen, names[-1])


def _is_block(layer: LayerInfo, names: Sequence[str]) -> bool:
    """Whether it is one of several numbered modules, each with modules inside."""
    return bool(re.search(r"(^|\.)\d+$", layer.name)) and any(
        name.startswith(f"{layer.name}.") for name in names
    )


def _spread(group: Sequence[LayerInfo], count: int) -> list[LayerInfo]:
    """So many of a group at equal distances; the last is always among them."""
    count = min(count, len(group))
    return [group[len(group) * (k + 1) // count - 1] for k in range(count)]
