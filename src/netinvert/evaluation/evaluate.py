"""How good reconstructions are: code errors, likeness to the original, and the pose read from both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError
from netinvert.evaluation.metrics import code_errors, psnr, ssim
from netinvert.inversion.objectives import Code, code_error, count_of, map_code
from netinvert.inversion.result import Result
from netinvert.io.assets import photographs
from netinvert.io.images import fit, read_image
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network
from netinvert.scenes.cameras import geodesic_degrees
from netinvert.scenes.poses import PoseReading

ERROR_NAMES = ("cvpr15", "ijcv16", "cvpr16")
CHUNK, LARGE = 64, 128
"""Images that are put through a network at once; an eighth of them if they are longer than LARGE, so that
their maps stay in the cache."""
MOST_OTHERS = 16
"""Codes of a reference that are looked at as a baseline."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Codes (R, ...) whose mean distance makes an error of two code norms comparable between layers."""

    name: str
    codes: Tensor


@dataclass(frozen=True)
class Pose:
    """Azimuth and elevation in degrees, and how sure the network is to see its object, in [0, 1].

    ``presence`` is None for networks that do not say.
    """

    azimuth: float
    elevation: float
    presence: float | None = None


@dataclass(frozen=True)
class PoseFigures:
    """The pose read from a reconstruction and, where there is one, from the original; how they differ.

    ``azimuth_difference`` and ``rotation_difference`` (geodesic) in degrees, ``keypoint_difference`` the
    mean distance in pixels.
    """

    reconstruction: Pose
    original: Pose | None = None
    azimuth_difference: float | None = None
    rotation_difference: float | None = None
    keypoint_difference: float | None = None


@dataclass(frozen=True)
class Metrics:
    """What is known of one reconstruction. ``errors`` by the names in ERROR_NAMES; None is unknown.

    ``pose`` is read by the network that was inverted, which an image made for it can fool; ``held_out_pose``
    by another (``Network.held_out_pose_estimator``).
    """

    errors: dict[str, float | None]
    psnr: float | None = None
    ssim: float | None = None
    pose: PoseFigures | None = None
    held_out_pose: PoseFigures | None = None

    @property
    def code_error(self) -> float | None:
        """‖Φ - Φ0‖ / ‖Φ0‖; None without a code to match."""
        return self.errors["ijcv16"]


def evaluate_result(
    result: Result, encoder: Encoder, originals: Tensor | None = None, reference: Reference | None = None
) -> list[Metrics]:
    """Metrics of every sample. ``originals`` (N, C, H, W) at the encoder's size, one a sample.

    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh()).eval()
    >>> encoder = ni.Encoder(network, "output", ni.Preprocessing(size=(16, 16)))
    >>> image = torch.rand(1, 3, 16, 16)
    >>> (found,) = evaluate_result(ni.invert(encoder, encoder(image), steps=20), encoder, image)
    >>> found.code_error < 1, found.ssim is None, found.pose
    (True, False, None)
    """
    if originals is not None and originals.shape[0] != result.image.shape[0]:
        raise ConfigError(
            f"{originals.shape[0]} originals for {result.image.shape[0]} reconstructions; give one each"
        )
    count = result.image.shape[0]
    errors: dict[str, list[float]] = {}
    if result.target is not None:
        codes = None if reference is None else reference.codes
        found = code_errors(result.code, result.target, codes)
        errors = {name: values.tolist() for name, values in found.items()}
    likeness: list[list[float]] | None = None
    if originals is not None:
        originals = originals.to(result.image)
        likeness = [measure(result.image, originals).tolist() for measure in (psnr, ssim)]
    poses = _poses(encoder, result.image, originals)
    other = held_out_estimator(encoder)
    held_out = None if other is None else _poses(other, result.image, originals)
    return [
        Metrics(
            errors={name: errors[name][index] if name in errors else None for name in ERROR_NAMES},
            psnr=None if likeness is None else likeness[0][index],
            ssim=None if likeness is None else likeness[1][index],
            pose=None if poses is None else poses[index],
            held_out_pose=None if held_out is None else held_out[index],
        )
        for index in range(count)
    ]


