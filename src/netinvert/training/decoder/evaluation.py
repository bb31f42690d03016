"""How good a decoder is: image error, similarity, and the code of what it makes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from netinvert.evaluation.metrics import error_cvpr16, psnr, ssim
from netinvert.models.decoder import Decoder
from netinvert.training.decoder.images import ImageBatch
from netinvert.training.decoder.model import DecoderModel

CHUNK = 64


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
    again = torch.cat([model.codes(ImageBatch(one), averaged=True) for one in torch.split(images, CHUNK)])
    figures = image_figures(images.cpu(), watched.images.cpu())
    figures["code_error"] = error_cvpr16(again.cpu(), target, target).mean().item()
    return figures, images.cpu()


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
    rows = []
    for start in range(0, len(originals), columns):
        for images in (originals, made):
            rows.append(torch.cat(list(images[start : start + columns].clamp(0, 1)), -1))
    width = max(row.shape[-1] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[-1])) for row in rows], -2)


def in_chunks(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """A function of a batch, computed a part at a time."""
    return torch.cat([function(part) for part in torch.split(batch, CHUNK)])


@torch.no_grad()
def milliseconds(decoder: Decoder, codes: Tensor, batch: int, rounds: int = 20) -> float:
    """The median time that an image of a batch takes."""
    part = codes[:1].expand(batch, *codes.shape[1:]).contiguous()
    times = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        decoder(part)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[2:]) / batch
