"""What the codes of a layer keep of a picture, measured against what is known of the scene.

Each attribute of ``kept_scenes.ATTRIBUTES`` varies alone over unseen chairs. For every layer: how far its
codes move with the attribute; how much of it straight lines read from codes of chairs that they were not
fitted on (``ridge``); and, where there is a decoder, how much of it can be measured in the decoded picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import judge_of
from netinvert.evaluation.probes import (
    Standard,
    check_installed,
    held_out,
    inner_products,
    quadratic_kernel,
    r2,
    within_groups,
)
from netinvert.experiments.kept.measures import (
    MEASURES,
    Agreement,
    agreement,
    found_alpha,
    pose_read,
    shuffled,
)
from netinvert.experiments.kept.scenes import ATTRIBUTES, SIZE, Renders, Series, render, series
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.training.decoder.evaluation import in_chunks

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """Which chairs, and of which attributes."""

    chairs: int = 200
    seed: int = 404
    attributes: tuple[str, ...] = tuple(ATTRIBUTES)

    def __post_init__(self) -> None:
        wrong = [name for name in self.attributes if name not in ATTRIBUTES]
        if wrong or not self.attributes:
            raise ConfigError(f"no attributes {wrong}: there are {', '.join(ATTRIBUTES)}")
        if self.chairs < 10 or self.seed < 0:
            raise ConfigError("measuring takes 10 chairs or more, and a seed that is not negative")


@dataclass(frozen=True)
class Kept:
    """What a layer keeps of one attribute.

    ``probe`` is the share of the variance that a linear probe reads from held-out chairs' codes; of values
    both count about their chair's mean, as in the decoded pictures. ``probe_by_chance`` is the same for
    shuffled labels; of classes ``right`` and ``right_by_chance`` are the shares it gets right. ``absolute``
    is the probe's without a chair being compared with itself, and ``curved`` that with all products of two
    units added: what is kept, but not along lines. ``change`` is how far the code moves with the attribute's
    step, over the mean distance of the codes of two chairs. ``shown`` is how the decoded picture agrees with
    the truth.
    """

    probe: float
    probe_by_chance: float
    absolute: float
    curved: float
    change: float
    right: float | None = None
    right_by_chance: float | None = None
    shown: Agreement | None = None


@dataclass(frozen=True)
class Findings:
    """``layers``: by layer and attribute. ``originals``: the agreement of the same measurements on the
    originals, by attribute. ``decoders``: by layer. ``mean_distances``: of codes, by layer."""

    settings: Settings
    network: str
    layers: dict[str, dict[str, Kept]]
    originals: dict[str, Agreement]
    decoders: dict[str, str]
    mean_distances: dict[str, float]
    counts: dict[str, int] = field(default_factory=dict)


def measure_kept(
    network: Network,
    layers: Sequence[str],
    decoders: Sequence[Decoder],
    settings: Settings,
    progress: Progress = lambda _: None,
) -> Findings:
    """Measure all attributes at all layers.

    Raises:
        ConfigError: a decoder of a layer that is not among ``layers``, or two of one layer.
        CodeError: a decoder of another network.
        LayerError: a layer that the network does not have.
        MissingExtraError: without the extra scenes.
    """
    check_installed()
    encoders = {layer: Encoder(network, layer) for layer in layers}
    by_layer = checked_decoders(encoders, decoders)
    renders = render(settings.chairs, settings.seed)
    made = {name: series(renders, name, settings.seed) for name in settings.attributes}
    progress(f"{settings.chairs} chairs rendered")
    reader = Reader.of(next(iter(encoders.values())), made)
    originals: dict[str, Agreement] = {}
    for name, one in made.items():
        shown = reader.shown(one, one.images.flatten(0, 1), one.alpha.flatten(0, 1), settings.seed)
        if shown is not None:
            originals[name] = shown
    found: dict[str, dict[str, Kept]] = {}
    distances: dict[str, float] = {}
    for layer, encoder in encoders.items():
        distances[layer] = mean_distance(encoder, renders, made)
        found[layer] = {}
        for name, one in made.items():
            found[layer][name] = _kept(
                encoder, one, by_layer.get(layer), reader, (distances[layer], settings.seed)
            )
        progress(f"{layer}: measured")
    names = {layer: decoder.name for layer, decoder in by_layer.items()}
    counts = {name: len(one.truth) for name, one in made.items()}
    return Findings(settings, network.name, found, originals, names, distances, counts)


def checked_decoders(encoders: Mapping[str, Encoder], decoders: Sequence[Decoder]) -> dict[str, Decoder]:
    """The decoders by layer, each its encoder's. Raises ConfigError, CodeError."""
    found: dict[str, Decoder] = {}
    for decoder in decoders:
        if decoder.layer not in encoders:
            raise ConfigError(f"{decoder.name} decodes layer '{decoder.layer}': name that among the layers")
        if decoder.layer in found:
            raise ConfigError(f"two decoders of layer '{decoder.layer}': give one of them")
        decoder.check_encoder(encoders[decoder.layer])
        found[decoder.layer] = decoder
    return found


