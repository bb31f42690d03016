"""Datasets read back, as a stream or all at once into memory, and views made more without changing what they
show."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from netinvert.errors import ConfigError, NetinvertError
from netinvert.io.files import read_json, refusing
from netinvert.io.folders import paths_in
from netinvert.io.images import MAX_PIXELS
from netinvert.io.running import sent
from netinvert.scenes.backgrounds import random_background

MANIFEST = "manifest.json"
SHOWN_FIRST = ("validation", "train", "test")
END = 2 * tarfile.BLOCKSIZE  # of zeros, after the last file of a whole archive
AGAIN = "run the same render again"
Damaged = Literal["refuse", "skip"]
Sample = dict[str, Any]


class DatasetError(NetinvertError):
    """A dataset that is missing, incomplete or damaged."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """N samples in memory.

    ``rgba`` (N, H, W, 4), ``mask`` (N, H, W) and ``parts`` (N, H, W) uint8 as in ``Rendering``; ``rotation``
    (N, 3, 3) float32, object to camera; ``symmetry`` and ``identity`` (N,); ``records``, the JSON of every
    sample; ``skipped``, the names of the damaged shards that were left out."""

    rgba: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    rotation: NDArray[np.float32]
    symmetry: NDArray[np.int64]
    identity: NDArray[np.int64]
    records: tuple[dict[str, Any], ...]
    skipped: tuple[str, ...] = ()


class DatasetStream(IterableDataset[dict[str, Tensor]]):
    """The samples of a split, read while they are used; no more than a shard is in memory at once.

    A sample holds ``rgba`` (4, H, W), or ``rgb`` (3, H, W) of a dataset with backgrounds, ``mask`` (1, H, W)
    and ``parts`` (1, H, W), uint8; ``rotation`` (3, 3) float32; ``symmetry`` and ``identity`` (). The workers
    of a ``DataLoader`` share the shards. With a seed to ``shuffle`` by, shards and the samples within each
    come in another order in every ``epoch`` (an attribute to set). Raises DatasetError: nothing to read;
    while iterating, a damaged shard, unless these are to be skipped."""

    def __init__(
        self, folder: str | Path, split: str, shuffle: int | None = None, damaged: Damaged = "refuse"
    ) -> None:
        self.paths = shard_paths(folder, split)
        self.hashes = shard_hashes(Path(folder))
        self.shuffle, self.damaged, self.epoch = shuffle, damaged, 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The samples; in a worker, of its share of the shards."""
        order = np.arange(len(self.paths))
        if self.shuffle is not None:
            np.random.default_rng([self.shuffle, self.epoch]).shuffle(order)
        worker = get_worker_info()
        for index in order if worker is None else order[worker.id :: worker.num_workers]:
            samples = _samples(self.paths[index], self.hashes, self.damaged) or []
            if self.shuffle is not None:
                np.random.default_rng([self.shuffle, self.epoch, int(index)]).shuffle(samples)
            yield from map(_as_tensors, samples)


def shard_paths(folder: str | Path, split: str | None = None) -> list[Path]:
    """The shards of a split, in order; of the first of SHOWN_FIRST that there is if None. Raises
    DatasetError: no such folder, or no shard of this split in it."""
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f"no dataset at {root}: make one with netinvert scenes render --out {root}")
    for name in SHOWN_FIRST if split is None else (split,):
        if paths := paths_in(root, f"{name}-*.tar", DatasetError):
            return paths
    which = "" if split is None else f" of the split {split!r}"
    raise DatasetError(
        f"{root} has no shard{which}: finish the render, or render more identities or a larger share of this "
        "split (--splits)"
    )


def read_shard(path: str | Path, sha256: str | None = None) -> Iterator[Sample]:
    """The samples of a shard: ``rgba`` or ``rgb``, ``mask``, ``parts`` (uint8 arrays), ``json`` and ``key``.
    Raises DatasetError: the shard is cut short, damaged, or has another hash than ``sha256``."""
    with refusing(path, DatasetError, "is damaged", AGAIN):
        content = Path(path).read_bytes()
        if sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise DatasetError(f"{path} is not what {MANIFEST} says: {AGAIN}")
        if any(content[-END:]) or len(content) < END:
            raise DatasetError(f"{path} is cut short: {AGAIN}")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            images: dict[str, NDArray[np.uint8]] = {}
            for info in tar:
                member = tar.extractfile(info) if info.isreg() and not info.issparse() else None
                if member is None:
                    raise DatasetError(f"{path}: {info.name} is a link or no file: {AGAIN}")
                key, name = info.name.split(".")[:2]
                data = member.read()
                if len(data) != info.size:
                    raise DatasetError(f"{path} is cut short in {info.name}: {AGAIN}")
                if name == "json":
                    yield {**_checked(images, record := json.loads(data)), "json": record, "key": key}
                    images = {}
                else:
                    images[name] = _pixels(data)
            if images:
                raise DatasetError(f"{path} is cut short: its last sample is incomplete; {AGAIN}")


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"an image has {image.width}×{image.height} pixels")
        return np.asarray(image)


