"""Chairs that no shipped network or decoder has seen, with all that is known of them, to test on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.evaluation.evaluate import read_poses
from netinvert.models.encoder import Encoder
from netinvert.scenes.cameras import symmetric_geodesic_degrees
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

SEED = 404
"""Of the dataset plan; the shipped networks and decoders were trained on 0 and 2."""
PAPER = (206, 212, 218)
ELEVATION = (10.0, 35.0)


@dataclass(frozen=True, eq=False)
class FreshChairs:
    """N chairs: ``rgba`` (N, 4, H, W) in [0, 1], ``images`` (N, 3, H, W) of them before paper, ``rotation``
    (N, 3, 3) object to camera, ``symmetry`` (N,), ``azimuth`` and ``elevation`` (N,) in degrees."""

    rgba: Tensor
    images: Tensor
    rotation: Tensor
    symmetry: Tensor
    azimuth: Tensor
    elevation: Tensor

    @property
    def masks(self) -> Tensor:
        """(N, 1, H, W) in [0, 1]."""
        return self.rgba[:, 3:]

    def pose_errors(self, reader: Encoder, images: Tensor) -> Tensor:
        """Geodesic errors (N,) in degrees of the poses that a network reads from images of these chairs; for
        symmetric chairs the least."""
        reading = read_poses(reader, images)
        if reading is None:
            raise NetworkError(
                f"{reader.network.name} reads no poses: choose a pose network, such as posenet"
            )
        return symmetric_geodesic_degrees(reading.rotation, self.rotation, self.symmetry)


def fresh_chairs(count: int, seed: int = SEED, size: int = 64) -> FreshChairs:
    """So many chairs of a seed, one view each in studio light, at any azimuth, elevation 10° to 35°.

    Raises MissingExtraError without the extra scenes.
    """
    plan = DatasetConfig(
        identities=count, views=1, size=size, seed=seed, elevation=ELEVATION, in_plane=0, lights="studio"
    )
    pictures, rotations, symmetries, angles = [], [], [], []
    for identity in range(count):
        thing = make_object(plan.objects, plan.object_seed(identity))
        camera = plan.camera(thing.vertices, 0, plan.generator(identity, 0))
        pictures.append(Renderer(thing).image(camera, STUDIO).rgba)
        rotations.append(camera.rotation)
        symmetries.append(thing.symmetry)
        angles.append((camera.azimuth, camera.elevation))
    rgba = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    azimuth, elevation = torch.tensor(angles, dtype=torch.float32).unbind(1)
    return FreshChairs(
        rgba,
        before_colour(rgba, torch.tensor(PAPER).float() / 255),
        torch.from_numpy(np.stack(rotations)).float(),
        torch.tensor(symmetries),
        azimuth,
        elevation,
    )


def before_colour(rgba: Tensor, colour: Tensor) -> Tensor:
    """RGBA pictures (N, 4, H, W) before one colour (3,) or one each (N, 3), all in [0, 1]."""
    behind = colour.reshape(-1, 3, 1, 1)
    return behind + rgba[:, 3:] * (rgba[:, :3] - behind)
