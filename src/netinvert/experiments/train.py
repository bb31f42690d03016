"""Trainings of pose networks and decoders: weights with their card, and a page of what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from netinvert.errors import OutputError
from netinvert.evaluation.report import Block, Code, Heading, ImageGrid, Prose, Report, Tile
from netinvert.experiments.configs.training import DecoderTrain, PoseTrain, Training, ViewsTrain
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import figures_table
from netinvert.io.files import Tell, inside, read_json, write_atomic, write_json
from netinvert.io.folders import alone
from netinvert.io.manifest import MANIFEST, Outcome, hashes, manifest
from netinvert.io.running import Interrupted, duration
from netinvert.models.encoder import Encoder
from netinvert.training.card import Trained, export, file_names
from netinvert.training.config import TrainingRun, is_main_process, precision_of
from netinvert.training.decoder.cache import cached
from netinvert.training.decoder.images import described, open_source
from netinvert.training.decoder.losses import LossChoice, comparisons
from netinvert.training.decoder.model import DecoderConfig
from netinvert.training.decoder.train import (
    figures_of,
    held_out_images,
    mean_image_figures,
    train_decoder,
)
from netinvert.training.loop import LOCK
from netinvert.training.pose.train import PoseConfig, final_figures, train_pose, validation_views
from netinvert.training.views.train import (
    GeneratorConfig,
    generator_figures,
    mean_view_figures,
    train_generator,
    unseen_views,
)
from netinvert.training.views.turntables import Turntables

T = TypeVar("T")
HELD_OUT = 512
SHOWN = 8
"""Held-out images on a decoder's page."""
MEAN_VIEW = "the mean of the known objects in the same view"
CONSTANT, MEAN_IMAGE = "the mean rotation of the training views", "the mean training image"
"""Answers that do not look at the input."""


def train_pose_network(config: PoseTrain, tell: Tell) -> Outcome:
    """Train a pose network. Raises what the training does."""
    plan = _made(PoseConfig, config, precision=precision_of(config.precision, config.device))
    damaged = "skip" if config.skip_damaged else "refuse"
    run = _made(TrainingRun, config, folder=config.out, damaged=damaged, tell=tell)
    tell(f"{plan.steps:,} steps of {plan.batch} views: {plan.samples:,} samples")
    try:
        model = train_pose(plan, config.data, run)
    except KeyboardInterrupt:
        raise _stopped(config) from None
    if not is_main_process():
        return Outcome({})
    figures, always = final_figures(model, validation_views(config.data, config.seed))
    tell(f"trained for {duration(model.seconds)}")
    data = [described(str(one)) for one in config.data]
    facts = {**_facts(config, data[0], figures), "more_data": data[1:]}
    text = f"median error {figures['median_geodesic_deg']:.1f}° on the validation split"
    text += f" ({always['median_geodesic_deg']:.1f}° by {CONSTANT})"
    name = config.name or config.network
    evaluate = f"netinvert pose evaluate --network {config.network} --weights {config.out / name}"
    evaluate += ".safetensors --out out/evaluation"
    made = Made(name, model.file(facts), {CONSTANT: always}, [])
    return _finish(config, made, (text, evaluate))


def train_a_decoder(config: DecoderTrain, tell: Tell) -> Outcome:
    """Train a decoder. Raises what the training does."""
    precision = precision_of(config.precision, config.device)
    plan = _made(DecoderConfig, config, size=config.pixels, precision=precision)
    encoder = Encoder(open_network(config, tell=tell), config.layer)
    comparisons(LossChoice.parse(config.loss), encoder)  # tells what is missing for the loss
    size = None if config.pixels is None else (config.pixels, config.pixels)
    source = open_source(config.data, size, encoder, config.seed)
    try:
        if config.cache is not None:
            source = cached(source, encoder, config.cache, config.out / "cache", tell)
        run = _made(TrainingRun, config, folder=config.out, tell=tell)
        model = train_decoder(plan, encoder, source, run)
    except KeyboardInterrupt:
        raise _stopped(config) from None
    if not is_main_process():
        return Outcome({})
    watched = held_out_images(source, encoder)
    figures, made = figures_of(model, watched)
    tell(f"trained for {duration(model.seconds)}")
    facts = _facts(config, described(config.data), figures)
    pairs = {
        f"{number}": [Tile(one) for one in pair]
        for number, pair in enumerate(zip(watched.images[:SHOWN], made[:SHOWN], strict=True), 1)
    }
    blocks: list[Block] = [Heading("Held-out images"), ImageGrid.of(pairs, ["original", "decoded"])]
    always = mean_image_figures(model, source, watched)
    text = f"image error {figures['image_error']:.3f} on held-out images"
    text += f" ({always['image_error']:.3f} by {MEAN_IMAGE})"
    stored = config.out / file_names(config.name)[0]
    again = f"netinvert decode photo.jpg --decoder {stored} --out out/decoded"
    return _finish(config, Made(config.name, model.file(facts), {MEAN_IMAGE: always}, blocks), (text, again))


