"""Codes that are computed once: a source's images with their codes, in files on disk.

A training that only reads codes need not run the encoder in every step. What it loses is variety: the cache
holds so many images, each with the crop, the mirroring and the background that it got.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from netinvert.errors import ConfigError, NetinvertError, OutputError
from netinvert.io.cells import Cells
from netinvert.io.files import fingerprint, read_json, refusing, tensor_bytes
from netinvert.io.folders import InUseError, paths_in
from netinvert.io.manifest import MANIFEST
from netinvert.io.rundir import RunDir
from netinvert.io.running import generator_at
from netinvert.models.encoder import Encoder
from netinvert.training.config import is_main_process
from netinvert.training.decoder.images import ImageBatch, ImageSource

TOP = 15
"""Codes are stored divided by a power of two, so that the largest of a block is just below 2^15: float16 ends
at 65504, and loses digits below 2^-14."""
ENCODED = 64
"""Images that are made and encoded at a time."""
BLOCK_BYTES, BLOCK_BATCHES = 1 << 26, 16
"""A block, which is one file, has so many bytes and batches at most, or is one batch."""
HELD_OUT, CACHED_HELD_OUT = "held-out.safetensors", 512
SAME = 2.0
"""Grey levels of 255, on average, by which images made again may differ: rounding, no more."""


class CacheError(NetinvertError):
    """A cache of codes that is incomplete or of other images, or codes that cannot be kept."""


def cached(
    source: ImageSource,
    encoder: Encoder,
    count: int,
    folder: Path,
    tell: Callable[[str], object] | None = None,
) -> CachedImages:
    """``count`` images of a source and its held-out ones, with their codes, in ``folder``.

    What is there already is taken, once it is known to be whole and of this encoder, source and count; what
    is missing or damaged is made, so that a stop costs one block. Of several processes at once, one makes and
    checks it; the others have it as soon as it is complete. ``tell`` hears of the progress.

    Raises OutputError: the folder holds codes of another network, layer or source, or something else; it
    cannot be written; the disk is too small; or another process still makes it; CacheError: the folder holds
    other images, or codes are not finite; ConfigError: fewer than two images.
    """
    if count < 2:
        raise ConfigError(f"a cache of {count} images: give two or more")
    facts = {
        "network": encoder.network.name,
        "weights_sha256": encoder.weights_sha256(),
        "layer": encoder.layer,
        "code_shape": encoder.code_shape,
        "network_size": encoder.size,
        "preprocessing": asdict(encoder.preprocessing),
        "source": type(source).__name__,
        "images": source.count,
        "size": source.size,
        "has_masks": source.has_masks,
        "seed": getattr(source, "seed", None),
        "count": count,
    }
    if is_main_process():
        try:
            with RunDir(folder, facts, staged=False) as run:
                _build(run, source, encoder, count, tell or (lambda _: None))
        except InUseError as error:
            try:
                return CachedImages(folder, facts, encoder.dtype)  # the other is only reading, or mending
            except CacheError:
                raise error from None
    return CachedImages(folder, facts, encoder.dtype)


class CachedImages:
    """What ``cached`` has made of ``facts``, as a source: batches that come with their codes.

    Each epoch shows every image once, in an order that follows from the seed and the epoch; batch ``step``
    is the ``step``-th piece of that row, so all batches of a training should be of one size.

    Raises CacheError: the cache is not complete, or of other facts.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], dtype: torch.dtype) -> None:
        try:
            manifest = read_json(folder / MANIFEST)
            complete = manifest["run"]["identity"] == fingerprint(facts)
        except Exception:  # whatever is in the file
            complete = False
        if not complete:
            raise CacheError(f"the cache {folder} is not complete: run the command that makes it again")
        self._folder, self._dtype = folder, dtype
        self._held, self._each = int(manifest["held_out"]), int(manifest["each"])
        self.seed, self.count = facts["seed"] or 0, int(facts["count"])
        self.of = int(facts["images"])
        """How many images the source had."""
        self.has_masks, self.size = bool(facts["has_masks"]), (facts["size"][0], facts["size"][1])
        self._orders: dict[int, Tensor] = {}

    def batch(self, step: int, count: int) -> ImageBatch:
        """The next ``count`` images in their shuffled order."""
        places = [self._place(position) for position in range(step * count, (step + 1) * count)]
        return self._read([(_block_name(place // self._each), place % self._each) for place in places])

    def held_out(self, count: int) -> ImageBatch:
        """The first of the source's held-out images, 512 at most."""
        return self._read([(HELD_OUT, row) for row in range(min(count, self._held))])

    def _place(self, position: int) -> int:
        """Which image stands at a position of the endless row of epochs."""
        epoch, index = divmod(position, self.count)
        if epoch not in self._orders:
            if len(self._orders) == 2:  # a batch may lie in two
                del self._orders[min(self._orders)]
            self._orders[epoch] = torch.randperm(self.count, generator=generator_at(self.seed, epoch))
        return int(self._orders[epoch][index])

    def _read(self, rows: list[tuple[str, int]]) -> ImageBatch:
        """The images of files and their rows."""
        found = {}
        for name in {name for name, _ in rows}:
            path = self._folder / name
            again = "run the command that makes the cache again"
            with refusing(path, CacheError, remedy=again), safe_open(str(path), "pt") as stored:
                planes, halves = stored.get_slice("images"), stored.get_slice("codes")
                scale = stored.get_tensor("scale")
                for row in {row for block, row in rows if block == name}:
                    found[name, row] = planes[row], halves[row].float() * scale
        values = torch.stack([found[place][0] for place in rows]).float().div_(255)
        images, masks = (values[:, :-1], values[:, -1:].contiguous()) if self.has_masks else (values, None)
        codes = torch.stack([found[place][1] for place in rows]).to(self._dtype)
        return ImageBatch(images.contiguous(), masks, codes)


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


def _build(
    run: RunDir, source: ImageSource, encoder: Encoder, count: int, tell: Callable[[str], object]
) -> None:
    planes = encoder.preprocessing.channels + source.has_masks
    row_bytes = planes * math.prod(source.size) + 2 * math.prod(encoder.code_shape)
    there = sum(path.stat().st_size for path in paths_in(run.out, "*.safetensors", OutputError))
    run.require_space((count + CACHED_HELD_OUT) * row_bytes - there)
    each = ENCODED * min(max(BLOCK_BYTES // (row_bytes * ENCODED), 1), BLOCK_BATCHES)
    blocks = {
        _block_name(start // each): range(start, min(start + each, count)) for start in range(0, count, each)
    }
    cells, made = Cells(run), False
    if cells.find(_block_name(0)) is not None:
        _check_images(source, run.path(_block_name(0)))
    for name, which in {HELD_OUT: None, **blocks}.items():
        if cells.find(name) is None:
            cells.keep(name, partial(_block, source, encoder, which))
            made = True
            if which is not None:
                tell(f"encoded {which.stop:,} of {count:,} images")
    if made or not run.published:
        with safe_open(str(run.path(HELD_OUT)), "pt") as stored:
            held = stored.get_slice("images").get_shape()[0]
        run.commit({"held_out": held, "each": each})


def _block_name(number: int) -> str:
    return f"block-{number:05d}.safetensors"


@torch.no_grad()
def _block(source: ImageSource, encoder: Encoder, which: range | None) -> bytes:
    """The file with these images of a source, or the held-out ones, and their codes."""
    if which is None:
        batches = [source.held_out(CACHED_HELD_OUT)]
    else:
        starts = range(which.start, which.stop, ENCODED)
        batches = [source.batch(start // ENCODED, min(ENCODED, which.stop - start)) for start in starts]
    planes, codes = [], []
    for batch in batches:
        images = as_bytes(batch.images)
        planes.append(images if batch.masks is None else torch.cat([images, as_bytes(batch.masks)], 1))
        for part in torch.split(images.float().div_(255), ENCODED):  # of the bytes, which are decoded to
            code = encoder(part.to(encoder.device, encoder.dtype)).float().cpu()
            if not bool(torch.isfinite(code).all()):
                raise CacheError("the codes hold NaN or infinite values: check the network and the images")
            codes.append(code)
    halves, scale = as_half(torch.cat(codes))
    return tensor_bytes({"images": torch.cat(planes), "codes": halves, "scale": torch.tensor(scale)})


def _check_images(source: ImageSource, path: Path) -> None:
    """Make the first images again: names and numbers cannot tell all sources apart."""
    with safe_open(str(path), "pt") as stored:
        kept = stored.get_slice("images")[:ENCODED].float()
    again = as_bytes(source.batch(0, len(kept)).images).float()
    kept = kept[:, : again.shape[1]]
    if kept.shape != again.shape or (kept - again).abs().mean() > SAME:
        raise CacheError(
            f"{path.parent} holds other images than these: delete it, or choose another folder for the cache"
        )
