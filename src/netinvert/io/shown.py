"""Images as a notebook shows them."""

from __future__ import annotations

import base64
import html
import math
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from netinvert.io.images import png_bytes, to_pil

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

    def __repr__(self) -> str:
        """On one line, for terminals."""
        return f"<{len(self.images)} images of {'×'.join(map(str, self.images.shape[1:]))}>"

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
