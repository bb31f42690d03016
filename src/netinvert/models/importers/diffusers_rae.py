"""Representation autoencoders of diffusers (Zheng et al. 2025, Diffusion Transformers with Representation
Autoencoders): ``diffusers:`` and a folder, or a name on the hub.

An ``AutoencoderRAE`` holds a frozen encoder (DINOv2 with registers, MAE or SigLIP2), here a network, and a
ViT that turns its patch tokens, the codes of the network's layer ``output``, back into an image, here a
decoder. For an image of the encoder's size ``decoder(encoder(image))`` is
``model.decode(model.encode(image).latent)``, cut to [0, 1]. Images of other sizes the encoder scales as it
does for every network (covered, cropped, antialiased), where diffusers stretches them.

Tested against diffusers itself with small random weights: DINOv2 and MAE with diffusers 0.37 and 0.42,
transformers 5.0 and 5.24, also with the names that their layers had in older versions; SigLIP2 with the older
pair alone, for diffusers 0.42 cannot build it with transformers 5.24 (an error says so). Not tested: the
published weights, none of which was at hand."""

# ruff: noqa: ANN401  (diffusers is optional)

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.importers import had, optional
from netinvert.models.importers.packages import quiet
from netinvert.models.network import SHOWN, Network, Preprocessing, built

CLASS = "AutoencoderRAE"
GIVE_FOLDER = (
    f"give a folder that {CLASS}.save_pretrained wrote, or a model's name on the hub, which is downloaded "
    "the first time and needs the internet for that"
)
OLDER = (
    "this diffusers builds SigLIP encoders only with an older transformers, whose SiglipVisionModel has a "
    "vision_model: install one, or a newer diffusers"
)
WEIGHTS = "diffusion_pytorch_model.safetensors"
LATENTS = "output"
"""The layer whose codes the autoencoder's decoder takes."""


class RaeEncoder(nn.Module):
    """Normalised pixels (N, 3, H, W) to the autoencoder's latents: (N, C, h, w), or (N, T, C) without
    ``reshape_to_2d``.

    Patch tokens behind the last normalisation (without its scale and shift), less the autoencoder's mean of
    them and over its deviation; neither class nor register tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = copy.deepcopy(model, {id(model.decoder): nn.Identity()})  # all but the decoder
        self.model.encoder_mean.zero_()  # the pixels come normalised
        self.model.encoder_std.fill_(1)

    def forward(self, pixels: Tensor) -> Tensor:
        """The latents."""
        latents: Tensor = self.model.encode(pixels, return_dict=False)[0]
        return latents


class RaeDecoder(nn.Module):
    """Latents of an AutoencoderRAE to images (N, 3, H, W), not cut to [0, 1].

    Takes the model's encoder away."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.encoder = nn.Identity()
        self.model = model

    def forward(self, code: Tensor) -> Tensor:
        """The images."""
        images: Tensor = self.model.decode(code, return_dict=False)[0]
        return images


def load_diffusers(name: str, weights: str | None = None) -> Network:
    """The encoder of an AutoencoderRAE. Its layer ``output`` has the codes that ``load_decoder`` of the same
    name decodes. Raises MissingExtraError: diffusers or transformers is not installed, or too old;
    NetworkError: nothing there, another kind of model, damaged weights; or ``weights`` are given."""
    if weights is not None:
        raise NetworkError(
            f"diffusers:{name} brings its weights, which its decoder has learned: leave weights out, or "
            "write them into a folder with save_pretrained and give that"
        )
    return _network_of(load_rae(name), name)


def rae_decoder(name: str) -> dict[str, Any]:
    """What a ``Decoder`` is made of, of an AutoencoderRAE. Raises as ``load_diffusers``."""
    model = load_rae(name)
    network = _network_of(model, name)
    with torch.no_grad():
        code = network.module(torch.zeros(1, 3, *network.preprocessing.size))
    side = int(model.decoder_image_size)
    return {
        "name": network.name,
        "network": network.name,
        "layer": LATENTS,
        "code_shape": tuple(code.shape[1:]),
        "size": (side, side),
        "module": RaeDecoder(model),
        "network_sha256": weights_sha256(network.module),
        "licence": network.licence,
        "facts": {"encoder": model.config.encoder_type, "encoder_size": model.config.encoder_input_size},
    }


