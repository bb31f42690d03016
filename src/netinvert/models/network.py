"""What netinvert knows of a network: the module, how it wants its images, where it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from netinvert.scenes.pose_reading import PoseReading

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its images: ``(scale * image - mean) / std`` of an image in [0, 1].

    ``size`` is the (height, width) the network was trained at; ``mean`` and ``std`` have one number a
    channel, in the units of ``scale * image`` and in the network's own channel ``order``.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1.0
    order: Literal["RGB", "BGR"] = "RGB"

    @property
    def channels(self) -> int:
        """How many channels an image has."""
        return len(self.mean)


@dataclass(frozen=True)
class Network:
    """A network to invert. ``module`` takes a preprocessed batch (N, C, H, W) and is in eval mode."""

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    licence: str = "unknown"
    source: str = ""
    layers: tuple[str, ...] = field(default=())
    """Layers worth inverting, early to late."""
    read_pose: Callable[[Any], PoseReading] | None = None
    """For pose networks: what pose the network's output (the module's return value) says."""
    pose_error: Callable[[Tensor, Tensor], Tensor] | None = None
    """For pose networks: how far the output is from saying rotations (N, 3, 3), (N,) with a gradient."""
    held_out_pose_estimator: str | None = None
    """For pose networks: the name of another one. An image made for a network can fool it, so that the poses of
    reconstructions are read by a network that took no part in them too."""


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all parameters and buffers, in the order of their names."""
    return state_sha256(module.state_dict())


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """``weights_sha256`` of a module's state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
