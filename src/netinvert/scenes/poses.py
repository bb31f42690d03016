"""What a pose network reads from an image, from an object's rotation or from the keypoints of its box."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.scenes.cameras import angles_from_rotation, within_circle

NO_FRONT = 0.2
"""The probability from which an object counts as frontless. Of training chairs one in 62 is, of furniture
more, so that less than a half will do: chosen on chairs of seed 101 (``benchmarks/frontless.py``)."""


@dataclass(frozen=True)
class PoseReading:
    """Poses read from a batch of images.

    ``azimuth`` (N,) in [0, 360) and ``elevation`` (N,) in [-90, 90] degrees, PASCAL3D+ frame (z up, the
    object's front faces -y; azimuth 0 sees the front, 90 sees it from +x); ``rotation`` (N, 3, 3) maps object
    to camera coordinates (camera: x right, y up, z back); ``keypoints`` (N, K, 2) in pixels of the network's
    input, x to the right and y down; ``presence`` (N,) in [0, 1]; ``confidence`` (N,), the probability that
    the reading is right within 30 degrees; ``frontless`` (N,), that the object has no front. What a network
    does not say is None."""

    azimuth: Tensor
    elevation: Tensor
    rotation: Tensor
    keypoints: Tensor | None = None
    presence: Tensor | None = None
    confidence: Tensor | None = None
    frontless: Tensor | None = None

    @property
    def without_front(self) -> Tensor | None:
        """Which (N,) objects count as frontless: several sides of theirs are alike, and the azimuth is one of
        several that are right. None where the network does not say."""
        return None if self.frontless is None else self.frontless >= NO_FRONT

    @classmethod
    def of_rotations(cls, rotation: Tensor) -> PoseReading:
        """The poses that rotations (N, 3, 3) say."""
        azimuth, elevation, _ = angles_from_rotation(rotation)
        return cls(azimuth, elevation, rotation)

    @classmethod
    def joined(cls, parts: Sequence[PoseReading]) -> PoseReading:
        """The readings of parts of a batch as one; what a part lacks, the whole lacks."""
        found: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            known = [value for part in parts if (value := getattr(part, name)) is not None]
            found[name] = torch.cat(known) if len(known) == len(parts) else None
        return cls(**found)


FIELD_OF_VIEW = 35.0
INPUT_SIZE = 224
STEPS = 30
NEAREST = 1e-3  # corners are kept this far (in camera distances) in front of the camera


def refine_box(start: Tensor, corners: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """The box whose corners lie nearest to the keypoints *in the image*: Levenberg-Marquardt over rotation,
    edges and direction; the distance is 1.

    Linear EPnP, where it starts, minimises an algebraic error, which tilts boxes seen with noise: on rendered
    chairs at an elevation of 20 degrees it reads 33 on average, and this refinement 21.5.

    ``start`` (N, 4, 3): control points with the box in front of the camera; ``corners`` (N, 8, 2): x and y
    over the depth of each corner; ``signs`` (8, 3). Returns the rotation (N, 3, 3) and centre (N, 3) in
    camera coordinates. A step that makes a box worse is not taken, so no result is worse than its start."""
    centre = start[:, 0] / -start[:, :1, 2].clamp(max=-1e-12)
    axes = (start[:, 1:] - start[:, :1]).transpose(1, 2) / -start[:, :1, 2:].clamp(max=-1e-12)
    rotation = nearest_rotation(axes * axes.norm(dim=1, keepdim=True))
    edges = axes.norm(dim=1).clamp(min=1e-3).log()
    damping = torch.full_like(centre[:, :1], 1e-3)
    residual, jacobian = _project(rotation, edges, centre, corners, signs)
    for _ in range(STEPS):
        normal = jacobian.transpose(1, 2) @ jacobian
        gradient = (jacobian.transpose(1, 2) @ residual.unsqueeze(-1)).squeeze(-1)
        scale = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-12)
        # solve_ex does not raise on a degenerate box; its step is nothing then
        step, _ = torch.linalg.solve_ex(normal + torch.diag_embed(damping * scale), -gradient)
        step = step.nan_to_num(0.0, 0.0, 0.0)
        turned = torch.linalg.matrix_exp(_cross(step[:, :3])) @ rotation
        stretched = edges + step[:, 3:6].clamp(-1, 1)
        moved = torch.cat([centre[:, :2] + step[:, 6:], centre[:, 2:]], dim=1)
        trial, slope = _project(turned, stretched, moved, corners, signs)
        better = trial.square().sum(1, keepdim=True) < residual.square().sum(1, keepdim=True)
        box = better.unsqueeze(-1)
        rotation, jacobian = torch.where(box, turned, rotation), torch.where(box, slope, jacobian)
        edges, centre = torch.where(better, stretched, edges), torch.where(better, moved, centre)
        residual = torch.where(better, trial, residual)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-12, 1e9)
    return rotation, centre


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation that maximises trace(R^T M) of each matrix (N, 3, 3): orthogonal Procrustes."""
    left, _, right = torch.linalg.svd(matrix)
    sign = torch.ones_like(matrix[:, 0])
    sign[:, 2] = torch.linalg.det(left @ right).sign()
    rotation: Tensor = (left * sign.unsqueeze(1)) @ right
    return rotation


def _cross(vector: Tensor) -> Tensor:
    """(N, 3) to the matrices (N, 3, 3) of the cross product."""
    x, y, z = vector.unbind(dim=1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)


def _project(
    rotation: Tensor, edges: Tensor, centre: Tensor, corners: Tensor, signs: Tensor
) -> tuple[Tensor, Tensor]:
    """Residuals (N, 16) of the projected corners and their Jacobian (N, 16, 8): turn, log edges, shift."""
    in_box = signs * edges.exp().unsqueeze(1)  # (N, 8, 3)
    turned = in_box @ rotation.transpose(1, 2)
    points = turned + centre.unsqueeze(1)
    depth = -points[..., 2:].clamp(max=-NEAREST)
    projected = points[..., :2] / depth
    # d(turned)/d(turn) = -[turned]x, d/d(log edge k) = column k times the corner's coordinate
    by_turn = -_cross(turned.reshape(-1, 3)).reshape(-1, 8, 3, 3)
    by_edges = rotation.unsqueeze(1) * in_box.unsqueeze(2)
    by_shift = torch.eye(3, 2, dtype=centre.dtype).expand(len(centre), 8, 3, 2)
    moves = torch.cat([by_turn, by_edges, by_shift], dim=3)  # (N, 8, 3, 8)
    slopes = (moves[:, :, :2] + projected.unsqueeze(-1) * moves[:, :, 2:]) / depth.unsqueeze(-1)
    return (projected - corners).flatten(1), slopes.flatten(1, 2)


# Corner = centre ± half axes = sum of alphas x control points: (1 - sx - sy - sz, sx, sy, sz).
CORNER_SIGNS = tuple((sx, sy, sz) for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1))
ALPHAS = tuple((1 - sum(signs), *signs) for signs in CORNER_SIGNS)

