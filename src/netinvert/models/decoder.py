"""What a decoder is to its user: a function from the codes of one layer of one network to images."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import CodeError, NetworkError
from netinvert.models.encoder import Encoder, as_batch, finite
from netinvert.models.registry import load_network


@dataclass(frozen=True, eq=False)
class Decoder:
    """Maps codes (N, *code_shape) of ``layer`` of ``network`` to images (N, C, *size) in [0, 1].

    ``module`` gives images and, where ``has_mask``, mask logits as one more channel; it is frozen and in eval
    mode. ``network_sha256`` is of the weights whose codes it learned; ``facts`` are of its training.

    >>> from netinvert.models.decoder_files import load_decoder
    >>> decoder = load_decoder("posenet-fc6")
    >>> decoder(torch.rand(2, 512)).shape
    torch.Size([2, 3, 64, 64])
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

    def __repr__(self) -> str:
        codes = ", ".join(map(str, self.code_shape))
        images = f"(N, {self.channels}, {self.size[0]}, {self.size[1]})"
        where = f"{self.layer} of {self.network}"
        return f"<Decoder {self.name} of {where}: codes (N, {codes}) to images {images}, on {self.device}>"

    def __post_init__(self) -> None:
        self.module.requires_grad_(False).eval()

    def __call__(self, code: Tensor) -> Tensor:
        """Images of codes (N, *code_shape) or (*code_shape), with a gradient where the codes have one.

        Raises CodeError for a code of another shape, or with NaN."""
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
                f"{self.name} belongs to {own}; got {theirs}. Train one for that with netinvert decoder train"
            )
        if self.network_sha256 and encoder.weights_sha256() != self.network_sha256:
            raise CodeError(
                f"{self.name} learned the codes of other weights of {self.network}: load the network with "
                "those, or train a decoder for these with netinvert decoder train"
            )

    def encoder(self) -> Encoder:
        """The encoder it belongs to, with the network's own weights. Raises NetworkError, CodeError."""
        encoder = Encoder(load_network(self.network), self.layer)
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
