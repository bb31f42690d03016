"""What the codes of a layer keep of attributes that vary alone, measured against what is known of the scene.

How far the codes move with an attribute; how much of it linear probes read from codes of chairs that they
were not fitted on; and, where there is a decoder, how much of it can be measured in the decoded image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import held_out_estimator, read_poses
from netinvert.evaluation.probes import (
    Standard,
    held_out,
    inner_products,
    quadratic_kernel,
    r2,
    within_groups,
)
from netinvert.evaluation.report import Estimate
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.attribute_series import (
    ATTRIBUTES,
    AttributeSeries,
    Kind,
    chroma,
)
from netinvert.experiments.held_out_chairs import object_weights
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.train import in_chunks

Encode: TypeAlias = Callable[[Tensor], Tensor]
"""An encoder, or what stands in for one: images (M, 3, H, W) to codes (M, ...)."""
OUTSIDE = 0.2
"""Alpha below which a pixel shows the background."""
PALE, PLAIN = 0.06, 0.18
"""Distances from the background's colour, RGB in [0, 1], at which a pixel begins to count as the object's and
counts whole, where there is no mask."""


@dataclass(frozen=True)
class Agreement:
    """``r2``: the share of the truth's variance that the measured values, as they are, explain. ``line``: the
    same of a straight line of measured over true values, and its ``slope``: 1 is as true, 0 not at all.
    ``error`` is the median distance, ``error_baseline`` the same with true values of other chairs and
    settings; angles in degrees. ``accuracy`` and ``accuracy_baseline`` are the same two for classes."""

    r2: float
    line: float
    slope: float
    error: float | None = None
    error_baseline: float | None = None
    accuracy: float | None = None
    accuracy_baseline: float | None = None


def agreement(measured: Tensor, truth: Tensor, kind: Kind, generator: torch.Generator) -> Agreement:
    """Of values (N, K, T), K settings of N chairs. A ``value`` counts about its chair's mean, so a chair is
    compared with itself. A class is the largest of T."""
    others = shuffled(truth, generator)
    if kind == "value":
        measured, truth, others = (each - each.mean(1, keepdim=True) for each in (measured, truth, others))
    x, y = (each.flatten(0, 1).double() for each in (truth, measured))
    x, y = x - x.mean(0), y - y.mean(0)
    product, spread = (x * y).sum(), x.square().sum()
    r2 = float(1 - (y - x).square().sum() / spread)
    line = float(product.square() / (spread * y.square().sum()).clamp_min(1e-12))
    slope = float(product / spread)
    if kind == "class":
        found = measured.argmax(-1)
        right, by_chance = (float((found == each.argmax(-1)).double().mean()) for each in (truth, others))
        return Agreement(r2, line, slope, accuracy=right, accuracy_baseline=by_chance)
    if kind == "value":
        distances = [(measured - each).norm(dim=-1) for each in (truth, others)]
    else:
        angle, *angles = (torch.atan2(each[..., 1], each[..., 0]) for each in (measured, truth, others))
        turned = [torch.rad2deg(angle - each) for each in angles]
        distances = [(torch.remainder(each + 180, 360) - 180).abs() for each in turned]
    return Agreement(r2, line, slope, *(float(each.median()) for each in distances))


def shuffled(truth: Tensor, generator: torch.Generator) -> Tensor:
    """True values (N, K, T) given to other chairs and, within those, other settings."""
    count, settings = truth.shape[:2]
    rows = torch.rand(count, generator=generator).argsort()[:, None]
    found: Tensor = truth[rows, torch.rand(count, settings, generator=generator).argsort(1)]
    return found


# -- measures: images (M, 3, H, W) and alpha (M, 1, H, W) to values (M, T) -----------------------------


def object_colour(images: Tensor, alpha: Tensor) -> Tensor:
    """The mean colour (M, 3) of the object."""
    weights = object_weights(alpha)
    return (weights * images).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-6)


def background_colour(images: Tensor, alpha: Tensor) -> Tensor:
    """The median colour (M, 3) outside the object and its shadow; of all pixels if there is no outside."""
    flat = images.flatten(2)
    outside = torch.where(alpha.flatten(2) < OUTSIDE, flat, torch.full((), math.nan))
    found = outside.nanmedian(-1).values
    return torch.where(found.isnan(), flat.median(-1).values, found)


def _placed(alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The object's weights (M, H, W), and how far down and to the right of the centre the pixels are."""
    weights = object_weights(alpha)[:, 0]
    down, right = (torch.arange(side) - (side - 1) / 2 for side in weights.shape[-2:])
    return weights, down, right


def centroid(images: Tensor, alpha: Tensor) -> Tensor:
    """The object's centre of mass (M, 2): pixels to the right and down from the image's centre."""
    weights, down, right = _placed(alpha)
    total = weights.sum((1, 2)).clamp_min(1e-6)
    sums = torch.stack([(weights.sum(1) * right).sum(1), (weights.sum(2) * down).sum(1)], 1)
    return sums / total[:, None]


