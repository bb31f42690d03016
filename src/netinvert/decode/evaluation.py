"""How good a decoder is: image error, likeness, and the code of what it makes."""

from __future__ import annotations

import torch
from torch import Tensor

from netinvert.decode.model import DecoderModel
from netinvert.decode.pictures import Pictures
from netinvert.metrics import error_cvpr16, psnr, ssim

CHUNK = 64


@torch.no_grad()
def figures_of(model: DecoderModel, watched: Pictures) -> tuple[dict[str, float], Tensor]:
    """Figures of the averaged decoder on pictures, and the images (N, C, H, W) it makes of them.

    ``image_error`` and ``code_error`` are over the mean distance of pairs (Dosovitskiy & Brox 2016).
    """
    channels = model.network.architecture.channels
    made, codes = [], []
    for start in range(0, len(watched.images), CHUNK):
        part = slice(start, start + CHUNK)
        given = None if watched.codes is None or model.learner is not None else watched.codes[part]
        codes.append(model.codes(Pictures(watched.images[part], codes=given), averaged=True))
        made.append(model.average(codes[-1])[:, :channels])
    images, target = torch.cat(made), torch.cat(codes)
    figures = image_figures(images, watched.images)
    again = torch.cat([model.codes(Pictures(one), averaged=True) for one in torch.split(images, CHUNK)])
    figures["code_error"] = error_cvpr16(again, target, target).mean().item()
    return figures, images


def image_figures(images: Tensor, originals: Tensor) -> dict[str, float]:
    """Mean figures of images against originals (N, C, H, W): ``image_error``, ``psnr``, ``ssim``, ``mse``."""
    return {
        "image_error": error_cvpr16(images, originals, originals).mean().item(),
        "mse": (images - originals).square().mean().item(),
        "psnr": psnr(images, originals).mean().item(),
        "ssim": ssim(images, originals).mean().item(),
    }


def sample_rows(originals: Tensor, made: Tensor, columns: int = 8) -> Tensor:
    """One picture (C, H, W): rows of originals, each above what was decoded."""
    rows = []
    for start in range(0, len(originals), columns):
        for images in (originals, made):
            rows.append(torch.cat(list(images[start : start + columns].clamp(0, 1)), -1))
    width = max(row.shape[-1] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[-1])) for row in rows], -2)
