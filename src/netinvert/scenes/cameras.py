"""Rotations and cameras. Angles in degrees.

A rotation maps object to camera coordinates (camera: x right, y up, z back) in the PASCAL3D+ frame.
Functions of tensors are batched and differentiable. Those that the cameras of renders need, ``turn_about``,
``rotation_from_angles`` and ``angles_from_rotation``, take single numbers and NumPy arrays as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from netinvert.errors import NetinvertError

Array = NDArray[np.float64]
Angle = TypeVar("Angle", Tensor, float)
FLIP = 30.0
"""Degrees around 180 within which an azimuth error counts as front taken for back."""


def rotation_from_6d(values: Tensor) -> Tensor:
    """Rotations (..., 3, 3) whose first two columns follow (..., 6) by Gram-Schmidt (Zhou et al. 2019).

    Any six numbers give a rotation, also where the two columns are parallel or zero."""
    first, second = values[..., :3], values[..., 3:]
    x = _unit(first, torch.eye(3).to(first)[0].expand_as(first))
    aside = second - (x * second).sum(-1, keepdim=True) * x
    # any direction across x will do where the second column says nothing
    away = F.one_hot(x.abs().argmin(-1), 3).to(x)
    away = away - (x * away).sum(-1, keepdim=True) * x
    y = _unit(aside, away / away.norm(dim=-1, keepdim=True))
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def matrix_to_6d(rotation: Tensor) -> Tensor:
    """The first two columns (..., 6) of rotations (..., 3, 3)."""
    return torch.cat([rotation[..., 0], rotation[..., 1]], dim=-1)


@overload
def rotation_from_angles(azimuth: Tensor, elevation: Tensor, in_plane: Tensor) -> Tensor: ...
@overload
def rotation_from_angles(azimuth: float, elevation: float, in_plane: float = 0.0) -> Array: ...
def rotation_from_angles(
    azimuth: Tensor | float, elevation: Tensor | float, in_plane: Tensor | float = 0.0
) -> Tensor | Array:
    """R_z(in_plane) R_x(-(90 - elevation)) R_z(-azimuth), (..., 3, 3).

    Example:
        >>> rotation_from_angles(90, 0).round().astype(int)  # seen from +x, the object's front is on the left
        array([[0, 1, 0],
               [0, 0, 1],
               [1, 0, 0]])
    """
    if isinstance(azimuth, Tensor):
        assert isinstance(elevation, Tensor)
        assert isinstance(in_plane, Tensor)
        return turn_about(in_plane, 2) @ turn_about(elevation - 90, 0) @ turn_about(-azimuth, 2)
    assert not isinstance(elevation, Tensor)
    assert not isinstance(in_plane, Tensor)
    sine, cosine = np.sin(np.radians(elevation)), np.cos(np.radians(elevation))
    tip = _turn(torch.as_tensor(sine), torch.as_tensor(-cosine), 0).numpy()
    return np.asarray(turn_about(in_plane, 2) @ tip @ turn_about(-azimuth, 2))


@overload
def angles_from_rotation(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...
@overload
def angles_from_rotation(rotation: Array) -> tuple[float, float, float]: ...
def angles_from_rotation(
    rotation: Tensor | Array,
) -> tuple[Tensor, Tensor, Tensor] | tuple[float, float, float]:
    """Azimuth in [0, 360), elevation in [-90, 90], in-plane rotation in [-180, 180).

    Of tensors (..., 3, 3) tensors (...,), of an array (3, 3) numbers. Straight above or below, where azimuth
    and in-plane rotation are one angle, the latter is 0."""
    if not isinstance(rotation, Tensor):
        return _angles_of_array(rotation)
    r = rotation
    flat = torch.hypot(r[..., 2, 0], r[..., 2, 1])
    elevation = torch.atan2(r[..., 2, 2], flat)
    polar = flat < 1e-6
    azimuth = torch.where(
        polar, torch.atan2(r[..., 0, 1], r[..., 0, 0]), torch.atan2(r[..., 2, 0], -r[..., 2, 1])
    )
    in_plane = torch.where(polar, torch.zeros_like(azimuth), torch.atan2(-r[..., 0, 2], r[..., 1, 2]))
    return (
        within_circle(torch.rad2deg(azimuth)),
        torch.rad2deg(elevation),
        within_circle(torch.rad2deg(in_plane) + 180) - 180,
    )


def _angles_of_array(r: Array) -> tuple[float, float, float]:
    elevation = np.arcsin(np.clip(r[2, 2], -1, 1))
    azimuth, in_plane = np.arctan2(r[2, 0], -r[2, 1]), np.arctan2(-r[0, 2], r[1, 2])
    if np.hypot(r[2, 0], r[2, 1]) < 1e-9:
        azimuth, in_plane = np.arctan2(r[0, 1], r[0, 0]), 0.0
    turned = within_circle(float(np.degrees(in_plane)) + 180) - 180
    return within_circle(float(np.degrees(azimuth))), float(np.degrees(elevation)), turned


def within_circle(degrees: Angle) -> Angle:
    """Angles in [0, 360).

    Example:
        >>> -1e-15 % 360, within_circle(-1e-15)
        (360.0, 0.0)
    """
    return degrees % 360 % 360


def heading(azimuth: float) -> str:
    """In whole degrees as they are shown: 359.6 is 0, not 360.

    >>> heading(12.3), heading(359.6)
    ('12°', '0°')
    """
    return f"{round(azimuth) % 360}°"


def is_rotation(matrix: ArrayLike) -> bool:
    """Whether a matrix (3, 3) is a rotation: orthonormal, and no mirror image."""
    m = np.asarray(matrix, float)
    return bool(np.abs(m @ m.T - np.eye(3)).max() < 1e-3 and np.linalg.det(m) > 0)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of quaternions (..., 4), real part first, of any length but 0."""
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], dim=-2)