def log_size(images: Tensor, alpha: Tensor) -> Tensor:
    """The logarithm (M, 1) of the root mean square distance of the object's pixels from their centroid, which
    is half a pixel at least."""
    weights, down, right = _placed(alpha)
    squares = (weights * (down[:, None].square() + right.square())).sum((1, 2))
    mean = squares / weights.sum((1, 2)).clamp_min(1e-6)
    spread = mean - centroid(images, alpha).square().sum(1)
    return 0.5 * spread.clamp_min(0.25).log()[:, None]


MEASURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hue": lambda images, alpha: chroma(object_colour(images, alpha)),
    "lightness": lambda images, alpha: object_colour(images, alpha).mean(1, keepdim=True),
    "background": background_colour,
    "contrast": lambda images, _: images.mean(1).flatten(1).std(1, keepdim=True).clamp_min(1e-4).log(),
    "position": centroid,
    "far": centroid,
    "scale": log_size,
}
"""By attribute: the coloured part (M, 2) of the object's mean colour, the mean (M, 1) of its red, green and
blue, the logarithm (M, 1) of the standard deviation of the grey image. Networks read poses and parts."""


def found_alpha(images: Tensor) -> Tensor:
    """An alpha (M, 1, H, W) for images before one colour: how much pixels differ from the border."""
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], -1)
    behind = border.median(-1).values[:, :, None, None]
    distance: Tensor = (images - behind).norm(dim=1, keepdim=True)
    return ((distance - PALE) / (PLAIN - PALE)).clamp(0, 1)


# -- scores ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttributeScores:
    """What a layer keeps of one attribute.

    ``probe`` is the R² of a linear probe on held-out chairs' codes; of values both count about their chair's
    mean, as in the decoded images. ``permutation_baseline`` is the same for shuffled labels; of classes
    ``accuracy`` and ``accuracy_baseline`` are the shares that are right. ``across_chairs`` is the probe's R²
    without a chair being compared with itself, ``quadratic_kernel`` that with all products of two units
    added: what is kept, but not along lines. ``sensitivity`` is how far the code moves with the attribute's
    step, over the mean distance of the codes of two chairs. ``decoded`` is how the decoded image agrees with
    the truth. ``by_chair``: of each chair the share of ``probe``'s variance that is found, and the variance;
    of classes the share that is right, and 1.
    """

    probe: float
    permutation_baseline: float
    across_chairs: float
    quadratic_kernel: float
    sensitivity: float
    accuracy: float | None = None
    accuracy_baseline: float | None = None
    decoded: Agreement | None = None
    by_chair: tuple[tuple[float, float], ...] = ()

    @property
    def figure(self) -> Estimate:
        """What the probe reads, R² or of classes the share right, with its interval over chairs."""
        shares, weights = torch.tensor(self.by_chair).double().unbind(1)
        return estimate(shares, weights=weights)

    def above(self, other: AttributeScores) -> Estimate:
        """By how much the figure is above another's of the same chairs, paired."""
        shares, weights = torch.tensor(self.by_chair).double().unbind(1)
        return difference(shares, torch.tensor(other.by_chair).double()[:, 0], weights=weights)


def checked_decoders(encoders: Mapping[str, Encoder], decoders: Sequence[Decoder]) -> dict[str, Decoder]:
    """The decoders by layer, each its encoder's. Raises ConfigError, CodeError."""
    found: dict[str, Decoder] = {}
    for decoder in decoders:
        if decoder.layer not in encoders:
            raise ConfigError(f"{decoder.name} decodes layer '{decoder.layer}': name that among the --layers")
        if decoder.layer in found:
            raise ConfigError(f"two decoders of layer '{decoder.layer}': give one of them")
        decoder.check_encoder(encoders[decoder.layer])
        found[decoder.layer] = decoder
    return found


@torch.no_grad()
def mean_code_distance(encoder: Encode, made: Mapping[str, AttributeSeries]) -> float:
    """Of the codes of two chairs, each in a view of its own."""
    some = made["azimuth"] if "azimuth" in made else next(iter(made.values()))
    codes = in_chunks(encoder, some.images[:, 0])
    return float(torch.nn.functional.pdist(codes.flatten(1)).mean())


