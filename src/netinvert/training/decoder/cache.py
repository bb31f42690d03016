"""Codes that are computed once: a source's images with their codes, in two files on disk.

A training that only reads codes need not run the encoder in every step. What it loses is variety: the cache
holds so many images, each with the crop, the mirroring and the background that it got.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from netinvert.errors import ConfigError, NetinvertError, OutputError
from netinvert.io.files import FileError, output_error, plain_json, read_json, write_json
from netinvert.io.seeds import generator_at
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.images import ImageBatch, ImageSource
from netinvert.training.parallel import is_main_process

MANIFEST, IMAGES, CODES = "manifest.json", "images.uint8", "codes.float16"
KIND = "netinvert codes"
TOP = 15
"""Codes are stored divided by a power of two, so that the largest of a block is just below 2^15: float16 ends
at 65504, and loses digits below 2^-14."""
ENCODED = 64
"""Images that are made and encoded at a time."""
BLOCK_BYTES, BLOCK_BATCHES = 1 << 26, 16
"""A block, which is written and checked as one, has so many bytes and batches at most, or is one batch."""
CACHED_HELD_OUT = 512
SAME = 2.0
"""Grey levels of 255, on average, by which images made again may differ: rounding, no more."""


class CacheError(NetinvertError):
    """A cache of codes that is damaged, or of another network or other images."""


@dataclass(frozen=True)
class Block:
    """What the manifest knows of ``rows`` images: the factor of their stored codes, and the hash of all."""

    rows: int
    scale: float
    sha256: str


def cached(
    source: ImageSource,
    encoder: Encoder,
    count: int,
    folder: Path,
    tell: Callable[[str], object] | None = None,
) -> CachedImages:
    """``count`` images of a source and its held-out ones, with their codes, in ``folder``.

    What is there already is taken, once it is known to be of this encoder, source and count; what is missing
    is made, so that a stop costs one block. ``tell`` hears of the progress.

    Raises:
        CacheError: the folder holds codes of another network, layer or source, or something else.
        OutputError: the folder cannot be written, the disk is too small, or another process is at it.
        ConfigError: fewer than two images.
    """
    if count < 2:
        raise ConfigError(f"a cache of {count} images: give two or more")
    if is_main_process():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
                _build(source, encoder, count, folder, tell or (lambda _: None))
        except Timeout:
            raise OutputError(f"another process writes {folder}: wait, or choose another folder") from None
        except OSError as error:
            raise output_error(folder, error) from error
    return CachedImages(folder, encoder, getattr(source, "seed", None) or 0)


class CachedImages:
    """What ``cached`` has made, as a source: batches that come with their codes.

    Each epoch shows every image once, in an order that follows from the seed and the epoch; batch ``step``
    is the ``step``-th piece of that row, so all batches of a training should be of one size. The files are
    mapped into memory, and their blocks compared with their hashes when they are first read.

    Raises:
        CacheError: the cache is not complete, or not of this encoder.
    """

    def __init__(self, folder: Path, encoder: Encoder, seed: int) -> None:
        manifest = _manifest(folder)
        _compare(folder, manifest, network_facts(encoder))
        self._blocks, self._files = _content(folder, manifest)
        self.folder, self.seed, self.count = folder, seed, int(manifest["count"])
        self.of = int(manifest["source"]["images"])
        """How many images the source had."""
        self.has_masks, self.size = self._files.has_masks, self._files.size
        self._held = self._blocks[0].rows if self._blocks else 0
        self._ends = np.cumsum([block.rows for block in self._blocks])
        if not self._blocks or self._ends[-1] != self._held + self.count:
            raise CacheError(f"the cache {folder} is not complete: run the command that makes it again")
        self._dtype = encoder.dtype
        self._maps = self._files.mapped(int(self._ends[-1]))
        self._scales = np.array([block.scale for block in self._blocks], np.float32)
        self._checked: set[int] = set()
        self._orders: OrderedDict[int, Tensor] = OrderedDict()

    def batch(self, step: int, count: int) -> ImageBatch:
        """The next ``count`` images in their shuffled order."""
        places = [self._place(position) for position in range(step * count, (step + 1) * count)]
        return self._read(self._held + np.array(places))

    def held_out(self, count: int) -> ImageBatch:
        """The first of the source's held-out images, 512 at most."""
        return self._read(np.arange(min(count, self._held)))

    def _place(self, position: int) -> int:
        """Which image stands at a position of the endless row of epochs."""
        epoch, index = divmod(position, self.count)
        if epoch not in self._orders:
            self._orders[epoch] = torch.randperm(self.count, generator=generator_at(self.seed, epoch))
            if len(self._orders) > 2:  # a batch may lie in two
                self._orders.popitem(last=False)
        return int(self._orders[epoch][index])

    def _read(self, rows: NDArray[np.int64]) -> ImageBatch:
        blocks = np.searchsorted(self._ends, rows, side="right")
        for which in set(blocks.tolist()) - self._checked:
            end, block = self._ends[which], self._blocks[which]
            if _sha256(*(part[end - block.rows : end] for part in self._maps)) != block.sha256:
                raise CacheError(f"{self.folder} is damaged: delete it, and the same command makes it again")
            self._checked.add(which)
        planes, halves = (torch.from_numpy(part[rows]) for part in self._maps)
        scales = torch.from_numpy(self._scales[blocks]).view(-1, *[1] * (halves.ndim - 1))
        values = planes.float().div_(255)
        images, masks = (values[:, :-1], values[:, -1:]) if self.has_masks else (values, None)
        masks = None if masks is None else masks.contiguous()
        return ImageBatch(images.contiguous(), masks, (halves.float() * scales).to(self._dtype))


