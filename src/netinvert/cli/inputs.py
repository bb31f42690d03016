"""What a command is given: an image, a folder or glob of images, or a file of codes."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import ImageError
from netinvert.evaluation.evaluate import encode_images
from netinvert.evaluation.save_results import LABELS
from netinvert.experiments.inputs import unique_stems
from netinvert.io.files import load_tensors, read_code, sha256_of
from netinvert.io.images import IMAGE_SUFFIXES, read_image
from netinvert.models.encoder import Encoder

CODES = {".npy", ".safetensors", ".pt", ".pth"}


@dataclass(frozen=True)
class Source:
    """A file that was read, as the user named it."""

    name: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Inputs:
    """Codes (M, ...) to invert, a file name for each, the originals (M, C, H, W) if known, what was read."""

    codes: Tensor
    stems: tuple[str, ...]
    originals: Tensor | None
    sources: tuple[Source, ...]
    remark: str | None = None


def is_code_file(text: str) -> bool:
    """Whether this names a code rather than an image."""
    path = Path(text)
    return path.suffix.lower() in CODES and not path.is_dir()


def image_paths(text: str) -> list[Path]:
    """The image files that an image, a folder or a glob stands for. Raises ImageError."""
    path = Path(text)
    if path.is_dir():
        found = [entry for entry in path.iterdir() if _is_image(entry)]
        if not found:
            raise ImageError(f"{text} holds no images ({', '.join(IMAGE_SUFFIXES)}): name another folder")
        return sorted(found)
    if not path.exists() and glob.has_magic(text):
        found = [Path(name) for name in glob.glob(text, recursive=True)]  # noqa: PTH207  (absolute ones too)
        found = [entry for entry in found if entry.is_file()]
        if not found:
            raise ImageError(f"no file matches {text}: check the pattern, and quote it for the shell")
        return sorted(found)
    return [path]  # read_image says what is wrong with it


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")


def read_inputs(text: str, encoder: Encoder, restarts: int = 1) -> Inputs:
    """Read and check everything. Raises ImageError, CodeError."""
    if is_code_file(text):
        return _read_codes(Path(text), encoder, restarts)
    paths = image_paths(text)
    channels = encoder.preprocessing.channels
    # Fitted at once: many photographs at their own size may not fit into memory.
    images = [encoder.fit(read_image(path, channels).to(encoder.device, encoder.dtype)) for path in paths]
    codes = encode_images(encoder, images)
    stems = unique_stems(paths, restarts)
    return Inputs(encoder.check_code(codes), tuple(stems), torch.cat(images), sources_of(paths))


def sources_of(paths: Sequence[Path]) -> tuple[Source, ...]:
    """The files and their hashes."""
    return tuple(Source(str(path), sha256_of(path)) for path in paths)


def _read_codes(path: Path, encoder: Encoder, restarts: int) -> Inputs:
    codes = encoder.check_code(read_code(path).to(encoder.device))
    count = codes.shape[0]
    facts = _labels_of(path)
    names = _names_in(facts, count) or ([path.stem] if count == 1 else _numbered(path.stem, count))
    stems = unique_stems([path.with_name(f"{name}.code") for name in names], restarts)
    return Inputs(codes, tuple(stems), None, sources_of([path]), _remark(path, facts, encoder))


def _numbered(stem: str, count: int) -> list[str]:
    return [f"{stem}-{index + 1:0{len(str(count))}d}" for index in range(count)]


def _labels_of(path: Path) -> dict[str, object]:
    """What ``encode`` or a run said of its codes."""
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        facts = json.loads(load_tensors(path)[1].get(LABELS, "{}"))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _names_in(facts: dict[str, object], count: int) -> list[str] | None:
    names = facts.get("names")
    if isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names):
        return [Path(name).name or "code" for name in names]
    return None


def _remark(path: Path, facts: dict[str, object], encoder: Encoder) -> str | None:
    """Layers of one network may have codes of the same shape."""
    layer, weights = facts.get("layer", encoder.layer), facts.get("weights_sha256")
    if layer != encoder.layer:
        return f"{path} says that it holds codes of layer {layer}, not {encoder.layer}"
    if weights is not None and weights != encoder.weights_sha256():
        return f"{path} says that its codes are of a network with other weights"
    return None
