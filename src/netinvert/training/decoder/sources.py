"""Where the images for a training come from, by what a user writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netinvert.errors import ConfigError
from netinvert.io.files import read_json
from netinvert.models.encoder import Encoder
from netinvert.scenes.dataset_reader import MANIFEST
from netinvert.training.decoder.folder_images import FolderImages, image_files, shipped_photographs
from netinvert.training.decoder.images import FittedImages, ImageSource, SceneImages

PHOTOGRAPHS = "photographs"


def open_source(text: str, size: tuple[int, int] | None, encoder: Encoder, seed: int) -> ImageSource:
    """The source that a text names: ``photographs``, a folder of images, or a dataset of scenes.

    Images have ``size`` (H, W), by default a dataset's own and the encoder's for photographs, and the
    encoder's channels.

    Raises ConfigError: no such folder, or channels other than 1 or 3; ImageError: a folder with fewer than
    two usable images; DatasetError: a dataset that is not complete.
    """
    channels = encoder.preprocessing.channels
    if channels not in (1, 3):
        raise ConfigError(f"images have 1 or 3 channels, and {encoder.network.name} takes {channels}")
    if text == PHOTOGRAPHS:
        return shipped_photographs(size or encoder.size, channels, seed)
    folder = _folder(text)
    if not is_dataset(folder):
        return FolderImages(folder, size or encoder.size, channels, seed)
    scenes = SceneImages(folder, seed)
    size = size or scenes.size
    return scenes if (size, channels) == (scenes.size, 3) else FittedImages(scenes, size, channels)


def described(text: str) -> dict[str, Any]:
    """What a source is, for the card of what is trained on it: of a dataset its plan, ``samples`` and
    ``sha256``; of anything else a ``description``. No path is told, only a folder's name."""
    if text == PHOTOGRAPHS:
        return {"description": "the photographs that come with netinvert"}
    folder = _folder(text)
    if is_dataset(folder):
        manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
        return {name: manifest.get(name) for name in ("sha256", "samples", "plan", "versions")}
    return {"description": f"the {len(image_files(folder))} images of the folder `{folder.resolve().name}`"}


def is_dataset(folder: Path) -> bool:
    """Whether a folder holds scenes, complete or not, rather than images."""
    return next(folder.glob("train-*.tar"), None) is not None or (folder / "plan.json").is_file()


def _folder(text: str) -> Path:
    folder = Path(text)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ConfigError(f"{text} is a file: name its folder")
    raise ConfigError(
        f"no folder {text}: give a dataset of netinvert scenes render, a folder of images, or the word "
        f"{PHOTOGRAPHS}"
    )
