"""``netinvert decoder evaluate``: how good a decoder is on chairs never seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.evaluate import held_out_estimator, read_poses
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.evaluation.report import Column, code, number
from netinvert.experiments.configs.training import DecoderEvaluate, PoseEvaluate
from netinvert.experiments.configs.views import ViewsEvaluate
from netinvert.experiments.held_out_chairs import FreshChairs, fresh_chairs, mask_overlaps
from netinvert.experiments.inputs import sources_of
from netinvert.experiments.runs import decoder_facts, publish, run_facts
from netinvert.io.files import Tell, read_json
from netinvert.io.images import fit, image_files, read_image
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import FinishedError, RunDir
from netinvert.models.decoder import Decoder, load_decoder, read_decoder
from netinvert.models.encoder import Encoder
from netinvert.training.card import Trained, add_test_figures
from netinvert.training.decoder.train import image_figures, in_chunks, milliseconds

BATCH = 64
ON_SHEET = 12
DECODED, MEAN = "decoded", "mean image"
FIGURES = {
    "image_error": Column("image error", digits=3, about="over the mean distance of two originals"),
    "mse": Column("MSE", digits=3),
    "psnr": Column("PSNR", "dB", digits=1),
    "ssim": Column("SSIM", digits=3),
    "code_error": Column("code error", digits=3, about="over the mean distance of two originals' codes"),
    "mask_iou": Column("mask", digits=3, about="overlap (intersection over union) with the true mask"),
    "own_median_deg": Column("own pose", "°", digits=1, about="median error, as the network itself reads it"),
    "own_within_30_deg": Column("own within 30°", percent=True, about="share of such errors"),
    "judge_median_deg": Column(
        "held-out pose", "°", digits=1, about="median error, as the held-out pose estimator reads it"
    ),
    "judge_within_30_deg": Column("held-out within 30°", percent=True),
}
"""Columns of the table."""
FigureRows = Mapping[str, Mapping[str, float]]


def evaluated(
    config: DecoderEvaluate | PoseEvaluate | ViewsEvaluate,
    run: Callable[[], Outcome],
    read: Callable[[Path], Trained],
    weights: str | None,
    command: str,
) -> Outcome:
    """What ``run`` gives; with ``--card`` its figures, and the command that repeats them, also go into the
    file of ``weights``. Where all but that was done before, ``run`` refuses, and its folder has them."""
    try:
        outcome = run()
    except FinishedError:
        if not config.card:
            raise
        outcome = Outcome(read_json(config.manifest_file), folder=config.out)
    if config.card and weights is not None:
        figures: Any = outcome.facts["figures"]
        add_test_figures(Path(weights), read(Path(weights)), command, figures)
    return outcome


def evaluate_decoder(config: DecoderEvaluate, tell: Tell) -> Outcome:
    """Measure, and leave table, images and report in ``config.out``.

    Raises:
        NetworkError, CodeError: a decoder that cannot be loaded, or of other weights.
        ConfigError: fewer than two images in the folder.
        MissingExtraError: without the extra scenes, for chairs.
    """
    how = f"--chairs {config.chairs} --seed {config.seed}"
    how = how if config.images is None else f"--images {config.images.name}"
    command = f"netinvert decoder evaluate {Path(config.decoder).name} {how}"
    run = partial(_evaluate_decoder, config, tell)
    return evaluated(config, run, read_decoder, config.decoder, command)


def _evaluate_decoder(config: DecoderEvaluate, tell: Tell) -> Outcome:
    decoder = load_decoder(config.decoder, config.trust)
    encoder = Encoder(decoder.load_network(config.weights), decoder.layer)
    decoder.check_encoder(encoder)
    paths = []
    if config.images is not None:
        paths = image_files(config.images, tell=tell)
        if len(paths) < 2:
            raise ConfigError(
                f"{config.images} holds {len(paths)} images: figures over pairs need two or more"
            )
    known = {"decoder": decoder_facts([decoder])[0], "inputs": sources_of("images", paths)}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        chairs = None
        if config.images is None:
            chairs = fresh_chairs(config.chairs, config.seed, max(decoder.size))
            images = chairs.images
        else:
            channels = encoder.preprocessing.channels
            images = torch.cat([fit(read_image(path, channels), encoder.size) for path in paths])
        rows = decoder_rows(decoder, encoder, images, chairs)
        first = encoder(images[:1])
        sizes = {"ms_one": 1, f"ms_of_{BATCH}": BATCH}
        times = {name: milliseconds(decoder, first, count) for name, count in sizes.items()}
        degrees = [key for key in rows["originals"] if key.endswith("median_deg")]
        ceiling = {f"{key}_of_originals": rows["originals"][key] for key in degrees}
        figures = {**rows[DECODED], **ceiling, **times}
        page = _report(decoder, rows, times, _sheet(decoder, encoder, images[:ON_SHEET]))
        return publish(run, config, page, {**known, "figures": figures, "rows": rows}, _table(rows).text())


@torch.no_grad()
def decoder_rows(
    decoder: Decoder, encoder: Encoder, images: Tensor, chairs: FreshChairs | None = None
) -> FigureRows:
    """Figures by row: of what is decoded of images (N, C, H, W), of the originals, their mean, and others.

    As ``image_figures``, with the ``code_error`` of the image encoded again; of ``chairs``, whose images they
    are, overlap of masks and medians in degrees of the poses that the network and its held-out pose estimator
    read. Raises CodeError where the encoder is not the decoder's.
    """
    decoder.check_encoder(encoder)
    originals, codes = fit(images, decoder.size), in_chunks(encoder, images)
    made = {
        DECODED: in_chunks(decoder, codes),
        "originals": originals,
        MEAN: originals.mean(0, keepdim=True).expand_as(originals),
        "another image": originals.roll(1, 0),
    }
    rows: dict[str, dict[str, float]] = {}
    for name, each in made.items():
        again = in_chunks(encoder, each)
        rows[name] = image_figures(each, originals)
        rows[name]["code_error"] = error_cvpr16(again, codes, codes).mean().item()
        if chairs is not None:
            rows[name] |= _pose_figures(encoder, chairs, each)
    if chairs is not None and decoder.has_mask:
        overlaps = mask_overlaps(in_chunks(decoder.mask, codes), chairs.masks)
        rows[DECODED]["mask_iou"] = overlaps.mean().item()
    return rows


def _pose_figures(encoder: Encoder, chairs: FreshChairs, images: Tensor) -> dict[str, float]:
    found = {}
    for name, reader in (("own", encoder), ("judge", held_out_estimator(encoder))):
        if reader is not None and read_poses(reader, images[:1]) is not None:
            errors = chairs.pose_errors(reader, images)
            found[f"{name}_median_deg"] = errors.median().item()
            found[f"{name}_within_30_deg"] = (errors < 30).float().mean().item()
    return found


def _report(
    decoder: Decoder, rows: FigureRows, times: Mapping[str, float], sheet: report.ImageGrid
) -> report.Report:
    own, mean = ({key: number(value, 3) for key, value in rows[name].items()} for name in (DECODED, MEAN))
    verdict = "below" if rows[DECODED]["image_error"] < rows[MEAN]["image_error"] else "not below"
    lead = (
        f"{code(decoder.name)} turns codes of layer {code(decoder.layer)} of {code(decoder.network)} into "
        f"images. On images that it never saw, its image error is {own['image_error']}, {verdict} that of "
        f"their mean ({mean['image_error']}), and its code error {own['code_error']} ({mean['code_error']})."
    )
    one, many = (number(value, 2) for value in times.values())
    blocks: list[report.Block] = [
        report.Heading("Figures"),
        _table(rows),
        report.Prose(f"Time: {one} ms for one image, {many} ms each in batches of {BATCH}.", quiet=True),
        report.Heading("Images"),
        sheet,
    ]
    return report.Report(f"The decoder {decoder.name}", blocks, lead)


def _table(rows: FigureRows) -> report.Table:
    columns = [Column("images")]
    columns += [replace(one, key=key) for key, one in FIGURES.items() if key in rows[DECODED]]
    records = [{"images": name, **row} for name, row in rows.items()]
    return report.Table.of(records, columns, baselines=range(1, len(rows)), name="figures")


@torch.no_grad()
def _sheet(decoder: Decoder, encoder: Encoder, images: Tensor) -> report.ImageGrid:
    """Rows are images; columns the original, what is decoded, and its mask."""
    codes = encoder(images)
    columns = {"original": fit(images, decoder.size), DECODED: decoder(codes)}
    if decoder.has_mask:
        columns["mask"] = decoder.mask(codes).expand(-1, 3, -1, -1)
    rows = {f"image {k + 1}": [column[k] for column in columns.values()] for k in range(len(images))}
    return report.ImageGrid.of(rows, list(columns), decoder.name, size=128, name="sheet")
