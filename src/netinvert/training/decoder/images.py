"""The pictures that decoders are trained on: a batch a step, and some that are held out.

Every batch is a function of (seed, step) alone, so a training that was stopped goes on exactly as it
would have gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from netinvert.io.seeds import generator_at
from netinvert.scenes.augment import POOL, Views, background_pool, mirrored, shifted
from netinvert.scenes.dataset_reader import Damaged, load_arrays

PAPER, PLAIN = 0.5, 0.25
"""The shares of renders before greyish paper, and before any one colour; the others stand before textures."""
LIGHTNESS, TINT = (0.6, 0.95), 0.04
"""Of paper: the range of its grey, and the deviation of its channels from that."""
HELD_OUT = 1 << 39
"""A step that no training reaches, for what is drawn of held-out pictures."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """``images`` (B, C, H, W) in [0, 1]; ``masks`` (B, 1, H, W) in [0, 1] where the objects are, and
    ``codes`` (B, ...) of the images, where these are known."""

    images: Tensor
    masks: Tensor | None = None
    codes: Tensor | None = None

    def to(self, device: torch.device) -> Pictures:
        """The same on another device."""
        moved = (None if one is None else one.to(device) for one in (self.masks, self.codes))
        return Pictures(self.images.to(device), *moved)


class PictureSource(Protocol):
    """Where pictures for a training come from."""

    has_masks: bool
    size: tuple[int, int]
    count: int
    """How many different pictures there are, before any changes to them."""

    def batch(self, step: int, count: int) -> Pictures:
        """``count`` pictures of a step; the same each time."""

    def held_out(self, count: int) -> Pictures:
        """Up to ``count`` pictures that no batch ever shows, always the same."""


class ScenePictures:
    """Renders of a scenes dataset, mirrored and shifted, before paper, plain colours or textures."""

    has_masks = True

    def __init__(self, folder: Path, seed: int, damaged: Damaged = "refuse") -> None:
        arrays = load_arrays(folder, "train", damaged)
        self.skipped = arrays.skipped
        self.rgba = Views.of(arrays).rgba
        self.others = Views.of(load_arrays(folder, "validation")).rgba
        self.seed, self.count = seed, len(self.rgba)
        self.size = (self.rgba.shape[-2], self.rgba.shape[-1])
        self.pool = background_pool(seed, self.size[0], POOL)

    def batch(self, step: int, count: int) -> Pictures:
        """Random views of the train split."""
        generator = generator_at(self.seed, step)
        index = torch.randint(self.count, (count,), generator=generator)
        rgba = self.rgba[index].float().div_(255)
        rgba, _ = mirrored(rgba, torch.eye(3).expand(count, 3, 3), generator)
        return before_backgrounds(shifted(rgba, generator), self.pool, generator)

    def held_out(self, count: int) -> Pictures:
        """Views of the validation split, spread over its identities, neither mirrored nor shifted."""
        generator = generator_at(self.seed, HELD_OUT)
        index = torch.randperm(len(self.others), generator=generator)[:count]
        return before_backgrounds(self.others[index].float().div_(255), self.pool, generator)


def before_backgrounds(rgba: Tensor, pool: Tensor, generator: torch.Generator) -> Pictures:
    """RGBA (B, 4, H, W) in [0, 1] before paper, plain colours, or textures of ``pool`` (P, 3, H, W) uint8."""
    count = len(rgba)
    behind = pool[torch.randint(len(pool), (count,), generator=generator)].float().div_(255)
    grey = torch.empty((count, 1, 1, 1)).uniform_(*LIGHTNESS, generator=generator)
    paper = grey + TINT * torch.randn((count, 3, 1, 1), generator=generator)
    plain = torch.rand((count, 3, 1, 1), generator=generator)
    kind = torch.rand((count, 1, 1, 1), generator=generator)
    behind = torch.where(kind < PAPER, paper.clamp_(0, 1), torch.where(kind < PAPER + PLAIN, plain, behind))
    colour, alpha = rgba[:, :3], rgba[:, 3:]
    return Pictures(behind + alpha * (colour - behind), alpha.contiguous())
