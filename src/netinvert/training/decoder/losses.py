"""The losses that decoders are trained by: a weighted sum of terms, written as one text."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network
from netinvert.models.upconv import initialise

KINDS = ("pixel", "feature", "adversarial", "lpips")
DEEPSIM = "deepsim"
DEEPSIM_WEIGHTS = {"image": 2e-6, "feature": 0.01, "adversarial": 100.0}
"""Dosovitskiy & Brox 2016 (NIPS), section 4: of sums over all numbers of an image in 0..255 or a feature."""
MASK_WEIGHT = 0.02
"""Of the mask's cross-entropy, where there is one."""
CONVOLUTIONS = ((7, 4, 32), (5, 1, 64), (3, 2, 128), (3, 1, 256), (3, 2, 256))
"""Kernel, stride, channels, for images of 227 pixels."""
HIDDEN = 512
SLOPE = 0.3
SKIP_BELOW = 0.1
"""The discriminator rests while its loss is below this share of the generator's."""
SMALL_IMAGES = 128


@dataclass(frozen=True)
class LossTerm:
    """A kind in KINDS and its weight; ``summed`` adds up all numbers where the usual is their mean (and of
    features, the squared distance over the squared norm). ``where``: ``layer`` or ``network/layer`` for
    features, the backbone for lpips."""

    kind: str
    weight: float
    where: str = ""
    summed: bool = False

    @property
    def name(self) -> str:
        """As it is written: ``feature:relu3``."""
        return f"{self.kind}:{self.where}" if self.where else self.kind


@dataclass(frozen=True)
class LossChoice:
    """A weighted sum of loss terms, each once."""

    terms: tuple[LossTerm, ...] = (LossTerm("pixel", 1.0),)

    @classmethod
    def parse(cls, text: str) -> LossChoice:
        """Read ``pixel=1+feature:relu3=0.1+adversarial=0.01``; a weight of 1 may be left out.

        ``deepsim:relu3`` stands for the three losses of DeePSiM with their published weights.

        Raises ConfigError: an unknown kind, a weight that is not positive, or features of no layer.
        """
        terms: list[LossTerm] = []
        for part in text.split("+"):
            name, _, weight = part.strip().partition("=")
            kind, _, where = name.partition(":")
            terms += _deepsim(where, weight) if kind == DEEPSIM else [_term(kind, where, weight, text)]
        names = [term.name for term in terms]
        if len(set(names)) < len(names):
            raise ConfigError(f"the loss {text!r} names a term twice: give each one weight")
        if not {"pixel", "feature", "lpips"} & {term.kind for term in terms}:
            raise ConfigError(f"the loss {text!r} never looks at the original: add pixel or feature:LAYER")
        return cls(tuple(terms))

    def __str__(self) -> str:
        # no 1e+06: a plus stands between terms
        return "+".join(f"{term.name}={term.weight:g}".replace("e+", "e") for term in self.terms)

    @property
    def adversarial(self) -> LossTerm | None:
        """The adversarial term, if there is one."""
        return next((term for term in self.terms if term.kind == "adversarial"), None)


Comparison = Callable[[Tensor, Tensor], Tensor]
"""One value a sample (N,) of how far images are from the originals, both (N, C, H, W) in [0, 1]."""


def comparisons(choice: LossChoice, encoder: Encoder) -> dict[str, tuple[float, Comparison]]:
    """The weights and functions of the terms that compare images, by name. ``encoder`` is the one whose codes
    are decoded: features of a layer without a network's name are its network's.

    Raises LayerError, NetworkError, MissingExtraError: of networks to compare features by.
    """

    def features(term: LossTerm) -> Comparison:
        network, _, layer = term.where.rpartition("/")
        found = Encoder(load_network(network) if network else encoder.network, layer)
        return Features(found.to(encoder.device), term.summed)

    made: dict[str, Callable[[LossTerm], Comparison]] = {
        "pixel": lambda term: SquaredPixels(term.summed),
        "feature": features,
        "lpips": lambda term: Lpips(term.where or "alex").to(encoder.device),
    }
    return {term.name: (term.weight, made[term.kind](term)) for term in choice.terms if term.kind in made}


@dataclass(frozen=True)
class SquaredPixels:
    """Mean squared difference of pixels; ``summed``: the sum, of values in 0..255."""

    summed: bool = False

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        """(N,)."""
        squares = (images - originals).square().flatten(1)
        return 255**2 * squares.sum(1) if self.summed else squares.mean(1)


