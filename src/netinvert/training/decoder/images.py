"""The images that decoders are trained on: a batch a step, by (seed, step) alone; and held-out ones."""

from __future__ import annotations

import copy
import hashlib
import math
import unicodedata
from dataclasses import dataclass
from importlib.resources import as_file
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from netinvert.errors import ConfigError, ImageError
from netinvert.io.assets import DATA
from netinvert.io.files import read_json
from netinvert.io.folders import paths_in
from netinvert.io.images import IMAGE_SUFFIXES, LUMA, as_images, fit, image_files, read_image
from netinvert.io.running import generator_at, sent
from netinvert.models.encoder import Encoder
from netinvert.scenes.dataset_reader import (
    MANIFEST,
    POOL,
    Views,
    background_pool,
    jittered,
    load_arrays,
)

PHOTOGRAPHS = "photographs"
PAPER, PLAIN = 0.5, 0.25
"""The shares of renders on greyish paper, and on any one colour; the others are on textures."""
LIGHTNESS, TINT = (0.6, 0.95), 0.04
"""Of paper: the range of its grey, and the deviation of its channels from that."""
HELD_OUT_STEP = 1 << 39
"""A step that no training reaches, for what is drawn of held-out images."""
LEAST = 0.6
"""Side of the smallest crop, as a share of the largest that the image has."""
DETAIL = 2
"""Images are kept at so many times the size: as large as any crop needs them."""
HELD_OUT_SHARE = 0.05
"""The share of the files that is held out."""
WATCHED = 16
"""Held-out images at least: of fewer files, several crops are watched."""
MEMORY = 1 << 29
"""Bytes of images that are kept once read; others are read again."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """``images`` (B, C, H, W) in [0, 1]; ``masks`` (B, 1, H, W) in [0, 1] where the objects are, and
    ``codes`` (B, ...) of the images, where these are known."""

    images: Tensor
    masks: Tensor | None = None
    codes: Tensor | None = None

    def to(self, device: torch.device) -> ImageBatch:
        """The same on another device."""
        moved = (None if one is None else one.to(device) for one in (self.masks, self.codes))
        return ImageBatch(self.images.to(device), *moved)


class ImageSource(Protocol):
    """Where images for a training come from."""

    has_masks: bool
    size: tuple[int, int]
    count: int
    """How many different images there are, before any changes to them."""

    def batch(self, step: int, count: int) -> ImageBatch:
        """``count`` images of a step; the same each time."""

    def held_out(self, count: int) -> ImageBatch:
        """Up to ``count`` images that no batch ever shows, always the same."""


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
    folder, is_dataset = _folder(text)
    if not is_dataset:
        return FolderImages(folder, size or encoder.size, channels, seed)
    scenes = SceneImages.of(folder, seed)
    size = size or scenes.size
    return scenes if (size, channels) == (scenes.size, 3) else FittedImages(scenes, size, channels)


def described(text: str) -> dict[str, Any]:
    """What a source is, for the card of what is trained on it: of a dataset its plan, ``samples`` and
    ``sha256``; of anything else a ``description``. No path is told, only a folder's name."""
    if text == PHOTOGRAPHS:
        return {"description": "the photographs that come with netinvert"}
    folder, is_dataset = _folder(text)
    if is_dataset:
        manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
        return {name: manifest.get(name) for name in ("sha256", "samples", "plan", "versions")}
    return {"description": f"the {len(image_files(folder))} images of the folder `{folder.resolve().name}`"}


def _folder(text: str) -> tuple[Path, bool]:
    """A folder, and whether it holds scenes, complete or not, rather than images."""
    folder = Path(text)
    if folder.is_dir():
        shards = paths_in(folder, "train-*.tar", ConfigError)
        return folder, bool(shards) or (folder / "plan.json").is_file()
    if folder.exists():
        raise ConfigError(f"{text} is a file: name its folder")
    raise ConfigError(
        f"no folder {text}: give a dataset of netinvert scenes render, a folder of images, or the word "
        f"{PHOTOGRAPHS}"
    )


# -- scenes ------------------------------------------------------------------------------------------------


