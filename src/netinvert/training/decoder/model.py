"""What a decoder is trained by: its configuration, networks, losses, and running average."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.io.running import generator_at, shifts
from netinvert.models.checkpoints import state_sha256
from netinvert.models.cut import LayerCut
from netinvert.models.decoder import DecoderFile, as_stored
from netinvert.models.encoder import Encoder
from netinvert.models.sound import unwrapped
from netinvert.models.upconv import UPSAMPLINGS, WIDTHS, Architecture, UpConvolutional
from netinvert.training.config import Group, TrainingConfig
from netinvert.training.decoder.images import ImageBatch
from netinvert.training.decoder.losses import SKIP_BELOW, Discriminator, LossChoice, comparisons, mask_loss
from netinvert.training.loop import Optimizers, Trainee, adamw, check_finite, decaying

SLOWER = 0.1
"""The rate of an encoder that is trained along (it is trained already) and of a discriminator, as a share."""
BETAS = (0.9, 0.99)
CORRECTION = 0.7
"""The share of what a code misses by which it is corrected in training."""
JITTER = 16
"""Pixels by which images are rolled before they are compared, at most."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TrainingConfig):
    """How a decoder from the codes of a ``layer`` of a ``network`` is trained.

    ``loss`` as ``LossChoice.parse`` reads it; ``size`` of the images, the source's own where it has one;
    ``corrections``: how many corrections of the code are learned along; ``autoencoder`` trains the encoder
    along; ``start`` names a shipped decoder or a file, whose weights to begin with.
    """

    network: str
    layer: str
    loss: str = "pixel=1"
    size: int | None = None
    widths: str = "small"
    upsampling: str = "nearest"
    corrections: int = 0
    autoencoder: bool = False
    start: str | None = None

    def __post_init__(self) -> None:
        LossChoice.parse(self.loss)
        if self.corrections < 0 or (self.corrections and self.autoencoder):
            raise ConfigError("corrections are learned of an encoder that stays as it is, and are 0 or more")
        if self.widths not in WIDTHS or self.upsampling not in UPSAMPLINGS:
            raise ConfigError(
                f"widths are {' or '.join(WIDTHS)}, upsampling is {' or '.join(UPSAMPLINGS)}; got "
                f"{self.widths!r} and {self.upsampling!r}"
            )
        super().__post_init__()


