"""From what the user typed to an encoder."""

from __future__ import annotations

import torch

from netinvert.errors import ConfigError
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network


def load_encoder(network: str, layer: str, weights: str | None, device: str) -> Encoder:
    """Load the network and cut it. Raises NetworkError, LayerError, ConfigError."""
    place = _device(device)
    loaded = load_network(network, weights)
    if place.type != "cpu":
        loaded.module.to(place)
    return Encoder(loaded, layer)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or ["unknown"])[0]
        raise ConfigError(f"the device '{name}' cannot be used ({reason}); use --device cpu") from None
    return device