@overload
def turn_about(degrees: Tensor, axis: int) -> Tensor: ...
@overload
def turn_about(degrees: float, axis: int) -> Array: ...
def turn_about(degrees: Tensor | float, axis: int) -> Tensor | Array:
    """Counter-clockwise turns (..., 3, 3) about a coordinate axis (0 x, 1 y, 2 z)."""
    if isinstance(degrees, Tensor):
        angle = torch.deg2rad(degrees)
        return _turn(torch.cos(angle), torch.sin(angle), axis)
    radians = np.radians(degrees)
    return _turn(torch.as_tensor(np.cos(radians)), torch.as_tensor(np.sin(radians)), axis).numpy()


def _turn(c: Tensor, s: Tensor, axis: int) -> Tensor:
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    rows = {
        0: (one, zero, zero, zero, c, -s, zero, s, c),
        1: (c, zero, s, zero, one, zero, -s, zero, c),
        2: (c, -s, zero, s, c, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, -1).reshape(*c.shape, 3, 3)


def geodesic_degrees(first: Tensor, second: Tensor) -> Tensor:
    """The angle (...,) of the turn between rotations (..., 3, 3), exact also near 0 and 180."""
    between = first @ second.transpose(-1, -2)
    trace = between.diagonal(dim1=-2, dim2=-1).sum(-1)
    odd = between - between.transpose(-1, -2)
    axis = torch.stack([odd[..., 2, 1], odd[..., 0, 2], odd[..., 1, 0]], dim=-1)
    return torch.rad2deg(torch.atan2(axis.norm(dim=-1), trace - 1))


def equivalent_rotations(rotation: Tensor, turns: int) -> Tensor:
    """The rotations (..., turns, 3, 3) that look the same if an object looks the same after 1/turns of z."""
    steps = torch.arange(turns, dtype=rotation.dtype, device=rotation.device) * (360 / turns)
    return rotation[..., None, :, :] @ turn_about(steps, 2)


def symmetric_geodesic_degrees(predicted: Tensor, true: Tensor, symmetry: Tensor) -> Tensor:
    """The least geodesic error (N,) over the poses of (N, 3, 3) that look like the true one.

    ``symmetry`` (N,) counts the turns about z that leave the object as it is: 1 none, 0 any turn."""
    error = geodesic_degrees(predicted, true)
    for turns in set(symmetry.tolist()):
        own = symmetry == turns
        if turns == 0:
            # only where the axis points can be wrong: the angle between the two images of z
            cross = torch.linalg.cross(predicted[own][..., 2], true[own][..., 2]).norm(dim=-1)
            cosine = (predicted[own][..., 2] * true[own][..., 2]).sum(-1)
            error[own] = torch.rad2deg(torch.atan2(cross, cosine))
        elif turns > 1:
            same = equivalent_rotations(true[own], turns)
            error[own] = geodesic_degrees(predicted[own][:, None], same).amin(dim=1)
    return error


def azimuth_difference(first: Tensor, second: Tensor) -> Tensor:
    """The angle between azimuths on the circle, at most 180."""
    return (torch.remainder(first - second + 180, 360) - 180).abs()


def pose_summary(predicted: Tensor, true: Tensor, symmetry: Tensor) -> dict[str, float]:
    """Metrics of predicted against true rotations (N, 3, 3); ``symmetry`` (N,) as in the objects.

    Geodesic errors in degrees, least over the symmetry; ``acc_30`` and so on are shares within so many
    degrees. Azimuth figures are of the objects without symmetry: ``azimuth_flip_rate`` is the share that lies
    within 30 degrees of 180. ``legacy_`` figures are for comparison with RenderForCNN's tables: its
    evaluation (compute_vp_acc_mederror.m) divides the spectral norm of log(R1ᵀ R2) by √2 where the definition
    has the Frobenius norm. That is the geodesic error over √2, so "within 30°" there means within 42.4°."""
    error = symmetric_geodesic_degrees(predicted, true, symmetry)
    legacy = error / math.sqrt(2)
    alone = symmetry == 1
    azimuth = azimuth_difference(angles_from_rotation(predicted)[0], angles_from_rotation(true)[0])[alone]
    figures = {
        "median_geodesic_deg": error.median(),
        "mean_geodesic_deg": error.mean(),
        **{f"acc_{limit}": (error < limit).float().mean() for limit in (30, 15, 10)},
        "median_azimuth_deg": azimuth.median() if len(azimuth) else torch.tensor(math.nan),
        "azimuth_flip_rate": (azimuth > 180 - FLIP).float().mean(),
        "legacy_median_deg": legacy.median(),
        "legacy_acc_30": (legacy < 30).float().mean(),
    }
    return {name: float(value) for name, value in figures.items()}


def _unit(vector: Tensor, instead: Tensor) -> Tensor:
    length = vector.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-8, vector / length.clamp_min(1e-8), instead)


