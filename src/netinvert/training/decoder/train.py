"""Training a decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from netinvert.models.decoder import decoder_file
from netinvert.models.encoder import Encoder
from netinvert.models.upconv import Architecture, UpConvolutional
from netinvert.training.config import TrainingError, TrainingRun
from netinvert.training.decoder.cache import CachedImages
from netinvert.training.decoder.evaluation import figures_of, sample_rows
from netinvert.training.decoder.images import ImageBatch, ImageSource
from netinvert.training.decoder.losses import LossChoice
from netinvert.training.decoder.model import DecoderConfig, DecoderModel
from netinvert.training.loop import Watched, fit_trainee
from netinvert.training.parallel import relaunch

HELD_OUT = 512
SAMPLES = 16
NUMBERS = 1 << 26
"""Of all codes of held-out images together."""
STATISTICS = 40
"""Batches whose codes give the statistics."""
FEW, ENOUGH = 20_000, 100_000
"""Images: with fewer, decoders of more than a narrow kind of images give noise; so many do."""


def train_decoder(
    config: DecoderConfig, encoder: Encoder, source: ImageSource, run: TrainingRun
) -> DecoderModel:
    """Train on the images of a source, watching held-out ones; take up what ``run`` left.

    Raises TrainingError: the loss is not finite, and the last checkpoint is kept; or the checkpoint to go on
    from is damaged or of another training; OutputError: the folder cannot be written, or another process
    trains there.
    """
    processes = run.devices * run.nodes
    part = config.batch // processes
    if part < 2:
        raise TrainingError(f"a batch of {config.batch} is too small for the devices: give a larger one")
    if processes > 1 and (config.autoencoder or LossChoice.parse(config.loss).adversarial is not None):
        raise TrainingError(
            "an adversarial loss and an autoencoder are trained on one device: leave out the others"
        )
    relaunch(run.devices, run.nodes)
    model, batch = new_model(config, encoder, source), held_out_images(source, encoder)

    def watch() -> Watched:
        found, made = figures_of(model, batch.to(model.encoder.device))
        return found, sample_rows(batch.images[:SAMPLES], made[:SAMPLES])

    run.note(scope(config, source))
    fit_trainee(model, partial(source.batch, count=part), watch, run)
    model.place(encoder.device)
    return model


def scope(config: DecoderConfig, source: ImageSource) -> str:
    """How much is trained on what, and a warning where that is little."""
    held = f"{source.count:,}" + (f" crops of {source.of:,}" if isinstance(source, CachedImages) else "")
    text = f"{config.steps:,} steps of {config.batch}: {config.samples:,} samples of {held} images"
    if min(source.count, config.samples) < FEW:
        text += f"; decoders need some {ENOUGH:,} images and more samples, and with few give noise for others"
    return text


def new_model(config: DecoderConfig, encoder: Encoder, source: ImageSource) -> DecoderModel:
    """The model before its first step, with the statistics of the codes of a source, or those of
    ``config.start``.

    Raises NetworkError, CodeError, TrainingError: a decoder to start from that is none, or of other codes or
    another architecture.
    """
    architecture = Architecture(
        code_shape=encoder.code_shape,
        size=source.size,
        channels=encoder.preprocessing.channels,
        widths=config.widths,
        upsampling=config.upsampling,
        mask=source.has_masks,
    )
    trained = None if config.start is None else _start(config.start, encoder, architecture)
    model = DecoderModel(config, encoder, architecture)
    if trained is None:
        model.set_statistics(_first_codes(model, source))
    else:
        model.initialise_from(trained)
    return model


def held_out_images(source: ImageSource, encoder: Encoder) -> ImageBatch:
    """The held-out images with the encoder's codes; fewer where the codes are large.

    Raises TrainingError for fewer than two images, or none that differ.
    """
    count = max(SAMPLES, min(HELD_OUT, NUMBERS // math.prod(encoder.code_shape)))
    found = source.held_out(count)
    if len(found.images) < 2 or bool((found.images == found.images[0]).all()):
        raise TrainingError("two different images, at least, have to be held out: give more images")
    if found.codes is not None:
        return found
    with torch.no_grad():
        codes = torch.cat([encoder(part) for part in torch.split(found.images, 64)])
    return ImageBatch(found.images, found.masks, codes)


def _start(name: str, encoder: Encoder, architecture: Architecture) -> UpConvolutional:
    content = decoder_file(name)
    content.decoder(name).check_encoder(encoder)
    if content.module.architecture != architecture:
        raise TrainingError(
            f"{name} has the architecture {content.module.architecture}, and this training needs "
            f"{architecture}: start from a decoder of that, or from none"
        )
    return content.module


def _first_codes(model: DecoderModel, source: ImageSource) -> Iterator[Tensor]:
    for step in range(STATISTICS):
        with torch.no_grad():
            codes = model.codes(source.batch(step, model.config.batch))
        if not bool(torch.isfinite(codes).all()):
            raise TrainingError("the codes hold NaN or infinite values: check the network and the images")
        yield codes
