"""From the nine keypoints of a box in an image to the box's pose.

Linear EPnP as MediaPipe does it (Lepetit et al., IJCV 2009): each corner is a fixed combination of four
control points, the centre and the ends of the three half axes. Sixteen projection equations leave the
twelve coordinates of the control points free up to scale: they are the smallest eigenvector. The box found
so is then refined in the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.networks.box_refine import refine_box
from netinvert.networks.pose import PoseReading

FIELD_OF_VIEW = 35.0
INPUT_SIZE = 224

# Corner = centre ± half axes = sum of alphas x control points: (1 - sx - sy - sz, sx, sy, sz).
CORNER_SIGNS = tuple((sx, sy, sz) for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1))
ALPHAS = tuple((1 - sum(signs), *signs) for signs in CORNER_SIGNS)

# Objectron's box is y up, z front; PASCAL3D+ is z up, front -y. Columns: Pascal's axes in the box's.
BOX_FROM_PASCAL = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))


def read_pose(
    output: Mapping[str, Tensor], field_of_view: float = FIELD_OF_VIEW, size: int = INPUT_SIZE
) -> PoseReading:
    """The poses that an Objectron output says, for a square crop of ``field_of_view`` degrees.

    The angles carry no gradient; ``keypoints`` and ``presence`` do.

    Raises:
        NetworkError: a keypoint is NaN or infinite, or the output is of another network.
    """
    if "keypoints" not in output or "presence" not in output:
        raise NetworkError(
            f"no keypoints and presence in the output, only {sorted(output)}: is it Objectron's?"
        )
    keypoints = output["keypoints"].reshape(-1, 9, 2)
    with torch.no_grad():
        rays = corner_rays(keypoints, field_of_view, size)
        signs = torch.tensor(CORNER_SIGNS, dtype=torch.float64)
        rotation, centre = refine_box(solve_box(rays), rays, signs)
        rotation = rotation @ torch.tensor(BOX_FROM_PASCAL, dtype=torch.float64)
        azimuth, elevation = camera_angles(rotation, centre)
    return PoseReading(
        azimuth=azimuth.to(keypoints),
        elevation=elevation.to(keypoints),
        rotation=rotation.to(keypoints),
        keypoints=keypoints,
        presence=output["presence"].reshape(-1),
    )


def corner_rays(keypoints: Tensor, field_of_view: float, size: int) -> Tensor:
    """Keypoints (N, 9, 2) in pixels to x and y over depth of the corners (N, 8, 2), y up.

    In double precision and therefore on the CPU: some devices have none.
    """
    if not bool(torch.isfinite(keypoints).all()):
        raise NetworkError("the keypoints are not finite: the image or the weights hold NaN")
    focal = 0.5 * size / math.tan(math.radians(field_of_view) / 2)
    shifted = keypoints[:, 1:].cpu().double() - size / 2
    return shifted * torch.tensor([1.0, -1.0], dtype=torch.float64) / focal


def solve_box(rays: Tensor) -> Tensor:
    """Rays (N, 8, 2) to control points (N, 4, 3) in camera coordinates (x right, y up, z back).

    The scale is free; the box's centre lies in front of the camera.
    """
    alphas = torch.tensor(ALPHAS, dtype=torch.float64)  # (8, 4)
    zero = torch.zeros_like(rays[..., 0])
    one = torch.ones_like(zero)
    # x + ray_x z = 0 and y + ray_y z = 0 of every corner, (N, 8, 2, 3)
    projection = torch.stack(
        [torch.stack([one, zero, rays[..., 0]], dim=-1), torch.stack([zero, one, rays[..., 1]], dim=-1)],
        dim=-2,
    )
    system = torch.einsum("nirc,ij->nirjc", projection, alphas).reshape(-1, 16, 12)
    # The smallest right singular vector, which is the smallest eigenvector of the normal matrix without
    # squaring the condition number.
    control = torch.linalg.svd(system, full_matrices=False).Vh[:, -1].reshape(-1, 4, 3)
    behind = control[:, :1, 2:] > 0
    return torch.where(behind, -control, control)


def camera_angles(rotation: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation (N,) of the camera about an object at ``centre`` (N, 3) of the camera's frame."""
    camera = -(rotation.transpose(1, 2) @ centre.unsqueeze(-1)).squeeze(-1)  # in object coordinates
    camera = camera / camera.norm(dim=1, keepdim=True)
    azimuth = torch.rad2deg(torch.atan2(camera[:, 0], -camera[:, 1])) % 360
    elevation = torch.rad2deg(torch.asin(camera[:, 2].clamp(-1, 1)))
    return azimuth, elevation
