"""Images made to a wish (maximise, caricature): checked, optimised, judged and saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netinvert.cli.chunks import Chunk, run_chunks
from netinvert.cli.console import Interrupted, note
from netinvert.cli.inputs import Source
from netinvert.cli.job import Finished
from netinvert.cli.progress import Reporter
from netinvert.evaluation.evaluate import judge
from netinvert.evaluation.save_results import (
    Record,
    Sample,
    describe_recipe,
    restart_name,
    save_run,
    versions,
)
from netinvert.inversion.constraints import stretched
from netinvert.inversion.maximise import prepare_maximising
from netinvert.inversion.objectives import Term
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import plain_json
from netinvert.io.folders import OutputFolder
from netinvert.io.images import write_png
from netinvert.models.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Drawing:
    """Images of one wish, one a seed; ``original`` (1, C, H, W) is shown beside, ``start`` begun from."""

    name: str
    objective: Term
    seeds: tuple[int, ...]
    original: Tensor | None = None
    start: Tensor | None = None


@dataclass(frozen=True, eq=False)
class DrawingJob:
    """Drawings by one recipe; ``command`` and ``sources`` are for the manifest."""

    encoder: Encoder
    recipe: Recipe
    drawings: Sequence[Drawing]
    command: Mapping[str, object]
    sources: tuple[Source, ...] = ()

    def run(self, out: Path, overwrite: bool) -> Finished:
        """Do it, and save it."""
        try:
            with OutputFolder(out, self._run_id(), overwrite) as folder:
                if folder.resumes:
                    note("going on with the run that was stopped")
                chunks = [self._chunk(drawing) for drawing in self.drawings]
                with Reporter(len(chunks), self.recipe.steps, self.recipe.data_weight) as reporter:
                    result = run_chunks(chunks, self.encoder, folder, reporter.of_chunk)
                record = self._record(result)
                manifest = save_run(folder.staging, record)
                if self.recipe.unnormalised:
                    self._save_stretched(record, folder.staging)
                folder.commit()
                return Finished(folder.path, manifest, result)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command goes on from here") from None

    def _chunk(self, drawing: Drawing) -> Chunk:
        return Chunk(
            drawing.seeds,
            lambda: prepare_maximising(
                self.encoder, drawing.objective, self.recipe, drawing.start, len(drawing.seeds)
            ),
        )

    def _record(self, result: Result) -> Record:
        samples = tuple(
            Sample(restart_name(drawing.name, k), drawing.name, seed)
            for drawing in self.drawings
            for k, seed in enumerate(drawing.seeds)
        )
        originals = [
            drawing.original.expand(len(drawing.seeds), -1, -1, -1)
            for drawing in self.drawings
            if drawing.original is not None
        ]
        # Of the images that are kept: under jitter, others had a luckier view.
        rows = torch.arange(len(samples), device=result.losses.device)
        best = result.losses[result.best_step, 0, rows] / self.recipe.data_weight
        entries = {
            "recipe": self._described(),
            "command": dict(self.command),
            "inputs": self.sources,
            "objectives": dict(zip([sample.name for sample in samples], best.tolist(), strict=True)),
            "threads": torch.get_num_threads(),
            "device": str(self.encoder.device),
        }
        together = torch.cat(originals) if originals else None
        figures = judge(result, self.encoder, together)
        return Record(result, samples, figures, self.encoder, together, entries)

    def _save_stretched(self, record: Record, folder: Path) -> None:
        """The steps of raw recipes end where they end: often in images that differ little from grey."""
        images = stretched(record.result.image, self.encoder.centre)
        for sample, image in zip(record.samples, images, strict=True):
            write_png(image, folder / f"{sample.name}-stretched.png")

    def _described(self) -> dict[str, object]:
        first = self.drawings[0]
        return describe_recipe(self.recipe, self.recipe.canvas(self.encoder, first.seeds[:1], first.start))

    def _run_id(self) -> str:
        """What has to agree for a stopped run to be gone on with."""
        found = versions()
        facts = {
            "versions": [found["netinvert"], found["torch"]],
            "weights": self.encoder.weights_sha256(),
            "command": self.command,
            "recipe": self._described(),
            "inputs": self.sources,
        }
        return hashlib.sha256(json.dumps(plain_json(facts), sort_keys=True).encode()).hexdigest()