def mean_distance(encoder: Encoder, renders: Renders, made: Mapping[str, Series]) -> float:
    """Of the codes of two chairs, each in a view of its own."""
    some = next(iter(made.values())) if "azimuth" not in made else made["azimuth"]
    codes = in_chunks(encoder, some.images[:, 0])
    return float(torch.nn.functional.pdist(codes.flatten(1)).mean())


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads attributes from pictures: ``poses`` by a network, parts by ``parts``' codes, from which straight
    lines are fitted on the originals."""

    poses: Encoder | None
    parts: Encoder
    standards: Mapping[str, tuple[Standard, Tensor]]

    @classmethod
    def of(cls, encoder: Encoder, made: Mapping[str, Series]) -> Reader:
        """The network's judge, if it has one, or itself."""
        judge = judge_of(encoder)
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

    def shown(self, one: Series, images: Tensor, alpha: Tensor, seed: int) -> Agreement | None:
        """How pictures (N K, 3, H, W) with an alpha agree with what is true; None if nobody reads it."""
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
        return agreement(values, one.truth, ATTRIBUTES[name].kind, _generator(seed))


@torch.no_grad()
def _kept(
    encoder: Encoder, one: Series, decoder: Decoder | None, reader: Reader, numbers: tuple[float, int]
) -> Kept:
    distance, seed = numbers
    codes = in_chunks(encoder, one.images.flatten(0, 1))
    truth = one.truth.flatten(0, 1)
    others = shuffled(one.truth, _generator(seed)).flatten(0, 1)
    standard = Standard.of(codes)(codes)
    products = inner_products(standard)
    absolute, curved = (held_out(each, truth, one.chairs) for each in (products, quadratic_kernel(products)))
    if ATTRIBUTES[one.name].kind == "value":
        truth, others = (within_groups(each, one.chairs) for each in (truth, others))
        products = inner_products(within_groups(standard, one.chairs))
    read, by_chance = (held_out(products, each, one.chairs) for each in (truth, others))
    before, after = (in_chunks(encoder, images).flatten(1) for images in one.steps)
    shown = None
    if decoder is not None:
        images, alpha = decoded(decoder, codes)
        shown = reader.shown(one, images, alpha, seed)
    right = right_by_chance = None
    if ATTRIBUTES[one.name].kind == "class":
        right, right_by_chance = (
            float((found.argmax(1) == each.argmax(1)).double().mean())
            for found, each in ((read, truth), (by_chance, others))
        )
    return Kept(
        probe=r2(read, truth),
        probe_by_chance=r2(by_chance, others),
        absolute=r2(absolute, one.truth.flatten(0, 1)),
        curved=r2(curved, one.truth.flatten(0, 1)),
        change=float((after - before).norm(dim=1).mean()) / distance,
        right=right,
        right_by_chance=right_by_chance,
        shown=shown,
    )


def decoded(decoder: Decoder, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (M, 3, SIZE, SIZE) of codes, and their alpha: the decoder's mask, or what differs from the
    border."""
    images = fit(in_chunks(decoder, codes), (SIZE, SIZE))
    if not decoder.has_mask:
        return images, found_alpha(images)
    return images, fit(in_chunks(decoder.mask, codes), (SIZE, SIZE))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
