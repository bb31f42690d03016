"""Trained pose networks: written, read, and the two that netinvert ships."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.models.network import Network, Preprocessing
from netinvert.models.weights import built, load_parts, load_state, save_parts, shipped
from netinvert.models.zoo import pose_resnet, posenet
from netinvert.models.zoo.pose_resnet import PoseResNet
from netinvert.models.zoo.posenet import PoseNet
from netinvert.models.zoo.rotation_heads import RotationHead, rotation_head
from netinvert.models.zoo.siamese_head import SiameseHead
from netinvert.scenes.pose_reading import PoseReading
from netinvert.scenes.rotations import angles_from_rotation

POSE_NETWORKS = ("posenet", "posenet-judge")
LAYERS = {"posenet": posenet.LAYERS, "posenet-judge": pose_resnet.LAYERS}
HELD_OUT = {"posenet": "posenet-judge", "posenet-judge": "posenet"}
HEADS = {"posenet": "6d", "posenet-judge": "bins"}
LICENCE = "MIT"
Tower = PoseNet | PoseResNet


@dataclass(frozen=True, eq=False)
class PoseFile:
    """What a file of a trained pose network holds: the network without BatchNorm, the siamese head for two
    views, which topology and rotation head they are, and what is known of the training."""

    network: Tower
    pairs: SiameseHead
    topology: str
    head: RotationHead
    facts: Mapping[str, Any]


def save_pose_network(path: str | Path, content: PoseFile, half: bool = False) -> None:
    """Write a pose network as safetensors, atomically; ``half`` stores float16. Raises OutputError: the file
    cannot be written."""
    parts = {
        f"{part}.": {
            name: value.half() if half and value.is_floating_point() else value
            for name, value in module.state_dict().items()
        }
        for part, module in (("network", content.network), ("pairs", content.pairs))
    }
    facts = json.dumps(content.facts, sort_keys=True)
    save_parts(path, parts, {"topology": content.topology, "head": content.head.name, "facts": facts})


def read_pose_network(path: str | Path) -> PoseFile:
    """Read what ``save_pose_network`` wrote, as float32 in eval mode. Raises NetworkError: no such file, or
    one that holds something else."""
    parts, metadata = load_parts(path, "network.", "pairs.")
    topology = metadata.get("topology", "")
    if topology not in POSE_NETWORKS:
        raise NetworkError(
            f"{path} holds no pose network of netinvert (topology {topology or 'unknown'}): give a file that "
            "netinvert pose train wrote"
        )
    head = rotation_head(metadata["head"])
    network, pairs = _bare(topology, head)
    for module, state in zip((network, pairs), parts, strict=True):
        load_state(module, state, str(path))
    return PoseFile(network.eval(), pairs.eval(), topology, head, json.loads(metadata.get("facts", "{}")))


def load_pose_file(name: str) -> PoseFile:
    """The pose network that netinvert ships under a name in POSE_NETWORKS, with its siamese head."""
    with shipped("weights", name) as path:
        return read_pose_network(path)


def load_pose_network(name: str, weights: str | None = None) -> Network:
    """``posenet`` or ``posenet-judge``, or another training of their topology from a file. Raises
    NetworkError: the weights do not fit."""
    if weights == "random":
        head = rotation_head(HEADS[name])
        network, _ = _bare(name, head)
    else:
        content = load_pose_file(name) if weights is None else read_pose_network(weights)
        if content.topology != name:
            raise NetworkError(f"{weights} holds a {content.topology}, not a {name}: load it under that name")
        network, head = content.network, content.head
    return pose_network_of(name, network, head)


def pose_network_of(name: str, module: nn.Module, head: RotationHead) -> Network:
    """A pose network with its preprocessing and its reading of poses."""
    return Network(
        name=name,
        module=module.eval(),
        preprocessing=Preprocessing(size=posenet.SIZE, mean=posenet.MEAN, std=posenet.STD),
        licence=LICENCE,
        source="netinvert",
        layers=LAYERS[name],
        read_pose=partial(_read, head),
        pose_error=head.error,
        held_out_pose_estimator=HELD_OUT[name],
    )


def _bare(topology: str, head: RotationHead) -> tuple[Tower, SiameseHead]:
    if topology == "posenet":
        return built(partial(PoseNet, head.outputs, norm=False)), built(partial(SiameseHead, posenet.CODE))
    network = built(partial(PoseResNet, head.outputs, norm=False))
    return network, built(partial(SiameseHead, network.fc6.in_features))


def _read(head: RotationHead, output: Tensor) -> PoseReading:
    with torch.no_grad():
        rotation = head.rotation(output)
        azimuth, elevation, _ = angles_from_rotation(rotation)
        return PoseReading(azimuth, elevation, rotation)
