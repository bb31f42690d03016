"""Codes that are computed once: a source's pictures with their codes, in shards on disk.

A training that only reads codes need not run the encoder in every step. What it loses is variety: the cache
holds so many pictures, each with the crop, the mirroring and the background that it got.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.files import output_error
from netinvert.io.locks import Lock
from netinvert.io.seeds import generator_at
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.cache_files import (
    MANIFEST,
    CacheBuilder,
    CacheError,
    OpenShard,
    Shard,
    as_images,
    compare,
    network_facts,
    read_manifest,
    read_rows,
    seed_of,
)
from netinvert.training.decoder.images import Pictures, PictureSource

OPEN = 64
"""Shards that are mapped at the same time."""


def cached(
    source: PictureSource,
    encoder: Encoder,
    count: int,
    folder: Path,
    tell: Callable[[str], object] | None = None,
) -> CachedPictures:
    """``count`` pictures of a source and its held-out ones, with their codes, in ``folder``.

    What is there already is taken, once it is known to be of this encoder, source and count; what is missing
    is made, so that a stop costs one shard. ``tell`` hears of the progress.

    Raises:
        CacheError: the folder holds codes of another network, layer or source.
        OutputError: the folder cannot be written, the disk is too small, or another process is at it.
        ConfigError: fewer than two pictures.
    """
    if count < 2:
        raise ConfigError(f"a cache of {count} pictures: give two or more")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    lock = Lock(folder.with_name(f".{folder.name}.lock"))
    lock.acquire()
    try:
        CacheBuilder(source, encoder, count, folder).build(tell or (lambda _: None))
    finally:
        lock.release()
    return CachedPictures(folder, encoder, seed_of(source) or 0)


class CachedPictures:
    """What ``cached`` has made, as a source: batches that come with their codes.

    Each epoch shows every picture once, in an order that follows from the seed and the epoch; batch ``step``
    is the ``step``-th piece of that row, so all batches of a training should be of one size. Shards are
    mapped into memory, and compared with their hash when they are first read.

    Raises CacheError if the cache is not complete, or not of this encoder.
    """

    def __init__(self, folder: Path, encoder: Encoder, seed: int) -> None:
        manifest = read_manifest(folder)
        compare(folder, manifest, network_facts(encoder))
        self.folder, self.seed = folder, seed
        try:
            self._shards = tuple(Shard(**row) for row in manifest["shards"])
            self._held_out = Shard(**manifest["held_out"])
            self.count, self._each = int(manifest["count"]), int(manifest["samples_a_shard"])
            source = manifest["source"]
            self.has_masks = bool(source["has_masks"])
            self.size = (int(source["size"][0]), int(source["size"][1]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CacheError(
                f"{folder / MANIFEST} is damaged or not complete: make the cache again"
            ) from error
        missing = [shard.name for shard in (*self._shards, self._held_out) if not shard.is_in(folder)]
        if missing or sum(shard.samples for shard in self._shards) != self.count:
            which = f" ({', '.join(missing[:3])} is missing or cut off)" if missing else ""
            raise CacheError(
                f"the cache {folder} is not complete{which}: run the command that makes it again"
            )
        self._dtype = encoder.dtype
        self._open: OrderedDict[str, OpenShard] = OrderedDict()
        self._checked: set[str] = set()
        self._orders: OrderedDict[int, Tensor] = OrderedDict()

    def batch(self, step: int, count: int) -> Pictures:
        """The next ``count`` pictures in their shuffled order."""
        first = step * count
        places = [self._place(position) for position in range(first, first + count)]
        return self._pictures([(self._shards[p // self._each], p % self._each) for p in places])

    def held_out(self, count: int) -> Pictures:
        """The first of the source's held-out pictures, 512 at most."""
        some = range(min(count, self._held_out.samples))
        return self._pictures([(self._held_out, row) for row in some])

    def _place(self, position: int) -> int:
        """Which picture stands at a position of the endless row of epochs."""
        epoch, index = divmod(position, self.count)
        if epoch not in self._orders:
            self._orders[epoch] = torch.randperm(self.count, generator=generator_at(self.seed, epoch))
            if len(self._orders) > 2:  # a batch may lie in two
                self._orders.popitem(last=False)
        return int(self._orders[epoch][index])

    def _pictures(self, places: list[tuple[Shard, int]]) -> Pictures:
        stored = read_rows((self._at(shard), row) for shard, row in places)
        assert stored.codes is not None
        masks = None if stored.masks is None else as_images(stored.masks)
        return Pictures(as_images(stored.images), masks, stored.codes.to(self._dtype))

    def _at(self, shard: Shard) -> OpenShard:
        if shard.name in self._open:
            self._open.move_to_end(shard.name)
            return self._open[shard.name]
        opened = OpenShard(self.folder, shard, check=shard.name not in self._checked)
        self._checked.add(shard.name)
        self._open[shard.name] = opened
        if len(self._open) > OPEN:
            self._open.popitem(last=False)
        return opened
