"""Where the pictures for a training come from, by what a user writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.files import read_json
from netinvert.io.images import LUMA, fit
from netinvert.models.encoder import Encoder
from netinvert.scenes.dataset_reader import MANIFEST
from netinvert.training.decoder.images import Pictures, PictureSource, ScenePictures
from netinvert.training.decoder.photographs import FolderPictures, image_files, shipped_photographs

PHOTOGRAPHS = "photographs"
"""ITU-R BT.601, as images are read in grey."""


def open_source(text: str, size: tuple[int, int] | None, encoder: Encoder, seed: int) -> PictureSource:
    """The source that a text names: ``photographs``, a folder of images, or a dataset of scenes.

    Pictures have ``size`` (H, W), by default a dataset's own and the encoder's for photographs, and the
    encoder's channels.

    Raises:
        ConfigError: no such folder, or channels other than 1 or 3.
        ImageError: a folder with fewer than two usable images.
        DatasetError: a dataset that is not complete.
    """
    channels = encoder.preprocessing.channels
    if channels not in (1, 3):
        raise ConfigError(f"pictures have 1 or 3 channels, and {encoder.network.name} takes {channels}")
    if text == PHOTOGRAPHS:
        return shipped_photographs(size or encoder.size, channels, seed)
    folder = _folder(text)
    if not is_dataset(folder):
        return FolderPictures(folder, size or encoder.size, channels, seed)
    scenes = ScenePictures(folder, seed)
    size = size or scenes.size
    return scenes if (size, channels) == (scenes.size, 3) else FittedPictures(scenes, size, channels)


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


class FittedPictures:
    """The pictures of another source at another size, or in grey.

    They are made smaller with antialiasing, or larger (and no sharper) by interpolation; of other proportions
    the middle is cut out. Masks go along.
    """

    def __init__(self, source: PictureSource, size: tuple[int, int], channels: int) -> None:
        self.source, self.size, self.channels = source, size, channels
        self.has_masks, self.count = source.has_masks, source.count
        self.seed: int | None = getattr(source, "seed", None)

    def batch(self, step: int, count: int) -> Pictures:
        """The source's batch, fitted."""
        return self._fitted(self.source.batch(step, count))

    def held_out(self, count: int) -> Pictures:
        """The source's held-out pictures, fitted."""
        return self._fitted(self.source.held_out(count))

    def _fitted(self, pictures: Pictures) -> Pictures:
        masks = None if pictures.masks is None else fit(pictures.masks, self.size)
        return Pictures(fit(_with_channels(pictures.images, self.channels), self.size), masks)


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


def _with_channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 1:
        return (images * torch.tensor(LUMA, dtype=images.dtype)[:, None, None]).sum(1, keepdim=True)
    return images.expand(-1, channels, -1, -1)
