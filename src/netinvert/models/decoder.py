"""Decoders: functions from the codes of one layer of one network to images, by name and in files."""

from __future__ import annotations

import copy
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import CodeError, NetinvertError, NetworkError
from netinvert.io.files import guarded, refusing
from netinvert.models.encoder import Encoder, as_batch, finite
from netinvert.models.importers.diffusers_rae import rae_decoder
from netinvert.models.network import (
    MOST_NUMBERS,
    Network,
    Preprocessing,
    built_with,
    load_parts,
    load_state,
    save_parts,
    shipped,
)
from netinvert.models.registry import check_named, load_network
from netinvert.models.upconv import Architecture, UpConvolutional, made_quick


@dataclass(frozen=True, eq=False)
class Decoder:
    """Maps codes (N, *code_shape) of ``layer`` of ``network`` to images (N, C, *size) in [0, 1].

    ``module`` gives images and, where ``has_mask``, mask logits as one more channel; it is frozen and in eval
    mode. ``network_sha256`` is of the weights whose codes it learned; ``facts`` are of its training.

    >>> from netinvert.models.decoder import load_decoder
    >>> decoder = load_decoder("posenet-fc6")
    >>> decoder(torch.rand(2, 512)).shape
    torch.Size([2, 3, 128, 128])
    """

    name: str
    network: str
    layer: str
    code_shape: tuple[int, ...]
    size: tuple[int, int]
    module: nn.Module
    channels: int = 3
    has_mask: bool = False
    network_sha256: str = ""
    licence: str = "unknown"
    facts: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    """What names ``network``, where that is a file that is not trusted."""

    def __repr__(self) -> str:
        codes = ", ".join(map(str, self.code_shape))
        images = f"(N, {self.channels}, {self.size[0]}, {self.size[1]})"
        where = f"{self.layer} of {self.network}"
        return f"<Decoder {self.name} of {where}: codes (N, {codes}) to images {images}, on {self.device}>"

    def __post_init__(self) -> None:
        self.module.requires_grad_(False).eval()

    def __call__(self, code: Tensor) -> Tensor:
        """Images of codes (N, *code_shape) or (*code_shape), with a gradient where the codes have one. Raises
        CodeError for a code of another shape, or with NaN."""
        return self._run(code)[:, : self.channels].clamp(0, 1)

    def mask(self, code: Tensor) -> Tensor:
        """Where the object is: (N, 1, *size) in [0, 1]. Raises NetworkError for a decoder without a mask."""
        if not self.has_mask:
            raise NetworkError(f"{self.name} has no mask: train one on images with masks")
        return torch.sigmoid(self._run(code)[:, self.channels :])

    def check_code(self, code: Tensor) -> Tensor:
        """The code as (N, *code_shape) on the decoder's device, or a CodeError that says what is wrong."""
        what = f"{self.name} decodes codes of layer '{self.layer}' of {self.network}, which have the shape"
        code = as_batch(code, self.code_shape, what)
        if not code.is_floating_point():
            raise CodeError(f"a code holds floating-point numbers, not {code.dtype}: use code.float()")
        return finite(code.to(self.device, torch.float32))

    def check_encoder(self, encoder: Encoder) -> None:
        """Raises CodeError unless the encoder's codes are what this decoder learned."""
        own = f"layer '{self.layer}' of {self.network}, codes {self.code_shape}"
        theirs = f"layer '{encoder.layer}' of {encoder.network.name}, codes {encoder.code_shape}"
        if own != theirs:
            raise CodeError(
                f"{self.name} belongs to {own}; got {theirs}: give that layer of that network, or train a "
                "decoder for this one with netinvert decoder train"
            )
        if self.network_sha256 and encoder.weights_sha256() != self.network_sha256:
            raise CodeError(
                f"{self.name} learned the codes of other weights of {self.network}: load the network with "
                "those, or train a decoder for these with netinvert decoder train"
            )

    def load_network(self, weights: str | None = None, preprocessing: Preprocessing | None = None) -> Network:
        """The network it belongs to. Raises NetworkError: it cannot be loaded, or the decoder's file is not
        trusted and names one that could run code."""
        if self.file:
            check_named(self.network, self.file)
        return load_network(self.network, weights, preprocessing)

    def encoder(self) -> Encoder:
        """The encoder it belongs to, with the network's own weights. Raises NetworkError, CodeError."""
        encoder = Encoder(self.load_network(), self.layer)
        self.check_encoder(encoder)
        return encoder

    def to(self, device: str | torch.device) -> Decoder:
        """A copy on another device; itself where it is there already."""
        place = torch.empty(0, device=device).device  # with an index, if it has one
        if place == self.device:
            return self
        moved = copy.copy(self)
        object.__setattr__(moved, "module", copy.deepcopy(self.module).to(place))
        return moved

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((tensor.device for tensor in self.module.parameters()), torch.device("cpu"))

    def _run(self, code: Tensor) -> Tensor:
        code = self.check_code(code)
        with torch.set_grad_enabled(torch.is_grad_enabled() and code.requires_grad):
            images: Tensor = self.module(code)
        return images


