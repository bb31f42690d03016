"""What images drive a unit, or a direction of codes, most (Zeiler & Fergus 2013, figure 2): the largest
responses over a stream of images, and the receptive fields that they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.errors import CodeError, ConfigError, MissingExtraError
from netinvert.explain.deconvnet import Start
from netinvert.inversion.units import channel_axis
from netinvert.models.encoder import Encoder

TOP = 9
"""So many images of each, as in the paper."""
BASES = ("units", "pca", "nmf")
POSITIONS = 64
"""Of a feature map, so many at random are fitted by: neighbours say nearly the same."""


# -- what responds ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Basis:
    """Directions (K, C) in a layer's channels, and the ``mean`` (C,) of codes that is taken off before. A
    response is the product of a direction with the code at a place."""

    directions: Tensor
    mean: Tensor

    @classmethod
    def of_units(cls, encoder: Encoder, channels: Sequence[int] = ()) -> Basis:
        """Each channel, or some. Raises ConfigError: there is no such channel, or codes are neither maps (C,
        H, W) nor vectors (C,)."""
        shape = encoder.code_shape
        if len(shape) not in (1, 3):
            raise ConfigError(
                f"layer '{encoder.layer}' of {encoder.network.name} has codes of shape {shape}, neither "
                "feature maps nor a vector: choose another layer"
            )
        count = shape[channel_axis(shape)]
        if any(not 0 <= one < count for one in channels):
            raise ConfigError(f"layer '{encoder.layer}' has channels 0 to {count - 1}, got {list(channels)}")
        units = torch.eye(count, dtype=encoder.dtype, device=encoder.device)
        return cls(units[list(channels)] if channels else units, torch.zeros_like(units[0]))

    def responses(self, codes: Tensor) -> Tensor:
        """Of codes (N, C, ...), (N, K, ...)."""
        return torch.einsum("kc,nc...->nk...", self.directions, codes - _at(self.mean, codes))

    def start(self, index: int, row: int, column: int) -> Start:
        """The part of codes that lies in a direction at a place, for the deconvnet."""

        def keep(codes: Tensor) -> Tensor:
            kept, own = torch.zeros_like(codes), self.responses(codes)
            if codes.ndim == 4:
                kept[:, :, row, column] = own[:, index, row, column, None] * self.directions[index]
                return kept
            return own[:, index, None] * self.directions[index]

        return keep

    def wanted(self, encoder: Encoder, index: int) -> Tensor:
        """The direction (1, *code_shape), in the middle of maps: what a maximising image is to have."""
        direction = torch.zeros(1, *encoder.code_shape, dtype=encoder.dtype, device=encoder.device)
        middle = tuple(side // 2 for side in encoder.code_shape[1:])
        direction[0].movedim(0, -1)[middle] = self.directions[index]
        return direction


def _at(vector: Tensor, codes: Tensor) -> Tensor:
    return vector.view(1, -1, *[1] * (codes.ndim - 2))


def fit_basis(kind: str, count: int, codes: Iterable[Tensor], seed: int = 0) -> Basis:
    """``count`` directions of codes (N, C, ...), which come in batches: ``pca`` or ``nmf``, by scikit-learn a
    batch at a time. Raises ConfigError, CodeError: ``nmf`` of codes below zero; MissingExtraError."""
    try:
        from sklearn.decomposition import IncrementalPCA, MiniBatchNMF
    except ImportError:
        raise MissingExtraError("directions of a layer's codes", "explain") from None
    if kind not in BASES[1:]:
        raise ConfigError(f"directions are pca or nmf, got {kind!r}")
    source = torch.Generator().manual_seed(seed)
    model: Any = IncrementalPCA(count) if kind == "pca" else MiniBatchNMF(count, random_state=0)
    waiting: list[Tensor] = []
    like = torch.zeros(())
    for batch in codes:
        like = batch
        rows = batch.flatten(2).movedim(2, 1) if batch.ndim > 2 else batch[:, None]
        places = torch.randperm(rows.shape[1], generator=source)[:POSITIONS]
        waiting.append(rows[:, places.to(rows.device)].flatten(0, 1).double().cpu())
        if kind == "nmf" and bool((waiting[-1] < 0).any()):
            raise CodeError("nmf is of codes that are nowhere below zero, such as a ReLU's: use pca")
        if sum(map(len, waiting)) >= max(count, POSITIONS):
            model.partial_fit(torch.cat(waiting).numpy())
            waiting = []
    if not hasattr(model, "components_"):
        raise ConfigError(f"{count} directions need as many codes, got {sum(map(len, waiting))}: more images")
    directions = F.normalize(torch.from_numpy(model.components_).to(like), dim=1)
    mean = torch.from_numpy(model.mean_).to(like) if kind == "pca" else torch.zeros_like(directions[0])
    return Basis(directions, mean)


# -- the largest responses -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tops:
    """Of each of K directions the n largest responses, one an image, the largest first: ``values`` (K, n),
    the ``images``' numbers (K, n), their ``places`` (K, n, 2), row and column; (0, 0) of vectors."""

    values: Tensor
    images: Tensor
    places: Tensor

    @classmethod
    def of(cls, responses: Tensor, first: int, count: int = TOP) -> Tops:
        """Of responses (N, K, ...) of images ``first``, ``first`` + 1, …"""
        flat = responses.flatten(2) if responses.ndim > 2 else responses[..., None]
        values, at = flat.max(2)
        width = responses.shape[-1] if responses.ndim > 2 else 1
        numbers = torch.arange(first, first + len(flat)).expand(flat.shape[1], -1)
        places = torch.stack([at // width, at % width], -1)
        return cls(values.T.cpu(), numbers, places.movedim(0, 1).cpu()).first(count)

    def first(self, count: int) -> Tops:
        """The largest of them; of equal ones the earliest images."""
        order = self.values.argsort(dim=1, descending=True, stable=True)[:, :count]
        return Tops(
            self.values.gather(1, order),
            self.images.gather(1, order),
            self.places.gather(1, order[..., None].expand(-1, -1, 2)),
        )

    def with_later(self, other: Tops, count: int = TOP) -> Tops:
        """The largest of both; ``other`` is of later images."""
        pairs = ((getattr(one, name) for one in (self, other)) for name in ("values", "images", "places"))
        return Tops(*(torch.cat([*pair], 1) for pair in pairs)).first(count)


@torch.no_grad()
def top_responses(encoder: Encoder, basis: Basis, batches: Iterable[Tensor], first: int = 0) -> Tops:
    """Over images in batches (N, C, H, W), each seen once: memory does not grow with their number. Raises
    ConfigError for no images."""
    found: Tops | None = None
    for images in batches:
        own = Tops.of(basis.responses(encoder(images)), first)
        found = own if found is None else found.with_later(own)
        first += len(images)
    if found is None:
        raise ConfigError("the largest responses are over images, and there are none")
    return found


# -- receptive fields ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldOfView:
    """Where in the image a place of a map looks, down and right: its first pixel is ``first + stride * row``,
    it is ``side`` pixels long, and may reach over the border."""

    first: tuple[int, int]
    stride: tuple[int, int]
    side: tuple[int, int]

    def crop(self, image: Tensor, row: int, column: int) -> Tensor:
        """What a place sees of an image (C, H, W), (C, *side); grey outside of it."""
        found = image.new_full((image.shape[0], *self.side), 0.5)
        inside, shown = [], []
        for start, step, at, length, full in zip(
            self.first, self.stride, (row, column), self.side, image.shape[1:], strict=True
        ):
            begin = start + step * at
            first, last = max(0, begin), min(begin + length, full)
            inside.append(slice(first, last))
            shown.append(slice(first - begin, last - begin))
        found[:, shown[0], shown[1]] = image[:, inside[0], inside[1]]
        return found


@torch.no_grad()
def field_of_view(encoder: Encoder) -> FieldOfView:
    """Of a layer: found by NaN, which reach just those places that depend on them. The whole image for
    vectors, and where a place in the middle sees as far as a border."""
    size, shape = encoder.size, encoder.code_shape
    if len(shape) != 3:
        return FieldOfView((0, 0), (0, 0), size)
    image = torch.rand(1, encoder.preprocessing.channels, *size, generator=torch.Generator().manual_seed(0))
    image = image.to(encoder.device, encoder.dtype)

    def free(axis: int, after: bool, count: int) -> bool:
        """Whether the place in the middle sees none of the first (or last) rows or columns."""
        marked = image.clone().movedim(2 + axis, 0)
        marked[size[axis] - count if after else 0 :][:count] = torch.nan
        code = encoder.plain_codes(marked.movedim(0, 2 + axis))
        return not bool(code[0, :, shape[1] // 2, shape[2] // 2].isnan().any())

    found = []
    for axis, side in enumerate(size):
        start = _last(side, partial(free, axis, False))
        end = side - _last(side, partial(free, axis, True))
        if start == 0 or end == side or end <= start:
            found.append((0, 0, side))
        else:
            found.append((start - encoder.stride * (shape[1 + axis] // 2), encoder.stride, end - start))
    first, steps, sides = zip(*found, strict=True)
    return FieldOfView(first, steps, sides)


def _last(most: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to ``most`` of which it holds, which then holds of all smaller ones."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
