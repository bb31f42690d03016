"""What of a result is kept: a hash of every array, numbers and texts themselves."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load as load_safetensors

PAGES = ("contact-sheet", "sheet", "overview", "report", "loss", "tradeoff", "pictures", "crossover")
"""Pictures that begin so are made to be looked at, with captions: they may change."""
LEFT_OUT = "seconds hours milliseconds ms time version versions platform path folder bytes sha256 threads"
"""Entries whose names hold one of these words say how long something took, or where it was."""
FRACTION = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def flat(result: Mapping[str, Any]) -> dict[str, str]:
    """A run's result as one level of labels."""
    return dict(sorted(_walk("", result)))


def _walk(label: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    if is_dataclass(value):
        value = {one.name: getattr(value, one.name) for one in fields(value) if not _left_out(one.name)}
    simple = isinstance(value, list | tuple) and all(
        isinstance(one, str | int | float | None) for one in value
    )
    if isinstance(value, list | tuple) and not simple:
        value = dict(enumerate(value))
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        array = np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)
        yield label, f"{array.dtype} {array.shape} {_hash(np.ascontiguousarray(array).tobytes())}"
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _walk(f"{label}.{key}" if label else str(key), each)
    elif isinstance(value, bytes):
        yield label, f"bytes {_hash(value)}"
    else:
        text = " ".join(map(str, value)) if simple else str(value)
        yield label, text if len(text) <= 160 else f"text {_hash(text.encode())}"


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _left_out(name: str) -> bool:
    return not set(LEFT_OUT.split()).isdisjoint(re.split("[^a-z0-9]+", name.lower()))


def numbers(value: Any, name: str = "") -> set[str]:  # noqa: ANN401
    """Every fraction in a piece of JSON, however it is laid out, but for entries that LEFT_OUT names."""
    if _left_out(name):
        return set()
    if isinstance(value, Mapping):
        return {number for key, each in value.items() for number in numbers(each, str(key))}
    if isinstance(value, list | tuple):
        return {number for each in value for number in numbers(each)}
    fraction = isinstance(value, float) and math.isfinite(value) and value != round(value, 1)
    return {repr(value)} if fraction else set()


def read(name: str, data: bytes) -> Any:  # noqa: ANN401
    """What a file says: pixels, tensors by name, numbers of JSON and CSV; None for pages, logs and such."""
    readers = {
        ".png": lambda: np.asarray(Image.open(io.BytesIO(data))),
        ".jpg": lambda: np.asarray(Image.open(io.BytesIO(data))),
        ".safetensors": lambda: load_safetensors(data),
        ".npy": lambda: np.load(io.BytesIO(data)),
        ".json": lambda: sorted(numbers(json.loads(data))),
        ".csv": lambda: sorted(FRACTION.findall(data.decode())),
        ".tar": lambda: shard(data),
    }
    made_for_looking = name.endswith(".png") and name.startswith(PAGES)
    if made_for_looking or name.startswith("checkpoint"):
        return None
    return readers.get(Path(name).suffix, lambda: None)()


def shard(data: bytes) -> dict[str, Any]:
    """The files of a shard of a dataset; what is no picture or JSON as it is."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {one.name: archive.extractfile(one).read() for one in archive.getmembers()}
    return {
        name: inside if (found := read(name, inside)) is None else found for name, inside in files.items()
    }


def contents(folder: Path) -> dict[str, Any]:
    """What the files of a folder say, but for those below others that are no pictures."""
    paths = sorted(path for pattern in ("*", "images/*") for path in folder.glob(pattern) if path.is_file())
    found = {path.name: read(path.name, path.read_bytes()) for path in paths}
    return {name: value for name, value in found.items() if value is not None}