class CacheFiles:
    """The two files of a cache: rows of images and masks (N, C, H, W) uint8, and of codes float16."""

    def __init__(
        self, folder: Path, channels: int, source: dict[str, Any], code_shape: tuple[int, ...]
    ) -> None:
        self.has_masks, self.size = (
            bool(source["has_masks"]),
            (int(source["size"][0]), int(source["size"][1])),
        )
        self.paths = (folder / IMAGES, folder / CODES)
        self.shapes = ((channels + self.has_masks, *self.size), code_shape)
        self.row_bytes = (math.prod(self.shapes[0]), 2 * math.prod(code_shape))

    def rows(self) -> int:
        """How many whole rows there are."""
        sizes = (path.stat().st_size if path.exists() else 0 for path in self.paths)
        return min(size // each for size, each in zip(sizes, self.row_bytes, strict=True))

    def mapped(self, rows: int) -> list[NDArray[Any]]:
        """The files as arrays that are read where they are asked for."""
        kinds = (np.uint8, np.float16)
        return [
            np.memmap(path, kind, "r", shape=(rows, *shape))
            for path, kind, shape in zip(self.paths, kinds, self.shapes, strict=True)
        ]

    def write(self, start: int, planes: Tensor, codes: Tensor) -> Block:
        """Write images, and codes in half precision, behind the first ``start`` rows."""
        halves, scale = as_half(codes)
        for path, each, part in zip(self.paths, self.row_bytes, (planes, halves), strict=True):
            with path.open("ab") as file:
                file.truncate(start * each)  # what a stop has left behind
                file.write(part.contiguous().numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())
        return Block(len(planes), scale, _sha256(planes.numpy(), halves.numpy()))


def as_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as uint8."""
    return (images * 255).round_().clamp_(0, 255).to(torch.uint8)


def as_half(codes: Tensor) -> tuple[Tensor, float]:
    """Codes as float16, and the power of two by which these are to be multiplied.

    The relative error is at most 2^-11, down to 2^-29 of the largest; smaller ones are rounded to as much.
    """
    largest = codes.abs().max().item()
    exponent = math.frexp(largest)[1] - TOP if largest > 0 else 0
    exponent = max(exponent, -100)  # 2^-exponent has to be a float32
    return (codes * 2.0**-exponent).to(torch.float16), 2.0**exponent


def network_facts(encoder: Encoder) -> dict[str, Any]:
    """What codes follow from, but for the images."""
    return {
        "network": encoder.network.name,
        "weights_sha256": encoder.weights_sha256(),
        "layer": encoder.layer,
        "code_shape": list(encoder.code_shape),
        "network_size": list(encoder.size),
        "preprocessing": asdict(encoder.preprocessing),
    }


def _build(
    source: ImageSource, encoder: Encoder, count: int, folder: Path, tell: Callable[[str], object]
) -> None:
    described = {
        "kind": type(source).__name__,
        "images": source.count,
        "size": list(source.size),
        "has_masks": source.has_masks,
        "seed": getattr(source, "seed", None),
    }
    facts = {"kind": KIND, **network_facts(encoder), "source": described, "count": count}
    if (folder / MANIFEST).exists():
        manifest = _manifest(folder)
        _compare(folder, manifest, facts)
    elif any(not path.name.startswith(".") for path in folder.iterdir()):
        raise CacheError(f"{folder} holds other files: choose another folder for the cache")
    else:
        manifest = {**facts, "blocks": []}
        write_json(folder / MANIFEST, manifest)  # first of all: it says whose the rows are
    for left in folder.glob(".netinvert-*.tmp"):  # of a process that was killed as it wrote
        left.unlink(missing_ok=True)
    blocks, files = _content(folder, manifest)
    if len(blocks) > 1:
        _check_images(source, files, blocks)
    done = sum(block.rows for block in blocks)
    held = blocks[0].rows if blocks else 0
    _check_space(folder, (count + CACHED_HELD_OUT - done) * sum(files.row_bytes))
    a_block = ENCODED * min(max(BLOCK_BYTES // (sum(files.row_bytes) * ENCODED), 1), BLOCK_BATCHES)
    while not blocks or done < held + count:
        if not blocks:
            batches = [source.held_out(CACHED_HELD_OUT)]
        else:
            starts = range(done - held, min(done - held + a_block, count), ENCODED)
            batches = [source.batch(start // ENCODED, min(ENCODED, count - start)) for start in starts]
        parts = [_encoded(encoder, batch) for batch in batches]
        planes, codes = (torch.cat(part) for part in zip(*parts, strict=True))
        blocks.append(files.write(done, planes, codes))
        held, done = blocks[0].rows, done + len(planes)
        write_json(folder / MANIFEST, {**facts, "blocks": [asdict(block) for block in blocks]})
        if len(blocks) > 1:
            tell(f"encoded {done - held:,} of {count:,} images")


@torch.no_grad()
def _encoded(encoder: Encoder, batch: ImageBatch) -> tuple[Tensor, Tensor]:
    images = as_bytes(batch.images)
    codes = []
    for part in torch.split(images.float().div_(255), ENCODED):  # of the bytes, which are what is decoded to
        code = encoder(part.to(encoder.device, encoder.dtype)).float().cpu()
        if not bool(torch.isfinite(code).all()):
            raise CacheError("the codes hold NaN or infinite values: check the network and the images")
        codes.append(code)
    planes = images if batch.masks is None else torch.cat([images, as_bytes(batch.masks)], 1)
    return planes, torch.cat(codes)


def _check_images(source: ImageSource, files: CacheFiles, blocks: list[Block]) -> None:
    """Make the first images again: names and numbers cannot tell all sources apart."""
    held, count = blocks[0].rows, min(ENCODED, blocks[1].rows)
    again = as_bytes(source.batch(0, count).images)
    stored = torch.from_numpy(files.mapped(held + count)[0][held:, : again.shape[1]].copy())
    if stored.shape != again.shape or (stored.float() - again.float()).abs().mean() > SAME:
        raise CacheError(
            f"{files.paths[0].parent} holds other images than these: delete it, or choose another folder for "
            "the cache"
        )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"the cache takes {needed / 1e9:.1f} GB more, and {folder} has {free / 1e9:.1f} GB free: cache "
            "fewer images, or choose another disk"
        )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / MANIFEST)
    except FileError as error:
        raise CacheError(f"no cache of codes in {folder} ({error}): choose or make another") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise CacheError(f"{folder} holds something else than cached codes: choose another folder")
    return found


def _content(folder: Path, manifest: dict[str, Any]) -> tuple[list[Block], CacheFiles]:
    """The blocks that are whole, and the files they are in."""
    try:
        channels = len(manifest["preprocessing"]["mean"])
        files = CacheFiles(folder, channels, manifest["source"], tuple(manifest["code_shape"]))
        blocks = [Block(**row) for row in manifest["blocks"]]
        ends = np.cumsum([block.rows for block in blocks])
        return [block for block, end in zip(blocks, ends, strict=True) if end <= files.rows()], files
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CacheError(f"{folder / MANIFEST} is damaged: delete the cache's folder") from error


def _compare(folder: Path, manifest: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raise CacheError, naming the difference, unless the manifest tells the same facts."""
    for name, fact in facts.items():
        found, wanted = manifest.get(name), plain_json(fact)
        if isinstance(found, dict) and isinstance(wanted, dict):
            _compare(folder, found, wanted)
        elif found != wanted:
            raise CacheError(
                f"{folder} holds codes with {name.replace('_', ' ')} {found}, not {wanted}: delete it, or "
                "choose another folder for the cache"
            )


def _sha256(*parts: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
