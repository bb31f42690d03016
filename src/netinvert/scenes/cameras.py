"""Pinhole cameras around an object, in the PASCAL3D+ frame (z up, the object's front faces -y)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netinvert.errors import NetinvertError
from netinvert.scenes.rotations import angles_from_rotation, is_rotation, rotation_from_angles

Array = NDArray[np.float64]
FOV = 35.0  # degrees, of the chairs in the literature's renders


class CameraError(NetinvertError):
    """A camera that sees nothing, stands inside the object, or is no camera at all."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera. ``orbit`` makes one that looks at the object's centre.

    ``rotation`` (3, 3) maps object to camera coordinates (camera: x right, y up, z back); ``position`` (3,)
    is the camera's centre in object coordinates; ``intrinsics`` (3, 3) map camera coordinates with y down
    and z forward to pixels, whose centres lie at +0.5; ``size`` is (width, height) in pixels.
    """

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
        counter-clockwise. ``fov`` is the whole angle across the square image, in degrees.

        Raises CameraError: a distance or field of view of no camera.
        """
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

    The farthest vertex from the image's centre, to the side or up, then lies at ``fill`` / 2 of its side.
    """
    seen = np.asarray(vertices, float) @ np.asarray(rotation).T
    reach = np.abs(seen[:, :2]).max(axis=1) / (fill * np.tan(np.radians(fov) / 2))
    return float((reach + seen[:, 2]).max())
