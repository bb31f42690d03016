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
"""Views of each training chair, and chairs in a piece of work."""
NEAR = 50
"""Training views whose poses are nearest to a chair's, of which its mean image of the pose is."""


@dataclass(frozen=True, eq=False)
class TrainingBank:
    """Views of the chairs that networks and decoders were trained on, as the held-out chairs are seen:
    ``images`` (M, 3, H, W) uint8 before paper, ``rotation`` (M, 3, 3)."""

    images: Tensor
    rotation: Tensor

    @classmethod
    def joined(cls, cells: Kept[Cell], count: int) -> TrainingBank:
        """The first so many views of pieces."""
        parts = [cell.tensors for cell in cells]
        rows = {name: torch.cat([one[name] for one in parts])[:count] for name in ("images", "rotation")}
        return cls(**rows)

    def codes(self, encoder: Encoder) -> Tensor:
        """(M, ...)."""
        with torch.no_grad():
            return in_chunks(lambda part: encoder(part.float() / 255), self.images)


@dataclass(frozen=True)
class BankWork:
    """Renders a piece of a bank of so many images of ``side`` pixels, by its first chair."""

    side: int
    count: int

    def open(self) -> Callable[[int, Piece], Cell]:
        """Nothing is loaded."""
        plan = DatasetConfig(views=A_CHAIR, size=self.side, seed=POSENET, **UPRIGHT)
        last = -(-self.count // A_CHAIR)

        def make(first: int, piece: Piece) -> Cell:
            piece.tell(0, f"training chairs from {first}")
            chairs = range(first, min(first + A_PIECE, last))
            views = rendered_views(plan, identities=chairs).before("paper")
            images = (255 * views.images).round().to(torch.uint8).contiguous()
            return Cell({"images": images, "rotation": views.rotation})

        return make


def training_bank(run: RunDir, side: int, count: int, workers: Workers) -> TrainingBank:
    """So many views of ``side`` pixels, kept in the run. Raises MissingExtraError without the extra
    scenes."""
    pieces = range(0, -(-count // A_CHAIR), A_PIECE)
    cells = run_cells(run, BankWork(side, count), pieces, workers, "pieces of training views")
    return TrainingBank.joined(cells, count)


@torch.no_grad()
def floor_images(
    decoder: Decoder | None, encoder: Encoder, chairs: FreshChairs, bank: TrainingBank
) -> dict[str, Tensor]:
    """By the names in FLOORS, and the ceiling ORIGINAL, images (N, 3, H, W) for the chairs' codes: of other
    chairs and of training views alone. Those of a decoder only where there is one."""
    originals, codes, known = chairs.images, in_chunks(encoder, chairs.images), bank.codes(encoder)
    apart = torch.stack([geodesic_degrees(one, bank.rotation) for one in chairs.rotation])
    near = apart.topk(min(NEAR, apart.shape[1]), largest=False).indices
    nearest = torch.cdist(codes.flatten(1), known.flatten(1)).argmin(1)
    found = {
        ORIGINAL: originals,
        GREY: torch.full_like(originals, 0.5),
        MEAN: _mean(bank.images).expand_as(originals),
        POSED: torch.cat([_mean(bank.images[row]) for row in near]),
        NEAREST: bank.images[nearest].float() / 255,
    }
    if decoder is not None:
        found[OTHER] = in_chunks(decoder, codes.roll(1, 0))
        found[MEAN_CODE] = decoder(known.mean(0, keepdim=True)).expand(len(originals), -1, -1, -1)
    return found


def _mean(images: Tensor) -> Tensor:
    """The mean (1, 3, H, W) of images (M, 3, H, W) of bytes, in [0, 1]."""
    total = torch.stack([part.double().sum(0) for part in torch.split(images, 256)]).sum(0)
    return (total / (255 * len(images))).float()[None]
