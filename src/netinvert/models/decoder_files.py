"""Published decoders of others: ``diffusers:`` and a folder or a name on the hub.

diffusers' ``AutoencoderRAE`` (Zheng et al. 2025, Diffusion Transformers with Representation Autoencoders)
decodes the patch tokens of a frozen DINOv2, MAE or SigLIP2. The codes are those of layer ``output`` of the
network of the same name (``networks.rae``), so that for an image of the encoder's size
``decoder(encoder(image))`` is ``model.decode(model.encode(image).latent)``, cut to [0, 1]. Images of other
sizes the encoder scales as it does for every network (covered, cropped, antialiased), where diffusers
stretches them.

Tested against diffusers itself with small random weights: DINOv2 and MAE with diffusers 0.37 and 0.42,
transformers 5.0 and 5.24, also with the names that their layers had in older versions; SigLIP2 with the older
pair alone, for diffusers 0.42 cannot build it with transformers 5.24 (an error says so). Not tested: the
published weights, none of which was at hand.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import NetinvertError, NetworkError
from netinvert.io.files import FileError, load_tensors, save_tensors
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.importers.diffusers_rae import LATENTS, LICENCE, load_rae, network_of
from netinvert.models.network import weights_sha256
from netinvert.models.registry import load_network
from netinvert.models.upconv import Architecture, UpConvolutional, made_quick
from netinvert.models.weights import built, load_state


class RaeDecoder(nn.Module):
    """Latents of an AutoencoderRAE to images (N, 3, H, W), not cut to [0, 1].

    Takes the model's encoder away."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401  (diffusers is optional)
        super().__init__()
        model.encoder = nn.Identity()
        self.model = model

    def forward(self, code: Tensor) -> Tensor:
        """The images."""
        images: Tensor = self.model.decode(code, return_dict=False)[0]
        return images


def load_diffusers(name: str) -> Decoder:
    """The decoder of an AutoencoderRAE: a folder that ``save_pretrained`` wrote, or a name on the hub, which
    is fetched the first time.

    Raises:
        MissingExtraError: diffusers or transformers is not installed, or too old.
        NetworkError: nothing there, another kind of model, or weights that are damaged or do not fit.
    """
    model = load_rae(name)
    network = network_of(model, name)
    with torch.no_grad():
        code = network.module(torch.zeros(1, 3, *network.preprocessing.size))
    side = int(model.decoder_image_size)
    return Decoder(
        name=f"diffusers:{name}",
        network=network.name,
        layer=LATENTS,
        code_shape=tuple(code.shape[1:]),
        size=(side, side),
        module=RaeDecoder(model),
        network_sha256=weights_sha256(network.module),
        licence=LICENCE,
        facts={"encoder": model.config.encoder_type, "encoder_size": model.config.encoder_input_size},
    )


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

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {
        name: value.half() if half and value.ndim > 1 else value
        for name, value in content.module.state_dict().items()
    }
    for name, value in (content.encoder_state or {}).items():
        tensors[f"{ALONG}{name}"] = value.half() if half and value.ndim > 1 else value
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": json.dumps(content.module.architecture.to_json()),
        "network": content.network,
        "layer": content.layer,
        "network_sha256": content.network_sha256,
        "licence": content.licence,
        "facts": json.dumps(content.facts, sort_keys=True),
    }
    save_tensors(path, tensors, metadata)


def read_decoder(path: str | Path) -> DecoderFile:
    """Read what ``save_decoder`` wrote, as float32 in eval mode.

    Raises:
        NetworkError: no such file, one cut short, of another version, or that holds something else.
    """
    try:
        tensors, metadata = load_tensors(path)
    except FileError as error:
        raise NetworkError(str(error)) from error
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
    along: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        part = along if name.startswith(ALONG) else state
        part[name.removeprefix(ALONG)] = value.float() if value.is_floating_point() else value
    load_state(module, state, str(path))
    network, layer, sha256, licence = origin
    return DecoderFile(module.eval(), network, layer, sha256, facts, licence, along or None)


def load_decoder(name: str | Path) -> Decoder:
    """A decoder by name: one of SHIPPED, a file of ``netinvert decoder train``, or one of FAMILIES
    (``diffusers:NAME_OR_FOLDER``).

    Raises:
        MissingExtraError: the decoder needs an optional package.
        NetworkError: no such decoder, or it cannot be loaded.
    """
    text = str(name)
    prefix, colon, rest = text.partition(":")
    if colon and rest and prefix in FAMILIES:
        return FAMILIES[prefix](rest)
    return decoder_file(text).decoder(text if text in SHIPPED else Path(text).stem)


def decoder_file(name: str | Path) -> DecoderFile:
    """The content of a decoder's file, or of one of SHIPPED. Raises NetworkError."""
    text = str(name)
    if text in SHIPPED:
        with as_file(files("netinvert") / "data" / "decoders" / f"{text}{SUFFIX}") as path:
            return read_decoder(path)
    if text.endswith(SUFFIX):
        return read_decoder(text)
    near = difflib.get_close_matches(text, SHIPPED, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(SHIPPED)}"
    raise NetworkError(f"no decoder {text!r}: {hint}; or give a {SUFFIX} file, or diffusers:NAME")


def load_autoencoder(path: str | Path) -> tuple[Encoder, Decoder]:
    """The encoder and the decoder of a file of ``netinvert decoder train --autoencoder``.

    Raises:
        NetworkError: no such file, or one without an encoder.
    """
    content = read_decoder(path)
    if content.encoder_state is None:
        raise NetworkError(f"{path} holds a decoder without an encoder: train it with --autoencoder")
    network = load_network(content.network)
    module = copy.deepcopy(network.module)
    load_state(module, content.encoder_state, str(path))
    encoder = Encoder(replace(network, module=module), content.layer)
    return encoder, content.decoder(Path(path).stem)


def _diffusers(name: str) -> Decoder:

    return load_diffusers(name)


FAMILIES: Mapping[str, Callable[[str], Decoder]] = {"diffusers": _diffusers}