def _network_of(model: Any, name: str) -> Network:
    side = int(model.config.encoder_input_size)
    mean, std = (tuple(map(float, values.flatten())) for values in (model.encoder_mean, model.encoder_std))
    module = RaeEncoder(model).eval().requires_grad_(False)
    lists = [(where, part) for where, part in module.named_modules() if isinstance(part, nn.ModuleList)]
    blocks = [f"{where}.{index}" for where, part in lists for index in range(len(part))]
    return Network(
        name=f"diffusers:{name}",
        module=module,
        preprocessing=Preprocessing((side, side), mean, std),
        licence="of the weights",
        source=f"diffusers {CLASS}, {model.config.encoder_type}",
        layers=(*blocks, LATENTS),
    )


def load_rae(name: str) -> Any:
    """The whole AutoencoderRAE of a folder or of a name on the hub, as float32 in eval mode. Raises
    MissingExtraError, NetworkError: as ``load_diffusers``."""
    factory, logs = _factory(name)
    with quiet(logs[0]), quiet(logs[1]):
        config = _had(name, "configuration", lambda: factory.load_config(name))
        if config.get("_class_name") != CLASS:
            raise NetworkError(
                f"diffusers:{name} holds {config.get('_class_name', 'a model of an unknown kind')}: of "
                f"diffusers' autoencoders only {CLASS} decodes the codes of a frozen network"
            )
        if config.get("num_channels", 3) != 3:
            raise NetworkError(
                f"diffusers:{name} gives images of {config['num_channels']} channels: its encoder takes 3"
            )
        # No pickles; and no empty tensors, for what the file lacks is filled in below.
        options = {"output_loading_info": True, "use_safetensors": True, "low_cpu_mem_usage": False}
        model, found = built(lambda: _had(name, "model", lambda: factory.from_pretrained(name, **options)))
        missing = set(found["missing_keys"])
        if missing and all(key.startswith("encoder.") for key in missing):
            missing = _rename_encoder(model, name)
    if missing:
        raise NetworkError(
            f"the weights of diffusers:{name} do not fit: {len(missing)} tensors are missing "
            f"({', '.join(sorted(missing)[:SHOWN])}): fetch them again, or install the versions of diffusers "
            "and transformers that they were written with"
        )
    return model.float().eval()


def _factory(name: str) -> tuple[Any, tuple[ModuleType, ModuleType]]:
    """The class, and the loggers of the two libraries; diffusers goes without transformers, its encoders do
    not."""
    what = f"diffusers:{name}"
    transformers, diffusers = (
        optional(package, what, "diffusers") for package in ("transformers", "diffusers")
    )
    if not hasattr(diffusers, CLASS):  # an old one
        raise MissingExtraError(what, "diffusers")
    return getattr(diffusers, CLASS), (transformers.utils.logging, diffusers.utils.logging)


def _had(name: str, what: str, get: Callable[[], Any]) -> Any:
    try:
        return had(f"the {what} of diffusers:{name}", get, GIVE_FOLDER)
    except NetworkError as error:
        if "vision_model" in str(error).partition("cannot be had")[2]:
            raise NetworkError(str(error).replace(GIVE_FOLDER, OLDER)) from None
        raise


def _rename_encoder(model: Any, name: str) -> set[str]:
    """Load the encoder's weights by transformers, which knows the names its layers had in older versions
    (diffusers does not, and would leave random numbers there). Gives the names still missing."""
    encoder = model.encoder

    def load() -> Any:
        path = Path(name) / WEIGHTS
        if not Path(name).is_dir():
            path = Path(optional("huggingface_hub", name, "diffusers").hf_hub_download(name, WEIGHTS))
        with safe_open(path, "pt") as file:
            keys = [key for key in file.keys() if key.startswith("encoder.")]  # noqa: SIM118
            state = {key.removeprefix("encoder."): file.get_tensor(key) for key in keys}
        options = {"config": encoder.config, "state_dict": state, "output_loading_info": True}
        return type(encoder).from_pretrained(None, **options)

    loaded, found = _had(name, "encoder", load)
    state = loaded.state_dict()
    own = encoder.state_dict()  # less than transformers': without scale and shift of the last LayerNorm
    encoder.load_state_dict({key: state[key] for key in own})
    return {f"encoder.{key}" for key in found["missing_keys"] if key in own}
