"""``netinvert encode``: a file of codes."""

from __future__ import annotations

import io

import numpy as np

from netinvert.errors import ImageError, OutputError
from netinvert.evaluation.report import by, counted
from netinvert.evaluation.save_results import labels
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.encode import Encode
from netinvert.experiments.inputs import is_code_file, open_network, read_inputs
from netinvert.io.files import save_tensors, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.models.encoder import Encoder


def run_encode(config: Encode, tell: Tell) -> Outcome:
    """Encode the images and write their codes. Raises NetinvertError."""
    path = config.out
    if path.exists() and not config.overwrite:
        raise OutputError(f"{path} exists; choose another file or --overwrite")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: its folder does not exist: create it first")
    if is_code_file(config.input):
        raise ImageError(f"{config.input} holds a code already; give an image, a folder or a glob of images")
    encoder = Encoder(open_network(config, config.device), config.layer)
    inputs = read_inputs(config.input, encoder)
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, inputs.codes.cpu().numpy())
        write_atomic(path, buffer.getvalue())
    else:
        save_tensors(path, {"code": inputs.codes}, labels(encoder, inputs.stems))
    shape = list(inputs.codes.shape)
    tell(f"{counted(shape[0], 'code')} of {by(shape[1:])}")
    facts = {
        "file": str(path),
        "network": encoder.network.name,
        "layer": encoder.layer,
        "shape": shape,
        "names": list(inputs.stems),
    }
    return Outcome(facts, str(path))
