"""Batches for pose networks: pairs of views of an object, mirrored, shifted, recoloured, on backgrounds.

Every batch is a function of (seed, step) alone, so a training that was stopped goes on exactly as it would
have gone. What is random is drawn on the CPU; the pixels are worked on where the views are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.assets import photographs
from netinvert.io.running import generator_at, sent
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.dataset_reader import POOL, Views, background_pool, jitter, jittered_by, mirrored

NOISE = 64  # frames of noise
OCCLUDED, BLURRED = 0.12, 0.15
"""Shares of the images."""
SYMMETRIC = 3.0
"""Objects without a front are rare, and shown so many times as often."""
TEXTURES, PHOTOGRAPHS, PLAIN, VARIED = "textures", "photographs", "plain", "varied"
SURROUNDINGS = (TEXTURES, PHOTOGRAPHS, PLAIN, VARIED)
"""What stands behind the objects: textures (and the objects are recoloured), crops of the photographs that
come with netinvert and plain colours, grey paper alone, or the first two mixed (recoloured, too)."""


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
        self.compose: Callable[[Tensor, Tensor, Tensor, Drawn], Tensor] = composed
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
        drawn = self._drawn(index, generator)
        rotation = mirrored(views.rotation[index], drawn.flipped)
        device = views.rgba.device
        images = self.compose(views.rgba, self.pool, self.noise, drawn.to(device))
        return PoseBatch(images, sent(rotation, device), sent(views.symmetry[index], device))

    def _drawn(self, index: Tensor, generator: torch.Generator) -> Drawn:
        count, side = len(index), self.pool.shape[-1]
        plain, coloured = self.surroundings == PLAIN, self.surroundings in (TEXTURES, VARIED)

        def share(*shape: int) -> Tensor:
            return torch.rand((count, *shape), generator=generator)

        flipped, places = jitter(count, side, generator)
        behind, over = torch.randint(len(self.pool), (2, count), generator=generator)
        order = share(3).argsort(1)
        colours = colour_matrices(count // 2, generator).repeat_interleave(2, 0)
        occluded = (share(1) < OCCLUDED) & (not plain)
        length = 0.35 * side * share(2) + 4
        first = (share(2) * (side - length)).floor()
        return Drawn(
            index=index,
            flipped=flipped,
            places=places,
            behind=behind,
            turned=share() < 0.5,
            order=torch.arange(3).expand(count, 3) if plain else order,
            colours=colours if coloured else torch.eye(3).expand(count, 3, 3),
            over=over,
            covered=torch.where(occluded, torch.cat([first, first + length], 1), 0.0),
            contrast=0.75 + 0.5 * share(),
            shift=0.5 + 0.2 * share() - 0.1,
            blurred=share() < BLURRED,
            strength=0.03 * share(),
            frames=torch.randint(NOISE, (count,), generator=generator),
        )


@dataclass(frozen=True, eq=False)
class Drawn:
    """All that is random in the images of B views, (B,) unless said otherwise: which view it is, whether it
    is mirrored, ``places`` (B, 2) by which it is moved; the background ``behind``, mirrored where
    ``turned``, its channels in some ``order`` (B, 3); ``colours`` (B, 3, 3) that mix the object's; the
    background ``over`` it in the rectangle ``covered`` (B, 4), first row and column to last; ``contrast``
    and ``shift`` of the grey values; whether it is ``blurred``; ``strength`` and ``frames`` of the noise."""

    index: Tensor
    flipped: Tensor
    places: Tensor
    behind: Tensor
    turned: Tensor
    order: Tensor
    colours: Tensor
    over: Tensor
    covered: Tensor
    contrast: Tensor
    shift: Tensor
    blurred: Tensor
    strength: Tensor
    frames: Tensor

    def to(self, device: torch.device) -> Drawn:
        """The same on another device."""
        return Drawn(**{field.name: sent(getattr(self, field.name), device) for field in fields(self)})


def composed(planes: Tensor, pool: Tensor, noise: Tensor, drawn: Drawn) -> Tensor:
    """Images (B, 3, H, W): views of ``planes`` (N, 4, H, W) uint8 recoloured, before backgrounds of ``pool``
    (P, 3, H, W) uint8, some occluded or blurred, with ``noise`` (F, 3, H, W) and other contrast.

    No shape in it hangs on what was drawn, so that it can be compiled."""

    def wide(values: Tensor) -> Tensor:
        return values[:, None, None, None]

    rgba = jittered_by(planes, drawn.index, drawn.flipped, drawn.places)
    colour, alpha = torch.einsum("bij,bjhw->bihw", drawn.colours, rgba[:, :3]).clamp(0, 1), rgba[:, 3:]
    behind = pool[drawn.behind[:, None], drawn.order].float() / 255
    behind = torch.where(wide(drawn.turned), behind.flip(-1), behind)
    images = behind + alpha * (colour - behind)
    place = torch.arange(images.shape[-1], device=images.device)
    first, last = drawn.covered[:, :2, None], drawn.covered[:, 2:, None]
    rows, columns = ((place >= first) & (place < last)).unbind(1)
    covered = rows[:, None, :, None] & columns[:, None, None, :]
    images = torch.where(covered, pool[drawn.over].float() / 255, images)
    images = (images - 0.5) * wide(drawn.contrast) + wide(drawn.shift)
    smooth = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = torch.where(wide(drawn.blurred), smooth, images)
    return (images + wide(drawn.strength) * noise[drawn.frames]).clamp(0, 1)


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


def colour_matrices(count: int, generator: torch.Generator) -> Tensor:
    """Random matrices (B, 3, 3) that mix colours, sometimes with exchanged channels.

    Both views of a pair get the same: an object keeps its colours when the camera moves.
    """
    matrix = torch.eye(3) + 0.15 * torch.randn((count, 3, 3), generator=generator)
    order = torch.rand((count, 3), generator=generator).argsort(1)
    exchanged = torch.rand((count, 1, 1), generator=generator) < 0.4
    matrix = torch.where(exchanged, matrix.gather(1, order[:, :, None].expand(-1, -1, 3)), matrix)
    return matrix * (0.7 + 0.6 * torch.rand((count, 1, 1), generator=generator))