class SceneImages:
    """Renders of a scenes dataset, mirrored and shifted, on paper, plain colours or textures."""

    has_masks = True

    def __init__(self, train: Views, validation: Views, seed: int, pool: Tensor | None = None) -> None:
        self.planes, self.others = (torch.cat([one.rgba, one.masks], 1) for one in (train, validation))
        self.seed, self.count = seed, len(self.planes)
        self.size = (self.planes.shape[-2], self.planes.shape[-1])
        self.pool = background_pool(seed, self.size[0], POOL) if pool is None else pool

    @classmethod
    def of(cls, folder: Path, seed: int) -> SceneImages:
        """The renders in a dataset's folder."""
        train, other = (Views.of(load_arrays(folder, split)) for split in ("train", "validation"))
        return cls(train, other, seed)

    def to(self, device: torch.device) -> SceneImages:
        """The same, made on another device."""
        there = copy.copy(self)
        there.planes, there.others = self.planes.to(device), self.others.to(device)
        there.pool = self.pool.to(device)
        return there

    def batch(self, step: int, count: int) -> ImageBatch:
        """Random views of the train split."""
        generator = generator_at(self.seed, step)
        index = torch.randint(self.count, (count,), generator=generator)
        planes, _ = jittered(self.planes, torch.eye(3).expand(count, 3, 3), index, generator)
        return on_backgrounds(planes, self.pool, generator)

    def held_out(self, count: int) -> ImageBatch:
        """Views of the validation split, spread over its identities, neither mirrored nor shifted."""
        generator = generator_at(self.seed, HELD_OUT_STEP)
        index = torch.randperm(len(self.others), generator=generator)[:count].to(self.others.device)
        return on_backgrounds(self.others[index].float().div_(255), self.pool, generator)


def on_backgrounds(planes: Tensor, pool: Tensor, generator: torch.Generator) -> ImageBatch:
    """RGBA and the object's mask (B, 5, H, W) in [0, 1] on paper, plain colours, or textures of ``pool``
    (P, 3, H, W) uint8."""
    count, device = len(planes), planes.device
    index = torch.randint(len(pool), (count,), generator=generator)
    behind = pool[sent(index, device)].float().div_(255)
    grey = torch.empty((count, 1, 1, 1)).uniform_(*LIGHTNESS, generator=generator)
    paper = (grey + TINT * torch.randn((count, 3, 1, 1), generator=generator)).clamp_(0, 1)
    plain = torch.rand((count, 3, 1, 1), generator=generator)
    kind = torch.rand((count, 1, 1, 1), generator=generator)
    plain = sent(torch.where(kind < PAPER, paper, plain), device)
    behind = torch.where(sent(kind < PAPER + PLAIN, device), plain, behind)
    colour, alpha = planes[:, :3], planes[:, 3:4]
    return ImageBatch(behind + alpha * (colour - behind), planes[:, 4:].contiguous())


class FittedImages:
    """The images of another source at another size, or in grey.

    They are made smaller with antialiasing, or larger (and no sharper) by interpolation; of other proportions
    the middle is cut out. Masks go along.
    """

    def __init__(self, source: SceneImages, size: tuple[int, int], channels: int) -> None:
        self.source, self.size, self.channels = source, size, channels
        self.has_masks, self.count = source.has_masks, source.count
        self.seed: int | None = getattr(source, "seed", None)

    def to(self, device: torch.device) -> FittedImages:
        """The same, made on another device."""
        return FittedImages(self.source.to(device), self.size, self.channels)

    def batch(self, step: int, count: int) -> ImageBatch:
        """The source's batch, fitted."""
        return self._fitted(self.source.batch(step, count))

    def held_out(self, count: int) -> ImageBatch:
        """The source's held-out images, fitted."""
        return self._fitted(self.source.held_out(count))

    def _fitted(self, batch: ImageBatch) -> ImageBatch:
        images = batch.images
        if self.channels == 1 < images.shape[1]:
            luma = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
            images = (images * luma[:, None, None]).sum(1, keepdim=True)
        images = images.expand(-1, self.channels, -1, -1)
        masks = None if batch.masks is None else fit(batch.masks, self.size)
        return ImageBatch(fit(images, self.size), masks)


