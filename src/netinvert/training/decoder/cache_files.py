"""Shards of cached codes: pictures as bytes and codes as float16, in safetensors files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from netinvert.errors import NetinvertError, OutputError
from netinvert.io.files import FileError, plain_json, read_json, save_tensors, sha256_of, write_json
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.images import Pictures, PictureSource

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
