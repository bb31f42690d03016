"""What the codes of a layer keep of attributes that vary alone, measured against what is known of the scene.

How far the codes move with an attribute; how much of it linear probes read from codes of chairs that they
were not fitted on; and, where there is a decoder, how much of it can be measured in the decoded image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import held_out_estimator
from netinvert.evaluation.probes import (
    Standard,
    held_out,
    inner_products,
    quadratic_kernel,
    r2,
    within_groups,
)
from netinvert.experiments.attributes.measures import (
    MEASURES,
    Agreement,
    agreement,
    found_alpha,
    pose_read,
    shuffled,
)
from netinvert.experiments.attributes.series import ATTRIBUTES, SIZE, AttributeSeries
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.evaluation import in_chunks


@dataclass(frozen=True)
class AttributeScores:
    """What a layer keeps of one attribute.

    ``probe`` is the R² of a linear probe on held-out chairs' codes; of values both count about their chair's
    mean, as in the decoded images. ``permutation_baseline`` is the same for shuffled labels; of classes
    ``accuracy`` and ``accuracy_baseline`` are the shares that are right. ``across_chairs`` is the probe's R²
    without a chair being compared with itself, ``quadratic_kernel`` that with all products of two units
    added: what is kept, but not along lines. ``sensitivity`` is how far the code moves with the attribute's
    step, over the mean distance of the codes of two chairs. ``decoded`` is how the decoded image agrees with
    the truth.
    """

    probe: float
    permutation_baseline: float
    across_chairs: float
    quadratic_kernel: float
    sensitivity: float
    accuracy: float | None = None
    accuracy_baseline: float | None = None
    decoded: Agreement | None = None


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
def mean_code_distance(encoder: Encoder, made: Mapping[str, AttributeSeries]) -> float:
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
        measured: Tensor | None
        if name in MEASURES:
            measured = MEASURES[name](images, alpha)
        elif name in self.standards:
            standard, codes = self.standards[name]
            seen = inner_products(standard(in_chunks(self.parts, images)), codes)
            measured = held_out(inner_products(codes), one.truth.flatten(0, 1), one.chairs, seen)
        else:
            measured = None if self.poses is None else pose_read(name, self.poses, images)
        if measured is None:
            return None
        values = measured.reshape(*one.truth.shape[:2], -1)
        return agreement(values, one.truth, ATTRIBUTES[name].kind, torch.Generator().manual_seed(seed))

    def of_originals(self, one: AttributeSeries, seed: int) -> Agreement | None:
        """The ceiling: the same measurement on the originals."""
        return self.agreement(one, one.images.flatten(0, 1), one.alpha.flatten(0, 1), seed)


@torch.no_grad()
def score_attribute(
    encoder: Encoder,
    one: AttributeSeries,
    decoder: Decoder | None,
    reader: AttributeReader,
    distance: float,
    seed: int,
) -> AttributeScores:
    """What a layer keeps of one attribute; ``distance`` is ``mean_code_distance``."""
    codes = in_chunks(encoder, one.images.flatten(0, 1))
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
        decoded=None if decoder is None else reader.agreement(one, *decoded(decoder, codes), seed),
    )


@torch.no_grad()
def decoded(decoder: Decoder, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Images (M, 3, SIZE, SIZE) of codes, and their alpha: the decoder's mask, or what differs from the
    border."""
    images = fit(in_chunks(decoder, codes), (SIZE, SIZE))
    if not decoder.has_mask:
        return images, found_alpha(images)
    return images, fit(in_chunks(decoder.mask, codes), (SIZE, SIZE))
