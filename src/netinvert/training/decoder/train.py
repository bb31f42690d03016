"""Training a decoder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netinvert.models.decoder_files import decoder_file
from netinvert.models.encoder import Encoder
from netinvert.models.upconv import Architecture, UpConvolutional
from netinvert.training.decoder.evaluation import figures_of, sample_rows
from netinvert.training.decoder.images import Pictures, PictureSource
from netinvert.training.decoder.losses import LossChoice
from netinvert.training.decoder.model import BETAS, DecoderModel, DecoderPlan
from netinvert.training.loop import LOG_EVERY, TrainingError, TrainingRun, fit, lightning_module

if TYPE_CHECKING:
    from lightning import LightningModule

CLIP = 1.0
HELD_OUT = 512
SAMPLES = 16
NUMBERS = 1 << 26
"""Of all codes of held-out pictures together."""
STATISTICS = 40
"""Batches whose codes give the statistics."""


def train(plan: DecoderPlan, encoder: Encoder, source: PictureSource, run: TrainingRun) -> DecoderModel:
    """Train on the pictures of a source, watching held-out ones; take up what ``run`` left.

    Raises:
        MissingExtraError: lightning is not installed.
        TrainingError: the loss is not finite, and the last checkpoint is kept; or the checkpoint to go on
            from is damaged or of another training.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    processes = run.devices * run.nodes
    part = plan.batch // processes
    if part < 2:
        raise TrainingError(f"a batch of {plan.batch} is too small for the devices: give a larger one")
    if processes > 1 and (plan.autoencoder or LossChoice.parse(plan.loss).adversarial is not None):
        # gradients are exchanged once a step and of every parameter, which neither of them has
        raise TrainingError(
            "an adversarial loss and an autoencoder are trained on one device: leave out the others"
        )
    model = new_model(plan, encoder, source)
    fit(_module(model, source, part), plan.steps, run, None if model.discriminator else CLIP)
    model.place(encoder.device)
    return model


def new_model(plan: DecoderPlan, encoder: Encoder, source: PictureSource) -> DecoderModel:
    """The model before its first step, with the statistics of the codes of a source, or as ``plan.start`` is.

    Raises:
        NetworkError, CodeError, TrainingError: a decoder to start from that is none, or of other codes or
            another architecture.
    """
    architecture = Architecture(
        code_shape=encoder.code_shape,
        size=source.size,
        channels=encoder.preprocessing.channels,
        widths=plan.widths,
        upsampling=plan.upsampling,
        mask=source.has_masks,
    )
    trained = None if plan.start is None else _trained(plan.start, encoder, architecture)
    model = DecoderModel(plan, encoder, architecture)
    if trained is None:
        model.set_statistics(_first_codes(model, source))
    else:
        model.begin_with(trained)
    return model


def _trained(name: str, encoder: Encoder, architecture: Architecture) -> UpConvolutional:
    content = decoder_file(name)
    content.decoder(name).check_encoder(encoder)
    if content.module.architecture != architecture:
        raise TrainingError(
            f"{name} has the architecture {content.module.architecture}, and this training needs "
            f"{architecture}: start from a decoder of that, or from none"
        )
    return content.module


def _first_codes(model: DecoderModel, source: PictureSource) -> Iterator[Tensor]:
    for step in range(STATISTICS):
        with torch.no_grad():
            codes = model.codes(source.batch(step, model.plan.batch))
        if not bool(torch.isfinite(codes).all()):
            raise TrainingError("the codes hold NaN or infinite values: check the network and the pictures")
        yield codes


