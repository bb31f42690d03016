"""Published decoders of others: ``diffusers:`` and a folder or a name on the hub.

diffusers' ``AutoencoderRAE`` (Zheng et al. 2025, Diffusion Transformers with Representation Autoencoders)
decodes the patch tokens of a frozen DINOv2, MAE or SigLIP2. The codes are those of layer ``output`` of the
network of the same name (``diffusers_rae``), so that for an image of the encoder's size
``decoder(encoder(image))`` is ``model.decode(model.encode(image).latent)``, cut to [0, 1]. Images of other
sizes the encoder scales as it does for every network (covered, cropped, antialiased), where diffusers
stretches them.

Tested against diffusers itself with small random weights: DINOv2 and MAE with diffusers 0.37 and 0.42,
transformers 5.0 and 5.24, also with the names that their layers had in older versions; SigLIP2 with the older
pair alone, for diffusers 0.42 cannot build it with transformers 5.24 (an error says so). Not tested: the
published weights, none of which was at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netinvert.models.decoder import Decoder
from netinvert.models.importers.diffusers_rae import LATENTS, LICENCE, load_rae, network_of
from netinvert.models.network import weights_sha256


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


def load_rae_decoder(name: str) -> Decoder:
    """The decoder of an AutoencoderRAE: a folder that ``save_pretrained`` wrote, or a name on the hub, which
    is fetched the first time. Raises MissingExtraError: diffusers or transformers is not installed, or too
    old; NetworkError: nothing there, another kind of model, or weights that are damaged or do not fit."""
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