FORMAT, VERSION = "netinvert-decoder", "1"
ORIGIN = ("network", "layer", "network_sha256", "licence")
SHIPPED = {
    "posenet-conv5": ("posenet", "relu5"),
    "posenet-fc6": ("posenet", "relu6"),
    "posenet-fc7": ("posenet", "relu7"),
    "posenet-pose": ("posenet", "fc8"),
    "objectron-chair": ("objectron-chair", "blocks.14"),
}
"""The network and the layer whose codes they decode: their names are not those of layers."""
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

    def decoder(self, name: str, file: str = "") -> Decoder:
        """The decoder, quick to run; ``file`` is where it comes from, if that is not trusted."""
        what = self.module.architecture
        return Decoder(
            *(name, self.network, self.layer, what.code_shape, what.size, made_quick(self.module)),
            *(what.channels, what.mask, self.network_sha256, self.licence, self.facts, file),
        )


def as_stored(value: Tensor) -> Tensor:
    """A tensor after a round trip through a file in half precision."""
    return value.half().float() if value.ndim > 1 and value.is_floating_point() else value


def save_decoder(path: str | Path, content: DecoderFile, half: bool = False) -> None:
    """Write a decoder as safetensors, atomically; ``half`` stores all but biases and statistics in float16.
    Raises OutputError: the file cannot be written."""
    states = {"": content.module.state_dict(), ALONG: content.encoder_state or {}}
    parts = {
        part: {name: value.half() if half and value.ndim > 1 else value for name, value in state.items()}
        for part, state in states.items()
    }
    header = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": json.dumps(asdict(content.module.architecture)),
        **{name: getattr(content, name) for name in ORIGIN},
        "facts": json.dumps(content.facts, sort_keys=True),
    }
    save_parts(path, parts, header)


@guarded(NetworkError, "fetch it again")
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
    with refusing(path, NetworkError, "has a damaged description", "fetch it again"):
        architecture = Architecture(**json.loads(metadata["architecture"]))
        facts = dict(json.loads(metadata["facts"]))
        origin = {name: metadata[name] for name in ORIGIN}
        if architecture.channels * math.prod(architecture.size) > MOST_NUMBERS:
            raise ValueError(f"images of {architecture.channels} channels and {architecture.size} pixels")
    module = built_with(partial(UpConvolutional, architecture), state, str(path))
    return DecoderFile(module.eval(), **origin, facts=facts, encoder_state=along or None)


def load_decoder(name: str | Path, trust: bool = False) -> Decoder:
    """A decoder by name: one of SHIPPED, a file of ``netinvert decoder train``, or
    ``diffusers:NAME_OR_FOLDER``. The network that a file names is loaded with it only where that runs no code
    and fetches nothing of the file's choice, or with ``trust``. Raises MissingExtraError: the decoder needs
    an optional package; NetworkError: no such decoder, or it cannot be loaded.

    >>> load_decoder("posenet-fc6")
    <Decoder posenet-fc6 of relu6 of posenet: codes (N, 512) to images (N, 3, 128, 128), on cpu>
    """
    text = str(name)
    family, _, rest = text.partition(":")
    if family == "diffusers" and rest:
        return Decoder(**rae_decoder(rest))
    return decoder_file(text).decoder(text if text in SHIPPED else Path(text).stem, "" if trust else text)


_shipped = lru_cache(maxsize=2)(load_decoder)
"""Kept, for to load one takes as long as ten steps of an optimisation from its image."""


def fitting_decoder(encoder: Encoder[Any, Any]) -> Decoder | None:
    """The shipped decoder of the encoder's very layer, code shape and weights, on its device; None if there
    is none.

    >>> from netinvert.models.registry import load_network
    >>> fitting_decoder(Encoder(load_network("posenet"), "relu6")).name
    'posenet-fc6'
    """
    for name, codes in SHIPPED.items():
        if codes == (encoder.network.name, encoder.layer):
            try:
                decoder = _shipped(name)
                decoder.check_encoder(encoder)
            except NetinvertError:
                continue
            return decoder.to(encoder.device)
    return None


def decoder_file(name: str | Path) -> DecoderFile:
    """The content of a decoder's file, or of one of SHIPPED. Raises NetworkError."""
    text = str(name)
    if text in SHIPPED:
        with shipped("decoders", text) as path:
            return read_decoder(path)
    if text.endswith(SUFFIX):
        return read_decoder(text)
    by_layer = {f"{network}-{layer}": name for name, (network, layer) in SHIPPED.items()}
    most = 1 if text in by_layer else 3
    near = difflib.get_close_matches(text, [*by_layer, *SHIPPED], n=most, cutoff=0.4)
    names = dict.fromkeys(by_layer.get(one, one) for one in near)
    said = [f"{one} (layer '{SHIPPED[one][1]}' of {SHIPPED[one][0]})" for one in names or SHIPPED]
    hint = f"did you mean {' or '.join(said)}?" if names else f"there are {', '.join(said)}"
    raise NetworkError(f"no decoder {text!r}: {hint}; or give a {SUFFIX} file, or diffusers:NAME")


def load_autoencoder(path: str | Path, trust: bool = False) -> tuple[Encoder, Decoder]:
    """The encoder and the decoder of a file of ``netinvert decoder train --autoencoder``; ``trust`` as in
    ``load_decoder``. Raises NetworkError: no such file, one without an encoder, or of a network that is not
    trusted."""
    content = read_decoder(path)
    if content.encoder_state is None:
        raise NetworkError(f"{path} holds a decoder without an encoder: train it with --autoencoder")
    decoder = content.decoder(Path(path).stem, "" if trust else str(path))
    network = decoder.load_network()
    module = copy.deepcopy(network.module)
    load_state(module, content.encoder_state, str(path))
    return Encoder(replace(network, module=module), content.layer), decoder
