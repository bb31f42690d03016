"""What a pose network reads from an image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PoseReading:
    """Poses read from a batch of images.

    ``azimuth`` and ``elevation`` (N,) in degrees, PASCAL3D+ frame (z up, the object's front faces -y);
    ``rotation`` (N, 3, 3) maps object to camera coordinates; ``keypoints`` (N, K, 2) in pixels of the
    network's input, x to the right and y down; ``presence`` (N,) in [0, 1].
    """

    azimuth: Tensor
    elevation: Tensor
    rotation: Tensor
    keypoints: Tensor
    presence: Tensor
