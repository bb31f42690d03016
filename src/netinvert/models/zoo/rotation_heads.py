"""What a pose network's last numbers mean: rotations, as six numbers or as bins of angles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.scenes.rotations import (
    angles_from_rotation,
    equivalent_rotations,
    rotation_from_6d,
    rotation_from_angles,
)

ANY_TURN = 36
"""So many turns stand for a body of revolution in the losses."""
SMOOTH = 1e-3


class SixD:
    """Six numbers, made a rotation by Gram-Schmidt (Zhou et al. 2019)."""

    name, outputs = "6d", 6

    def rotation(self, output: Tensor) -> Tensor:
        """The rotations (N, 3, 3) that outputs (N, 6) say."""
        return rotation_from_6d(output)

    def error(self, output: Tensor, rotation: Tensor) -> Tensor:
        """The chordal distance ‖R - R̂‖_F, not its square: one upside-down view must not rule a batch."""
        square = (self.rotation(output) - rotation).square().sum(dim=(-2, -1))
        return (square + SMOOTH**2).sqrt() - SMOOTH


class Bins:
    """24 bins of azimuth with an offset in each; elevation and in-plane rotation as one number each.

    Outputs: 24 logits; 24 offsets from the bins' centres, in bins; elevation and in-plane rotation in units
    of 30 degrees. After the mixed heads of Mousavian et al. 2017 and Mahendran et al. 2018."""

    name, count, outputs = "bins", 24, 50
    width = 360 / 24

    def rotation(self, output: Tensor) -> Tensor:
        """The rotations (N, 3, 3) of the most likely bins."""
        best = output[..., : self.count].argmax(-1)
        offset = output[..., self.count : 2 * self.count].gather(-1, best[..., None]).squeeze(-1)
        azimuth = (best + 0.5 + offset) * self.width
        return rotation_from_angles(azimuth, output[..., -2] * 30, output[..., -1] * 30)

    def error(self, output: Tensor, rotation: Tensor) -> Tensor:
        """Cross entropy with soft neighbours, and absolute errors of the offset and the other angles."""
        azimuth, elevation, in_plane = angles_from_rotation(rotation)
        place = azimuth / self.width - 0.5  # in bins, 0 at the first bin's centre
        centres = torch.arange(self.count, dtype=output.dtype, device=output.device)
        distance = torch.remainder(place[..., None] - centres + self.count / 2, self.count) - self.count / 2
        target = torch.softmax(-2 * distance.square(), dim=-1)
        entropy = -(target * F.log_softmax(output[..., : self.count], dim=-1)).sum(-1)
        offsets = output[..., self.count : 2 * self.count]
        offset = (target * (offsets - distance).abs()).sum(-1)
        rest = (output[..., -2] - elevation / 30).abs() + (output[..., -1] - in_plane / 30).abs()
        return 0.5 * entropy + offset + 2 * rest


RotationHead = SixD | Bins
"""Reads rotations (N, 3, 3) from a network's outputs (N, ``outputs``), and says how wrong they are."""
HEADS: dict[str, RotationHead] = {head.name: head for head in (SixD(), Bins())}


def rotation_head(name: str) -> RotationHead:
    """A head by name: "6d" or "bins". Raises ConfigError: no such head."""
    if name not in HEADS:
        raise ConfigError(f"no rotation head {name!r}: there are {', '.join(HEADS)}")
    return HEADS[name]


def rotation_loss(head: RotationHead, output: Tensor, rotation: Tensor, symmetry: Tensor) -> Tensor:
    """The head's error (N,), for symmetric objects the least over all poses that look the same.

    ``symmetry`` (N,) counts the turns about z that leave the object as it is: 1 none, 0 any turn."""
    error = head.error(output, rotation)
    for turns in set(symmetry.tolist()):
        if turns == 1:
            continue
        own = (symmetry == turns).nonzero().squeeze(1)
        same = equivalent_rotations(rotation[own], turns or ANY_TURN)
        many = output[own][:, None].expand(-1, same.shape[1], -1)
        least = head.error(many, same).amin(dim=1)
        error = error.index_copy(0, own, least)
    return error
