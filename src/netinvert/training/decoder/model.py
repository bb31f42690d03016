"""What one step of training a decoder is: the networks, the losses, the rate, the average."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.io.seeds import generator_at
from netinvert.models.encoder import Encoder, unwrapped
from netinvert.models.layer_output import LayerCut
from netinvert.models.upconv import UPSAMPLINGS, WIDTHS, Architecture, UpConvolutional
from netinvert.training.decoder.images import Pictures
from netinvert.training.decoder.losses import (
    SKIP_BELOW,
    Discriminator,
    LossChoice,
    LossTerm,
    comparisons,
    mask_loss,
)
from netinvert.training.loop import move_average, rate_at

AVERAGE = 0.999
ENCODER_RATE = 0.1
"""The rate of an autoencoder's encoder, which is trained already, as a share of the decoder's."""
BETAS = (0.9, 0.99)
JITTER = 8
"""Pixels by which images are rolled before they are compared, at most."""


@dataclass(frozen=True)
class DecoderPlan:
    """How a decoder is trained: ``samples`` pictures in batches of ``batch``.

    ``loss`` as ``LossChoice.parse`` reads it; ``size`` of the pictures, the source's own where it has one;
    ``rate`` is AdamW's peak; ``autoencoder`` trains the encoder along; ``start`` names a shipped decoder or a
    file, whose weights to begin with.
    """

    network: str
    layer: str
    loss: str = "pixel=1"
    size: int | None = None
    widths: str = "small"
    upsampling: str = "nearest"
    autoencoder: bool = False
    start: str | None = None
    samples: int = 500_000
    batch: int = 64
    seed: int = 0
    rate: float = 1e-3
    decay: float = 1e-3

    def __post_init__(self) -> None:
        LossChoice.parse(self.loss)
        if self.widths not in WIDTHS or self.upsampling not in UPSAMPLINGS:
            raise ConfigError(
                f"widths are {' or '.join(WIDTHS)}, upsampling is {' or '.join(UPSAMPLINGS)}; got "
                f"{self.widths!r} and {self.upsampling!r}"
            )
        if self.batch < 2 or self.samples < self.batch:
            raise ConfigError(
                f"{self.samples} samples in batches of {self.batch}: give batches of 2 or more, and more "
                "samples than that"
            )
        if not (0 < self.rate < 1 and self.decay >= 0 and self.seed >= 0):
            raise ConfigError("the rate must be in (0, 1), weight decay and seed not negative")

    @property
    def steps(self) -> int:
        """How many batches."""
        return self.samples // self.batch

    def rate_at(self, step: int) -> float:
        """The share of the peak rate."""
        return rate_at(step, self.steps)

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)


class DecoderModel(nn.Module):
    """The decoder in training and the running average that is kept in the end; with an adversarial loss a
    discriminator; for an autoencoder, the encoder that is trained along.

    ``seconds`` is how long it has been trained, over all resumes.
    """

    def __init__(self, plan: DecoderPlan, encoder: Encoder, architecture: Architecture) -> None:
        super().__init__()
        self.plan, self.encoder, self.seconds = plan, encoder, 0.0
        self.choice = LossChoice.parse(plan.loss)
        self.compare = comparisons(self.choice, encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            self.network = UpConvolutional(architecture)
            self.discriminator = _discriminator(self.choice.adversarial, self.network)
        self.learner = _learner(encoder) if plan.autoencoder else None
        self.average = _frozen(self.network)
        self.average_learner = None if self.learner is None else _frozen(self.learner)

    def train(self, mode: bool = True) -> DecoderModel:
        """Training mode for what is trained; an encoder trained along keeps its statistics."""
        super().train(mode)
        for part in (self.average, self.learner, self.average_learner):
            if part is not None:
                part.eval()
        return self

    @torch.no_grad()
    def set_statistics(self, batches: Iterable[Tensor]) -> None:
        """Standardise by the mean and deviation of codes, batches of (N, *code_shape)."""
        mean, std = self.network.features_statistics(batches)
        for network in (self.network, self.average):
            network.set_statistics(mean, std)

    def begin_with(self, network: UpConvolutional) -> None:
        """Take the weights and statistics of a trained decoder of the same architecture."""
        for part in (self.network, self.average):
            part.load_state_dict(network.state_dict())

    def place(self, device: torch.device) -> None:
        """Move all that is used, the encoder and the comparing networks too."""
        self.to(device)
        if device != self.encoder.device:
            self.encoder = self.encoder.to(device)
            self.compare = comparisons(self.choice, self.encoder)

    def codes(self, pictures: Pictures, averaged: bool = False) -> Tensor:
        """The codes of pictures: those they come with, the encoder's, or of the encoder in training."""
        if self.learner is None:
            if pictures.codes is not None:
                return pictures.codes
            with torch.no_grad():
                return self.encoder(pictures.images)
        module = self.average_learner if averaged else self.learner
        assert module is not None
        tap = LayerCut(module, self.encoder.trace.layer, channels_last=True)
        return tap(self.encoder.network_input(self.encoder.fit(pictures.images)))

    def loss(self, pictures: Pictures, codes: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The mean loss of a batch but for its adversarial part, its parts, and the images made.

        Images are compared rolled round by a few pixels, others each step: the strides of a comparing network
        would leave their grid in the pictures.
        """
        made = self.network(codes)
        channels = self.network.architecture.channels
        images = made[:, :channels]
        generator = generator_at(self.plan.seed, step)
        shift = torch.randint(JITTER, (2,), generator=generator).tolist()
        seen, originals = (torch.roll(both, shift, (-2, -1)) for both in (images, pictures.images))
        parts = {
            name: (weight, compare(seen, originals).mean())
            for name, (weight, compare) in self.compare.items()
        }
        total = sum((weight * value for weight, value in parts.values()), start=torch.zeros(()))
        found = {name: value.detach() for name, (_, value) in parts.items()}
        if self.network.architecture.mask and pictures.masks is not None:
            mask = mask_loss(made[:, channels:], pictures.masks)
            total, found["mask"] = total + mask, mask.detach()
        return total, found, images

    def adversarial_loss(self, images: Tensor, codes: Tensor) -> Tensor:
        """The generator's, not weighted."""
        assert self.discriminator is not None
        return self.discriminator.fooled(images, self.network.standardised(codes).detach())

    def discriminator_loss(self, pictures: Pictures, images: Tensor, codes: Tensor) -> Tensor:
        """Of telling originals from images made."""
        assert self.discriminator is not None
        standard = self.network.standardised(codes).detach()
        return self.discriminator.loss(pictures.images, images.detach(), standard)

    @staticmethod
    def discriminator_learns(own: Tensor, fooled: Tensor) -> bool:
        """The paper's rule: it rests while it is far ahead."""
        return bool(own >= SKIP_BELOW * fooled)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights, which decay, biases and norms, which do not, and an encoder's, which learn more slowly."""
        own = list(self.network.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in own if p.ndim > 1], "weight_decay": self.plan.decay},
            {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.learner is not None:
            along = [p for p in self.learner.parameters() if p.requires_grad]
            groups.append({"params": along, "lr": ENCODER_RATE * self.plan.rate, "weight_decay": 0.0})
        return groups

    def update_average(self, step: int) -> None:
        """Move the average towards the weights; quickly at first."""
        move_average(self.average, self.network, step, AVERAGE)
        if self.learner is not None and self.average_learner is not None:
            move_average(self.average_learner, self.learner, step, AVERAGE)


def _frozen(module: nn.Module) -> Any:  # noqa: ANN401  (the same type as it was given)
    return copy.deepcopy(module).requires_grad_(False).eval()


def _learner(encoder: Encoder) -> nn.Module:
    """A copy of the network that can be trained: the encoder's own is rewritten for speed and frozen."""
    module = copy.deepcopy(unwrapped(encoder.network.module)).eval().requires_grad_(True)
    return module.to(memory_format=torch.channels_last)


def _discriminator(term: LossTerm | None, network: UpConvolutional) -> Discriminator | None:
    if term is None:
        return None
    architecture = network.architecture
    return Discriminator(architecture.channels, network.numbers, architecture.size)
