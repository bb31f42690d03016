"""What commands are given: networks by their options; images by file, folder or glob; files of codes."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError, ImageError
from netinvert.evaluation.evaluate import Reference, encode_images, reference_of, shipped_reference
from netinvert.evaluation.save_results import LABELS
from netinvert.io.assets import sample
from netinvert.io.codes import read_code
from netinvert.io.files import FileError, Tell, load_tensors, read_json, sha256_of
from netinvert.io.images import IMAGE_SUFFIXES, image_files, read_image
from netinvert.io.manifest import MANIFEST
from netinvert.io.pieces import ImageFormat, OfNetwork
from netinvert.models.decoder import Decoder, fitting_decoder, load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network, Preprocessing, PreprocessingWarning
from netinvert.models.registry import load_network

CODES = {".npy", ".safetensors", ".pt", ".pth"}
Source = dict[str, str]
"""A file that was read, as manifests list it: the option that names it, its name and its SHA-256."""


# -- networks ------------------------------------------------------------------------------------------


def open_network(config: OfNetwork, device: str = "cpu", tell: Tell | None = None) -> Network:
    """The network that the options name, on a device; if its preprocessing was assumed, that is told. Raises
    NetworkError, ConfigError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreprocessingWarning)
        network = load_network(config.network, config.weights, preprocessing_of(config))
    if network.assumed and tell is not None:
        tell(f"note: {network.assumption}")
    return on_device(network, device)


def preprocessing_of(config: ImageFormat) -> Preprocessing | None:
    """What the options say of it; None if nothing. Raises ConfigError."""
    order: Any = config.order
    return Preprocessing.of_options(config.size, config.mean, config.std, order, config.scale)


def on_device(network: Network, name: str) -> Network:
    """The same network, moved. Raises ConfigError if the device cannot be used."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or ["unknown"])[0]
        raise ConfigError(f"the device '{name}' cannot be used ({reason}); use --device cpu") from None
    if device.type != "cpu":
        network.module.to(device)
    return network


# -- images and codes ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Inputs:
    """Codes (M, ...), a file name for each, the originals (M, C, H, W) if known, the files that were read.

    ``remark`` says why the codes may not be of this encoder.
    """

    codes: Tensor
    stems: tuple[str, ...]
    originals: Tensor | None
    sources: tuple[Source, ...]
    remark: str | None = None


def read_inputs(text: str, encoder: Encoder, restarts: int = 1, tell: Tell = warnings.warn) -> Inputs:
    """Read and check what ``--INPUT`` stands for. Raises ImageError, CodeError."""
    if is_code_file(text):
        return _read_codes(Path(text), encoder, restarts)
    paths = image_paths(text, tell)
    channels = encoder.preprocessing.channels
    # Fitted at once: many photographs at their own size may not fit into memory.
    images = [encoder.fit(read_image(path, channels).to(encoder.device, encoder.dtype)) for path in paths]
    codes = encoder.check_code(encode_images(encoder, images))
    return Inputs(codes, unique_stems(paths, restarts), torch.cat(images), sources_of("input", paths))


def is_code_file(text: str | Path) -> bool:
    """Whether this names a code rather than an image."""
    path = Path(text)
    return path.suffix.lower() in CODES and not os.path.isdir(path)  # noqa: PTH112  (as below)


SAMPLE = "sample:"
"""Before the name of an image that comes with the package, where a command takes images."""


def image_paths(text: str | Path, tell: Tell = warnings.warn) -> list[Path]:
    """The image files that an image, a folder, a glob or ``sample:NAME`` (an image of the package) stands
    for, of a run's folder what it made; ``tell`` names what a folder holds in formats that are not read.
    Raises ImageError, ConfigError."""
    path = Path(text)
    if str(text).startswith(SAMPLE) and not os.path.exists(path):  # noqa: PTH110
        return [sample(str(text).removeprefix(SAMPLE))]
    if os.path.isdir(path):  # noqa: PTH112  (pathlib raises where its folder is closed)
        found = image_files(path, below=False, tell=tell)
        if made := _made_by_run(path):
            found = [one for one in found if one.stem in made]
        wrong = f"{text} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): name another folder"
    elif glob.has_magic(str(text)) and not os.path.exists(path):  # noqa: PTH110
        found = [Path(name) for name in glob.glob(str(text), recursive=True)]  # noqa: PTH207  (absolute ones too)
        wrong = f"no file matches {text}: check the pattern, and quote it for the shell"
    else:
        return [path]  # read_image says what is wrong with it
    found = sorted(one for one in found if one.is_file())
    if not found:
        raise ImageError(wrong)
    return found


def _made_by_run(folder: Path) -> set[str]:
    """The names of the images that ``invert`` or its like made: originals and charts lie beside them."""
    try:
        told = read_json(folder / MANIFEST)
    except FileError:
        return set()
    samples = told.get("samples") if isinstance(told, dict) else None
    rows = samples if isinstance(samples, list) else []
    return {str(one["name"]) for one in rows if isinstance(one, dict) and "name" in one}


def sources_of(option: str, paths: Sequence[Path]) -> tuple[Source, ...]:
    """The files that an option named, and their hashes."""
    return tuple({"option": option, "name": str(path), "sha256": sha256_of(path)} for path in paths)


def read_start(path: Path, encoder: Encoder) -> Tensor:
    """The image (1, C, H, W) to start from; a run's own file of tensors holds its own. Raises ImageError."""
    if path.suffix.lower() != ".safetensors":
        return encoder.fit(read_image(path, encoder.preprocessing.channels).to(encoder.device, encoder.dtype))
    tensors = load_tensors(path)[0]
    if "start" not in tensors:
        raise ImageError(f"{path} holds no image to start from: name an image")
    return tensors["start"].to(encoder.device, encoder.dtype)