# -- files -------------------------------------------------------------------------------------------------


class FolderImages:
    """Random crops of the images in a folder and the folders below it, half of them mirrored.

    A crop has the proportions of ``size`` and 0.6 to 1 of the largest possible side, and is never enlarged:
    files smaller than ``size`` are left out, as are those that cannot be read. ``reasons`` names them; a file
    that turns out to be damaged only when it is shown joins them, and the next file stands in for it.

    A file is held out by the hash of its path in the folder, whatever else the folder holds: about one in
    twenty. Where no file falls among those, the one with the smallest hash is held out.

    Raises ConfigError: other than 1 or 3 channels; ImageError: fewer than two files can be used.
    """

    has_masks = False

    def __init__(self, folder: str | Path, size: tuple[int, int], channels: int, seed: int) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"photographs have 1 or 3 channels, and the network takes {channels}")
        self.folder, self.size, self.channels, self.seed = Path(folder), size, channels, seed
        self.reasons: dict[str, str] = {}
        self._kept: dict[str, Tensor] = {}
        self._bytes = 0
        names = [path.relative_to(self.folder).as_posix() for path in image_files(self.folder)]
        ordered = sorted(filter(self._has_a_head, names), key=_hash_of)
        for end in (0, -1):  # one to hold out, and one to train on, at least, can be read
            while ordered and self._read(ordered[end], keep=False) is None:
                del ordered[end]
        if len(ordered) < 2:
            raise ImageError(self._too_few(len(ordered)))
        held = sum(_hash_of(name) < HELD_OUT_SHARE for name in ordered)
        held = min(max(held, 1), len(ordered) - 1)
        self.names, self.held_names = sorted(ordered[held:]), ordered[:held]
        self.count = len(self.names)

    def batch(self, step: int, count: int) -> ImageBatch:
        """Random crops of random images, none of them held out."""
        generator = generator_at(self.seed, step)
        index = torch.randint(self.count, (count,), generator=generator).tolist()
        return ImageBatch(random_crops([self._at_or_after(place) for place in index], self.size, generator))

    def held_out(self, count: int) -> ImageBatch:
        """The middle of each held-out image; of fewer than 16 images also other crops of them."""
        read = (self._read(name, keep=False) for name in self.held_names)
        whole: list[Tensor] = []
        middles: list[Tensor] = []
        for image in islice((one for one in read if one is not None), count):
            middles.append(fit(image.float().div_(255), self.size))
            whole += [image] * (len(whole) < WATCHED)
        if not middles:
            raise self._none_left()
        if more := range(len(middles), min(count, WATCHED)):
            again = [whole[place % len(whole)] for place in more]
            middles.append(random_crops(again, self.size, generator_at(0, 0)))
        return ImageBatch(torch.cat(middles))

    def read_all(self) -> None:
        """Read every image now, as far as they can be kept."""
        for name in (*self.names, *self.held_names):
            self._read(name)

    def _none_left(self) -> ImageError:
        return ImageError(f"no image of {self.folder} can be read any more: check the folder")

    def _too_few(self, usable: int) -> str:
        height, width = self.size
        text = (
            f"{self.folder} holds {usable or 'no'} usable image{'s' * (usable != 1)}, and two are needed, "
            f"one of them to be held out ({', '.join(IMAGE_SUFFIXES)}; {width}×{height} pixels or more)"
        )
        if not self.reasons:
            return f"{text}: name another folder"
        name, reason = next(iter(self.reasons.items()))
        return f"{text}; {len(self.reasons)} cannot be used, such as {name}: {reason}"

    def _has_a_head(self, name: str) -> bool:
        """Whether a file looks like an image that is large enough; only its head is read."""
        try:
            with Image.open(self.folder / name) as image:
                wide, tall = image.size
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            self.reasons[name] = "it has too many pixels: make it smaller first"
        except Exception as error:  # Pillow raises nearly anything on damaged files
            self.reasons[name] = f"it cannot be read ({error})"
        else:
            # lying on its side, height and width are exchanged: what can be told without turning it
            if min(wide, tall) >= min(self.size) and max(wide, tall) >= max(self.size):
                return True
            self.reasons[name] = _too_small(tall, wide)
        return False

    def _at_or_after(self, place: int) -> Tensor:
        """The image at a place, or the next one that can be read."""
        for ahead in range(self.count):
            image = self._read(self.names[(place + ahead) % self.count])
            if image is not None:
                return image
        raise self._none_left()

    def _read(self, name: str, keep: bool = True) -> Tensor | None:
        """An image (1, C, h, w) uint8, reduced to what crops need; None if it cannot be used."""
        if name in self._kept or name in self.reasons:
            return self._kept.get(name)
        try:
            image = read_for(self.folder / name, self.channels, self.size)
        except ImageError as error:
            self.reasons[name] = str(error)
            return None
        tall, wide = image.shape[-2:]
        if tall < self.size[0] or wide < self.size[1]:
            self.reasons[name] = _too_small(tall, wide)
            return None
        scale = DETAIL * max(self.size[0] / tall, self.size[1] / wide)
        if scale < 1:
            image = fit(image, (round(scale * tall), round(scale * wide)), "stretch")
        found = image.mul_(255).round_().to(torch.uint8)
        if keep and self._bytes + found.numel() <= MEMORY:
            self._kept[name] = found
            self._bytes += found.numel()
        return found


