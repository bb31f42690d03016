"""Shards of cached codes: pictures as bytes and codes as float16, in safetensors files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from netinvert.decode.pictures import Pictures
from netinvert.errors import NetinvertError
from netinvert.files import FileError, save_tensors, sha256_of

TOP = 15
"""Codes are stored divided by a power of two, so that the largest of a shard is just below 2^15: float16 ends
at 65504, and loses digits below 2^-14."""
SCALE = "scale"
IMAGES, MASKS, CODES = "images", "masks", "codes"


class CacheError(NetinvertError):
    """A cache of codes that is damaged, or of another network or other pictures."""


@dataclass(frozen=True)
class Shard:
    """What the manifest knows of a shard: a file ``name`` of ``bytes`` bytes with ``samples`` pictures."""

    name: str
    samples: int
    bytes: int
    sha256: str

    def is_in(self, folder: Path) -> bool:
        """Whether the file is there, and as long as it was."""
        path = folder / self.name
        return path.is_file() and path.stat().st_size == self.bytes


def as_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as uint8."""
    return (images * 255).round_().clamp_(0, 255).to(torch.uint8)


def as_images(stored: Tensor) -> Tensor:
    """The inverse of ``as_bytes``, but for rounding."""
    return stored.to(torch.float32).div_(255)


def as_half(codes: Tensor) -> tuple[Tensor, float]:
    """Codes as float16, and the power of two by which these are to be multiplied.

    The relative error is at most 2^-11, down to 2^-29 of the largest; smaller ones are rounded to as much.
    """
    largest = codes.abs().max().item()
    exponent = math.frexp(largest)[1] - TOP if largest > 0 else 0
    exponent = max(exponent, -100)  # 2^-exponent has to be a float32
    return (codes * 2.0**-exponent).to(torch.float16), 2.0**exponent


def write_shard(path: Path, pictures: Pictures) -> Shard:
    """Write ``pictures`` whole or not at all; images and masks are uint8, codes are floats."""
    assert pictures.codes is not None
    half, scale = as_half(pictures.codes)
    tensors = {IMAGES: pictures.images, CODES: half}
    if pictures.masks is not None:
        tensors[MASKS] = pictures.masks
    save_tensors(path, tensors, {SCALE: repr(scale)})
    return Shard(path.name, len(half), path.stat().st_size, sha256_of(path))


class OpenShard:
    """A shard to read from; the file is mapped, and only the rows that are asked for are read.

    Raises CacheError if it is not the file that was written.
    """

    def __init__(self, folder: Path, shard: Shard, check: bool) -> None:
        path = folder / shard.name
        try:
            if check and sha256_of(path) != shard.sha256:
                raise CacheError(f"{path} is damaged: delete it, and the same command makes it again")
            file: Any = safe_open(str(path), framework="pt", device="cpu")
            self._scale = float(file.metadata()[SCALE])
            self._parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        except (FileError, SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise CacheError(f"{path} is damaged ({error}): delete it, and run the same command") from error

    def row(self, index: int) -> tuple[dict[str, Tensor], float]:
        """One picture as it is stored, and the factor of its code."""
        return {name: part[index] for name, part in self._parts.items()}, self._scale


def read_rows(places: Iterable[tuple[OpenShard, int]]) -> Pictures:
    """Pictures from their shards: images and masks as they are stored, uint8, and codes (B, ...) float32."""
    rows = [shard.row(index) for shard, index in places]
    codes = torch.stack([row[CODES] for row, _ in rows]).to(torch.float32)
    codes *= torch.tensor([scale for _, scale in rows]).view(-1, *[1] * (codes.ndim - 1))
    masks = torch.stack([row[MASKS] for row, _ in rows]) if MASKS in rows[0][0] else None
    return Pictures(torch.stack([row[IMAGES] for row, _ in rows]), masks, codes)