def read_reference(
    folder: Path | None, encoder: Encoder, tell: Tell = warnings.warn
) -> tuple[Reference | None, tuple[Source, ...]]:
    """The images that scale the papers' code errors: the user's, or those of netinvert."""
    if folder is None:
        return shipped_reference(encoder), ()
    paths = image_paths(folder, tell)
    return reference_of(encoder, paths, str(folder)), sources_of("reference", paths)


def _read_codes(path: Path, encoder: Encoder, restarts: int) -> Inputs:
    codes = encoder.check_code(read_code(path).to(encoder.device))
    tensors, facts = _labelled(path)
    named, names = facts.get("names"), names_of(path.stem, len(codes))
    if isinstance(named, list) and len(named) == len(codes) and all(isinstance(one, str) for one in named):
        names = [Path(name).name or "code" for name in named]
    originals = tensors.get("original")
    fits = originals is not None and originals.ndim == 4 and len(originals) == len(codes)
    originals = (
        encoder.fit(originals.to(encoder.device, encoder.dtype)) if originals is not None and fits else None
    )
    stems = unique_stems([path.with_name(f"{name}.code") for name in names], restarts)
    remark = None  # layers of one network may have codes of the same shape
    if facts.get("layer", encoder.layer) != encoder.layer:
        remark = f"{path} says that it holds codes of layer {facts['layer']}, not {encoder.layer}"
    elif facts.get("weights_sha256") not in (None, encoder.weights_sha256()):
        remark = f"{path} says that its codes are of a network with other weights"
    return Inputs(codes, stems, originals, sources_of("input", [path]), remark)


def names_of(stem: str, count: int) -> list[str]:
    """``stem``, or ``stem-1``, ``stem-2``, … for several."""
    return [stem] if count == 1 else [f"{stem}-{k:0{len(str(count))}d}" for k in range(1, count + 1)]


def _labelled(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The tensors of a file that ``encode`` or a run wrote, and what it says of its codes."""
    if path.suffix.lower() != ".safetensors":
        return {}, {}
    tensors, texts = load_tensors(path)
    facts: object = {}
    with contextlib.suppress(ValueError, RecursionError):
        facts = json.loads(texts.get(LABELS, "{}"))
    return tensors, facts if isinstance(facts, dict) else {}


# -- names of files ------------------------------------------------------------------------------------


def unique_stems(paths: Sequence[Path], restarts: int = 1) -> tuple[str, ...]:
    """One file name each, such that nothing that a run writes has the name of another file.

    The file's own name; with its folder's name before it where two files share it, or else a number
    behind. Names differ by more than case, for file systems that do not see it.
    """

    def clean(stem: str) -> str:
        """Neither hidden nor too long, in letters that can be written and drawn."""
        shown = "".join(letter if letter.isprintable() else "_" for letter in stem)
        return shown.lstrip(".")[:60] or "image"

    def files_of(stem: str) -> set[str]:
        names = [f"original-{stem}", *(restart_name(stem, k) for k in range(restarts))]
        return {name.casefold() for name in names}

    plain = [clean(path.stem) for path in paths]
    counts = Counter(stem.casefold() for stem in plain)
    used, stems = {"loss", "contact-sheet"}, list[str]()
    for path, stem in zip(paths, plain, strict=True):
        base = f"{clean(path.absolute().parent.name)}-{stem}" if counts[stem.casefold()] > 1 else stem
        number = 1
        while used & files_of(name := base if number == 1 else f"{base}~{number}"):
            number += 1
        used |= files_of(name)
        stems.append(name)
    return tuple(stems)


def restart_name(stem: str, restart: int) -> str:
    """The file name of a restart, counted from 0."""
    return stem if restart == 0 else f"{stem}-{restart + 1}"


def decoder_for(name: str | None, encoder: Encoder, tell: Tell) -> Decoder | None:
    """The decoder of this name or file, else a shipped one of this very layer and these weights, if there is
    one. Raises CodeError for one of another layer, NetworkError."""
    decoder = fitting_decoder(encoder) if name is None else load_decoder(name)
    if decoder is None:
        return None
    decoder.check_encoder(encoder)
    if name is None:
        tell(f"the decoder {decoder.name} fits and is used")
    return decoder.to(encoder.device)