@dataclass(frozen=True)
class Baseline:
    """What images that know nothing of a code have, in the mean over samples; None is unknown."""

    name: str
    code_error: float
    psnr: float | None = None
    ssim: float | None = None


@torch.no_grad()
def baselines(
    target: Code, encoder: Encoder, originals: Tensor | None = None, reference: Reference | None = None
) -> list[Baseline]:
    """The floors of reconstructions: a grey image, and other images' codes, those of the ``reference``."""
    grey = grey_image(encoder)
    count = count_of(target)
    error = code_error(map_code(lambda code: code.expand(count, *code.shape[1:]), encoder(grey)), target)
    likeness: list[float | None] = [None, None]
    if originals is not None:
        shown = fit(grey, (originals.shape[2], originals.shape[3])).to(originals).expand_as(originals)
        likeness = [measure(shown, originals).mean().item() for measure in (psnr, ssim)]
    found = [Baseline("grey image", error.mean().item(), *likeness)]
    others: list[Tensor] = []
    for code in () if reference is None else torch.split(reference.codes[:MOST_OTHERS], 1):
        distances = code_error(code.expand(count, *code.shape[1:]), target)
        others.append(distances[distances > 0])  # an image is no baseline of itself
    if others and torch.cat(others).numel():
        found.append(Baseline("other images", torch.cat(others).mean().item()))
    return found


def grey_image(encoder: Encoder) -> Tensor:
    """The network's grey, (1, C, H, W): what its preprocessing makes zero."""
    centre = torch.tensor(encoder.centre, dtype=encoder.dtype, device=encoder.device)
    return centre.view(1, -1, 1, 1).expand(1, -1, *encoder.size).clamp(0, 1)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None if a value is missing or not finite."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known and len(known) == len(values) else None


# -- reference codes -----------------------------------------------------------------------------------


@torch.no_grad()
def encode_images(encoder: Encoder, images: Sequence[Tensor]) -> Tensor:
    """Codes (N, ...) of images (1, C, h, w) of any sizes, a few at a time."""
    fitted = [encoder.fit(image.to(encoder.device, encoder.dtype)) for image in images]
    chunks = [fitted[start : start + CHUNK] for start in range(0, len(fitted), CHUNK)]
    return torch.cat([encoder(torch.cat(chunk)) for chunk in chunks])


def shipped_reference(encoder: Encoder) -> Reference | None:
    """The photographs that netinvert ships; None for networks that take neither colour nor grey images, and
    for codes of several layers."""
    if encoder.preprocessing.channels not in (1, 3) or encoder.several:
        return None
    names, images = photographs(encoder.size, encoder.preprocessing.channels)
    codes = encode_images(encoder, torch.split(images, 1))
    if not _differ(codes):
        return None  # the layer says the same of all of them; there is nothing to divide by
    return Reference(f"the {len(names)} photographs of netinvert", codes)


def reference_of(encoder: Encoder, paths: Sequence[Path], name: str) -> Reference:
    """The images of these files. Raises ImageError, CodeError."""
    codes = encode_images(encoder, [read_image(path, encoder.preprocessing.channels) for path in paths])
    if codes.shape[0] < 2 or not _differ(codes):
        raise CodeError(
            f"the reference images of {name} have fewer than two different codes; give more of them"
        )
    return Reference(f"the {len(paths)} images of {name}", codes)


def _differ(codes: Tensor) -> bool:
    return not bool((codes == codes[0]).all())


# -- poses ---------------------------------------------------------------------------------------------


def held_out_estimator(encoder: Encoder) -> Encoder | None:
    """The network that reads the poses of this one's reconstructions, if it has one."""
    if encoder.network.held_out_pose_estimator is None:
        return None
    other = load_network(encoder.network.held_out_pose_estimator)
    return Encoder(other, other.layers[-1])


@dataclass(frozen=True)
class PoseDifference:
    """How far a reading is from a reference, each (N,) and at least 0.

    ``azimuth`` in degrees on the circle (at most 180); ``rotation``, the geodesic error in degrees;
    ``keypoints``, the mean distance in pixels, None unless both have them."""

    azimuth: Tensor
    rotation: Tensor
    keypoints: Tensor | None


