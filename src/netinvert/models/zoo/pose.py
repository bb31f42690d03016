"""The pose networks that come with netinvert: which there are, their files, how they read poses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.io.files import guarded
from netinvert.models.network import (
    Network,
    Preprocessing,
    built,
    load_parts,
    load_state,
    save_parts,
    shipped,
)
from netinvert.models.zoo.pose_heads import BinsHead, RotationHead, SiameseHead, ViewHead, confidence_logit
from netinvert.models.zoo.pose_topologies import (
    POSENET_LAYERS,
    RESNET_LAYERS,
    PoseNet,
    PoseResNet,
    Tower,
)
from netinvert.scenes.cameras import angles_from_rotation
from netinvert.scenes.poses import PoseReading

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
LICENCE = "MIT"


@dataclass(frozen=True)
class Topology:
    """How a pose network is built, and the images and layers it has."""

    tower: type[PoseNet] | type[PoseResNet]
    head: RotationHead
    side: int
    layers: tuple[str, ...]


TOPOLOGIES = {
    "posenet": Topology(PoseNet, ViewHead(), 128, POSENET_LAYERS),
    "posenet-judge": Topology(PoseResNet, BinsHead(), 64, RESNET_LAYERS),
}
POSE_NETWORKS = {
    "posenet": "posenet",
    "posenet-only": "posenet",
    "posenet-match": "posenet",
    "posenet-plain": "posenet",
    "posenet-judge": "posenet-judge",
}
"""The topology of each network that is shipped. Beside ``posenet`` its controls: trained to tell poses alone,
to match views alone, and without backgrounds and recolouring."""


@dataclass(frozen=True, eq=False)
class PoseFile:
    """What a file of a trained pose network holds: the network without BatchNorm, the siamese head for two
    views, which topology they are, and what is known of the training."""

    network: Tower
    pairs: SiameseHead
    topology: str
    facts: Mapping[str, Any]

    @property
    def head(self) -> RotationHead:
        """Reads rotations from the network's outputs."""
        return TOPOLOGIES[self.topology].head

    @property
    def calibration(self) -> tuple[float, float]:
        """By which logits of confidences are shifted and multiplied, so that they are shares of right
        readings."""
        shift, scale = self.facts.get("calibration", (0.0, 1.0))
        return float(shift), float(scale)


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


@guarded(NetworkError, "fetch it again")
def read_pose_network(path: str | Path) -> PoseFile:
    """Read what ``save_pose_network`` wrote, as float32 in eval mode. Raises NetworkError: no such file, or
    one that holds something else."""
    parts, metadata = load_parts(path, "network.", "pairs.")
    topology = metadata.get("topology", "")
    if topology not in TOPOLOGIES:
        raise NetworkError(
            f"{path} holds no pose network of netinvert (topology {topology or 'unknown'}): give a file that "
            "netinvert pose train wrote"
        )
    if metadata.get("head") != TOPOLOGIES[topology].head.name:
        raise NetworkError(f"{path} holds a {topology} of an earlier netinvert: train it again")
    network, pairs = _bare(topology)
    for module, state in zip((network, pairs), parts, strict=True):
        load_state(module, state, str(path))
    return PoseFile(network.eval(), pairs.eval(), topology, dict(json.loads(metadata.get("facts", "{}"))))


def load_pose_file(name: str) -> PoseFile:
    """The pose network that netinvert ships under a name in POSE_NETWORKS, with its siamese head."""
    with shipped("weights", name) as path:
        return read_pose_network(path)


def load_pose_network(name: str, weights: str | None = None) -> Network:
    """A network of POSE_NETWORKS, or another training of its topology from a file; ``random`` weights are
    those of seed 0, ``random:SEED`` others. Raises NetworkError: the weights do not fit."""
    form = TOPOLOGIES[POSE_NETWORKS[name]]
    calibration = (0.0, 1.0)
    kind, _, seed = (weights or "").partition(":")
    if kind == "random" and (not seed or seed.isdecimal()):
        network, _ = _bare(POSE_NETWORKS[name], int(seed or 0))
    else:
        content = load_pose_file(name) if weights is None else read_pose_network(weights)
        if content.topology != POSE_NETWORKS[name]:
            raise NetworkError(f"{weights} holds a {content.topology}, not a {name}: load it under that name")
        network, calibration = content.network, content.calibration
    return Network(
        name=name,
        module=network.eval(),
        preprocessing=Preprocessing((form.side, form.side), MEAN, STD),
        licence=LICENCE,
        source="netinvert",
        layers=form.layers,
        read_pose=partial(_read, form.head, calibration),
        pose_error=form.head.error,
        pose_head=form.head,
        held_out_pose_estimator="posenet" if name == "posenet-judge" else "posenet-judge",
    )


def _bare(topology: str, seed: int = 0) -> tuple[Tower, SiameseHead]:
    form = TOPOLOGIES[topology]
    network: Tower = built(lambda: form.tower(form.head.outputs, norm=False), seed)
    return network, built(partial(SiameseHead, network.code_size))


@torch.no_grad()
def _read(head: RotationHead, calibration: tuple[float, float], output: Tensor) -> PoseReading:
    rotation = head.rotation(output)
    azimuth, elevation, _ = angles_from_rotation(rotation)
    if not head.azimuth_logits(output).shape[-1]:  # of fc8, which gives the rotation alone
        return PoseReading(azimuth, elevation, rotation)
    shift, scale = calibration
    confidence = torch.sigmoid(shift + scale * confidence_logit(head, output))
    return PoseReading(azimuth, elevation, rotation, confidence=confidence, frontless=head.frontless(output))