def held_out(source: PictureSource, encoder: Encoder) -> Pictures:
    """The held-out pictures with the encoder's codes; fewer where the codes are large.

    Raises TrainingError for fewer than two pictures, or none that differ.
    """
    count = max(SAMPLES, min(HELD_OUT, NUMBERS // math.prod(encoder.code_shape)))
    found = source.held_out(count)
    if len(found.images) < 2 or bool((found.images == found.images[0]).all()):
        raise TrainingError("two different pictures, at least, have to be held out: give more pictures")
    if found.codes is not None:
        return found
    with torch.no_grad():
        codes = torch.cat([encoder(part) for part in torch.split(found.images, 64)])
    return Pictures(found.images, found.masks, codes)


def _module(model: DecoderModel, source: PictureSource, part: int) -> LightningModule:
    base: Any = lightning_module()
    watched = held_out(source, model.encoder)

    class Training(base):  # type: ignore[misc]
        """The glue between the model and Lightning."""

        automatic_optimization = model.discriminator is None

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def on_fit_start(self) -> None:
            model.place(self.device)

        def on_train_start(self) -> None:
            self.began = time.perf_counter() - model.seconds

        def on_train_end(self) -> None:
            model.seconds = time.perf_counter() - self.began

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["seconds"] = time.perf_counter() - self.began
            checkpoint["plan"] = model.plan.to_json()
            checkpoint["weights_sha256"] = model.encoder.weights_sha256()

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            _check_plan(checkpoint, model)
            model.seconds = checkpoint["seconds"]

        def training_step(self, _beat: int, _index: int) -> Tensor:
            step = self.global_step * self.trainer.world_size + self.global_rank
            pictures = source.batch(step, part).to(self.device)
            codes = model.codes(pictures)
            loss, parts, images = model.loss(pictures, codes, step)
            if not self.automatic_optimization:
                loss, more = self.play(pictures, codes, loss, images)
                parts |= more
            _refuse_nan(loss, self.global_step)
            if self.global_step % LOG_EVERY == 0:
                self.log_dict({f"loss/{name}": value for name, value in parts.items()}, batch_size=1)
            self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=1)
            return loss

        def play(
            self, pictures: Pictures, codes: Tensor, loss: Tensor, images: Tensor
        ) -> tuple[Tensor, dict[str, Tensor]]:
            """One step of the generator and, unless it rests, one of the discriminator."""
            generator, discriminator = self.optimizers()
            term, judge = model.choice.adversarial, model.discriminator
            assert term is not None
            assert judge is not None
            with torch.random.fork_rng(devices=[]):  # of the discriminator's dropout
                torch.manual_seed(self.global_step)
                judge.requires_grad_(False)
                fooled = model.adversarial_loss(images, codes)
                judge.requires_grad_(True)
                own = model.discriminator_loss(pictures, images, codes)
            total = loss + term.weight * fooled
            _refuse_nan(total, self.global_step)
            generator.zero_grad()
            self.manual_backward(total)
            if model.discriminator_learns(own, fooled):
                discriminator.optimizer.zero_grad()
                self.manual_backward(own)
                discriminator.optimizer.step()  # not through Lightning, which would count it as a step
            generator.step()
            model.update_average(self.global_step)
            for schedule in self.lr_schedulers():
                schedule.step()
            return total, {"adversarial": fooled.detach(), "discriminator": own.detach()}

        def optimizer_step(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401  (Lightning's own)
            # not at the batch's end: checkpoints are written before the module hears of that
            super().optimizer_step(*arguments, **more)
            if self.automatic_optimization:
                model.update_average(self.global_step)

        def validation_step(self, _beat: int, _index: int) -> None:
            found, made = figures_of(model, watched.to(self.device))
            self.log_dict({f"validation/{name}": value for name, value in found.items()}, batch_size=1)
            self.log("error", found["image_error"], prog_bar=True, logger=False, batch_size=1)
            if self.logger is not None:
                rows = sample_rows(watched.images[:SAMPLES], made[:SAMPLES])
                self.logger.experiment.add_image("originals above decoded", rows, self.global_step)

        def configure_optimizers(self) -> Any:  # noqa: ANN401  (Lightning's union of seven kinds)
            fused = model.encoder.device.type in ("cpu", "cuda")
            optimizers = [_adam(model.parameter_groups(), model.plan.rate, fused)]
            if model.discriminator is not None:
                optimizers.append(_adam(model.discriminator.parameters(), 0.1 * model.plan.rate, fused))
            schedules = [torch.optim.lr_scheduler.LambdaLR(one, model.plan.rate_at) for one in optimizers]
            return optimizers, [{"scheduler": one, "interval": "step"} for one in schedules]

    return Training()


def _check_plan(checkpoint: Mapping[str, Any], model: DecoderModel) -> None:
    """A training goes on as it began; only its length may be another."""
    saved, own = checkpoint["plan"], model.plan.to_json()
    changed = [
        f"{name} {saved[name]!r}, not {value!r}"
        for name, value in own.items()
        if name != "samples" and name in saved and saved[name] != value
    ]
    if checkpoint.get("weights_sha256") not in (None, model.encoder.weights_sha256()):
        changed.append(f"other weights of {model.plan.network}")
    if changed:
        raise TrainingError(
            f"the training to go on with has {'; '.join(changed)}: give what it began with, or choose "
            "another folder"
        )


def _adam(parameters: Any, rate: float, fused: bool) -> torch.optim.AdamW:  # noqa: ANN401  (torch's union)
    return torch.optim.AdamW(parameters, lr=rate, betas=BETAS, fused=fused)


def _refuse_nan(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss.item()} at step {step}: the last checkpoint is kept; train with a "
            "smaller --rate"
        )