def _checked(images: dict[str, NDArray[np.uint8]], record: Mapping[str, Any]) -> Sample:
    """The images of a sample. Raises an error of any kind: one is missing or of another size, or the record
    does not tell the rotation, symmetry and identity."""
    colours = "rgba" if "rgba" in images else "rgb"
    shapes = {name: images[name].shape for name in (colours, "mask", "parts")}
    size = shapes["mask"]
    if shapes != {colours: (*size, len(colours)), "mask": size, "parts": size} or len(size) != 2:
        raise ValueError(f"the images of a sample differ in size, or in their channels: {shapes}")
    if any(one.dtype != np.uint8 for one in images.values()):
        raise ValueError("an image has no 8 bits a channel")
    with np.errstate(over="ignore"):  # what is too large is infinite then
        rotation = np.array(record["rotation"], np.float32).reshape(3, 3)
    if not np.isfinite(rotation).all():
        raise ValueError("a rotation is not finite")
    for name in ("symmetry", "identity"):
        if type(record[name]) is not int or not 0 <= record[name] < 2**63:
            raise ValueError(f"{name} is {record[name]!r:.40}, not a whole number")
    return {name: images[name] for name in shapes}


def load_arrays(folder: str | Path, split: str, damaged: Damaged = "refuse") -> Arrays:
    """All samples of a split; shards are compared with the manifest's hashes where there is one. Raises
    DatasetError: nothing to read; images with backgrounds; or a damaged shard, unless these are to be
    skipped."""
    found, skipped = [], []
    hashes = shard_hashes(Path(folder))
    for path in shard_paths(folder, split):
        samples = _samples(path, hashes, damaged)
        if samples is None:
            skipped.append(path.name)
            continue
        if any("rgba" not in sample for sample in samples):
            raise DatasetError(
                f"{path} holds images with backgrounds already, and training puts its own behind: "
                "render without --background"
            )
        found += samples
    if not found:
        raise DatasetError(f"no undamaged shard of the split {split!r} in {folder}: render it again")
    if len({sample["mask"].shape for sample in found}) > 1:
        raise DatasetError(f"{folder} holds images of several sizes: render it again")
    return stacked(found, skipped)


def stacked(samples: Sequence[Sample], skipped: Sequence[str] = ()) -> Arrays:
    """Samples of one size, with ``rgba``, as arrays."""
    records = [sample["json"] for sample in samples]
    return Arrays(
        **{name: np.stack([sample[name] for sample in samples]) for name in ("rgba", "mask", "parts")},
        rotation=np.array([record["rotation"] for record in records], np.float32).reshape(-1, 3, 3),
        symmetry=np.array([record["symmetry"] for record in records]),
        identity=np.array([record["identity"] for record in records]),
        records=tuple(records),
        skipped=tuple(skipped),
    )