def pose_differences(reading: PoseReading, reference: PoseReading) -> PoseDifference:
    """The differences of two readings, image by image; a reference of one image serves all."""
    azimuth = (reading.azimuth - reference.azimuth + 180) % 360 - 180
    rotation, keypoints = geodesic_degrees(reading.rotation, reference.rotation), None
    if reading.keypoints is not None and reference.keypoints is not None:
        keypoints = (reading.keypoints - reference.keypoints).norm(dim=-1).mean(dim=-1)
    return PoseDifference(azimuth.abs(), rotation, keypoints)


def _poses(encoder: Encoder, images: Tensor, originals: Tensor | None) -> list[PoseFigures] | None:
    reading = read_poses(encoder, images)
    if reading is None:
        return None
    ours = _rows(reading)
    reference = None if originals is None else read_poses(encoder, originals)
    if reference is None:
        return [PoseFigures(pose) for pose in ours]
    difference = pose_differences(reading, reference)
    columns = (difference.azimuth, difference.rotation, difference.keypoints)
    rows = zip(ours, _rows(reference), *(_column(values, len(ours)) for values in columns), strict=True)
    return [PoseFigures(*row) for row in rows]


@torch.no_grad()
def read_poses(encoder: Encoder, images: Tensor) -> PoseReading | None:
    """The poses in images (N, C, H, W), clipped to [0, 1]; None if the network does not read poses."""
    network = encoder.network
    if network.read_pose is None:
        return None
    parts = []
    for part in torch.split(images, CHUNK if max(encoder.size) <= LARGE else CHUNK // 8):
        seen = encoder.fit(part.clamp(0, 1).to(encoder.device, encoder.dtype))
        parts.append(network.read_pose(network.module(encoder.network_input(seen))))
    return PoseReading.joined(parts)


def _rows(reading: PoseReading) -> list[Pose]:
    columns = (reading.azimuth, reading.elevation, reading.presence)
    rows = zip(*(_column(values, len(reading.azimuth)) for values in columns), strict=True)
    return [Pose(*row) for row in rows]


def _column(values: Tensor | None, count: int) -> list[Any]:
    return [None] * count if values is None else values.tolist()


@dataclass(frozen=True)
class Sample:
    """One image: its file name without ``.png``, that of its original, and its seed if known."""

    name: str
    stem: str
    seed: int | None


@dataclass(frozen=True, eq=False)
class Attained:
    """What was made large (``more``) or small: its name and meaning, a value a sample, and what other images
    have of it, a value a sample too."""

    name: str
    about: str
    values: Sequence[float]
    floors: Mapping[str, Sequence[float]]
    more: bool = True


@dataclass(frozen=True, eq=False)
class Record:
    """A finished run. Samples with the same stem are restarts.

    ``originals`` (N, C, H, W); ``tensors`` are kept with the images, for a rerun. ``what`` is what the images
    are called; ``shown`` (N, C, H, W) are those of the report where they are not the result's;
    ``steps_to_take`` are sentences and commands.
    """

    result: Result
    samples: tuple[Sample, ...]
    metrics: Sequence[Metrics]
    encoder: Encoder | None = None
    originals: Tensor | None = None
    reference: Reference | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    attained: Attained | None = None
    command: str = ""
    notes: tuple[str, ...] = ()
    steps_to_take: tuple[tuple[str, str], ...] = ()
    what: str = "reconstruction"
    shown: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """What the report shows."""
        return self.result.image if self.shown is None else self.shown

    @property
    def groups(self) -> dict[str, list[int]]:
        """The samples of each input."""
        groups: dict[str, list[int]] = {}
        for index, sample in enumerate(self.samples):
            groups.setdefault(sample.stem, []).append(index)
        return groups

    def showing(self, images: Tensor, note: str) -> Record:
        """The same with other images in the report."""
        return dataclasses.replace(self, shown=images, notes=(*self.notes, note))
