"""What the numbers at the end of a pose network say, and how wrong they are; and the head for two views."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.models.zoo.pose_topologies import (
    AZIMUTHS,
    CODE,
    ROTATION,
    TURNS,
    initialise_pose_network,
)
from netinvert.scenes.cameras import (
    angles_from_rotation,
    matrix_to_6d,
    rotation_from_6d,
    rotation_from_angles,
    turn_about,
)

ANY_TURN = 36
"""So many turns stand for a body of revolution in the losses."""
SMOOTH = 1e-3
SHARPNESS = 10.0
"""By which cosines are multiplied before a softmax or sigmoid."""
AZIMUTH_WEIGHT, TURNS_WEIGHT = 0.2, 0.1
WIDTH = 360 / AZIMUTHS
"""Degrees of a bin of azimuth."""
HIDDEN = 2.0**-20
"""No probability is further from 0 or 1 when it is calibrated."""
NEAR = 30.0
"""Degrees within which a reading is right."""


class ViewHead:
    """PoseNet's three heads: a rotation as six numbers, made one by Gram-Schmidt (Zhou et al. 2019); logits
    of 24 bins of azimuth; and logits of how many turns about z leave the object as it is: 1 (it has a front),
    2, some other number, any.

    Outputs are (N, 34), or the first 6 of them alone where only the rotation is asked for."""

    name, outputs = "view", ROTATION

    def rotation(self, output: Tensor) -> Tensor:
        """The rotations (N, 3, 3) that outputs say."""
        return rotation_from_6d(output[..., :ROTATION])

    def error(self, output: Tensor, rotation: Tensor) -> Tensor:
        """The chordal distance ‖R - R̂‖_F, not its square: one upside-down view must not rule a batch."""
        square = (self.rotation(output) - rotation).square().sum(dim=(-2, -1))
        return (square + SMOOTH**2).sqrt() - SMOOTH

    def azimuth_logits(self, output: Tensor) -> Tensor:
        """(N, 24): of bins of 15°, the first from 0° on."""
        return output[..., ROTATION : ROTATION + AZIMUTHS]

    def frontless(self, output: Tensor) -> Tensor:
        """The probability (N,) that the object has no front."""
        return 1 - torch.softmax(output[..., -TURNS:], -1)[..., 0]

    def more_loss(self, output: Tensor, rotation: Tensor, symmetry: Tensor) -> Tensor:
        """Cross entropies (N,) of the azimuth and of the turns. Of a symmetric object all azimuths that look
        the same are right."""
        azimuth, _, _ = angles_from_rotation(rotation)
        target = azimuth_target(azimuth, symmetry)
        entropy = -(target * F.log_softmax(self.azimuth_logits(output), -1)).sum(-1)
        known = torch.where(symmetry == 0, 3, symmetry.clamp(1, 3) - 1).clamp(0, 3)
        turns = F.cross_entropy(output[..., -TURNS:], known, reduction="none")
        return AZIMUTH_WEIGHT * entropy + TURNS_WEIGHT * turns


class BinsHead:
    """24 bins of azimuth with an offset in each; elevation and in-plane rotation as one number each.

    Outputs: 24 logits; 24 offsets from the bins' centres, in bins; elevation and in-plane rotation in units
    of 30 degrees. After the mixed heads of Mousavian et al. 2017 and Mahendran et al. 2018."""

    name, outputs = "bins", 2 * AZIMUTHS + 2

    def rotation(self, output: Tensor) -> Tensor:
        """The rotations (N, 3, 3) of the most likely bins."""
        best = output[..., :AZIMUTHS].argmax(-1)
        offset = output[..., AZIMUTHS : 2 * AZIMUTHS].gather(-1, best[..., None]).squeeze(-1)
        azimuth = (best + 0.5 + offset) * WIDTH
        return rotation_from_angles(azimuth, output[..., -2] * 30, output[..., -1] * 30)

    def error(self, output: Tensor, rotation: Tensor) -> Tensor:
        """Cross entropy with soft neighbours, and absolute errors of the offset and the other angles."""
        azimuth, elevation, in_plane = angles_from_rotation(rotation)
        distance = bin_distances(azimuth, torch.full_like(azimuth, AZIMUTHS))
        target = torch.softmax(-2 * distance.square(), dim=-1)
        entropy = -(target * F.log_softmax(self.azimuth_logits(output), dim=-1)).sum(-1)
        offsets = output[..., AZIMUTHS : 2 * AZIMUTHS]
        offset = (target * (offsets - distance).abs()).sum(-1)
        rest = (output[..., -2] - elevation / 30).abs() + (output[..., -1] - in_plane / 30).abs()
        return 0.5 * entropy + offset + 2 * rest

    def azimuth_logits(self, output: Tensor) -> Tensor:
        """(N, 24): of bins of 15°, the first from 0° on."""
        return output[..., :AZIMUTHS]

    def frontless(self, output: Tensor) -> None:
        """It does not say."""
        del output

    def more_loss(self, output: Tensor, rotation: Tensor, symmetry: Tensor) -> Tensor:
        """Nothing beside ``error``."""
        del rotation, symmetry
        return output.new_zeros(len(output))


RotationHead = ViewHead | BinsHead
"""Reads rotations (N, 3, 3) from a network's outputs, and says how wrong they are."""


