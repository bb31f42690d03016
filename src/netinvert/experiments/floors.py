"""What images know of codes without inverting them: the floors and the ceiling of tables of methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.experiments.held_out_chairs import FreshChairs
from netinvert.io.cells import Cell, Kept, Piece
from netinvert.io.rundir import RunDir
from netinvert.io.workers import Workers, run_cells
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.scenes.cameras import geodesic_degrees
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT, rendered_views
from netinvert.scenes.seeds import POSENET
from netinvert.training.decoder.train import in_chunks

ORIGINAL, GREY, MEAN = "the original", "grey", "mean training image"
POSED, NEAREST = "mean training image of the pose", "nearest training code"
OTHER, MEAN_CODE = "another chair's code, decoded", "the mean code, decoded"
FLOORS = (GREY, MEAN, POSED, NEAREST, OTHER, MEAN_CODE)
"""What needs no inversion of a code; the last two need a decoder."""
A_CHAIR, A_PIECE = 4, 125
"""Views of each chair of a bank, and chairs in a piece of work."""
_ROWS = ("images", "rotation", "symmetry")
NEAR = 50
"""Training views whose poses are nearest to a chair's, of which its mean image of the pose is."""


@dataclass(frozen=True, eq=False)
class ViewBank:
    """Views of other chairs, seen as the held-out ones are: ``images`` (M, 3, H, W) uint8 before paper,
    ``rotation`` (M, 3, 3), ``symmetry`` (M,); A_CHAIR of each chair, one after another."""

    images: Tensor
    rotation: Tensor
    symmetry: Tensor

    @classmethod
    def joined(cls, cells: Kept[Cell], count: int) -> ViewBank:
        """The first so many views of pieces."""
        parts = [cell.tensors for cell in cells]
        rows = {name: torch.cat([one[name] for one in parts])[:count] for name in _ROWS}
        return cls(**rows)

    def codes(self, encoder: Encoder) -> Tensor:
        """(M, ...)."""
        with torch.no_grad():
            return in_chunks(lambda part: encoder(part.float() / 255), self.images)


@dataclass(frozen=True)
class BankWork:
    """Renders a piece of a bank of so many images of ``side`` pixels of a seed's chairs, by its first."""

    side: int
    count: int
    seed: int = POSENET

    def open(self) -> Callable[[int, Piece], Cell]:
        """Nothing is loaded."""
        plan = DatasetConfig(views=A_CHAIR, size=self.side, seed=self.seed, **UPRIGHT)
        last = -(-self.count // A_CHAIR)

        def make(first: int, piece: Piece) -> Cell:
            piece.tell(0, f"chairs from {first}")
            chairs = range(first, min(first + A_PIECE, last))
            views = rendered_views(plan, identities=chairs).before("paper")
            images = (255 * views.images).round().to(torch.uint8).contiguous()
            return Cell({"images": images, "rotation": views.rotation, "symmetry": views.symmetry})

        return make


def view_bank(run: RunDir, work: BankWork, workers: Workers) -> ViewBank:
    """The views of a bank, kept in the run; by default of the chairs that networks and decoders were trained
    on. Raises MissingExtraError without the extra scenes."""
    pieces = range(0, -(-work.count // A_CHAIR), A_PIECE)
    cells = run_cells(run, work, pieces, workers, "pieces of other chairs' views")
    return ViewBank.joined(cells, work.count)


@torch.no_grad()
def floor_images(
    decoder: Decoder | None, encoder: Encoder, chairs: FreshChairs, bank: ViewBank
) -> dict[str, Tensor]:
    """By the names in FLOORS, and the ceiling ORIGINAL, images (N, 3, H, W) for the chairs' codes: of other
    chairs and of training views alone. Those of a decoder only where there is one."""
    originals, codes, known = chairs.images, in_chunks(encoder, chairs.images), bank.codes(encoder)
    nearest = torch.cdist(codes.flatten(1), known.flatten(1)).argmin(1)
    found = {
        ORIGINAL: originals,
        GREY: torch.full_like(originals, 0.5),
        MEAN: _mean(bank.images).expand_as(originals),
        POSED: mean_of_pose(bank, chairs.rotation),
        NEAREST: bank.images[nearest].float() / 255,
    }
    if decoder is not None:
        found[OTHER] = in_chunks(decoder, codes.roll(1, 0))
        found[MEAN_CODE] = decoder(known.mean(0, keepdim=True)).expand(len(originals), -1, -1, -1)
    return found


def mean_of_pose(bank: ViewBank, rotation: Tensor) -> Tensor:
    """The mean of the NEAR views whose poses are nearest to each of rotations (N, 3, 3): (N, 3, H, W)."""
    apart = torch.stack([geodesic_degrees(one, bank.rotation) for one in rotation])
    near = apart.topk(min(NEAR, apart.shape[1]), largest=False).indices
    return torch.cat([_mean(bank.images[row]) for row in near])


def _mean(images: Tensor) -> Tensor:
    """The mean (1, 3, H, W) of images (M, 3, H, W) of bytes, in [0, 1]."""
    total = torch.stack([part.double().sum(0) for part in torch.split(images, 256)]).sum(0)
    return (total / (255 * len(images))).float()[None]