def shipped_photographs(size: tuple[int, int], channels: int, seed: int) -> FolderImages:
    """The seven photographs that come with netinvert, 256×256, as a source.

    Six are trained on and one, the raccoon, is held out by the rule of all folders. Other crops of the six
    would not do: a decoder that has learnt six images by heart would seem good on them.
    """
    with as_file(DATA / "photographs") as folder:
        source = FolderImages(folder, size, channels, seed)
        source.read_all()  # in a zipped package, the folder is gone afterwards
    return source


def random_crops(images: list[Tensor], size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One random crop, mirrored or not, of each image (1, C, h, w) uint8: (N, C, *size) in [0, 1]."""
    draws = torch.rand((len(images), 4), generator=generator).tolist()
    return torch.cat([_crop(image, size, *draw) for image, draw in zip(images, draws, strict=True)])


def _crop(image: Tensor, size: tuple[int, int], *draw: float) -> Tensor:
    scale, down, right, mirror = draw
    tall, wide = image.shape[-2:]
    largest = min(tall / size[0], wide / size[1])  # pixels of the image for one of the crop
    least = max(1.0, LEAST * largest)
    step = least + (largest - least) * scale
    height, width = min(round(step * size[0]), tall), min(round(step * size[1]), wide)
    top, left = int(down * (tall - height + 1)), int(right * (wide - width + 1))
    part = image[:, :, top : top + height, left : left + width].float().div_(255)
    part = fit(part, size, "stretch")
    return part.flip(-1) if mirror < 0.5 else part


def read_for(path: Path, channels: int, size: tuple[int, int]) -> Tensor:
    """As ``read_image``; but a large JPEG is decoded smaller, which takes a tenth of the time."""
    try:
        with Image.open(path) as image:
            # of either orientation, for it may lie on its side
            scale = DETAIL * max(size) / min(image.size)
            if image.format == "JPEG" and image.mode in ("L", "RGB") and scale <= 0.5:
                wide, tall = (math.ceil(scale * side) for side in image.size)
                image.draft(image.mode, (wide, tall))
                return as_images(image, channels)
    except Exception as error:  # Pillow raises nearly anything on damaged files
        raise ImageError(f"{path} cannot be read ({error}): get it again") from error
    return read_image(path, channels)


def _too_small(height: int, width: int) -> str:
    return f"it has {width}×{height} pixels: take a smaller size, or larger images"


def _hash_of(name: str) -> float:
    """A number in [0, 1) that follows from a path in a folder, whichever way a system spells accents."""
    spelt = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(spelt).digest()[:6], "big") / 2**48