def train_views(config: ViewsTrain, tell: Tell) -> Outcome:
    """Train a generator. Raises what the training does."""
    plan = _made(GeneratorConfig, config, precision=precision_of(config.precision, config.device))
    tables = Turntables.of(config.data, config.identities)
    run = _made(TrainingRun, config, folder=config.out, tell=tell)
    known = plan.known.mask(len(tables.planes))
    tell(f"{len(tables.planes)} objects, {int(known.sum()):,} of {known.numel():,} views known")
    try:
        model = train_generator(plan, tables, run)
    except KeyboardInterrupt:
        raise _stopped(config) from None
    watched = unseen_views(tables, known, HELD_OUT)
    figures, made = generator_figures(model, watched)
    always = mean_view_figures(tables, known, watched)
    tell(f"trained for {duration(model.seconds)}")
    low, high = tables.elevation.min().item(), tables.elevation.max().item()
    facts = {**_facts(config, described(str(config.data)), figures), "objects": list(tables.identities)}
    facts["elevations"] = [round(low, 2), round(high, 2)]
    shown = (one[:SHOWN, :3] + 1 - one[:SHOWN, 3:] for one in (watched.planes, made))
    pairs = {f"{k}": [Tile(one) for one in pair] for k, pair in enumerate(zip(*shown, strict=True), 1)}
    blocks: list[Block] = [Heading("Views that it did not know"), ImageGrid.of(pairs, ["true", "drawn"])]
    text = f"an error of {figures['l1_on_object']:.3f} on the object in views that it did not know "
    text += f"({always['l1_on_object']:.3f} by {MEAN_VIEW})"
    stored = config.out / file_names(config.name)[0]
    again = f"netinvert views generate --generator {stored} --out out/views"
    return _finish(config, Made(config.name, model.file(facts), {MEAN_VIEW: always}, blocks), (text, again))


def _made(cls: type[T], config: Training, **more: Any) -> T:  # noqa: ANN401
    """A training's plan or run: its settings have the same names as the options, but for ``more``."""
    names = (one.name for one in fields(cls) if hasattr(config, one.name))  # type: ignore[arg-type]
    return cls(**{**{name: getattr(config, name) for name in names}, **more})


def _stopped(config: Training) -> Interrupted:
    with contextlib.suppress(OSError):
        if any(config.out.rglob("*.safetensors")):  # a checkpoint, or images with their codes
            return Interrupted(f"stopped; the same command goes on with {config.out}")
    return Interrupted("stopped before there was anything to keep; the same command begins anew")


def _facts(config: Training, data: Mapping[str, Any], figures: Mapping[str, float]) -> dict[str, Any]:
    """What the card tells of a training, beside its plan, and what is the same for every such training."""
    return {
        "command": config.command_line(without=("out", "json")),
        "data": dict(data),
        "threads": config.threads or torch.get_num_threads(),
        "figures": {name: round(value, 4) for name, value in figures.items()},
    }


@dataclass(frozen=True)
class Made:
    """What a training made under a name, the figures of ``baselines``, and what its page shows."""

    name: str
    content: Trained
    baselines: Mapping[str, Mapping[str, float]]
    blocks: Sequence[Block]


def _finish(config: Training, made: Made, words: tuple[str, str]) -> Outcome:
    """Write the weights, the card, the page and the manifest; ``words`` say how good it is and what next."""

    def place(name: str) -> Path:  # a link in the folder could lead to any file
        return inside(config.out, name, OutputError)

    weights, card = file_names(made.name)
    facts, (said, following) = made.content.facts, words
    baselines = {
        of: {name: round(value, 4) for name, value in figures.items()}
        for of, figures in made.baselines.items()
    }
    figures = figures_table(facts["figures"], baselines)
    report = Report(
        f"Training of {made.name}",
        [Prose(f"{said[0].upper()}{said[1:]}."), figures, *made.blocks, Heading("Next"), Code(following)],
        command=config.command_line(without=("out", "json")),
    )
    entries = {"weights": weights, "threads": facts["threads"], "training": facts, "baselines": baselines}
    told = manifest(config, entries)
    with alone(config.out / LOCK, config.out):
        export(place(weights), made.content)
        pages = report.save(lambda name, data: write_atomic(place(name), data))
        written = sorted({weights, card, *pages})
        write_json(place(MANIFEST), {**told, **hashes({name: config.out / name for name in written})})
        return Outcome(read_json(config.out / MANIFEST), f"{config.out / weights}: {said}", config.out)
