"""Making a cache of codes: its manifest, and the shards that it lacks."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.decode.pictures import Pictures, PictureSource
from netinvert.decode.shards import CacheError, OpenShard, Shard, as_bytes, as_images, read_rows, write_shard
from netinvert.encoder import Encoder
from netinvert.errors import OutputError
from netinvert.files import FileError, plain_json, read_json, write_json

MANIFEST = "manifest.json"
KIND = "netinvert cached codes 1"
HELD_OUT = 512
BATCH = 64
"""Pictures that are encoded at once; batches of the source are as large."""
SHARD_BYTES, SHARD_BATCHES = 1 << 26, 16
"""A shard holds so many bytes, but one batch at least and so many at most."""
SAME = 2.0
"""Grey levels of 255, on average, by which pictures made again may differ: rounding, no more."""


class CacheBuilder:
    """Makes what a cache lacks."""

    def __init__(self, source: PictureSource, encoder: Encoder, count: int, folder: Path) -> None:
        self.source, self.encoder, self.folder = source, encoder, folder
        self.facts = {"kind": KIND} | network_facts(encoder) | {"source": _source_facts(source)}
        self.facts |= {"count": count, "samples_a_shard": self._samples_a_shard()}
        self.count, self.each = count, self._samples_a_shard()

    def build(self, tell: Callable[[str], object]) -> None:
        """Every shard that is not there, in order; the manifest grows with them."""
        if (self.folder / MANIFEST).exists():
            manifest = read_manifest(self.folder)
            compare(self.folder, manifest, self.facts)
        elif any(not path.name.startswith(".") for path in self.folder.iterdir()):
            raise CacheError(f"{self.folder} holds other files: choose another folder for the cache")
        else:
            manifest = {**self.facts, "held_out": None, "shards": []}
            write_json(self.folder / MANIFEST, manifest)  # first of all: it says whose the shards are
        for left in self.folder.glob(".netinvert-*.tmp"):  # of a process that was killed as it wrote
            left.unlink(missing_ok=True)
        known, held = self._present(manifest)
        names = [f"shard-{k:05d}.safetensors" for k in range(math.ceil(self.count / self.each))]
        if known:
            self._check_pictures(known[min(known)], names.index(min(known)))
        if held is None:
            found = self._encoded(self.source.held_out(HELD_OUT))
            held = write_shard(self.folder / "held-out.safetensors", found)
        manifest["held_out"] = asdict(held)
        self._check_space(held, self.count - self.each * len(known))
        for k, name in enumerate(names):
            if name in known:
                continue
            known[name] = write_shard(self.folder / name, self._made(k))
            manifest["shards"] = [asdict(known[name]) for name in names if name in known]
            write_json(self.folder / MANIFEST, manifest)
            tell(f"encoded {min((k + 1) * self.each, self.count):,} of {self.count:,} pictures")
        write_json(self.folder / MANIFEST, manifest)

    def _present(self, manifest: dict[str, Any]) -> tuple[dict[str, Shard], Shard | None]:
        """The shards that are there, by name, and the held-out one."""
        try:
            rows = [Shard(**row) for row in manifest["shards"]]
            held = Shard(**manifest["held_out"]) if manifest["held_out"] else None
        except (KeyError, TypeError) as error:
            raise CacheError(f"{self.folder / MANIFEST} is damaged: delete the cache's folder") from error
        known = {row.name: row for row in rows if row.is_in(self.folder)}
        return known, held if held and held.is_in(self.folder) else None

    def _made(self, k: int) -> Pictures:
        """The pictures of a shard: bytes, and the codes of these."""
        starts = range(k * self.each, min((k + 1) * self.each, self.count), BATCH)
        parts = [self._encoded(self._batch(start)) for start in starts]
        return Pictures(
            torch.cat([part.images for part in parts]),
            _joined([part.masks for part in parts]) if self.source.has_masks else None,
            _joined([part.codes for part in parts]),
        )

    def _batch(self, start: int) -> Pictures:
        return self.source.batch(start // BATCH, min(BATCH, self.count - start))

    @torch.no_grad()
    def _encoded(self, pictures: Pictures) -> Pictures:
        images = as_bytes(pictures.images)
        codes = []
        for part in torch.split(as_images(images), BATCH):  # of the bytes, which are what is decoded to
            code = self.encoder(part.to(self.encoder.device, self.encoder.dtype)).float().cpu()
            if not bool(torch.isfinite(code).all()):
                raise CacheError("the codes hold NaN or infinite values: check the network and the pictures")
            codes.append(code)
        masks = None if pictures.masks is None else as_bytes(pictures.masks)
        return Pictures(images, masks, torch.cat(codes))

    def _samples_a_shard(self) -> int:
        height, width = self.source.size
        planes = self.encoder.preprocessing.channels + self.source.has_masks
        sample = 2 * math.prod(self.encoder.code_shape) + planes * height * width
        return BATCH * min(max(SHARD_BYTES // (sample * BATCH), 1), SHARD_BATCHES)

    def _check_pictures(self, shard: Shard, k: int) -> None:
        """Make the first pictures of a shard again: names and numbers cannot tell all sources apart."""
        again = as_bytes(self._batch(k * self.each).images)
        opened = OpenShard(self.folder, shard, check=True)
        stored = read_rows((opened, row) for row in range(len(again))).images
        if stored.shape != again.shape or (stored.float() - again.float()).abs().mean() > SAME:
            raise CacheError(
                f"{self.folder} holds other pictures than these: delete it, or choose another folder for the "
                "cache"
            )

    def _check_space(self, held_out: Shard, samples: int) -> None:
        needed = samples * held_out.bytes / held_out.samples
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise OutputError(
                f"the cache takes {needed / 1e9:.1f} GB more, and {self.folder} has {free / 1e9:.1f} GB "
                "free: cache fewer pictures, or choose another disk"
            )


def network_facts(encoder: Encoder) -> dict[str, Any]:
    """What codes follow from, but for the pictures."""
    return {
        "network": encoder.network.name,
        "weights_sha256": encoder.weights_sha256(),
        "layer": encoder.layer,
        "code_shape": list(encoder.code_shape),
        "network_size": list(encoder.size),
        "preprocessing": asdict(encoder.preprocessing),
    }


def _source_facts(source: PictureSource) -> dict[str, Any]:
    return {
        "kind": type(source).__name__,
        "pictures": source.count,
        "size": list(source.size),
        "has_masks": source.has_masks,
        "seed": seed_of(source),
    }


def seed_of(source: PictureSource) -> int | None:
    """The seed of a source, if it has one."""
    seed = getattr(source, "seed", None)
    return seed if isinstance(seed, int) else None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a cache, complete or not. Raises CacheError."""
    try:
        found = read_json(folder / MANIFEST)
    except FileError as error:
        raise CacheError(f"no cache of codes in {folder} ({error}): choose or make another") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise CacheError(f"{folder} holds something else than cached codes: choose another folder")
    return found


def compare(folder: Path, manifest: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raise CacheError, naming the difference, unless the manifest tells the same facts."""
    for name, fact in facts.items():
        found, wanted = manifest.get(name), plain_json(fact)
        if isinstance(found, dict) and isinstance(wanted, dict):
            compare(folder, found, wanted)
        elif found != wanted:
            raise CacheError(
                f"{folder} holds codes with {name.replace('_', ' ')} {found}, not {wanted}: delete it, or "
                "choose another folder for the cache"
            )


def _joined(parts: list[Tensor | None]) -> Tensor:
    return torch.cat([part for part in parts if part is not None])