@dataclass(frozen=True, eq=False)
class AttributeReader:
    """Reads attributes from images: ``poses`` by a network, parts by linear probes on the codes of ``parts``,
    fitted on the originals."""

    poses: Encoder | None
    parts: Encoder
    standards: Mapping[str, tuple[Standard, Tensor]]

    @classmethod
    def of(cls, encoder: Encoder, made: Mapping[str, AttributeSeries]) -> AttributeReader:
        """The network's held-out pose estimator, if it has one, or itself."""
        judge = held_out_estimator(encoder)
        poses = judge if judge is not None else encoder if encoder.network.read_pose else None
        network = encoder.network if judge is None else judge.network
        middle = network.layers[len(network.layers) // 2] if network.layers else encoder.layer
        parts = Encoder(network, middle)
        standards = {}
        for name, one in made.items():
            if ATTRIBUTES[name].kind == "class":
                codes = in_chunks(parts, one.images.flatten(0, 1))
                standard = Standard.of(codes)
                standards[name] = (standard, standard(codes))
        return cls(poses, parts, standards)

    def agreement(self, one: AttributeSeries, images: Tensor, alpha: Tensor, seed: int) -> Agreement | None:
        """How images (N K, 3, H, W) with an alpha agree with what is true; None if nobody reads it."""
        name = one.name
        if name in MEASURES:
            measured = MEASURES[name](images, alpha)
        elif name in self.standards:
            standard, codes = self.standards[name]
            seen = inner_products(standard(in_chunks(self.parts, images)), codes)
            measured = held_out(inner_products(codes), one.truth.flatten(0, 1), one.chairs, seen)
        else:
            reading = None if self.poses is None else read_poses(self.poses, images)
            if reading is None:
                return None
            measured = reading.elevation[:, None]
            if name == "azimuth":  # as cosine and sine
                azimuth = torch.deg2rad(reading.azimuth)
                measured = torch.stack([azimuth.cos(), azimuth.sin()], 1)
        values = measured.reshape(*one.truth.shape[:2], -1)
        return agreement(values, one.truth, ATTRIBUTES[name].kind, torch.Generator().manual_seed(seed))

    def of_originals(self, one: AttributeSeries, seed: int) -> Agreement | None:
        """The ceiling: the same measurement on the originals."""
        return self.agreement(one, one.images.flatten(0, 1), one.alpha.flatten(0, 1), seed)


@torch.no_grad()
def score_attribute(
    encoder: Encode,
    one: AttributeSeries,
    decoder: Decoder | None,
    reader: AttributeReader,
    distance: float,
    seed: int,
) -> AttributeScores:
    """What a layer keeps of one attribute; ``distance`` is ``mean_code_distance``."""
    codes, side = in_chunks(encoder, one.images.flatten(0, 1)), one.images.shape[-1]
    truth = one.truth.flatten(0, 1)
    others = shuffled(one.truth, torch.Generator().manual_seed(seed)).flatten(0, 1)
    standard = Standard.of(codes)(codes)
    products = inner_products(standard)
    across, quadratic = (held_out(each, truth, one.chairs) for each in (products, quadratic_kernel(products)))
    if ATTRIBUTES[one.name].kind == "value":
        truth, others = (within_groups(each, one.chairs) for each in (truth, others))
        products = inner_products(within_groups(standard, one.chairs))
    read, by_chance = (held_out(products, each, one.chairs) for each in (truth, others))
    before, after = (in_chunks(encoder, images).flatten(1) for images in one.steps)
    right: list[float | None] = [None, None]
    if ATTRIBUTES[one.name].kind == "class":
        pairs = ((read, truth), (by_chance, others))
        right = [float((found.argmax(1) == each.argmax(1)).double().mean()) for found, each in pairs]
    return AttributeScores(
        probe=r2(read, truth),
        permutation_baseline=r2(by_chance, others),
        across_chairs=r2(across, one.truth.flatten(0, 1)),
        quadratic_kernel=r2(quadratic, one.truth.flatten(0, 1)),
        sensitivity=float((after - before).norm(dim=1).mean()) / distance,
        accuracy=right[0],
        accuracy_baseline=right[1],
        decoded=None if decoder is None else reader.agreement(one, *decoded(decoder, codes, side), seed),
        by_chair=_by_chair(read, truth, one),
    )


def _by_chair(read: Tensor, truth: Tensor, one: AttributeSeries) -> tuple[tuple[float, float], ...]:
    """As in ``AttributeScores``, of what is read of values (N K, T)."""
    count = len(one.truth)
    if ATTRIBUTES[one.name].kind == "class":
        right = (read.argmax(1) == truth.argmax(1)).double().view(count, -1).mean(1)
        return tuple((share, 1.0) for share in right.tolist())
    known = truth.double()
    left, whole = (each.square().view(count, -1).sum(1) for each in (read - known, known - known.mean(0)))
    shares = 1 - left / whole.clamp_min(1e-12)
    return tuple(zip(shares.tolist(), whole.tolist(), strict=True))


@torch.no_grad()
def decoded(decoder: Decoder, codes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Images (M, 3, side, side) of codes, and their alpha: the decoder's mask, or what differs from the
    border."""
    images = fit(in_chunks(decoder, codes), (side, side))
    if not decoder.has_mask:
        return images, found_alpha(images)
    return images, fit(in_chunks(decoder.mask, codes), (side, side))
