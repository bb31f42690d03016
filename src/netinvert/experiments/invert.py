"""``netinvert invert``, and what all commands share that optimise images; each batch of images is a cell."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from netinvert.evaluation.evaluate import Record, Reference, Sample, evaluate_result
from netinvert.evaluation.metrics import spread
from netinvert.evaluation.save_results import RERUN, save_run
from netinvert.experiments.configs.images import DECODER, CaricatureConfig, Invert, Maximise
from netinvert.experiments.decode import knowledge_of
from netinvert.experiments.inputs import (
    Source,
    open_network,
    read_inputs,
    read_reference,
    read_start,
    restart_name,
    sources_of,
)
from netinvert.experiments.runs import images_known, made_by, run_facts, workers_of
from netinvert.inversion.canvases import decoded_start, on_decoder, with_canvas
from netinvert.inversion.invert import Inversion, in_precision, prepare, prepare_diverse
from netinvert.inversion.objectives import Match, code_error
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import recipe, usual_preset
from netinvert.inversion.result import Result, StepInfo
from netinvert.inversion.schedule import Recipe, describe_recipe
from netinvert.inversion.units import parse_mask
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome, manifest
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.decoder import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.precision import AUTO

SECONDS_BETWEEN_MEASURES = 2.0
"""A measure costs a pass through the network."""

# -- images that are optimised together ----------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """The key of a cell: the number of its first image (or goal) among all of the run, and a seed for each
    image."""

    first: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Measure:
    """What is told of images (N, C, H, W) while they are made, (N,), as it is of the results."""

    name: str
    of: Callable[[Tensor], Tensor]


class ImageJob(Protocol):
    """How the batches of a command's images are made, and what is found of them."""

    encoder: Encoder
    recipe: Recipe

    def prepare(self, batch: Batch) -> tuple[Inversion, Measure]:
        """A batch's optimisation, and what is told of it."""
        ...

    def judged(self, record: Record, folder: RunDir) -> tuple[Record, Mapping[str, object]]:
        """What was made, with all that is to be said of it, and more entries for the manifest."""
        ...


@dataclass(frozen=True, eq=False)
class ImageWork:
    """Makes batches. Other processes ``make`` a job of their own."""

    make: Callable[[], ImageJob]
    job: ImageJob | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "job": None}

    def open(self) -> Callable[[Batch, Piece], Cell]:
        """Called once in each process."""
        job = self.job or self.make()

        def make(batch: Batch, piece: Piece) -> Cell:
            ready, told = job.prepare(batch)
            return optimised(ready, batch.seeds, piece, told)

        return make


def optimised(ready: Inversion, seeds: tuple[int, ...], piece: Piece, told: Measure) -> Cell:
    """A batch's images. Raises KeyboardInterrupt when it was stopped, with its state in the checkpoint."""
    last, text = -SECONDS_BETWEEN_MEASURES, ""

    def callback(info: StepInfo) -> None:
        """Tell the progress: of the images that would be kept now."""
        nonlocal last, text
        if time.monotonic() - last >= SECONDS_BETWEEN_MEASURES or info.step == info.steps:
            with torch.no_grad():
                text = f"{told.name} {told.of(info.best_image).nanmean().item():.3f}"
            last = time.monotonic()
        piece.tell(info.step / info.steps, f"step {info.step} of {info.steps}: {text}")

    result = ready.run(Run(seed=seeds, callback=callback, checkpoint=piece.checkpoint))
    if result.interrupted:
        raise KeyboardInterrupt
    return Cell(*result.to_tensors())


def run_told(
    ready: Inversion, seeds: Sequence[int], tell: Callable[[float, str], None], checkpoint: Path | None = None
) -> Result:
    """Its result; ``tell`` how much of it is done. Raises KeyboardInterrupt when it was stopped."""

    def callback(info: StepInfo) -> None:
        tell(info.step / info.steps, f"step {info.step} of {info.steps}")

    result = ready.run(Run(seed=list(seeds), callback=callback, checkpoint=checkpoint))
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def result_of(cells: Iterable[Cell], device: torch.device) -> Result:
    """One result of all batches."""
    return Result.join([Result.from_tensors(cell.tensors, cell.facts, device) for cell in cells])


