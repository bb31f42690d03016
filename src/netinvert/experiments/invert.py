"""``netinvert invert``: images with given codes, in batches; each batch is a cell."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation.evaluate import Record, Sample, evaluate_result
from netinvert.evaluation.metrics import spread
from netinvert.evaluation.save_results import RERUN, save_run
from netinvert.experiments.batches import Batch, Measure, optimised, result_of, workers_of
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.invert import DECODER, Invert
from netinvert.experiments.inputs import (
    open_network,
    read_inputs,
    read_reference,
    read_start,
    restart_name,
    sources_of,
)
from netinvert.experiments.runs import made_by, run_facts
from netinvert.inversion.canvases import decoded_start, on_decoder, with_canvas
from netinvert.inversion.invert import Inversion, prepare, prepare_diverse
from netinvert.inversion.objectives import Match, code_error
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.schedule import describe_recipe
from netinvert.inversion.units import parse_mask
from netinvert.io.cells import Cell, Piece
from netinvert.io.manifest import Outcome, manifest
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import weights_sha256


class Inverter:
    """How the options invert codes."""

    def __init__(self, config: Invert, encoder: Encoder) -> None:
        """Raises NetinvertError for options that do not go with the encoder."""
        self.config, self.encoder = config, encoder
        self.decoder = None if config.decoder is None else load_decoder(config.decoder).to(encoder.device)
        how = recipe(config.preset, encoder, config.prior)
        if config.mask is not None:
            how = dataclasses.replace(how, mask=parse_mask(encoder, config.mask))
        if config.canvas not in (None, DECODER):
            how = with_canvas(how, config.canvas)
        if config.data_weight is not None:
            how = dataclasses.replace(how, data_weight=config.data_weight)
        self.recipe = how if config.steps is None else how.with_steps(config.steps)

    def prepare(self, codes: Tensor, start: Tensor | None) -> Inversion:
        """The inversion of codes (N, ...), ``restarts`` neighbours of each; ``start`` (1, C, H, W)."""
        config, encoder = self.config, self.encoder
        if config.diverse is not None:
            apart = config.restarts, config.diverse
            return prepare_diverse(encoder, codes[:: config.restarts], self.recipe, apart)
        if self.decoder is not None and config.canvas != DECODER:
            start = decoded_start(self.decoder, encoder, codes)
        how = self.recipe
        if self.decoder is not None and config.canvas == DECODER:  # which begins at the codes
            how = on_decoder(how, self.decoder, encoder, codes)
        return prepare(encoder, codes, how, start)


@dataclass(frozen=True, eq=False)
class InvertWork:
    """Codes (N, ...), one an image. Other processes make an ``inverter`` of their own."""

    config: Invert
    codes: Tensor
    start: Tensor | None
    inverter: Inverter | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "inverter": None}

    def open(self) -> Callable[[Batch, Piece], Cell]:
        """Called once in each process."""
        config = self.config
        how = self.inverter or Inverter(config, Encoder(open_network(config, config.device), config.layer))

        def make(batch: Batch, piece: Piece) -> Cell:
            codes = self.codes[batch.part].to(how.encoder.device)
            told = Measure("code error", lambda image: code_error(how.encoder(image), codes))
            return optimised(how.prepare(codes, self.start), batch.seeds, piece, told)

        return make


def run_invert(config: Invert, tell: Tell) -> Outcome:
    """Do it. Raises NetinvertError before any long work."""
    encoder = Encoder(open_network(config, config.device), config.layer)
    inputs = read_inputs(config.input, encoder, config.restarts)
    start = None if config.start is None else read_start(config.start, encoder)
    reference, sources = read_reference(config.reference, encoder)
    inverter = Inverter(config, encoder)
    Match(inputs.codes, inverter.recipe.mask)  # refuses codes that cannot be matched
    codes = inputs.codes.repeat_interleave(config.restarts, 0)
    batches = _batches(config, len(inputs.stems))
    first = inverter.prepare(codes[batches[0].part], start)
    canvas = first.canvas(Run(seed=batches[0].seeds))  # refuses the rest
    sources = (*inputs.sources, *sources)
    if config.start is not None:
        sources += sources_of("start", [config.start])
    decoder = inverter.decoder
    known = {
        "inputs": [(source["option"], source["sha256"]) for source in sources],
        "names": inputs.stems,
        "weights": encoder.weights_sha256(),
        "decoder": None if decoder is None else weights_sha256(decoder.module),
    }
    if inputs.remark is not None:
        tell(f"note: {inputs.remark}")
    with RunDir(config.out, run_facts(config, known), config.overwrite) as folder:
        resumed = folder.resumes
        if resumed:
            tell("resuming the run that was stopped")
        work = InvertWork(config, codes.cpu(), start, inverter)
        cells = run_cells(folder, work, batches, workers_of(config), progress="batches")
        result = result_of(cells, encoder.device)
        originals = inputs.originals
        if originals is not None:
            originals = originals.repeat_interleave(config.restarts, 0)
        record = Record(
            result,
            tuple(
                Sample(restart_name(stem, k), stem, config.seed + k)
                for stem in inputs.stems
                for k in range(config.restarts)
            ),
            evaluate_result(result, encoder, originals, reference),
            encoder,
            originals,
            reference,
            {} if start is None else {"start": start},
            steps_to_take=_steps_to_take(config),
            command=made_by(config),
        )
        entries: dict[str, object] = {
            "preset": config.preset,
            "prior": inverter.recipe.prior,
            "recipe": describe_recipe(first.recipe, canvas),
            "inputs": sources,
            "decoder_sha256": known["decoder"],
            "threads": torch.get_num_threads(),
            "device": str(encoder.device),
            "resumed": resumed,
        }
        if config.restarts > 1:
            shape = result.image.shape[1:]
            entries["spread"] = spread(result.image.view(-1, config.restarts, *shape))
        return save_run(folder, manifest(config, entries), record)


def _steps_to_take(config: Invert) -> tuple[tuple[str, str], ...]:
    found = []
    if config.restarts == 1:
        more = dataclasses.replace(config, restarts=4, out=Path("out/restarts"), overwrite=False)
        found.append(("What the code leaves open, by images from other noise:", more.command_line()))
    layers = shlex.join(["netinvert", "layers", config.network])
    found.append(("Other layers of the network:", layers))
    return (*found, RERUN)


def _batches(config: Invert, count: int) -> list[Batch]:
    """``batch`` images each; those that are to differ stay together."""
    group = 1 if config.diverse is None else config.restarts
    size = max(config.batch // group, 1) * group
    seeds = tuple(range(config.seed, config.seed + config.restarts)) * count
    return [Batch(k, seeds[k : k + size]) for k in range(0, len(seeds), size)]
