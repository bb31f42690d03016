"""The losses that decoders are trained by: a weighted sum of terms, written as one text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network

KINDS = ("pixel", "feature", "adversarial", "lpips")
DEEPSIM = "deepsim"
DEEPSIM_WEIGHTS = {"image": 2e-6, "feature": 0.01, "adversarial": 100.0}
"""Dosovitskiy & Brox 2016 (NIPS), section 4: of sums over all numbers of an image in 0..255 or a feature."""
MASK_WEIGHT = 0.02
"""Of the mask's cross-entropy, where there is one."""


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
            if kind == DEEPSIM:
                terms += _deepsim(where, weight)
                continue
            terms.append(_term(kind, where, weight, text))
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
    """The weights and functions of all terms but the adversarial, by name. ``encoder`` is the one whose codes
    are decoded: features of a layer without a network's name are its network's.

    Raises LayerError, NetworkError, MissingExtraError: of networks to compare features by.
    """
    found: dict[str, tuple[float, Comparison]] = {}
    for term in choice.terms:
        if term.kind == "pixel":
            found[term.name] = (term.weight, SquaredPixels(term.summed))
        elif term.kind == "feature":
            found[term.name] = (term.weight, Features(_feature_encoder(term.where, encoder), term.summed))
        elif term.kind == "lpips":
            found[term.name] = (term.weight, Lpips(term.where or "alex").to(encoder.device))
    return found


@dataclass(frozen=True)
class SquaredPixels:
    """Mean squared difference of pixels; ``summed``: the sum, of values in 0..255."""

    summed: bool = False

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        """(N,)."""
        squares = (images - originals).square().flatten(1)
        return 255**2 * squares.sum(1) if self.summed else squares.mean(1)


class Features:
    """Squared distance of features over their squared norm; ``summed``: the squared distance."""

    def __init__(self, encoder: Encoder, summed: bool = False) -> None:
        self.encoder, self.summed = encoder, summed

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
            self.metric = LearnedPerceptualImagePatchSimilarity(
                backbone,  # type: ignore[arg-type]
                "none",
                normalize=True,
            )
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
    return LossTerm(kind, _weight(weight, text), where)


def _weight(weight: str, text: str) -> float:
    try:
        value = float(weight or 1)
    except ValueError:
        value = -1.0
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"the weight {weight!r} in the loss {text!r} has to be a positive number")
    return value


def _deepsim(where: str, weight: str) -> list[LossTerm]:
    if not where or weight:
        raise ConfigError("write deepsim:LAYER or deepsim:NETWORK/LAYER; its weights are the paper's")
    return [
        LossTerm("pixel", DEEPSIM_WEIGHTS["image"], summed=True),
        LossTerm("feature", DEEPSIM_WEIGHTS["feature"], where, summed=True),
        LossTerm("adversarial", DEEPSIM_WEIGHTS["adversarial"]),
    ]


def _feature_encoder(where: str, encoder: Encoder) -> Encoder:
    network, _, layer = where.rpartition("/")
    found = Encoder(load_network(network) if network else encoder.network, layer)
    return found.to(encoder.device)