@dataclass(frozen=True, eq=False)
class Asked:
    """What is to be made: ``restarts`` images of each of ``names``, in ``batches``, which ``progress`` names;
    ``originals`` (of each name, C, H, W) if known, the ``start`` (1, C, H, W) if not noise, and what else the
    results depend on: ``known``."""

    names: Sequence[str]
    batches: Sequence[Batch]
    progress: str
    sources: tuple[Source, ...]
    restarts: int = 1
    originals: Tensor | None = None
    reference: Reference | None = None
    start: Tensor | None = None
    known: Mapping[str, object] = field(default_factory=dict)


def run_images(
    config: Invert | Maximise | CaricatureConfig, work: ImageWork, asked: Asked, tell: Tell
) -> Outcome:
    """Make, judge and save them. Raises NetinvertError for what cannot be done before any long work."""
    job, batches, restarts = work.job or work.make(), asked.batches, asked.restarts
    encoder, first = job.encoder, job.prepare(batches[0])[0]
    canvas = first.canvas(Run(seed=batches[0].seeds))  # refuses what cannot be done
    known = {**images_known(encoder, asked.sources, asked.names), **asked.known}
    if config.precision == AUTO:  # which is another on other machines
        known["precision"] = encoder.precision_of(AUTO)
    with RunDir(config.out, run_facts(config, known), config.overwrite) as folder:
        if folder.resumes:
            tell("resuming the run that was stopped")
        cells = run_cells(folder, work, batches, workers_of(config), progress=asked.progress)
        result = result_of(cells, encoder.device)
        originals = None if asked.originals is None else asked.originals.repeat_interleave(restarts, 0)
        record = Record(
            result,
            tuple(
                Sample(restart_name(name, k), name, config.seed + k)
                for name in asked.names
                for k in range(restarts)
            ),
            evaluate_result(result, encoder, originals, asked.reference),
            encoder,
            originals,
            asked.reference,
            {} if asked.start is None else {"start": asked.start},
            command=made_by(config),
        )
        record, found = job.judged(record, folder)
        entries = {
            "preset": config.preset or job.recipe.name,
            "prior": job.recipe.prior,
            "recipe": describe_recipe(first.recipe, canvas),
            "inputs": asked.sources,
            "threads": torch.get_num_threads(),
            "device": str(encoder.device),
            **found,
        }
        return save_run(folder, manifest(config, entries), record)


Images = TypeVar("Images", bound=Invert | Maximise | CaricatureConfig)


def with_precision_here(config: Images, encoder: Encoder) -> Images:
    """With the precision that ``auto`` is here: other processes, on other machines too, take the same."""
    return dataclasses.replace(config, precision=encoder.precision_of(config.precision))


# -- invert --------------------------------------------------------------------------------------------