FOV = 35.0  # degrees, of the chairs in the literature's renders


class CameraError(NetinvertError):
    """A camera that sees nothing, stands inside the object, or is no camera at all."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera. ``orbit`` makes one that looks at the object's centre.

    ``rotation`` (3, 3) maps object to camera coordinates (camera: x right, y up, z back); ``position`` (3,)
    is the camera's centre in object coordinates; ``intrinsics`` (3, 3) map camera coordinates with y down and
    z forward to pixels, whose centres lie at +0.5; ``size`` is (width, height) in pixels."""

    rotation: Array
    position: Array
    intrinsics: Array
    size: tuple[int, int]

    def __post_init__(self) -> None:
        shapes = (np.shape(self.rotation), np.shape(self.position), np.shape(self.intrinsics))
        if shapes != ((3, 3), (3,), (3, 3)):
            raise CameraError(
                f"rotation, position and intrinsics have shapes {shapes}: give (3, 3), (3,), (3, 3)"
            )
        if not all(np.isfinite(each).all() for each in (self.rotation, self.position, self.intrinsics)):
            raise CameraError("the camera's rotation, position or intrinsics have NaN or infinite numbers")
        if not is_rotation(self.rotation):
            raise CameraError("the camera's rotation is none: its rows must be orthonormal and right-handed")
        if min(self.size) < 1:
            raise CameraError(f"an image of {self.size[0]} x {self.size[1]} pixels: both must be at least 1")

    @classmethod
    def orbit(
        cls,
        azimuth: float,
        elevation: float,
        in_plane: float = 0.0,
        distance: float = 2.0,
        fov: float = FOV,
        size: int = 64,
    ) -> Camera:
        """A camera at azimuth, elevation and in-plane rotation (degrees) that looks at the origin.

        It stands at d (cos e sin a, -cos e cos a, sin e); a positive in-plane rotation turns the image
        counter-clockwise. ``fov`` is the whole angle across the square image, in degrees. Raises CameraError:
        a distance or field of view of no camera."""
        if not (distance > 0 and 0 < fov < 180):
            raise CameraError(f"distance {distance}, fov {fov}: both must be above 0, fov below 180 degrees")
        rotation = rotation_from_angles(azimuth, elevation, in_plane)
        focal = 0.5 * size / np.tan(np.radians(fov) / 2)
        intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
        return cls(rotation, distance * rotation[2], intrinsics, (size, size))

    @property
    def azimuth(self) -> float:
        """Degrees in [0, 360): 0 sees the front, 90 sees the object from +x."""
        return angles_from_rotation(self.rotation)[0]

    @property
    def elevation(self) -> float:
        """Degrees in [-90, 90]: 90 looks down."""
        return angles_from_rotation(self.rotation)[1]

    @property
    def in_plane(self) -> float:
        """Degrees in [-180, 180): how far the image is turned counter-clockwise."""
        return angles_from_rotation(self.rotation)[2]

    @property
    def distance(self) -> float:
        """From the camera's centre to the origin."""
        return float(np.linalg.norm(self.position))

    @property
    def fov(self) -> float:
        """The angle across the image's width, in degrees."""
        return float(2 * np.degrees(np.arctan(0.5 * self.size[0] / self.intrinsics[0, 0])))

    def project(self, points: ArrayLike) -> tuple[Array, Array]:
        """Pixels (N, 2), x right and y down, and depths (N,) along the axis of points (N, 3)."""
        seen = (np.asarray(points, float) - self.position) @ self.rotation.T * (1, -1, -1)
        flat = seen @ self.intrinsics.T
        return flat[:, :2] / flat[:, 2:], seen[:, 2]

    def directions(self, pixels: ArrayLike) -> Array:
        """Ray directions (N, 3) in object coordinates through pixels (N, 2), of depth 1 along the axis."""
        pixels = np.asarray(pixels, float)
        flat = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(self.intrinsics).T
        return np.asarray(flat * (1, -1, -1) @ self.rotation)

    def in_frame(self, axes: ArrayLike, origin: ArrayLike) -> Camera:
        """The same camera in the coordinates of an object whose x, y and z axes are the columns of ``axes``
        (3, 3) and whose centre is at ``origin`` (3,), both in today's coordinates."""
        turn = np.asarray(axes, float)
        position = (self.position - np.asarray(origin, float)) @ turn
        return replace(self, rotation=self.rotation @ turn, position=position)

    def resized(self, width: int, height: int) -> Camera:
        """The same view at another number of pixels."""
        scale = np.diag([width / self.size[0], height / self.size[1], 1.0])
        return replace(self, intrinsics=scale @ self.intrinsics, size=(width, height))


def fitting_distance(vertices: ArrayLike, rotation: Array, fov: float = FOV, fill: float = 0.9) -> float:
    """The distance from which a look-at camera sees the vertices (V, 3) fill ``fill`` of its image.

    The farthest vertex from the image's centre, to the side or up, then lies at ``fill`` / 2 of its side."""
    seen = np.asarray(vertices, float) @ np.asarray(rotation).T
    reach = np.abs(seen[:, :2]).max(axis=1) / (fill * np.tan(np.radians(fov) / 2))
    return float((reach + seen[:, 2]).max())
