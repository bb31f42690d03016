"""Batches for pose networks: pairs of views of an object, mirrored, shifted, recoloured, on backgrounds.

Every batch is a function of (seed, step) alone, so a training that was stopped goes on exactly as it would
have gone. What is random is drawn on the CPU; the pixels are worked on where the views are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.assets import photographs
from netinvert.io.running import generator_at, sent
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.dataset_reader import POOL, Views, background_pool, jittered

NOISE = 64  # frames of noise
SYMMETRIC = 3.0
"""Objects without a front are rare, and shown so many times as often."""
TEXTURES, PHOTOGRAPHS, PLAIN, VARIED = "textures", "photographs", "plain", "varied"
SURROUNDINGS = (TEXTURES, PHOTOGRAPHS, PLAIN, VARIED)
"""What stands behind the objects: textures (and the objects are recoloured), crops of the photographs that
come with netinvert and plain colours, grey paper alone, or the first two mixed (recoloured, too)."""


@dataclass(frozen=True, eq=False)
class PoseBatch:
    """``images`` (B, 3, H, W) in [0, 1]; views 2k and 2k + 1 show the same object. ``rotation`` (B, 3, 3).
    ``symmetry`` (B,) stays on the CPU, where it is asked for."""

    images: Tensor
    rotation: Tensor
    symmetry: Tensor

    def to(self, device: torch.device) -> PoseBatch:
        """The same on another device."""
        return PoseBatch(self.images.to(device), self.rotation.to(device), self.symmetry)


class PoseBatches:
    """Makes batches of ``size`` views, half as many identities, from views in memory, in SURROUNDINGS;
    before ``pool``, if it is at hand, in place of what ``surroundings_pool`` makes."""

    def __init__(
        self, views: Views, size: int, seed: int, surroundings: str = TEXTURES, pool: Tensor | None = None
    ) -> None:
        if size < 4 or size % 4:
            raise ConfigError(f"a batch of {size} views: give a multiple of 4, such as 64")
        if size // 2 > len(views.counts):
            raise ConfigError(
                f"a batch of {size} views needs {size // 2} identities, the dataset has {len(views.counts)}: "
                "give a smaller batch or render more"
            )
        self.views, self.size, self.seed, self.surroundings = views, size, seed, surroundings
        side = views.rgba.shape[-1]
        self.pool = surroundings_pool(surroundings, seed, side) if pool is None else pool
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn((NOISE, 3, side, side), generator=generator)
        symmetric = views.symmetry[views.starts] != 1
        self.weights = views.counts * torch.where(symmetric, SYMMETRIC, 1.0)

    def to(self, device: torch.device) -> PoseBatches:
        """Work there from now on, on all views at once."""
        self.views = replace(self.views, rgba=self.views.rgba.to(device))
        self.pool, self.noise = self.pool.to(device), self.noise.to(device)
        return self

    def __call__(self, step: int) -> PoseBatch:
        """The batch of a step."""
        generator = generator_at(self.seed, step)
        views, count = self.views, self.size // 2
        chosen = torch.multinomial(self.weights, count, generator=generator)
        starts, counts = views.starts[chosen], views.counts[chosen]
        draws = torch.rand((2, count), generator=generator)
        first = (draws[0] * counts).long()
        second = (first + 1 + (draws[1] * (counts - 1)).long()) % counts
        index = torch.stack([starts + first, starts + second], 1).flatten()
        rgba, rotation = jittered(views.rgba, views.rotation[index], index, generator)
        return PoseBatch(self._composed(rgba, generator), sent(rotation, rgba.device), views.symmetry[index])

    def _composed(self, rgba: Tensor, generator: torch.Generator) -> Tensor:
        """The objects recoloured, on backgrounds, some occluded or blurred, with noise and other contrast."""
        count, device = len(rgba), rgba.device
        behind = self._backgrounds(count, generator)
        colour, alpha = rgba[:, :3], rgba[:, 3:]
        if self.surroundings in (TEXTURES, VARIED):
            colour = recoloured(colour, generator)
        images = behind + alpha * (colour - behind)
        if self.surroundings != PLAIN:
            self._occlude(images, generator)
        contrast = 0.75 + 0.5 * torch.rand((count, 1, 1, 1), generator=generator)
        shift = 0.2 * torch.rand((count, 1, 1, 1), generator=generator) - 0.1
        images = (images - 0.5) * sent(contrast, device) + sent(0.5 + shift, device)
        blurred = sent((torch.rand(count, generator=generator) < 0.15).nonzero().squeeze(1), device)
        if len(blurred):
            padded = F.pad(images[blurred], (1, 1, 1, 1), mode="replicate")
            images[blurred] = F.avg_pool2d(padded, 3, 1)
        strength = 0.03 * torch.rand((count, 1, 1, 1), generator=generator)
        frames = torch.randint(NOISE, (count,), generator=generator)
        images += sent(strength, device) * self.noise[sent(frames, device)]
        return images.clamp_(0, 1)

    def _backgrounds(self, count: int, generator: torch.Generator) -> Tensor:
        device = self.pool.device
        index = torch.randint(len(self.pool), (count,), generator=generator)
        turned = torch.rand(count, generator=generator) < 0.5
        order = torch.rand((count, 3), generator=generator).argsort(1)
        if self.surroundings == PLAIN:
            order = torch.arange(3).expand(count, 3)
        behind = self.pool[sent(index, device)[:, None], sent(order, device)].float().div_(255)
        return torch.where(sent(turned, device)[:, None, None, None], behind.flip(-1), behind)

    def _occlude(self, images: Tensor, generator: torch.Generator) -> None:
        """A rectangle of another background over one image in eight."""
        side, device = images.shape[-1], images.device
        chosen = (torch.rand(len(images), generator=generator) < 0.12).nonzero().squeeze(1)
        if not len(chosen):
            return
        tall, wide, down, right = torch.rand((4, len(chosen)), generator=generator)
        pick = sent(torch.randint(len(self.pool), (len(chosen),), generator=generator), device)
        place = torch.arange(side, device=device)

        def between(share: Tensor, length: Tensor) -> Tensor:
            first = (share * (side - length)).floor()
            low, high = sent(first, device)[:, None], sent(first + length, device)[:, None]
            return (place >= low) & (place < high)

        rows, columns = between(down, 0.35 * side * tall + 4), between(right, 0.35 * side * wide + 4)
        covered = rows[:, None, :, None] & columns[:, None, None, :]
        own = sent(chosen, device)
        images[own] = torch.where(covered, self.pool[pick].float() / 255, images[own])


def surroundings_pool(surroundings: str, seed: int, side: int) -> Tensor:
    """Backgrounds (P, 3, side, side) uint8 of one of SURROUNDINGS."""
    if surroundings == PLAIN:
        return torch.tensor(PAPER, dtype=torch.uint8)[None, :, None, None].expand(1, 3, side, side)
    if surroundings == TEXTURES:
        return background_pool(seed, side)
    if surroundings == VARIED:
        return torch.cat([surroundings_pool(one, seed, side) for one in (TEXTURES, PHOTOGRAPHS)])
    _, images = photographs((256, 256))
    shots = tuple((255 * one.permute(1, 2, 0)).round().to(torch.uint8).numpy() for one in images)
    kinds = (PHOTOGRAPHS, PHOTOGRAPHS, PLAIN, "gradient")
    return torch.cat(
        [background_pool(seed + k, side, POOL // 4, kind, shots) for k, kind in enumerate(kinds)]
    )


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
    return torch.einsum("bij,bjhw->bihw", sent(matrix, colour.device), colour).clamp_(0, 1)
