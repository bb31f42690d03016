"""``netinvert decode``: images from a trained decoder; ``netinvert encode``: a file of codes."""

from __future__ import annotations

import contextlib
import io
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netinvert.errors import CodeError, ImageError, OutputError
from netinvert.evaluation.evaluate import Record, Sample, evaluate_result, shipped_reference
from netinvert.evaluation.report import by, counted
from netinvert.evaluation.save_results import RERUN, labels, save_run
from netinvert.experiments.configs.images import Decode, Encode
from netinvert.experiments.inputs import (
    is_code_file,
    on_device,
    open_network,
    preprocessing_of,
    read_inputs,
    sources_of,
)
from netinvert.experiments.runs import images_known, made_by, network_facts, run_facts
from netinvert.inversion.correct import corrected
from netinvert.inversion.result import Result
from netinvert.io.codes import read_code
from netinvert.io.files import (
    FileError,
    Tell,
    canonical,
    read_json,
    tensor_bytes,
    write_atomic,
    write_json,
)
from netinvert.io.folders import alone
from netinvert.io.images import fit
from netinvert.io.manifest import Outcome, hashes, manifest
from netinvert.io.rundir import FinishedError, RunDir
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.decoder import Decoder, load_decoder
from netinvert.models.encoder import Encoder

DECODED = "decoded"
CHUNK = 64
"""Codes at once."""


def run_decode(config: Decode, tell: Tell) -> Outcome:
    """Decode, evaluate and save. Raises NetinvertError."""
    decoder = load_decoder(config.decoder, config.trust)
    network = decoder.load_network(config.weights, preprocessing_of(config))
    encoder = Encoder(on_device(network, config.device), decoder.layer)
    decoder.check_encoder(encoder)
    decoder = decoder.to(encoder.device)
    inputs = read_inputs(config.input, encoder, tell=tell)
    if inputs.remark is not None:
        raise CodeError(f"{inputs.remark}: use a decoder that was trained for them")
    sources, sha256 = inputs.sources, weights_sha256(decoder.module)
    if Path(config.decoder).is_file():
        sources += sources_of("decoder", [Path(config.decoder)])
    known = {**images_known(encoder, sources, inputs.stems), "decoder": sha256}
    knows = knowledge_of(decoder)
    if knows:
        tell(knows)
    with RunDir(config.out, run_facts(config, known), config.overwrite) as folder:
        parts = torch.split(inputs.codes, CHUNK)
        if config.correct is None:
            result = _decoded(encoder, parts, decoder)
        else:
            result = Result.join([corrected(encoder, part, decoder, config.correct) for part in parts])
        originals = None if inputs.originals is None else fit(inputs.originals, decoder.size)
        reference = shipped_reference(encoder)
        invert = ["netinvert", "invert", config.input, "--network", decoder.network, "--layer", decoder.layer]
        closer = shlex.join([*invert, "--decoder", config.decoder, "--out", "out/closer"])
        record = Record(
            result,
            tuple(Sample(stem, stem, None) for stem in inputs.stems),
            evaluate_result(result, encoder, originals, reference),
            encoder,
            originals,
            reference,
            steps_to_take=(
                ("Images that match the codes more closely, optimised from these:", closer),
                RERUN,
            ),
            command=made_by(config),
            notes=(knows,) if knows else (),
            what="decoded image" if config.correct is None else "corrected image",
        )
        entries = {
            "decoder": {"name": decoder.name, "sha256": sha256},
            "inputs": sources,
            "threads": torch.get_num_threads(),
            "device": str(encoder.device),
        }
        return save_run(folder, manifest(config, entries), record)


@torch.no_grad()
def _decoded(encoder: Encoder, parts: Sequence[Tensor], decoder: Decoder) -> Result:
    began = time.perf_counter()
    images = torch.cat([decoder(part) for part in parts])
    seconds, count = time.perf_counter() - began, len(images)
    return Result(
        image=images,
        code=torch.cat([encoder(part) for part in torch.split(images, CHUNK)]),
        target=torch.cat(list(parts)),
        losses=images.new_zeros((0, 1, count)),
        terms=(DECODED,),
        best_step=torch.zeros(count, dtype=torch.long),
        status=(DECODED,) * count,
        seconds=seconds,
    )


def knowledge_of(decoder: Decoder) -> str:
    """What it was trained on, in a sentence; nothing if that is not known."""
    data = decoder.facts.get("data")
    plan = data.get("plan") if isinstance(data, Mapping) else None
    objects = plan.get("objects") if isinstance(plan, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(objects, str):
        return ""
    count = data.get("samples")
    what = f"{f'{count:,}' if isinstance(count, int) else 'many'} renders of {objects}"
    return f"decoder {decoder.name} was trained on {what} and knows nothing else: other images come out so"


def _holds_codes(path: Path) -> bool:
    try:
        return bool(read_code(path).numel())
    except CodeError:
        return False


def run_encode(config: Encode, tell: Tell) -> Outcome:
    """Encode the images and write their codes, and the manifest beside them. Raises NetinvertError."""
    path = config.out
    _check_file(config, {"command": config.identity()})
    if path.exists() and not _holds_codes(path):
        raise OutputError(f"{path} holds no codes, and would be lost; choose another file")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: its folder does not exist: create it first")
    if is_code_file(config.input):
        raise ImageError(f"{config.input} holds a code already; give an image, a folder or a glob of images")
    encoder = Encoder(open_network(config, config.device, tell), config.layer)
    inputs = read_inputs(config.input, encoder, tell=tell)
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, inputs.codes.cpu().numpy())
        data = buffer.getvalue()
    else:
        data = tensor_bytes({"code": inputs.codes}, labels(encoder, inputs.stems))
    shape = list(inputs.codes.shape)
    run = canonical(run_facts(config, images_known(encoder, inputs.sources, inputs.stems)))
    entries = {
        "run": run,
        "file": str(path),
        **network_facts(encoder),
        "layer": encoder.layer,
        "shape": shape,
        "names": list(inputs.stems),
        "inputs": inputs.sources,
        "threads": torch.get_num_threads(),
        "device": str(encoder.device),
    }
    lock = path.absolute().with_name(f".{path.name}.lock")
    with alone(lock, path, (path.name, config.manifest_file.name)):
        _check_file(config, run)
        facts = manifest(config, entries)
        # First without hashes, so that codes without a whole manifest are known to be of this run.
        write_json(config.manifest_file, facts)
        write_atomic(path, data)
        facts |= hashes({path.name: path})
        write_json(config.manifest_file, facts)
    tell(f"{counted(shape[0], 'code')} of {by(shape[1:])}")
    return Outcome(facts, str(path))


def _check_file(config: Encode, run: Mapping[str, Any]) -> None:
    """Raises OutputError for a file that is not of a run of these facts; FinishedError for a whole one."""
    path = config.out
    if config.overwrite or not path.exists():
        return
    found: Any = None
    with contextlib.suppress(FileError):
        found = read_json(config.manifest_file)
    theirs = found.get("run") if isinstance(found, dict) else None
    if not isinstance(theirs, dict) or any(theirs.get(name) != canonical(run[name]) for name in run):
        raise OutputError(f"{path} exists; choose another file or --overwrite")
    if "files" in found and theirs.keys() == run.keys():
        if found["files"] != hashes({path.name: path})["files"]:
            raise OutputError(f"{path} was changed since it was made; choose another file or --overwrite")
        raise FinishedError(f"{path} holds these codes: nothing to do (--overwrite makes them again)")
