"""Two views at once: how the camera moved between them, and whether they show the same object."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.models.zoo.posenet import CODE, initialise_pose_network
from netinvert.scenes.rotations import matrix_to_6d, rotation_from_6d

SHARPNESS = 10.0
"""By which cosines are multiplied before a softmax or sigmoid."""


class SiameseHead(nn.Module):
    """Fully connected layers on the codes of two views (Zamir et al. 2016); both views share one network.

    Takes two codes (N, code) and gives the second camera's rotation relative to the first, R2 R1ᵀ, as (N, 6),
    and a logit (N,) that both views show the same object. The logit rises with the ``likeness`` of the two
    codes' embeddings."""

    def __init__(self, code: int = CODE, hidden: int = 256, embedding: int = 64) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2 * code, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.pose = nn.Linear(hidden, 6)
        self.embed1 = nn.Linear(code, hidden)
        self.embed2 = nn.Linear(hidden, embedding, bias=False)
        # without their common mean, which says nothing, cosines tell objects apart from the first step on
        self.norm = nn.BatchNorm1d(embedding, affine=False)
        self.match = nn.Linear(1, 1)
        initialise_pose_network(self)
        nn.init.ones_(self.match.weight)
        nn.init.constant_(self.match.bias, -SHARPNESS / 2)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 6) and (N,) of two codes (N, code)."""
        joint = torch.relu(self.fc2(torch.relu(self.fc1(torch.cat([first, second], dim=1)))))
        likeness = (self.embedding(first) * self.embedding(second)).sum(1)
        return self.pose(joint), self.logit(likeness)

    def embedding(self, codes: Tensor) -> Tensor:
        """What of codes (N, code) tells objects apart, as unit vectors (N, embedding)."""
        return F.normalize(self.norm(self.embed2(torch.relu(self.embed1(codes)))), dim=1)

    def logit(self, likeness: Tensor) -> Tensor:
        """Logits (N,) of cosines (N,) between embeddings."""
        return torch.as_tensor(self.match(SHARPNESS * likeness[:, None]).squeeze(1))

    def match_loss(self, first: Tensor, second: Tensor) -> Tensor:
        """How badly N pairs of codes (N, code) are told from the N (N - 1) wrong ones: InfoNCE (van den Oord
        et al. 2018), both ways. The logit's two numbers learn apart, from as many right pairs as wrong."""
        likeness = self.embedding(first) @ self.embedding(second).T
        own = torch.arange(len(likeness), device=likeness.device)
        contrast = F.cross_entropy(SHARPNESS * likeness, own) + F.cross_entropy(SHARPNESS * likeness.T, own)
        known = likeness.detach()
        right, wrong = self.logit(known.diagonal()), self.logit(known.roll(1, 0).diagonal())
        calibration = F.softplus(-right).mean() + F.softplus(wrong).mean()
        return contrast / 2 + calibration / 2


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
