"""``netinvert decode``: images from a trained decoder."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from netinvert.errors import CodeError
from netinvert.evaluation.evaluate import Record, Sample, evaluate_result, shipped_reference
from netinvert.evaluation.save_results import RERUN, save_run
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.decode import Decode
from netinvert.experiments.inputs import on_device, preprocessing_of, read_inputs, sources_of
from netinvert.experiments.runs import made_by, run_facts
from netinvert.inversion.result import Result
from netinvert.io.images import fit
from netinvert.io.manifest import Outcome, manifest
from netinvert.io.rundir import RunDir
from netinvert.models.decoder import Decoder, load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import weights_sha256
from netinvert.models.registry import load_network

DECODED = "decoded"
CHUNK = 64
"""Codes at once."""


def run_decode(config: Decode, tell: Tell) -> Outcome:
    """Decode, evaluate and save. Raises NetinvertError."""
    decoder = load_decoder(config.decoder)
    network = load_network(decoder.network, config.weights, preprocessing_of(config))
    encoder = Encoder(on_device(network, config.device), decoder.layer)
    decoder.check_encoder(encoder)
    decoder = decoder.to(encoder.device)
    inputs = read_inputs(config.input, encoder)
    if inputs.remark is not None:
        raise CodeError(f"{inputs.remark}: use a decoder that was trained for them")
    sources, sha256 = inputs.sources, weights_sha256(decoder.module)
    if Path(config.decoder).is_file():
        sources += sources_of("decoder", [Path(config.decoder)])
    known = {
        "inputs": [(source["option"], source["sha256"]) for source in sources],
        "names": inputs.stems,
        "weights": encoder.weights_sha256(),
        "decoder": sha256,
    }
    knows = knowledge_of(decoder)
    if knows:
        tell(knows)
    with RunDir(config.out, run_facts(config, known), config.overwrite) as folder:
        began = time.perf_counter()
        with torch.no_grad():
            images = torch.cat([decoder(part) for part in torch.split(inputs.codes, CHUNK)])
            seconds = time.perf_counter() - began
            codes = torch.cat([encoder(part) for part in torch.split(images, CHUNK)])
        count = len(images)
        result = Result(
            image=images,
            code=codes,
            target=inputs.codes,
            losses=images.new_zeros((0, 1, count)),
            terms=(DECODED,),
            best_step=torch.zeros(count, dtype=torch.long),
            status=(DECODED,) * count,
            seconds=seconds,
        )
        originals = None if inputs.originals is None else fit(inputs.originals, decoder.size)
        reference = shipped_reference(encoder)
        record = Record(
            result,
            tuple(Sample(stem, stem, None) for stem in inputs.stems),
            evaluate_result(result, encoder, originals, reference),
            encoder,
            originals,
            reference,
            steps_to_take=_steps_to_take(config, decoder),
            command=made_by(config),
            notes=(knows,) if knows else (),
            what="decoded image",
        )
        entries = {
            "decoder": {"name": decoder.name, "sha256": sha256},
            "inputs": sources,
            "threads": torch.get_num_threads(),
            "device": str(encoder.device),
        }
        return save_run(folder, manifest(config, entries), record)


def _steps_to_take(config: Decode, decoder: Decoder) -> tuple[tuple[str, str], ...]:
    words = ["netinvert", "invert", config.input, "--network", decoder.network, "--layer", decoder.layer]
    closer = shlex.join([*words, "--decoder", config.decoder, "--out", "out/closer"])
    return (
        ("Images that match the codes more closely, optimised from these:", closer),
        RERUN,
    )


def knowledge_of(decoder: Decoder) -> str:
    """What it was trained on, in a sentence; nothing if that is not known."""
    data = decoder.facts.get("data")
    plan = data.get("plan") if isinstance(data, Mapping) else None
    if (
        not isinstance(data, Mapping)
        or not isinstance(plan, Mapping)
        or not isinstance(plan.get("objects"), str)
    ):
        return ""
    what = f"{data.get('samples', 'many')} renders of {plan['objects']}"
    return f"{decoder.name} was trained on {what} and knows nothing else: other images come out as such"
