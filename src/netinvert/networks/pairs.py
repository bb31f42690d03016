"""Two views at once: how the camera moved between them, and whether they show the same object."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.networks.posenet import CODE, initialise
from netinvert.rotations import matrix_to_6d, rotation_from_6d


class PairHead(nn.Module):
    """Fully connected layers on the codes of two views (Zamir et al. 2016); both views share one network.

    Takes two codes (N, code) and gives the second camera's rotation relative to the first, R2 R1ᵀ, as
    (N, 6), and a logit (N,) that both views show the same object.
    """

    def __init__(self, code: int = CODE, hidden: int = 256) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2 * code, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.pose = nn.Linear(hidden, 6)
        self.match = nn.Linear(hidden + 1, 1)
        initialise(self)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 6) and (N,) of two codes (N, code)."""
        joint = torch.relu(self.fc2(torch.relu(self.fc1(torch.cat([first, second], dim=1)))))
        likeness = F.cosine_similarity(first, second, dim=1)[:, None]
        return self.pose(joint), self.match(torch.cat([joint, likeness], dim=1)).squeeze(1)


def relative_rotation(first: Tensor, second: Tensor) -> Tensor:
    """R2 R1ᵀ (N, 3, 3): what turns the first camera's coordinates into the second's."""
    return second @ first.transpose(-1, -2)


def relative_loss(predicted: Tensor, rotation: Tensor) -> Tensor:
    """Zamir's robust loss (N,): e up to 1, then 1 + log e, e the squared error of six numbers."""
    square = (predicted - matrix_to_6d(rotation)).square().sum(1)
    return torch.where(square <= 1, square, 1 + square.clamp_min(1).log())


def rotation_of(predicted: Tensor) -> Tensor:
    """The rotations (N, 3, 3) that the head's six numbers say."""
    return rotation_from_6d(predicted)
