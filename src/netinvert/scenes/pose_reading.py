"""What a pose network reads from an image, and how far two readings are apart."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinvert.scenes.rotations import geodesic_degrees


@dataclass(frozen=True)
class PoseReading:
    """Poses read from a batch of images.

    ``azimuth`` (N,) in [0, 360) and ``elevation`` (N,) in [-90, 90] degrees, PASCAL3D+ frame (z up, the
    object's front faces -y; azimuth 0 sees the front, 90 sees it from +x); ``rotation`` (N, 3, 3) maps
    object to camera coordinates (camera: x right, y up, z back); ``keypoints`` (N, K, 2) in pixels of the
    network's input, x to the right and y down; ``presence`` (N,) in [0, 1]. A network that reads rotations
    alone has neither keypoints nor presence.
    """

    azimuth: Tensor
    elevation: Tensor
    rotation: Tensor
    keypoints: Tensor | None = None
    presence: Tensor | None = None


@dataclass(frozen=True)
class PoseDifference:
    """How far a reading is from a reference, each (N,) and at least 0.

    ``azimuth`` in degrees on the circle (at most 180); ``rotation``, the geodesic error in degrees;
    ``keypoints``, the mean distance in pixels, None unless both have them.
    """

    azimuth: Tensor
    rotation: Tensor
    keypoints: Tensor | None


def pose_differences(reading: PoseReading, reference: PoseReading) -> PoseDifference:
    """The differences of two readings, image by image; a reference of one image serves all."""
    azimuth = (reading.azimuth - reference.azimuth + 180) % 360 - 180
    keypoints = None
    if reading.keypoints is not None and reference.keypoints is not None:
        keypoints = (reading.keypoints - reference.keypoints).norm(dim=-1).mean(dim=-1)
    return PoseDifference(
        azimuth=azimuth.abs(),
        rotation=geodesic_degrees(reading.rotation, reference.rotation),
        keypoints=keypoints,
    )
