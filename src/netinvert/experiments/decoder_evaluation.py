"""How good a decoder is on pictures that it never saw."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.contact_sheet import Cell, Row, contact_sheet
from netinvert.evaluation.evaluate import judge_of, read_poses
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.io.images import IMAGE_SUFFIXES, fit, read_image
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.evaluation import decoder_figures, in_chunks, milliseconds

BATCH = 64
ON_SHEET = 12


def evaluate_on_chairs(
    decoder: Decoder, encoder: Encoder, count: int, seed: int
) -> tuple[Tensor, dict[str, float]]:
    """Fresh chairs (N, 3, H, W), and the figures of their decoded codes: as ``decoder_figures``, overlap of
    masks, medians in degrees of the poses that the network and its judge read, and times.

    Raises:
        ConfigError: fewer than two chairs.
        CodeError: the encoder is not the decoder's.
    """
    if count < 2:
        raise ConfigError("figures over pairs of pictures need two chairs or more")
    decoder.check_encoder(encoder)
    chairs = fresh_chairs(count, seed, max(decoder.size))
    codes = in_chunks(encoder, chairs.images)
    made = in_chunks(decoder, codes)
    figures = decoder_figures(decoder, encoder, chairs.images)
    if decoder.has_mask:
        figures["mask_iou"] = _overlap(in_chunks(decoder.mask, codes), chairs.masks)
    judge = judge_of(encoder)
    for name, reader in (("own", encoder), ("judge", judge)):
        if reader is None or read_poses(reader, made[:1]) is None:
            continue
        errors = chairs.pose_errors(reader, made)
        figures[f"{name}_median_deg"] = errors.median().item()
        figures[f"{name}_within_30_deg"] = (errors < 30).float().mean().item()
        figures[f"{name}_median_deg_of_originals"] = chairs.pose_errors(reader, chairs.images).median().item()
    return chairs.images, figures | _times(decoder, codes)


def evaluate_on_images(decoder: Decoder, encoder: Encoder, folder: Path) -> tuple[Tensor, dict[str, float]]:
    """The images of a folder, as the encoder sees them, and the figures of their decoded codes.

    Raises:
        ConfigError: fewer than two images in the folder.
        CodeError: the encoder is not the decoder's.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(paths) < 2:
        raise ConfigError(f"{folder} holds {len(paths)} images: figures over pairs need two or more")
    decoder.check_encoder(encoder)
    channels = encoder.preprocessing.channels
    images = torch.cat([fit(read_image(path, channels), encoder.size) for path in paths])
    figures = decoder_figures(decoder, encoder, images)
    return images, figures | _times(decoder, encoder(images[:1]))


@torch.no_grad()
def evaluation_sheet(decoder: Decoder, encoder: Encoder, images: Tensor) -> Image:
    """Rows are pictures; columns the original, what is decoded, and its mask."""
    some = images[:ON_SHEET]
    codes = encoder(some)
    columns = [fit(some, decoder.size), decoder(codes)]
    titles = ["original", "decoded"]
    if decoder.has_mask:
        columns.append(decoder.mask(codes).expand(-1, 3, -1, -1))
        titles.append("mask")
    rows = [
        Row(f"picture {index + 1}", tuple(Cell(column[index]) for column in columns))
        for index in range(len(some))
    ]
    return contact_sheet(rows, titles, f"{decoder.name}: {decoder.network} {decoder.layer}")


def _overlap(found: Tensor, truth: Tensor) -> float:
    """Mean intersection over union of masks."""
    one, other = found > 0.5, truth > 0.5
    both, either = (one & other).flatten(1).sum(1), (one | other).flatten(1).sum(1)
    return (both / either.clamp_min(1)).mean().item()


def _times(decoder: Decoder, codes: Tensor) -> dict[str, float]:
    return {
        "ms_one": milliseconds(decoder, codes, 1),
        f"ms_of_{BATCH}": milliseconds(decoder, codes, BATCH),
    }
