"""Random crops of pictures, which are kept no larger than their crops need them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from netinvert.errors import ImageError
from netinvert.images import fit, read_image

LEAST = 0.6
"""Side of the smallest crop, as a share of the largest that the picture has."""
DETAIL = 2
"""Pictures are kept at so many times the size: as large as any crop needs them."""


def random_crops(pictures: list[Tensor], size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One random crop, mirrored or not, of each picture (1, C, h, w) uint8: (N, C, *size) in [0, 1]."""
    draws = torch.rand((len(pictures), 4), generator=generator).tolist()
    return torch.cat([_crop(picture, size, *draw) for picture, draw in zip(pictures, draws, strict=True)])


def _crop(picture: Tensor, size: tuple[int, int], *draw: float) -> Tensor:
    scale, down, right, mirror = draw
    tall, wide = picture.shape[-2:]
    largest = min(tall / size[0], wide / size[1])  # pixels of the picture for one of the crop
    least = max(1.0, LEAST * largest)
    step = least + (largest - least) * scale
    height, width = min(round(step * size[0]), tall), min(round(step * size[1]), wide)
    top, left = int(down * (tall - height + 1)), int(right * (wide - width + 1))
    part = picture[:, :, top : top + height, left : left + width].float().div_(255)
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
                pixels = np.array(ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L"))
                pixels = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
                return torch.from_numpy(np.ascontiguousarray(pixels))[None].float().div_(255)
    except Exception as error:  # Pillow raises nearly anything on damaged files
        raise ImageError(f"{path} cannot be read ({error}): get it again") from error
    return read_image(path, channels)


def reduced(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image with ``DETAIL`` times the pixels that its largest crop needs, or as it is."""
    tall, wide = image.shape[-2:]
    scale = DETAIL * max(size[0] / tall, size[1] / wide)
    if scale >= 1:
        return image
    return fit(image, (round(scale * tall), round(scale * wide)), "stretch")
