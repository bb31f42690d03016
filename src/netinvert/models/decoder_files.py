"""Decoders by name, and the files that netinvert's own are kept in."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from netinvert.errors import NetinvertError, NetworkError
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.importers.rae_decoder import load_rae_decoder
from netinvert.models.registry import load_network
from netinvert.models.upconv import Architecture, UpConvolutional, made_quick
from netinvert.models.weights import built, load_parts, load_state, save_parts, shipped

FORMAT, VERSION = "netinvert-decoder", "1"
SHIPPED = ("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose", "objectron-chair")
DECODER_LICENCE = "MIT"
SUFFIX = ".safetensors"
ALONG = "encoder."
"""Before the names of an encoder's tensors."""


@dataclass(frozen=True, eq=False)
class DecoderFile:
    """What a file of a trained decoder holds: the network in training form, whose codes it decodes, and what
    is known of the training. ``encoder_state`` are the network's weights where they were trained along (an
    autoencoder)."""

    module: UpConvolutional
    network: str
    layer: str
    network_sha256: str
    facts: Mapping[str, Any]
    licence: str = DECODER_LICENCE
    encoder_state: Mapping[str, Tensor] | None = None

    def decoder(self, name: str) -> Decoder:
        """The decoder, quick to run."""
        architecture = self.module.architecture
        return Decoder(
            name=name,
            network=self.network,
            layer=self.layer,
            code_shape=architecture.code_shape,
            size=architecture.size,
            module=made_quick(self.module),
            channels=architecture.channels,
            has_mask=architecture.mask,
            network_sha256=self.network_sha256,
            licence=self.licence,
            facts=self.facts,
        )


def as_stored(value: Tensor) -> Tensor:
    """A tensor after a round trip through a file in half precision."""
    return value.half().float() if value.ndim > 1 and value.is_floating_point() else value


def save_decoder(path: str | Path, content: DecoderFile, half: bool = False) -> None:
    """Write a decoder as safetensors, atomically; ``half`` stores all but biases and statistics in float16.
    Raises OutputError: the file cannot be written."""
    parts: dict[str, Mapping[str, Tensor]] = {
        "": content.module.state_dict(),
        ALONG: content.encoder_state or {},
    }
    if half:
        parts = {
            part: {name: value.half() if value.ndim > 1 else value for name, value in state.items()}
            for part, state in parts.items()
        }
    header = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": json.dumps(content.module.architecture.to_json()),
        "network": content.network,
        "layer": content.layer,
        "network_sha256": content.network_sha256,
        "licence": content.licence,
        "facts": json.dumps(content.facts, sort_keys=True),
    }
    save_parts(path, parts, header)


def read_decoder(path: str | Path) -> DecoderFile:
    """Read what ``save_decoder`` wrote, as float32 in eval mode. Raises NetworkError: no such file, one cut
    short, of another version, or that holds something else."""
    (along, state), metadata = load_parts(path, ALONG, "")
    if metadata.get("format") != FORMAT:
        raise NetworkError(
            f"{path} holds no decoder of netinvert: give a file that netinvert decoder train wrote"
        )
    if metadata.get("version") != VERSION:
        raise NetworkError(
            f"{path} holds a decoder of version {metadata.get('version')}, this netinvert reads version "
            f"{VERSION}: install the netinvert that wrote it, or train it again"
        )
    try:
        architecture = Architecture(**json.loads(metadata["architecture"]))
        facts = json.loads(metadata["facts"])
        origin = [metadata[name] for name in ("network", "layer", "network_sha256", "licence")]
    except (KeyError, TypeError, ValueError, NetinvertError) as error:
        raise NetworkError(f"{path}: its description is damaged ({error}): fetch it again") from error
    module = built(partial(UpConvolutional, architecture))
    load_state(module, state, str(path))
    network, layer, sha256, licence = origin
    return DecoderFile(module.eval(), network, layer, sha256, facts, licence, along or None)


def load_decoder(name: str | Path) -> Decoder:
    """A decoder by name: one of SHIPPED, a file of ``netinvert decoder train``, or
    ``diffusers:NAME_OR_FOLDER``. Raises MissingExtraError: the decoder needs an optional package;
    NetworkError: no such decoder, or it cannot be loaded.

    >>> load_decoder("posenet-fc6")
    <Decoder posenet-fc6 of relu6 of posenet: codes (N, 512) to images (N, 3, 64, 64), on cpu>
    """
    text = str(name)
    family, _, rest = text.partition(":")
    if family == "diffusers" and rest:
        return load_rae_decoder(rest)
    return decoder_file(text).decoder(text if text in SHIPPED else Path(text).stem)


def decoder_file(name: str | Path) -> DecoderFile:
    """The content of a decoder's file, or of one of SHIPPED. Raises NetworkError."""
    text = str(name)
    if text in SHIPPED:
        with shipped("decoders", text) as path:
            return read_decoder(path)
    if text.endswith(SUFFIX):
        return read_decoder(text)
    near = difflib.get_close_matches(text, SHIPPED, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(SHIPPED)}"
    raise NetworkError(f"no decoder {text!r}: {hint}; or give a {SUFFIX} file, or diffusers:NAME")


def load_autoencoder(path: str | Path) -> tuple[Encoder, Decoder]:
    """The encoder and the decoder of a file of ``netinvert decoder train --autoencoder``. Raises
    NetworkError: no such file, or one without an encoder."""
    content = read_decoder(path)
    if content.encoder_state is None:
        raise NetworkError(f"{path} holds a decoder without an encoder: train it with --autoencoder")
    network = load_network(content.network)
    module = copy.deepcopy(network.module)
    load_state(module, content.encoder_state, str(path))
    encoder = Encoder(replace(network, module=module), content.layer)
    return encoder, content.decoder(Path(path).stem)
