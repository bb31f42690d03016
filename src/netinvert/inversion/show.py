"""Images in a notebook, or as one Pillow image."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.images import ImageLike, as_images, png_bytes, to_pil

if TYPE_CHECKING:
    from netinvert.inversion.result import Result

SMALLEST = 192
"""Images of fewer pixels a side are shown larger, each pixel a square."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Images (N, C, H, W), each with a caption, for a notebook; :meth:`pil` makes one image of them."""

    images: Tensor
    captions: tuple[str, ...]

    def pil(self, columns: int | None = None) -> Image.Image:
        """A grid of all images, white between them, without captions."""
        count, _, height, width = self.images.shape
        columns = columns or math.ceil(math.sqrt(count))
        tiles = [to_pil(image) for image in self.images]
        size = (columns * (width + 4) - 4, math.ceil(count / columns) * (height + 4) - 4)
        grid = Image.new("RGB", size, "white")
        for index, tile in enumerate(tiles):
            grid.paste(tile, (index % columns * (width + 4), index // columns * (height + 4)))
        return grid

    def _repr_html_(self) -> str:
        height, width = self.images.shape[-2:]
        scale = max(1, math.ceil(SMALLEST / max(height, width)))
        figures = []
        for image, caption in zip(self.images, map(html.escape, self.captions), strict=True):
            source = f"data:image/png;base64,{base64.b64encode(png_bytes(image)).decode()}"
            size = f'width="{scale * width}" height="{scale * height}" style="image-rendering:pixelated"'
            figures.append(
                '<figure style="display:inline-block;margin:0 8px 8px 0;vertical-align:top">'
                f'<img src="{source}" alt="{caption}" {size}>'
                f'<figcaption style="max-width:{scale * width}px">{caption}</figcaption></figure>'
            )
        return f"<div>{''.join(figures)}</div>"


def show(
    images: ImageLike | Result | Sequence[ImageLike], captions: str | Sequence[str] | None = None
) -> Shown:
    """Show images in a notebook: tensors, files, Pillow images, a Result, or a list of images of one size.

    ``captions``: one each, or one for all. Values outside [0, 1] are clipped. Raises ImageError, ConfigError.

    >>> show(torch.zeros(2, 3, 8, 8), ["first", "second"]).pil(columns=2).size
    (20, 8)
    """
    from netinvert.inversion.result import Result

    if isinstance(images, Result) and captions is None:
        captions = images._values()
    several: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
    tensors = [one.image if isinstance(one, Result) else _clipped(one) for one in several]
    if len({tensor.shape[1:] for tensor in tensors}) != 1:
        raise ConfigError("images shown together have one size: use netinvert.fit, or show them one by one")
    together = torch.cat([tensor.detach().cpu().float() for tensor in tensors])
    if captions is None or isinstance(captions, str):
        captions = [captions or ""] * len(together)
    if len(captions) != len(together):
        raise ConfigError(
            f"{len(captions)} captions for {len(together)} images; give one each, or one for all"
        )
    return Shown(together, tuple(captions))


def _clipped(images: ImageLike) -> Tensor:
    if isinstance(images, Tensor) and images.is_floating_point():
        images = images.detach().clamp(0, 1)
    return as_images(images)
