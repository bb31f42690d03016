"""The images that decoders are trained on: a batch a step, and some that are held out.

Every batch is a function of (seed, step) alone, so a training that was stopped goes on exactly as it
would have gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from netinvert.io.images import LUMA, fit
from netinvert.io.running import generator_at
from netinvert.scenes.augment import POOL, Views, background_pool, mirrored, shifted
from netinvert.scenes.dataset_reader import Damaged, load_arrays

PAPER, PLAIN = 0.5, 0.25
"""The shares of renders on greyish paper, and on any one colour; the others are on textures."""
LIGHTNESS, TINT = (0.6, 0.95), 0.04
"""Of paper: the range of its grey, and the deviation of its channels from that."""
HELD_OUT_STEP = 1 << 39
"""A step that no training reaches, for what is drawn of held-out images."""


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


class SceneImages:
    """Renders of a scenes dataset, mirrored and shifted, on paper, plain colours or textures."""

    has_masks = True

    def __init__(self, folder: Path, seed: int, damaged: Damaged = "refuse") -> None:
        arrays = load_arrays(folder, "train", damaged)
        self.skipped = arrays.skipped
        self.rgba = Views.of(arrays).rgba
        self.others = Views.of(load_arrays(folder, "validation")).rgba
        self.seed, self.count = seed, len(self.rgba)
        self.size = (self.rgba.shape[-2], self.rgba.shape[-1])
        self.pool = background_pool(seed, self.size[0], POOL)

    def batch(self, step: int, count: int) -> ImageBatch:
        """Random views of the train split."""
        generator = generator_at(self.seed, step)
        index = torch.randint(self.count, (count,), generator=generator)
        rgba = self.rgba[index].float().div_(255)
        rgba, _ = mirrored(rgba, torch.eye(3).expand(count, 3, 3), generator)
        return on_backgrounds(shifted(rgba, generator), self.pool, generator)

    def held_out(self, count: int) -> ImageBatch:
        """Views of the validation split, spread over its identities, neither mirrored nor shifted."""
        generator = generator_at(self.seed, HELD_OUT_STEP)
        index = torch.randperm(len(self.others), generator=generator)[:count]
        return on_backgrounds(self.others[index].float().div_(255), self.pool, generator)


def on_backgrounds(rgba: Tensor, pool: Tensor, generator: torch.Generator) -> ImageBatch:
    """RGBA (B, 4, H, W) in [0, 1] on paper, plain colours, or textures of ``pool`` (P, 3, H, W) uint8."""
    count = len(rgba)
    behind = pool[torch.randint(len(pool), (count,), generator=generator)].float().div_(255)
    grey = torch.empty((count, 1, 1, 1)).uniform_(*LIGHTNESS, generator=generator)
    paper = grey + TINT * torch.randn((count, 3, 1, 1), generator=generator)
    plain = torch.rand((count, 3, 1, 1), generator=generator)
    kind = torch.rand((count, 1, 1, 1), generator=generator)
    behind = torch.where(kind < PAPER, paper.clamp_(0, 1), torch.where(kind < PAPER + PLAIN, plain, behind))
    colour, alpha = rgba[:, :3], rgba[:, 3:]
    return ImageBatch(behind + alpha * (colour - behind), alpha.contiguous())


class FittedImages:
    """The images of another source at another size, or in grey.

    They are made smaller with antialiasing, or larger (and no sharper) by interpolation; of other proportions
    the middle is cut out. Masks go along.
    """

    def __init__(self, source: ImageSource, size: tuple[int, int], channels: int) -> None:
        self.source, self.size, self.channels = source, size, channels
        self.has_masks, self.count = source.has_masks, source.count
        self.seed: int | None = getattr(source, "seed", None)

    def batch(self, step: int, count: int) -> ImageBatch:
        """The source's batch, fitted."""
        return self._fitted(self.source.batch(step, count))

    def held_out(self, count: int) -> ImageBatch:
        """The source's held-out images, fitted."""
        return self._fitted(self.source.held_out(count))

    def _fitted(self, batch: ImageBatch) -> ImageBatch:
        images = batch.images
        if self.channels == 1 < images.shape[1]:
            images = (images * torch.tensor(LUMA, dtype=images.dtype)[:, None, None]).sum(1, keepdim=True)
        images = images.expand(-1, self.channels, -1, -1)
        masks = None if batch.masks is None else fit(batch.masks, self.size)
        return ImageBatch(fit(images, self.size), masks)
