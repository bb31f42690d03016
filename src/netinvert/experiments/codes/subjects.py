"""What the experiments on codes are made with: a decoder, its encoder, chairs with known cameras, a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import ConfigError, NetworkError
from netinvert.evaluation.evaluate import read_poses
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.experiments.codes.statistics import CodeStatistics
from netinvert.experiments.held_out_chairs import FreshChairs, fresh_chairs
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network
from netinvert.models.zoo.rotation_heads import Bins
from netinvert.scenes.pose_reading import PoseReading
from netinvert.scenes.rotations import symmetric_geodesic_degrees
from netinvert.training.decoder.evaluation import in_chunks
from netinvert.training.decoder.images import SceneImages

JUDGE = "posenet-judge"
OTHERS = 100_000
"""Between the seed of the chairs to test on and that of those for statistics, where no data are given."""
FEW, MANY = 300, 3000
"""Codes for statistics: of chairs rendered for them, of pictures of a dataset."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A decoder, and N chairs (N, 3, *decoder.size) as ``originals``, their ``codes``, and what it makes of
    these: ``decoded``. ``bank`` (B, ...) are codes of other pictures, ``statistics`` theirs."""

    decoder: Decoder
    encoder: Encoder
    judge: Encoder
    chairs: FreshChairs
    bank: Tensor
    statistics: CodeStatistics = field(init=False)
    originals: Tensor = field(init=False)
    codes: Tensor = field(init=False)
    decoded: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.decoder.check_encoder(self.encoder)
        if len(self.chairs.images) < 2:
            raise ConfigError("errors over pairs of pictures need two chairs or more")
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
    def overlap(self, codes: Tensor) -> float | None:
        """Mean intersection over union of the masks that the decoder makes of the chairs' changed codes with
        their true masks; None for a decoder that makes none."""
        if not self.decoder.has_mask:
            return None
        found = in_chunks(self.decoder.mask, codes) > 0.5
        true = fit(self.chairs.masks, self.decoder.size) > 0.5
        both, either = (masks.flatten(1).sum(1) for masks in (found & true, found | true))
        return (both / either.clamp_min(1)).mean().item()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes of images."""
        return in_chunks(self.encoder, images)

    def image_errors(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances (N,) over the mean distance of two originals (Dosovitskiy & Brox 2016)."""
        return error_cvpr16(images, others, self.originals)

    def chair_errors(self, images: Tensor) -> Tensor:
        """Distances (N,) from the originals in the pixels of each chair alone, over the mean distance of the
        other originals there: a code that leaves the background open is not blamed for that."""
        here = self.chairs_pixels
        away = torch.stack([((self.originals - one) * mask).flatten(1).norm(dim=1) for one, mask in here])
        mean = away.sum(1) / (len(away) - 1)  # the chair's own distance is 0
        found = torch.stack(
            [((image - one) * mask).norm() for image, (one, mask) in zip(images, here, strict=True)]
        )
        return found / mean.clamp_min(1e-9)

    def code_errors(self, codes: Tensor, others: Tensor) -> Tensor:
        """Distances (N,) over the mean distance of the codes of two originals."""
        return error_cvpr16(codes, others, self.codes)

    @property
    def chairs_pixels(self) -> list[tuple[Tensor, Tensor]]:
        """Of each chair the original, and its mask (1, H, W)."""
        return list(zip(self.originals, fit(self.chairs.masks, self.decoder.size), strict=True))

    @property
    def code_distance(self) -> Tensor:
        """The mean distance of the codes of two originals."""
        return torch.pdist(self.codes.double().flatten(1)).mean()

    def spread(self, images: Tensor) -> float:
        """The mean distance of two of the images, over that of two originals."""
        made, real = (torch.pdist(batch.double().flatten(1)).mean() for batch in (images, self.originals))
        return (made / real).item()

    def poses(self, images: Tensor) -> PoseReading:
        """As the judge reads them."""
        reading = read_poses(self.judge, images)
        if reading is None:
            raise NetworkError(
                f"{self.judge.network.name} reads no poses: choose a pose network as the judge"
            )
        return reading

    def pose_figures(self, images: Tensor) -> dict[str, float]:
        """``pose``: the median angle in degrees between each chair's true pose and that which the judge reads
        from the image; ``within 30°``, their share; ``turned``: the median angle between the poses read from
        the image and from what is decoded of the chair's own code. For symmetric chairs the least angles."""
        found, symmetry = self.poses(images).rotation, self.chairs.symmetry
        error = symmetric_geodesic_degrees(found, self.chairs.rotation, symmetry)
        return {
            "pose": error.median().item(),
            "within 30°": (error < 30).float().mean().item(),
            "turned": symmetric_geodesic_degrees(found, self._decoded_rotation, symmetry).median().item(),
        }

    @cached_property
    def _decoded_rotation(self) -> Tensor:
        return self.poses(self.decoded).rotation

    def sureness(self, images: Tensor) -> Tensor:
        """How sure the judge is of the azimuth, (N,) in [0, 1]: see ``sureness``."""
        with torch.no_grad():
            return sureness(in_chunks(self.judge, images))


def sureness(outputs: Tensor) -> Tensor:
    """The probability (N,) of the most likely bin of azimuth and its two neighbours, from the outputs
    (N, 50) of a network with the head ``Bins``; a sure network gives three of 24 bins nearly all.

    Raises NetworkError for other outputs.
    """
    if outputs.shape[1:] != (Bins.outputs,):
        raise NetworkError(f"only a network with bins of azimuth says how sure it is, not {outputs.shape}")
    probability = torch.softmax(outputs[:, : Bins.count], 1)
    best = probability.argmax(1, keepdim=True)
    around = (best + torch.arange(-1, 2)) % Bins.count
    return probability.gather(1, around).sum(1)


def subjects_of(
    decoders: Sequence[Decoder], count: int, seed: int, bank: bool = True, data: Path | None = None
) -> list[Subject]:
    """So many fresh chairs of a seed for each decoder. The ``bank`` holds codes of pictures of the scenes
    dataset ``data``, else of other fresh chairs; without one, where statistics of codes are not needed, it is
    the chairs' own codes.

    Raises:
        ConfigError: no decoder, or fewer than two chairs.
        NetworkError, CodeError: a decoder whose network cannot be loaded or has other codes.
        DatasetError: a dataset that is missing or damaged.
    """
    if not decoders or count < 2:
        raise ConfigError("give a decoder, and two chairs or more")
    encoders = [decoder.encoder() for decoder in decoders]
    judge_network = load_network(JUDGE)
    judge = Encoder(judge_network, judge_network.layers[-1])
    pictures = None if data is None else SceneImages(data, seed).batch(0, MANY).images
    sides = {max(decoder.size) for decoder in decoders}
    chairs = {side: fresh_chairs(count, seed, side) for side in sides}
    others = {side: chairs[side].images if pictures is None else pictures for side in sides}
    if bank and pictures is None:
        others = {side: fresh_chairs(FEW, seed + OTHERS, side).images for side in sides}
    subjects = []
    for decoder, encoder in zip(decoders, encoders, strict=True):
        side = max(decoder.size)
        with torch.no_grad():
            codes = in_chunks(encoder, others[side])
        subjects.append(Subject(decoder, encoder, judge, chairs[side], codes))
    return subjects