def bin_distances(azimuth: Tensor, period: Tensor) -> Tensor:
    """How far azimuths (N,) in degrees are from the bins' centres, (N, 24), in bins; azimuths a ``period``
    (N,) of bins apart are the same."""
    place = azimuth / WIDTH - 0.5  # in bins, 0 at the first bin's centre
    centres = torch.arange(AZIMUTHS, dtype=azimuth.dtype, device=azimuth.device)
    half = period[..., None] / 2
    return torch.remainder(place[..., None] - centres + half, 2 * half) - half


def azimuth_target(azimuth: Tensor, symmetry: Tensor) -> Tensor:
    """The distribution (N, 24) over bins that azimuths (N,) in degrees ask for, with soft neighbours; for an
    object that ``symmetry`` (N,) turns leave as it is, all of them (0: any turn)."""
    distance = bin_distances(azimuth, AZIMUTHS / symmetry.clamp_min(1).to(azimuth))
    distance = torch.where(symmetry[..., None] == 0, torch.zeros_like(distance), distance)
    return torch.softmax(-2 * distance.square(), dim=-1)


def confidence_logit(head: RotationHead, output: Tensor) -> Tensor:
    """The logit (N,) of ``azimuth_mass``, which calibration shifts and scales; finite."""
    return torch.logit(azimuth_mass(head, output).clamp(HIDDEN, 1 - HIDDEN))


def azimuth_mass(head: RotationHead, output: Tensor) -> Tensor:
    """The probability (N,) that a head's logits give to azimuths within 30° of the rotation it reads."""
    azimuth, _, _ = angles_from_rotation(head.rotation(output))
    distance = bin_distances(azimuth, torch.full_like(azimuth, AZIMUTHS)).abs() * WIDTH
    share = ((NEAR - distance) / WIDTH + 0.5).clamp(0, 1)  # of each bin
    return (torch.softmax(head.azimuth_logits(output), -1) * share).sum(-1)


def rotation_loss(head: RotationHead, output: Tensor, rotation: Tensor, symmetry: Tensor) -> Tensor:
    """The head's error (N,), for symmetric objects the least over all poses that look the same.

    ``symmetry`` (N,) counts the turns about z that leave the object as it is: 1 none, 0 any turn."""
    turns = torch.where(symmetry == 0, ANY_TURN, symmetry)[:, None]
    steps = torch.arange(ANY_TURN, device=symmetry.device) % turns  # with fewer turns, some again
    same = rotation[:, None] @ turn_about(steps * 360 / turns.to(rotation), 2)
    return head.error(output[:, None].expand(-1, ANY_TURN, -1), same).amin(1)


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
        likeness = (self.embedding(first) * self.embedding(second)).sum(1)
        return self.relative(first, second), self.logit(likeness)

    def relative(self, first: Tensor, second: Tensor) -> Tensor:
        """The second camera's rotation relative to the first, (N, 6)."""
        joint = torch.relu(self.fc2(torch.relu(self.fc1(torch.cat([first, second], dim=1)))))
        found: Tensor = self.pose(joint)
        return found

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