class DecoderModel(Trainee):
    """The decoder in training and the running average that is kept in the end; with an adversarial loss a
    discriminator; for an autoencoder, the encoder that is trained along."""

    config: DecoderConfig

    def __init__(self, config: DecoderConfig, encoder: Encoder, architecture: Architecture) -> None:
        super().__init__(config)
        self.encoder, self.choice = encoder, LossChoice.parse(config.loss)
        self.compare = comparisons(self.choice, encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = UpConvolutional(architecture)
            self.discriminator: Discriminator | None = None
            if self.choice.adversarial is not None:
                numbers, size = self.network.numbers, architecture.size
                self.discriminator = Discriminator(architecture.channels, numbers, size)
        self.trained_encoder: nn.Module | None = None
        if config.autoencoder:  # a copy: the encoder's own network is rewritten for speed and frozen
            module = copy.deepcopy(unwrapped(encoder.network.module)).eval().requires_grad_(True)
            self.trained_encoder = module.to(memory_format=torch.channels_last)
        self.average = _frozen(self.network)
        self.average_encoder = None if self.trained_encoder is None else _frozen(self.trained_encoder)

    def train(self, mode: bool = True) -> DecoderModel:
        """Training mode for what is trained; an encoder trained along keeps its statistics."""
        super().train(mode)
        if self.trained_encoder is not None:
            self.trained_encoder.eval()
        return self

    @torch.no_grad()
    def set_statistics(self, batches: Iterable[Tensor]) -> None:
        """Standardise by the mean and deviation of codes, batches of (N, *code_shape)."""
        mean, std = self.network.features_statistics(batches)
        for network in (self.network, self.average):
            network.set_statistics(mean, std)

    def initialise_from(self, network: UpConvolutional) -> None:
        """Take the weights and statistics of a trained decoder of the same architecture."""
        for part in (self.network, self.average):
            part.load_state_dict(network.state_dict())

    def place(self, device: torch.device) -> None:
        """Move all that is used, the encoder and the comparing networks too."""
        self.to(device)
        if device != self.encoder.device:
            self.encoder = self.encoder.to(device)
            self.compare = comparisons(self.choice, self.encoder)

    def fuse(self) -> None:
        """Compile the decoder; what the encoder does is fused already."""
        self.network.compile()

    def codes(self, batch: ImageBatch, averaged: bool = False) -> Tensor:
        """The codes of images: those they come with, the encoder's, or those of an encoder in training."""
        if self.trained_encoder is None:
            if batch.codes is not None:
                return batch.codes
            with torch.no_grad():
                return self.encoder(batch.images)
        module = self.average_encoder if averaged else self.trained_encoder
        assert module is not None
        cut = LayerCut(module, self.encoder.trace.layer, channels_last=True)
        return cut(self.encoder.network_input(self.encoder.fit(batch.images)))

    def loss(self, batch: ImageBatch, codes: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The mean loss of a batch but for its adversarial part, its parts, and the images made.

        With ``corrections``, the images of codes that were corrected so many times count as much as the first
        (:mod:`netinvert.inversion.correct`), and the gradient runs through the corrections: of a decoder that
        is learned so, they bring the code nearer.
        """
        channels = self.network.architecture.channels
        asked, first, total, found = codes, torch.empty(()), torch.zeros((), device=codes.device), {}
        made = first
        for turn in range(self.config.corrections + 1):
            if turn:
                asked = asked - CORRECTION * (self.encoder(made[:, :channels]) - codes)
            with self.config.autocast(codes.device):
                made = self.network(asked).to(batch.images.dtype)
            first = made if turn == 0 else first
            for name, (weight, value) in self.compared(made, batch, step).items():
                total = total + weight / (self.config.corrections + 1) * value
                found[f"{name} {turn}" if turn else name] = value.detach()
        return total, found, first[:, :channels]

    def compared(self, made: Tensor, batch: ImageBatch, step: int) -> dict[str, tuple[float, Tensor]]:
        """The weights and values of the parts of the loss that look at images, and at masks.

        Images are compared rolled round by a few pixels, others each step: the strides of a comparing network
        would leave their grid in the images.
        """
        channels = self.network.architecture.channels
        (shift,) = shifts([generator_at(self.config.seed, step)], JITTER)
        seen, originals = (torch.roll(both, shift, (-2, -1)) for both in (made[:, :channels], batch.images))
        found = {
            name: (weight, compare(seen, originals).mean())
            for name, (weight, compare) in self.compare.items()
        }
        if self.network.architecture.mask and batch.masks is not None:
            found["mask"] = (1.0, mask_loss(made[:, channels:], batch.masks))
        return found

    def losses(self, batch: ImageBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, which is not adversarial, and its parts."""
        total, parts, _ = self.loss(batch, self.codes(batch), step)
        return total, parts

    def learn(self, batch: ImageBatch, step: int, optimizers: Optimizers, group: Group) -> dict[str, Tensor]:
        """One step; with an adversarial loss also one of the discriminator, unless that rests."""
        term, discriminator = self.choice.adversarial, self.discriminator
        if term is None or discriminator is None:
            return super().learn(batch, step, optimizers, group)
        codes = self.codes(batch)
        total, parts, images = self.loss(batch, codes, step)
        with torch.random.fork_rng(devices=[]):  # of the discriminator's dropout
            torch.manual_seed(step)
            with self.config.autocast(codes.device):
                fooled, own = self.adversarial_losses(discriminator, batch, images, codes)
        total = total + term.weight * fooled
        check_finite(total, step)
        optimizers[0].zero_grad()
        torch.autograd.backward(total)
        if self.discriminator_learns(own, fooled):
            optimizers[1].zero_grad()
            torch.autograd.backward(own)
            optimizers[1].step()
        optimizers[0].step()
        found = {"total": total, **parts, "adversarial": fooled, "discriminator": own}
        return {name: value.detach() for name, value in found.items()}

    def adversarial_losses(
        self, discriminator: Discriminator, batch: ImageBatch, images: Tensor, codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The generator's, not weighted, and the discriminator's, of telling originals from images made."""
        standard = self.network.standardised(codes).detach()
        discriminator.requires_grad_(False)
        fooled = discriminator.fooled(images, standard)
        discriminator.requires_grad_(True)
        return fooled, discriminator.loss(batch.images, images.detach(), standard)

    @staticmethod
    def discriminator_learns(own: Tensor, fooled: Tensor) -> bool:
        """The paper's rule: it rests while it is far ahead."""
        return bool(own >= SKIP_BELOW * fooled)

    def optimizers(self) -> Optimizers:
        """AdamW for the decoder and an encoder trained along, and one for a discriminator."""
        rate = self.config.rate
        groups = decaying(list(self.network.parameters()), self.config.weight_decay)
        if self.trained_encoder is not None:
            along = [one for one in self.trained_encoder.parameters() if one.requires_grad]
            groups.append({"params": along, "lr": SLOWER * rate, "weight_decay": 0.0})
        found: Optimizers = [adamw(groups, rate, BETAS)]
        if self.discriminator is not None:
            found.append(adamw([{"params": list(self.discriminator.parameters())}], SLOWER * rate, BETAS))
        return found

    def update_average(self, step: int) -> None:
        """Move the averages towards the weights; quickly at first."""
        # with a discriminator one ahead, as the first adversarial trainings were: the bits stay
        super().update_average(step + (self.discriminator is not None))

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """The averages of the decoder, and of an encoder trained along."""
        found: list[tuple[nn.Module, nn.Module]] = [(self.average, self.network)]
        if self.trained_encoder is not None and self.average_encoder is not None:
            found.append((self.average_encoder, self.trained_encoder))
        return found

    def identity(self) -> dict[str, Any]:
        """What a training has to keep when it goes on."""
        weights = f"weights of {self.encoder.network.name} with SHA-256"
        return {**super().identity(), weights: self.encoder.weights_sha256()}

    def file(self, facts: Mapping[str, Any]) -> DecoderFile:
        """The averaged decoder, and encoder if that was trained along."""
        state = None if self.average_encoder is None else self.average_encoder.state_dict()
        half = None if state is None else {name: as_stored(value) for name, value in state.items()}
        return DecoderFile(
            module=self.average,
            network=self.encoder.network.name,
            layer=self.encoder.layer,
            network_sha256=self.encoder.weights_sha256() if half is None else state_sha256(half),
            facts={"plan": self.config.to_json(), **facts},
            encoder_state=half,
        )


def _frozen(module: nn.Module) -> Any:  # noqa: ANN401  (the same type as it was given)
    return copy.deepcopy(module).requires_grad_(False).eval()
