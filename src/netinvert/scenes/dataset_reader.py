"""Datasets read back: shard by shard, or all at once into memory."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from netinvert.errors import NetinvertError
from netinvert.io.files import read_json

MANIFEST = "manifest.json"
END = 2 * tarfile.BLOCKSIZE  # of zeros, after the last file of a whole archive
Damaged = Literal["refuse", "skip"]


class DatasetError(NetinvertError):
    """A dataset that is missing, incomplete or damaged."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """N samples in memory.

    ``rgba`` (N, H, W, 4), ``mask`` (N, H, W) and ``parts`` (N, H, W) uint8 as in ``Rendering``;
    ``rotation`` (N, 3, 3) float32, object to camera; ``symmetry`` and ``identity`` (N,); ``records``, the
    JSON of every sample; ``skipped``, the names of the damaged shards that were left out.
    """

    rgba: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    rotation: NDArray[np.float32]
    symmetry: NDArray[np.int64]
    identity: NDArray[np.int64]
    records: tuple[dict[str, Any], ...]
    skipped: tuple[str, ...] = ()


def shard_paths(folder: str | Path, split: str) -> list[Path]:
    """The shards of a split, in order.

    Raises:
        DatasetError: no such folder, or no shard of this split in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f"no dataset at {root}: make one with netinvert scenes render --out {root}")
    paths = sorted(root.glob(f"{split}-*.tar"))
    if not paths:
        raise DatasetError(
            f"{root} has no shard of the split {split!r}: finish the render, or render more identities or a "
            "larger share of this split (--splits)"
        )
    return paths


def read_shard(path: str | Path, sha256: str | None = None) -> Iterator[dict[str, Any]]:
    """The samples of a shard: ``rgba``, ``mask``, ``parts`` (uint8 arrays) and ``json``.

    Raises:
        DatasetError: the shard is cut short, damaged, or has another hash than ``sha256``.
    """
    try:
        content = Path(path).read_bytes()
        if sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise DatasetError(f"{path} is not what {MANIFEST} says: run the same render again")
        if any(content[-END:]) or len(content) < END:
            raise DatasetError(f"{path} is cut short: run the same render again")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            sample: dict[str, Any] = {}
            for info in tar:
                member = tar.extractfile(info)
                assert member is not None
                key, name, _ = (
                    info.name.split(".", 2) if info.name.count(".") > 1 else (*info.name.split("."), "")
                )
                data = member.read()
                if len(data) != info.size:
                    raise DatasetError(f"{path} is cut short in {info.name}: run the same render again")
                sample[name] = (
                    json.loads(data) if name == "json" else np.asarray(Image.open(io.BytesIO(data)))
                )
                if name == "json":
                    yield sample | {"key": key}
                    sample = {}
            if sample:
                raise DatasetError(
                    f"{path} is cut short: its last sample is incomplete; run the same render again"
                )
    except (tarfile.TarError, UnidentifiedImageError, OSError, ValueError, EOFError, SyntaxError) as error:
        raise DatasetError(f"{path} is damaged ({error}): run the same render again") from error


def load_arrays(folder: str | Path, split: str, damaged: Damaged = "refuse") -> Arrays:
    """All samples of a split; shards are compared with the manifest's hashes where there is one.

    Raises:
        DatasetError: nothing to read; images with backgrounds; or a damaged shard, unless these are to be
            skipped.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("rgba", "mask", "parts", "json")}
    skipped = []
    hashes = shard_hashes(Path(folder))
    for path in shard_paths(folder, split):
        try:
            samples = list(read_shard(path, hashes.get(path.name)))
        except DatasetError:
            if damaged == "refuse":
                raise
            skipped.append(path.name)
            continue
        if samples and "rgba" not in samples[0]:
            raise DatasetError(
                f"{path} holds images with backgrounds already, and training puts its own behind: "
                "render without --background"
            )
        for sample in samples:
            for name, values in columns.items():
                values.append(sample[name])
    records = columns["json"]
    if not records:
        raise DatasetError(f"no undamaged shard of the split {split!r} in {folder}: render it again")
    return Arrays(
        rgba=np.stack(columns["rgba"]),
        mask=np.stack(columns["mask"]),
        parts=np.stack(columns["parts"]),
        rotation=np.array([record["rotation"] for record in records], np.float32).reshape(-1, 3, 3),
        symmetry=np.array([record["symmetry"] for record in records]),
        identity=np.array([record["identity"] for record in records]),
        records=tuple(records),
        skipped=tuple(skipped),
    )


def shard_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each shard by name, as far as the folder has a manifest.

    Raises:
        DatasetError: the manifest is damaged.
    """
    manifest = folder / MANIFEST
    content: Any = read_json(manifest) if manifest.exists() else {}
    try:
        return {shard["name"]: shard["sha256"] for shard in content.get("shards", [])}
    except (AttributeError, KeyError, TypeError) as error:
        raise DatasetError(f"{manifest} is damaged: delete it and run the same render again") from error
