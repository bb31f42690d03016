"""Training a decoder, and how good one is: image error, similarity, and the code of what it makes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.evaluation.metrics import error_cvpr16, psnr, ssim
from netinvert.models.decoder import decoder_file
from netinvert.models.encoder import Encoder
from netinvert.models.upconv import Architecture
from netinvert.training.config import TrainingError, TrainingRun, device_of, fits_on, relaunch
from netinvert.training.decoder.cache import CachedImages
from netinvert.training.decoder.images import FittedImages, ImageBatch, ImageSource, SceneImages
from netinvert.training.decoder.losses import LossChoice
from netinvert.training.decoder.model import DecoderConfig, DecoderModel
from netinvert.training.loop import Watched, fit_trainee

CHUNK = 64
HELD_OUT = 512
SAMPLES = 16
MEAN_OF = 4
"""Chunks of training images whose mean is taken."""
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
    home = encoder.device
    scenes = source.source if isinstance(source, FittedImages) else source
    if processes == 1 and isinstance(source, SceneImages | FittedImages) and isinstance(scenes, SceneImages):
        device = device_of(run.device)
        if fits_on(device, scenes.planes, scenes.pool):
            source, run, encoder = source.to(device), replace(run, workers=0), encoder.to(device)
    model = new_model(config, encoder, source)
    batch = held_out_images(source, encoder).to(torch.device("cpu"))

    def watch() -> Watched:
        found, made = figures_of(model, batch.to(model.encoder.device))
        return found, sample_rows(batch.images[:SAMPLES], made[:SAMPLES])

    run.note(scope(config, source))
    fit_trainee(model, partial(source.batch, count=part), watch, run)
    model.place(home)
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
    if config.start is not None:
        content = decoder_file(config.start)
        content.decoder(config.start).check_encoder(encoder)
        if content.module.architecture != architecture:
            raise TrainingError(
                f"{config.start} has the architecture {content.module.architecture}, and this training needs "
                f"{architecture}: start from a decoder of that, or from none"
            )
        model = DecoderModel(config, encoder, architecture)
        model.initialise_from(content.module)
        return model
    model = DecoderModel(config, encoder, architecture)

    def codes(step: int) -> Tensor:
        with torch.no_grad():
            found = model.codes(source.batch(step, config.batch))
        if not bool(torch.isfinite(found).all()):
            raise TrainingError("the codes hold NaN or infinite values: check the network and the images")
        return found

    model.set_statistics(map(codes, range(STATISTICS)))
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
        return replace(found, codes=in_chunks(encoder, found.images))


@torch.no_grad()
def figures_of(model: DecoderModel, watched: ImageBatch) -> tuple[dict[str, float], Tensor]:
    """Metrics of the averaged decoder on images, and the images (N, C, H, W) it makes of them.

    ``image_error`` and ``code_error`` are over the mean distance of pairs (Dosovitskiy & Brox 2016).
    """
    channels = model.network.architecture.channels
    made, codes = [], []
    for start in range(0, len(watched.images), CHUNK):
        part = slice(start, start + CHUNK)
        given = None if watched.codes is None or model.trained_encoder is not None else watched.codes[part]
        codes.append(model.codes(ImageBatch(watched.images[part], codes=given), averaged=True))
        made.append(model.average(codes[-1])[:, :channels])
    images, target = torch.cat(made), torch.cat(codes).cpu()
    return _against(model, images, watched.images, target), images.cpu()


@torch.no_grad()
def mean_image_figures(model: DecoderModel, source: ImageSource, watched: ImageBatch) -> dict[str, float]:
    """The metrics of ``figures_of``, of an answer without looking: the mean of training images."""
    chunks = [source.batch(step, CHUNK).images for step in range(MEAN_OF)]
    mean = torch.cat(chunks).mean(0, keepdim=True).to(watched.images)
    target = in_chunks(lambda part: model.codes(ImageBatch(part), averaged=True), watched.images).cpu()
    return _against(model, mean, watched.images, target)


def _against(model: DecoderModel, images: Tensor, originals: Tensor, target: Tensor) -> dict[str, float]:
    """Metrics of images, or one image, against the originals and their codes."""
    again = in_chunks(lambda part: model.codes(ImageBatch(part), averaged=True), images).cpu()
    figures = image_figures(images.cpu().expand_as(originals), originals.cpu())
    figures["code_error"] = error_cvpr16(again.expand_as(target), target, target).mean().item()
    return figures


def image_figures(images: Tensor, originals: Tensor) -> dict[str, float]:
    """Mean figures of images against originals (N, C, H, W): ``image_error``, ``psnr``, ``ssim``, ``mse``."""
    return {
        "image_error": error_cvpr16(images, originals, originals).mean().item(),
        "mse": (images - originals).square().mean().item(),
        "psnr": psnr(images, originals).mean().item(),
        "ssim": ssim(images, originals).mean().item(),
    }


def sample_rows(originals: Tensor, made: Tensor, columns: int = 8) -> Tensor:
    """One image (C, H, W): rows of originals, each above what was decoded."""
    rows = [
        torch.cat(list(images[start : start + columns].clamp(0, 1)), -1)
        for start in range(0, len(originals), columns)
        for images in (originals, made)
    ]
    return torch.cat([F.pad(row, (0, rows[0].shape[-1] - row.shape[-1])) for row in rows], -2)


def in_chunks(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """A function of a batch, computed a part at a time."""
    return torch.cat([function(part) for part in torch.split(batch, CHUNK)])


@torch.no_grad()
def milliseconds(decoder: Callable[[Tensor], Tensor], codes: Tensor, batch: int, rounds: int = 20) -> float:
    """The median time that an image of a batch takes, of a decoder or another function."""
    part = codes[:1].expand(batch, *codes.shape[1:]).contiguous()
    times = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        decoder(part)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[2:]) / batch
