"""Chairs that no shipped network or decoder has seen, with all that is known of them, and what experiments
measure on them: a decoder, its encoder, and a pose estimator that took no part."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from netinvert.errors import ConfigError, NetworkError
from netinvert.evaluation.evaluate import read_poses
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.evaluation.report import Estimate
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.codes.statistics import CodeStatistics
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.cameras import angles_from_rotation, symmetric_geodesic_degrees
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT, rendered_views
from netinvert.scenes.poses import PoseReading
from netinvert.scenes.seeds import OPENED
from netinvert.scenes.shading import DARKNESS
from netinvert.training.decoder.train import in_chunks


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
        """How much of each pixel is the chair's (shadows are not), (N, 1, H, W) in [0, 1]."""
        return object_weights(self.rgba[:, 3:])

    def only(self, chosen: Tensor) -> FreshChairs:
        """Those that are chosen, (N,) bool or numbers."""
        return FreshChairs(**{name: value[chosen] for name, value in vars(self).items()})

    def pose_errors(self, reader: Encoder, images: Tensor) -> Tensor:
        """Geodesic errors (N,) in degrees of the poses that a network reads from images of these chairs; for
        symmetric chairs the least."""
        reading = read_poses(reader, images)
        if reading is None:
            raise NetworkError(
                f"{reader.network.name} reads no poses: choose a pose network, such as posenet"
            )
        return symmetric_geodesic_degrees(reading.rotation, self.rotation, self.symmetry)


def fresh_chairs(count: int, seed: int = OPENED, size: int = 64) -> FreshChairs:
    """So many chairs of a seed, one view each in studio light, at any azimuth, elevation 10° to 35°.

    Raises MissingExtraError without the extra scenes.
    """
    views = rendered_views(DatasetConfig(identities=count, views=1, size=size, seed=seed, **UPRIGHT))
    rgba = torch.from_numpy(views.rgba).permute(0, 3, 1, 2).float() / 255
    return FreshChairs(
        rgba,
        before_colour(rgba, torch.tensor(PAPER).float() / 255),
        views.rotation,
        views.symmetry,
        angles_from_rotation(views.rotation)[0],
        views.elevation,
    )


def object_weights(alpha: Tensor) -> Tensor:
    """Where the object is, in [0, 1], of an alpha that shadows on the ground have a part in."""
    return (1 - (1 - alpha) / (1 - DARKNESS)).clamp(0, 1)  # exactly 1 where alpha is


def chair_errors(images: Tensor, originals: Tensor, masks: Tensor) -> Tensor:
    """Distances (N,) from the originals (N, 3, H, W) in the pixels of each chair alone, by its mask, over the
    mean distance of the other originals there: who leaves the background open is not blamed for that."""
    here = list(zip(originals, masks, strict=True))
    away = torch.stack([((originals - one) * mask).flatten(1).norm(dim=1) for one, mask in here])
    mean = away.sum(1) / (len(away) - 1)  # the chair's own distance is 0
    found = [((image - one) * mask).norm() for image, (one, mask) in zip(images, here, strict=True)]
    return torch.stack(found) / mean.clamp_min(1e-9)


def before_colour(rgba: Tensor, colour: Tensor) -> Tensor:
    """RGBA pictures (N, 4, H, W) before one colour (3,) or one each (N, 3), all in [0, 1]."""
    behind = colour.reshape(-1, 3, 1, 1)
    return behind + rgba[:, 3:] * (rgba[:, :3] - behind)


