"""A run of ``netinvert decode``: everything is read and checked, then decoded, judged and saved."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from netinvert.cli.inputs import read_inputs
from netinvert.cli.job import Finished
from netinvert.cli.loading import load_encoder
from netinvert.errors import CodeError
from netinvert.evaluation.evaluate import judge, shipped_reference
from netinvert.evaluation.save_results import Record, Sample, save_run
from netinvert.inversion.result import Result
from netinvert.io.folders import OutputFolder
from netinvert.io.images import fit
from netinvert.models.decoder_files import load_decoder
from netinvert.models.network import weights_sha256
from netinvert.training.decoder.evaluation import in_chunks

STATUS = "decoded"


@dataclass(frozen=True)
class DecodeSettings:
    """The options of ``netinvert decode``."""

    input: str
    decoder: str
    weights: str | None = None
    device: str = "cpu"


def decode_into(settings: DecodeSettings, out: Path, overwrite: bool) -> Finished:
    """Decode, judge, and save into a folder. Raises NetinvertError."""
    decoder = load_decoder(settings.decoder)
    encoder = load_encoder(decoder.network, decoder.layer, settings.weights, settings.device)
    decoder.check_encoder(encoder)
    decoder = decoder.to(encoder.device)
    inputs = read_inputs(settings.input, encoder)
    if inputs.remark is not None:
        raise CodeError(f"{inputs.remark}: use a decoder that was trained for them")
    with OutputFolder(out, json.dumps(dataclasses.asdict(settings)), overwrite) as folder:
        began = time.perf_counter()
        with torch.no_grad():
            images = in_chunks(decoder, inputs.codes)
        seconds = time.perf_counter() - began
        count = len(images)
        result = Result(
            image=images,
            code=in_chunks(encoder, images),
            target=inputs.codes,
            losses=images.new_zeros((0, 1, count)),
            terms=(STATUS,),
            best_step=torch.zeros(count, dtype=torch.long),
            status=(STATUS,) * count,
            seconds=seconds,
        )
        originals = None if inputs.originals is None else fit(inputs.originals, decoder.size)
        reference = shipped_reference(encoder)
        entries = {
            "command": {"command": "decode", **dataclasses.asdict(settings)},
            "decoder": {"name": decoder.name, "sha256": weights_sha256(decoder.module)},
            "inputs": inputs.sources,
            "reference": None if reference is None else reference.name,
        }
        samples = tuple(Sample(stem, stem, None) for stem in inputs.stems)
        figures = judge(result, encoder, originals, reference)
        manifest = save_run(folder.staging, Record(result, samples, figures, encoder, originals, entries))
        folder.commit()
        return Finished(folder.path, manifest, result)
