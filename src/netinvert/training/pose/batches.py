"""Training batches: pairs of views, mirrored, shifted, recoloured, on random backgrounds.

Every batch is a function of (seed, step) alone, so a training that was stopped goes on exactly as it
would have gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.running import generator_at
from netinvert.scenes.augment import Views, background_pool, mirrored, shifted

NOISE = 64  # frames of noise


@dataclass(frozen=True, eq=False)
class PoseBatch:
    """``images`` (B, 3, H, W) in [0, 1]; views 2k and 2k + 1 show the same object. ``rotation`` (B, 3, 3),
    ``symmetry`` (B,)."""

    images: Tensor
    rotation: Tensor
    symmetry: Tensor

    def to(self, device: torch.device) -> PoseBatch:
        """The same on another device."""
        return PoseBatch(self.images.to(device), self.rotation.to(device), self.symmetry.to(device))


class PoseBatches:
    """Makes batches of ``size`` views, half as many identities, from views in memory."""

    def __init__(self, views: Views, size: int, seed: int) -> None:
        if size < 4 or size % 4:
            raise ConfigError(f"a batch of {size} views: give a multiple of 4, such as 64")
        if size // 2 > len(views.table):
            raise ConfigError(
                f"a batch of {size} views needs {size // 2} identities, the dataset has {len(views.table)}: "
                "give a smaller batch or render more"
            )
        self.views, self.size, self.seed = views, size, seed
        side = views.rgba.shape[-1]
        self.pool = background_pool(seed, side)
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn((NOISE, 3, side, side), generator=generator)

    def __call__(self, step: int) -> PoseBatch:
        """The batch of a step."""
        generator = generator_at(self.seed, step)
        views, count = self.views, self.size // 2
        identities = torch.randperm(len(views.table), generator=generator)[:count]
        chosen = torch.stack(
            [torch.randperm(views.table.shape[1], generator=generator)[:2] for _ in range(count)]
        )
        index = views.table[identities[:, None], chosen].flatten()
        rgba = views.rgba[index].float().div_(255)
        rotation, symmetry = views.rotation[index], views.symmetry[index]
        rgba, rotation = mirrored(rgba, rotation, generator)
        rgba = shifted(rgba, generator)
        images = self._composed(rgba, generator)
        return PoseBatch(images, rotation, symmetry)

    def _composed(self, rgba: Tensor, generator: torch.Generator) -> Tensor:
        """The objects recoloured, on backgrounds, some occluded or blurred, with noise and other contrast."""
        count = len(rgba)
        behind = self._backgrounds(count, generator)
        colour, alpha = recoloured(rgba[:, :3], generator), rgba[:, 3:]
        images = behind + alpha * (colour - behind)
        self._occlude(images, generator)
        contrast = 0.75 + 0.5 * torch.rand((count, 1, 1, 1), generator=generator)
        shift = 0.2 * torch.rand((count, 1, 1, 1), generator=generator) - 0.1
        images = (images - 0.5) * contrast + 0.5 + shift
        blurred = (torch.rand(count, generator=generator) < 0.15).nonzero().squeeze(1)
        if len(blurred):
            padded = F.pad(images[blurred], (1, 1, 1, 1), mode="replicate")
            images[blurred] = F.avg_pool2d(padded, 3, 1)
        strength = 0.03 * torch.rand((count, 1, 1, 1), generator=generator)
        images += strength * self.noise[torch.randint(NOISE, (count,), generator=generator)]
        return images.clamp_(0, 1)

    def _backgrounds(self, count: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(self.pool), (count,), generator=generator)
        behind = self.pool[index].float().div_(255)
        turned = (torch.rand(count, generator=generator) < 0.5).nonzero().squeeze(1)
        behind[turned] = behind[turned].flip(-1)
        order = torch.rand((count, 3), generator=generator).argsort(1)
        return behind.gather(1, order[:, :, None, None].expand_as(behind))

    def _occlude(self, images: Tensor, generator: torch.Generator) -> None:
        """A rectangle of another background over one image in eight."""
        side = images.shape[-1]
        for k in (torch.rand(len(images), generator=generator) < 0.12).nonzero().squeeze(1).tolist():
            h, w = (torch.rand(2, generator=generator) * 0.35 * side + 4).long().tolist()
            top = int(torch.randint(side - h + 1, (1,), generator=generator))
            left = int(torch.randint(side - w + 1, (1,), generator=generator))
            pick = int(torch.randint(len(self.pool), (1,), generator=generator))
            images[k, :, top : top + h, left : left + w] = self.pool[pick, :, :h, :w].float() / 255


def recoloured(colour: Tensor, generator: torch.Generator) -> Tensor:
    """Colours (B, 3, H, W) mixed by a random matrix, sometimes with exchanged channels.

    Both views of a pair get the same: an object keeps its colours when the camera moves.
    """
    pairs = len(colour) // 2
    matrix = torch.eye(3) + 0.15 * torch.randn((pairs, 3, 3), generator=generator)
    order = torch.rand((pairs, 3), generator=generator).argsort(1)
    exchanged = torch.rand(pairs, generator=generator) < 0.4
    matrix[exchanged] = matrix[exchanged].gather(1, order[exchanged][:, :, None].expand(-1, -1, 3))
    matrix = (matrix * (0.7 + 0.6 * torch.rand((pairs, 1, 1), generator=generator))).repeat_interleave(2, 0)
    return torch.einsum("bij,bjhw->bihw", matrix, colour).clamp_(0, 1)