def shard_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each shard by name, as far as the folder has a manifest. Raises DatasetError: the
    manifest is damaged."""
    manifest = folder / MANIFEST
    content: Any = read_json(manifest) if manifest.exists() else {}
    with refusing(manifest, DatasetError, "is damaged", f"delete it and {AGAIN}"):
        return {shard["name"]: shard["sha256"] for shard in content.get("shards", [])}


def _samples(path: Path, hashes: Mapping[str, str], damaged: Damaged) -> list[Sample] | None:
    """The samples of a shard; None if it is damaged and that is to be passed over."""
    try:
        return list(read_shard(path, hashes.get(path.name)))
    except DatasetError:
        if damaged == "refuse":
            raise
        return None


def _as_tensors(sample: Mapping[str, Any]) -> dict[str, Tensor]:
    record = sample["json"]
    images = {name: np.atleast_3d(value) for name, value in sample.items() if isinstance(value, np.ndarray)}
    return {
        **{name: torch.tensor(image).permute(2, 0, 1) for name, image in images.items()},
        "rotation": torch.tensor(record["rotation"]).reshape(3, 3),
        "symmetry": torch.tensor(record["symmetry"]),
        "identity": torch.tensor(record["identity"]),
    }


POOL = 3000  # backgrounds
SHIFT = 3  # pixels of 64, either way
MIRROR = (-1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Views:
    """N views in memory, as tensors: ``rgba`` uint8 (N, 4, H, W), ``rotation`` (N, 3, 3), ``symmetry`` (N,),
    ``masks`` uint8 (N, 1, H, W) of the objects without their shadows. Those of identity k of I are the
    ``counts[k]`` from ``starts[k]`` on, (I,) both."""

    rgba: Tensor
    rotation: Tensor
    symmetry: Tensor
    masks: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, *datasets: Arrays) -> Views:
        """The views of splits of one or more datasets, object after object. Raises ConfigError: an identity
        has fewer than two views, or the datasets differ in size."""
        sizes = {one.rgba.shape[1:3] for one in datasets}
        if len(sizes) > 1:
            raise ConfigError(f"datasets of {' and '.join(map(str, sorted(sizes)))} pixels: render one size")
        parts = [(order := np.argsort(one.identity, kind="stable"), one.identity[order]) for one in datasets]
        counts = np.concatenate([np.unique(identity, return_counts=True)[1] for _, identity in parts])
        if counts.min() < 2:
            raise ConfigError("training needs two views an identity at least: render with --views 2 or more")

        def joined(name: str) -> Tensor:
            arrays = [getattr(one, name)[order] for one, (order, _) in zip(datasets, parts, strict=True)]
            return torch.from_numpy(np.concatenate(arrays))

        return cls(
            joined("rgba").permute(0, 3, 1, 2).contiguous(),
            joined("rotation"),
            joined("symmetry"),
            (joined("mask") > 0).to(torch.uint8)[:, None] * 255,
            torch.from_numpy(np.concatenate([[0], np.cumsum(counts)[:-1]])),
            torch.from_numpy(counts),
        )


def background_pool(
    seed: int,
    size: int,
    count: int = POOL,
    kind: str = "mixed",
    photographs: Sequence[NDArray[np.uint8]] = (),
) -> Tensor:
    """Random backgrounds (count, 3, size, size) uint8, as ``random_background`` makes them."""
    rng = np.random.default_rng([seed, 3])
    pool = np.stack([random_background(rng, size, kind, photographs) for _ in range(count)])
    return torch.from_numpy(pool).permute(0, 3, 1, 2).contiguous()


def jittered(
    planes: Tensor, rotation: Tensor, index: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The views of ``planes`` (N, C, H, W) uint8 at ``index`` (B,), as (B, C, H, W) in [0, 1], where the
    planes are: half of them as seen in a mirror (a mirrored chair is a chair, in the pose M R M), and all
    moved by up to SHIFT pixels, transparent where nothing is known. ``rotation`` (B, 3, 3) goes along."""
    flipped, places = jitter(len(index), planes.shape[-1], generator)
    there = (sent(one, planes.device) for one in (index, flipped, places))
    return jittered_by(planes, *there), mirrored(rotation, flipped)


def jitter(count: int, wide: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which of ``count`` images of ``wide`` pixels are mirrored (B,), and how many pixels they move down and
    to the right (B, 2)."""
    flipped = torch.rand(count, generator=generator) < 0.5
    amount = round(SHIFT * wide / 64)
    return flipped, torch.randint(-amount, amount + 1, (count, 2), generator=generator)


def mirrored(rotation: Tensor, flipped: Tensor) -> Tensor:
    """Rotations (B, 3, 3), those of ``flipped`` (B,) as M R M."""
    flip = torch.tensor(MIRROR)
    return torch.where(flipped[:, None, None], rotation * flip * flip[:, None], rotation)


def jittered_by(planes: Tensor, index: Tensor, flipped: Tensor, places: Tensor) -> Tensor:
    """The views of ``planes`` (N, C, H, W) uint8 at ``index`` (B,), mirrored and moved, as (B, C, H, W) in
    [0, 1]."""
    tall, wide = planes.shape[-2:]
    rows = torch.arange(tall, device=planes.device) + places[:, :1]
    columns = torch.arange(wide, device=planes.device) + places[:, 1:]
    inside = ((rows >= 0) & (rows < tall))[:, :, None] & ((columns >= 0) & (columns < wide))[:, None]
    rows, columns = rows.clamp(0, tall - 1), columns.clamp(0, wide - 1)
    columns = torch.where(flipped[:, None], wide - 1 - columns, columns)
    channels = torch.arange(planes.shape[1], device=planes.device)[None, :, None, None]
    found = planes[index[:, None, None, None], channels, rows[:, None, :, None], columns[:, None, None, :]]
    return found.float().div_(255).mul_(inside[:, None])