@dataclass(frozen=True)
class Features:
    """Squared distance of features over their squared norm; ``summed``: the squared distance."""

    encoder: Encoder
    summed: bool = False

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        """(N,)."""
        with torch.no_grad():
            target = self.encoder(originals).flatten(1)
        distance = (self.encoder(images).flatten(1) - target).square().sum(1)
        return distance if self.summed else distance / target.square().sum(1).clamp_min(1e-12)


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018) as torchmetrics has it; its weights and the backbone's have to be at hand."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        try:
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        except ImportError as error:
            raise MissingExtraError("the loss lpips", "training") from error
        try:
            kind: Any = backbone
            self.metric = LearnedPerceptualImagePatchSimilarity(kind, "none", normalize=True)
        except Exception as error:
            raise ConfigError(
                f"the loss lpips:{backbone} needs torchvision's weights of {backbone}, which could not be "
                f"loaded ({error}): use alex, vgg or squeeze with internet access, or feature:LAYER"
            ) from error
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor, originals: Tensor) -> Tensor:
        """(N,)."""
        distance: Tensor = self.metric(images.clamp(0, 1), originals)
        return distance.flatten()


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """The mean cross-entropy of masks (N, 1, H, W), times its weight."""
    return MASK_WEIGHT * F.binary_cross_entropy_with_logits(logits, masks)


def _term(kind: str, where: str, weight: str, text: str) -> LossTerm:
    if kind not in KINDS:
        raise ConfigError(f"no loss {kind!r} in {text!r}: there are {', '.join((*KINDS, DEEPSIM))}")
    if kind == "feature" and not where:
        raise ConfigError("of which features? Write feature:LAYER or feature:NETWORK/LAYER")
    if kind in ("pixel", "adversarial") and where:
        raise ConfigError(f"the loss {kind!r} takes nothing behind a colon")
    with contextlib.suppress(ValueError):
        if 0 < (value := float(weight or 1)) < math.inf:
            return LossTerm(kind, value, where)
    raise ConfigError(f"the weight {weight!r} in the loss {text!r} has to be a positive number")


def _deepsim(where: str, weight: str) -> list[LossTerm]:
    if not where or weight:
        raise ConfigError("write deepsim:LAYER or deepsim:NETWORK/LAYER; its weights are the paper's")
    return [
        LossTerm("pixel", DEEPSIM_WEIGHTS["image"], summed=True),
        LossTerm("feature", DEEPSIM_WEIGHTS["feature"], where, summed=True),
        LossTerm("adversarial", DEEPSIM_WEIGHTS["adversarial"]),
    ]


class Discriminator(nn.Module):
    """Images (N, C, H, W) and their codes, ``numbers`` long, to logits (N,) of being real.

    Images below 128 pixels keep more of their size: the first stride is 2.
    """

    def __init__(self, channels: int, numbers: int, size: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for kernel, stride, width in CONVOLUTIONS:
            step = 2 if not layers and min(size) < SMALL_IMAGES else stride
            layers += [nn.Conv2d(before, width, kernel, step, kernel // 2), nn.LeakyReLU(SLOPE)]
            before = width
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

        def linear(inputs: int) -> tuple[nn.Module, nn.Module]:
            return nn.Linear(inputs, HIDDEN), nn.LeakyReLU(SLOPE)

        self.of_code = nn.Sequential(*linear(numbers), *linear(HIDDEN))
        self.classify = nn.Sequential(
            nn.Dropout(0.5), *linear(before + HIDDEN), nn.Dropout(0.5), nn.Linear(HIDDEN, 1)
        )
        self.to(memory_format=torch.channels_last)
        initialise(self, SLOPE)

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        """Logits (N,). ``codes`` (N, numbers) are standardised."""
        seen = self.convolutions((images - 0.5).contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.classify(torch.cat([seen, self.of_code(codes)], 1))
        return logits.squeeze(1).to(images.dtype)  # losses are not of half precision

    def loss(self, real: Tensor, made: Tensor, codes: Tensor) -> Tensor:
        """Binary cross-entropy of telling real images from made ones, summed over both."""
        real_loss = F.softplus(-self(real, codes)).mean()
        return real_loss + F.softplus(self(made, codes)).mean()

    def fooled(self, made: Tensor, codes: Tensor) -> Tensor:
        """The generator's loss: -log of the probability that made images are real."""
        return F.softplus(-self(made, codes)).mean()
