"""An inversion from the command line: everything is read and checked, then run, judged and saved."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netinvert.cli.chunks import Plan, run_chunks
from netinvert.cli.console import Interrupted, note
from netinvert.cli.inputs import Inputs, Source, image_paths, read_inputs, sources_of
from netinvert.cli.loading import load_encoder
from netinvert.cli.progress import Reporter
from netinvert.cli.settings import DECODER, Settings
from netinvert.errors import ConfigError
from netinvert.evaluation.evaluate import Reference, judge, reference_of, shipped_reference
from netinvert.evaluation.metrics import spread
from netinvert.evaluation.save_results import (
    Record,
    Sample,
    describe_recipe,
    restart_name,
    save_run,
    versions,
)
from netinvert.inversion.canvases import with_canvas
from netinvert.inversion.objectives import Match
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import Recipe
from netinvert.inversion.units import parse_mask
from netinvert.io.files import plain_json
from netinvert.io.folders import OutputFolder
from netinvert.io.images import read_image
from netinvert.models.decoder_files import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import weights_sha256

More = Callable[[Result], Mapping[str, object]]


@dataclass(frozen=True, eq=False)
class Start:
    """The image (1, C, H, W) to start from, and its file."""

    image: Tensor
    source: Source


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that is in its folder."""

    folder: Path
    manifest: Mapping[str, object]
    result: Result


@dataclass(frozen=True, eq=False)
class Job:
    """An inversion, ready to run."""

    settings: Settings
    inputs: Inputs
    plan: Plan
    start: Start | None
    reference: Reference | None

    @classmethod
    def prepare(cls, settings: Settings) -> Job:
        """Read and check everything that the settings name. Raises NetinvertError."""
        encoder = load_encoder(settings.network, settings.layer, settings.weights, settings.device)
        inputs = read_inputs(settings.input, encoder, settings.restarts)
        start = None if settings.start is None else read_start(settings.start, encoder)
        return cls.of(settings, encoder, inputs, start, read_reference(settings.reference, encoder))

    @classmethod
    def of(
        cls,
        settings: Settings,
        encoder: Encoder,
        inputs: Inputs,
        start: Start | None,
        reference: Reference | None,
    ) -> Job:
        """From what has been read."""
        how = recipe_of(settings, encoder)
        Match(inputs.codes, how.mask)  # refuses codes that cannot be matched, before any is inverted
        apart = None if settings.diverse is None else (settings.restarts, settings.diverse)
        if apart is not None and start is not None:
            raise ConfigError("--diverse starts from noise; leave out --start")
        plan = Plan(
            encoder=encoder,
            recipe=how,
            codes=inputs.codes.repeat_interleave(settings.restarts, 0),
            seeds=tuple(range(settings.seed, settings.seed + settings.restarts)) * len(inputs.stems),
            start=None if start is None else start.image,
            batch=settings.batch,
            apart=apart,
            decoder=None if settings.decoder is None else load_decoder(settings.decoder).to(encoder.device),
            on_decoder=settings.canvas == DECODER,
        )
        plan.start_of(plan.codes[:1])  # refuses a decoder of another layer
        return cls(settings, inputs, plan, start, reference)

    def run(self, out: Path, overwrite: bool, more: More | None = None) -> Finished:
        """Do it, and save it; ``more`` entries for the manifest."""
        if self.inputs.remark is not None:
            note(f"note: {self.inputs.remark}")
        try:
            with OutputFolder(out, self._run_id(), overwrite) as folder:
                return self._run(folder, more)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command goes on from here") from None

    def _run(self, folder: OutputFolder, more: More | None) -> Finished:
        plan = self.plan
        resumed = folder.resumes
        if resumed:
            note("going on with the run that was stopped")
        chunks = plan.chunks()
        first = plan.recipe_of(plan.codes[:1])
        with Reporter(len(chunks), first.steps, first.data_weight) as reporter:
            result = run_chunks(chunks, plan.encoder, folder, reporter.of_chunk)
        record = self._record(result, {"resumed": resumed, **(more(result) if more else {})})
        manifest = save_run(folder.staging, record)
        folder.commit()
        return Finished(folder.path, manifest, result)

    def _record(self, result: Result, more: Mapping[str, object]) -> Record:
        settings, plan, inputs = self.settings, self.plan, self.inputs
        originals = inputs.originals
        if originals is not None:
            originals = originals.repeat_interleave(settings.restarts, 0)
        samples = tuple(
            Sample(restart_name(stem, k), stem, settings.seed + k)
            for stem in inputs.stems
            for k in range(settings.restarts)
        )
        entries = {
            "preset": settings.preset,
            "prior": plan.recipe.prior,
            "recipe": _described(plan),
            "command": settings.as_command(),
            "inputs": inputs.sources,
            "start": None if self.start is None else self.start.source,
            "decoder_sha256": None if plan.decoder is None else weights_sha256(plan.decoder.module),
            "reference": None if self.reference is None else self.reference.name,
            "threads": torch.get_num_threads(),
            "device": str(plan.encoder.device),
            **more,
        }
        if settings.restarts > 1:
            shape = result.image.shape[1:]
            entries["spread"] = spread(result.image.view(-1, settings.restarts, *shape))
        tensors = {} if self.start is None else {"start": self.start.image}
        figures = judge(result, plan.encoder, originals, self.reference)
        return Record(result, samples, figures, plan.encoder, originals, entries, tensors)

    def _run_id(self) -> str:
        """What has to agree for a stopped run to be gone on with: all that its images depend on."""
        plan, found = self.plan, versions()
        facts = {
            "versions": [found["netinvert"], found["torch"]],
            "weights": plan.encoder.weights_sha256(),
            "decoder": None if plan.decoder is None else weights_sha256(plan.decoder.module),
            "settings": {
                **dataclasses.asdict(self.settings),
                **dict.fromkeys(("input", "weights", "start", "decoder", "reference", "threads")),
            },
            "recipe": _described(plan),
            "stems": self.inputs.stems,
        }
        digest = hashlib.sha256(json.dumps(plain_json(facts), sort_keys=True).encode())
        for tensor in (plan.codes, plan.start):
            if tensor is not None:
                digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def recipe_of(settings: Settings, encoder: Encoder) -> Recipe:
    """The preset with the options applied. Raises ConfigError."""
    how = recipe(settings.preset, encoder, settings.prior)
    if settings.mask is not None:
        how = dataclasses.replace(how, mask=parse_mask(encoder, settings.mask))
    if settings.canvas not in (None, DECODER):
        how = with_canvas(how, settings.canvas)
    if settings.data_weight is not None:
        how = dataclasses.replace(how, data_weight=settings.data_weight)
    return how if settings.steps is None else how.with_steps(settings.steps)


def _described(plan: Plan) -> dict[str, object]:
    some = plan.codes[:1]
    how = plan.recipe_of(some)
    return describe_recipe(how, how.canvas(plan.encoder, plan.seeds[:1], plan.start_of(some)))


def read_start(text: str, encoder: Encoder) -> Start:
    """Raises ImageError."""
    image = read_image(text, encoder.preprocessing.channels).to(encoder.device, encoder.dtype)
    return Start(encoder.fit(image), sources_of([Path(text)])[0])


def read_reference(text: str | None, encoder: Encoder) -> Reference | None:
    """The images the user names, or those of netinvert where the network can see them."""
    if text is None:
        return shipped_reference(encoder)
    return reference_of(encoder, image_paths(text), text)