# Objectron's box is y up, z front; PASCAL3D+ is z up, front -y. Columns: Pascal's axes in the box's.
BOX_FROM_PASCAL = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))


def read_pose(
    output: Mapping[str, Tensor], field_of_view: float = FIELD_OF_VIEW, size: int = INPUT_SIZE
) -> PoseReading:
    """The poses that an Objectron output says, for a square crop of ``field_of_view`` degrees.

    The angles carry no gradient; ``keypoints`` and ``presence`` do. Raises NetworkError: a keypoint is NaN or
    infinite, or the output is of another network."""
    if not {"keypoints", "presence"} <= {*output}:
        raise NetworkError(
            f"no keypoints and presence in the output, only {sorted(output)}: is it Objectron's?"
        )
    keypoints = output["keypoints"].reshape(-1, 9, 2)
    with torch.no_grad():
        rays = corner_rays(keypoints, field_of_view, size)
        signs = torch.tensor(CORNER_SIGNS, dtype=torch.float64)
        rotation, centre = refine_box(solve_box(rays), rays, signs)
        rotation = rotation @ torch.tensor(BOX_FROM_PASCAL, dtype=torch.float64)
        camera = -(rotation.transpose(1, 2) @ centre.unsqueeze(-1)).squeeze(-1)  # in object coordinates
        camera = camera / camera.norm(dim=1, keepdim=True)
        azimuth = within_circle(torch.rad2deg(torch.atan2(camera[:, 0], -camera[:, 1])))
        elevation = torch.rad2deg(torch.asin(camera[:, 2].clamp(-1, 1)))
    return PoseReading(
        azimuth=within_circle(azimuth.to(keypoints)),
        elevation=elevation.to(keypoints),
        rotation=rotation.to(keypoints),
        keypoints=keypoints,
        presence=output["presence"].reshape(-1),
    )


def corner_rays(keypoints: Tensor, field_of_view: float, size: int) -> Tensor:
    """Keypoints (N, 9, 2) in pixels to x and y over depth of the corners (N, 8, 2), y up.

    In double precision and therefore on the CPU: some devices have none."""
    if not bool(torch.isfinite(keypoints).all()):
        raise NetworkError("the keypoints are not finite: the image or the weights hold NaN")
    focal = 0.5 * size / math.tan(math.radians(field_of_view) / 2)
    shifted = keypoints[:, 1:].cpu().double() - size / 2
    return shifted * torch.tensor([1.0, -1.0], dtype=torch.float64) / focal


def solve_box(rays: Tensor) -> Tensor:
    """Rays (N, 8, 2) to control points (N, 4, 3) in camera coordinates (x right, y up, z back).

    The scale is free; the box's centre lies in front of the camera."""
    alphas = torch.tensor(ALPHAS, dtype=torch.float64)  # (8, 4)
    # x + ray_x z = 0 and y + ray_y z = 0 of every corner, (N, 8, 2, 3)
    projection = torch.cat([torch.eye(2).to(rays).expand(*rays.shape, 2), rays[..., None]], dim=-1)
    system = torch.einsum("nirc,ij->nirjc", projection, alphas).reshape(-1, 16, 12)
    # The smallest right singular vector, which is the smallest eigenvector of the normal matrix without
    # squaring the condition number.
    control = torch.linalg.svd(system, full_matrices=False).Vh[:, -1].reshape(-1, 4, 3)
    behind = control[:, :1, 2:] > 0
    return torch.where(behind, -control, control)