@dataclass(frozen=True, eq=False)
class CodeSubject:
    """A decoder, and N chairs (N, 3, *decoder.size) as ``originals``, their ``codes``, and what it makes of
    these: ``decoded``. ``bank`` (B, ...) are codes of other images, ``statistics`` theirs. ``estimator``
    reads the poses. Raises ConfigError for fewer than two chairs, CodeError for another decoder's encoder."""

    decoder: Decoder
    encoder: Encoder
    estimator: Encoder
    chairs: FreshChairs
    bank: Tensor
    statistics: CodeStatistics = field(init=False)
    originals: Tensor = field(init=False)
    codes: Tensor = field(init=False)
    decoded: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.decoder.check_encoder(self.encoder)
        if len(self.chairs.images) < 2:
            raise ConfigError("errors over pairs of images need two chairs or more")
        codes = self.encode(self.chairs.images)
        found = {
            "statistics": CodeStatistics.of(self.bank),
            "originals": fit(self.chairs.images, self.decoder.size),
            "codes": codes,
            "decoded": self.decode(codes),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.decoder.name} ({self.decoder.layer})"

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, 3, *size) of codes."""
        return in_chunks(self.decoder, codes)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes of images."""
        return in_chunks(self.encoder, images)

    @cached_property
    def masks(self) -> Tensor:
        """The chairs' true masks (N, 1, *size)."""
        return fit(self.chairs.masks, self.decoder.size)

    @torch.no_grad()
    def overlap(self, codes: Tensor) -> Estimate | None:
        """Mean intersection over union of the masks that the decoder makes of the chairs' changed codes with
        their true masks; None for a decoder that makes none."""
        if not self.decoder.has_mask:
            return None
        return estimate(mask_overlaps(in_chunks(self.decoder.mask, codes), self.masks))

    def image_errors(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances (N,) over the mean distance of two originals (Dosovitskiy & Brox 2016)."""
        return error_cvpr16(images, others, self.originals)

    def code_errors(self, codes: Tensor, others: Tensor) -> Tensor:
        """Distances (N,) over the mean distance of the codes of two originals."""
        return error_cvpr16(codes, others, self.codes)

    def chair_errors(self, images: Tensor) -> Tensor:
        """As of :func:`chair_errors`."""
        return chair_errors(images, self.originals, self.masks)

    def figures(self, images: Tensor, codes: Tensor) -> dict[str, Estimate]:
        """Means over what was made of the chairs, whose own ``codes`` are these, and medians of its poses."""
        return {
            "image error": estimate(self.image_errors(images, self.originals)),
            "on the chair": estimate(self.chair_errors(images)),
            "moved": estimate(self.image_errors(images, self.decoded)),
            "code error": estimate(self.code_errors(codes, self.codes)),
            **self.pose_figures(images),
        }

    def spread(self, images: Tensor) -> float:
        """The mean distance of two of the images, over that of two originals."""
        made, real = (torch.pdist(batch.double().flatten(1)).mean() for batch in (images, self.originals))
        return (made / real).item()

    def poses(self, images: Tensor) -> PoseReading:
        """As the held-out pose estimator reads them."""
        reading = read_poses(self.estimator, images)
        if reading is None:
            raise NetworkError(f"{self.estimator.network.name} reads no poses: choose a pose network")
        return reading

    def pose_figures(self, images: Tensor) -> dict[str, Estimate]:
        """``pose``: the median angle in degrees between each chair's true pose and that which is read from
        the image; ``within 30°``, their share; ``turned``: the median angle between the poses read from it
        and from what is decoded of the chair's own code. For symmetric chairs the least angles."""
        found, symmetry = self.poses(images).rotation, self.chairs.symmetry
        error = symmetric_geodesic_degrees(found, self.chairs.rotation, symmetry)
        turned = symmetric_geodesic_degrees(found, self._decoded_rotation, symmetry)
        return {
            "pose": estimate(error, statistic="median"),
            "within 30°": estimate((error < 30).float()),
            "turned": estimate(turned, statistic="median"),
        }

    @cached_property
    def _decoded_rotation(self) -> Tensor:
        return self.poses(self.decoded).rotation

    def sureness(self, images: Tensor) -> Tensor:
        """How probable it is to the pose estimator that it reads them right, (N,). Raises NetworkError: it
        does not say."""
        found = self.poses(images).confidence
        if found is None:
            raise NetworkError(
                f"{self.estimator.network.name} does not say how sure it is: try posenet-judge"
            )
        return found


def mask_overlaps(found: Tensor, truth: Tensor) -> Tensor:
    """Intersections over unions (N,) of masks (N, 1, H, W), each cut at one half."""
    one, other = found > 0.5, truth > 0.5
    both, either = (masks.flatten(1).sum(1) for masks in (one & other, one | other))
    return both / either.clamp_min(1)