class Inverter:
    """How the options invert codes (N, ...), one an image; ``start`` (1, C, H, W)."""

    def __init__(self, config: Invert, codes: Tensor, start: Tensor | None, encoder: Encoder | None) -> None:
        """Raises NetinvertError for options that do not go with the encoder, opened if it is None."""
        self.config, self.codes, self.start = config, codes, start
        self.encoder = encoder or Encoder(open_network(config, config.device), config.layer)
        self.decoder = (
            None if config.decoder is None else load_decoder(config.decoder).to(self.encoder.device)
        )
        preset = config.preset
        # images that differ by noise are asked for
        noise = config.restarts > 1 or (config.seed != 0 and config.decoder is None)
        if preset is None and (config.canvas == DECODER or noise):
            preset = "default"
        elif preset is None:
            options = (config.prior, config.data_weight, config.canvas, config.mask, start)
            otherwise = any(option is not None for option in options)
            preset, self.decoder = usual_preset(self.encoder, self.decoder, otherwise)
        how = recipe(preset, self.encoder, config.prior)
        if config.mask is not None:
            how = dataclasses.replace(how, mask=parse_mask(self.encoder, config.mask))
        if config.canvas not in (None, DECODER):
            how = with_canvas(how, config.canvas)
        if config.data_weight is not None:
            how = dataclasses.replace(how, data_weight=config.data_weight)
        how = how if config.steps is None else how.with_steps(config.steps)
        self.recipe = in_precision(how, self.encoder, config.precision)

    def prepare(self, batch: Batch) -> tuple[Inversion, Measure]:
        """``restarts`` neighbouring images of each code."""
        config, encoder, how, start = self.config, self.encoder, self.recipe, self.start
        codes = self.codes[batch.first : batch.first + len(batch.seeds)].to(encoder.device)
        told = Measure("code error", lambda image: code_error(encoder(image), codes))
        if config.diverse is not None:
            apart = config.restarts, config.diverse
            return prepare_diverse(encoder, codes[:: config.restarts], how, apart), told
        if self.decoder is not None and config.canvas == DECODER:  # which begins at the codes
            how = on_decoder(how, self.decoder, encoder, codes)
        elif self.decoder is not None:
            start = decoded_start(self.decoder, encoder, codes)
        return prepare(encoder, codes, how, start), told

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of a decoder that was not asked for."""
        if self.decoder is None or self.config.decoder is not None:
            return ()
        used = f"the decoder {self.decoder.name} fits and gives the images to start from"
        return tuple(
            filter(None, (f"{used} (--preset default starts from noise)", knowledge_of(self.decoder)))
        )

    @property
    def decoder_sha256(self) -> str | None:
        """Of the weights."""
        return None if self.decoder is None else weights_sha256(self.decoder.module)

    def judged(self, record: Record, folder: RunDir) -> tuple[Record, Mapping[str, object]]:
        """With the next steps, and how far restarts spread."""
        config, steps = self.config, []
        if config.restarts == 1:
            more = dataclasses.replace(config, restarts=4, out=Path("out/restarts"), overwrite=False)
            steps.append(("What the code leaves open, by images from other noise:", more.command_line()))
        steps.append(("Other layers of the network:", shlex.join(["netinvert", "layers", config.network])))
        decoder = None if self.decoder is None else self.decoder.name
        found: dict[str, object] = {"decoder": decoder, "decoder_sha256": self.decoder_sha256}
        found["resumed"] = folder.resumes
        if config.restarts > 1:
            images = record.result.image
            found["spread"] = spread(images.view(-1, config.restarts, *images.shape[1:]))
        return dataclasses.replace(record, steps_to_take=(*steps, RERUN), notes=self.remarks), found


def run_invert(config: Invert, tell: Tell) -> Outcome:
    """Do it. Raises NetinvertError before any long work."""
    encoder = Encoder(open_network(config, config.device, tell), config.layer)
    inputs = read_inputs(config.input, encoder, config.restarts, tell)
    start = None if config.start is None else read_start(config.start, encoder)
    reference, sources = read_reference(config.reference, encoder, tell)
    sources = (*inputs.sources, *sources, *sources_of("start", [config.start] if config.start else []))
    codes = inputs.codes.repeat_interleave(config.restarts, 0).cpu()
    taken = with_precision_here(config, encoder)
    job = Inverter(taken, codes, start, encoder)
    Match(inputs.codes, job.recipe.mask)  # refuses codes that cannot be matched
    # ``batch`` images each; those that are to differ stay together
    group = 1 if config.diverse is None else config.restarts
    size = max(config.batch // group, 1) * group
    seeds = tuple(range(config.seed, config.seed + config.restarts)) * len(inputs.stems)
    batches = [Batch(k, seeds[k : k + size]) for k in range(0, len(seeds), size)]
    for remark in (*([] if inputs.remark is None else [inputs.remark]), *job.remarks):
        tell(f"note: {remark}")
    asked = Asked(
        inputs.stems,
        batches,
        "batches",
        sources,
        config.restarts,
        inputs.originals,
        reference,
        start,
        known={"decoder": job.decoder_sha256},
    )
    return run_images(config, ImageWork(partial(Inverter, taken, codes, start, None), job), asked, tell)
