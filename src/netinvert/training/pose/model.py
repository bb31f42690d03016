"""What a pose network is trained by: its configuration, networks, loss, and running average."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.models.zoo.pose import (
    MEAN,
    STD,
    PoseFile,
    PoseNet,
    PoseResNet,
    SiameseHead,
    folded,
    relative_loss,
    relative_rotation,
    rotation_head,
    rotation_loss,
)
from netinvert.scenes.cameras import pose_summary
from netinvert.training.config import TrainingConfig
from netinvert.training.loop import Optimizers, Trainee, adamw, decaying, move_average
from netinvert.training.pose.batches import PoseBatch

TOPOLOGIES = ("posenet", "posenet-judge")
RELATIVE_WEIGHT, MATCH_WEIGHT = 0.25, 0.1


@dataclass(frozen=True, kw_only=True)
class PoseConfig(TrainingConfig):
    """How a pose network is trained: ``network`` is one of TOPOLOGIES, ``head`` of pose.HEADS."""

    network: str = "posenet"
    head: str = "6d"
    samples: int = 1_500_000
    rate: float = 2e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if self.network not in TOPOLOGIES:
            raise ConfigError(f"no topology {self.network!r} to train: there are {', '.join(TOPOLOGIES)}")
        rotation_head(self.head)
        super().__post_init__()


class PoseAverage(nn.Module):
    """The running average of a network and its siamese head."""

    def __init__(self, network: PoseNet | PoseResNet, pairs: SiameseHead) -> None:
        super().__init__()
        self.network, self.pairs = network, pairs


class PoseModel(Trainee):
    """The network in training, its siamese head, and the running average of both that is kept in the end."""

    def __init__(self, config: PoseConfig) -> None:
        super().__init__(config)
        self.topology, self.head = config.network, rotation_head(config.head)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            topology = PoseNet if config.network == "posenet" else PoseResNet
            network = topology(self.head.outputs)
            last = network.fc8 if isinstance(network, PoseNet) else network.fc6
            pairs = SiameseHead(last.in_features)
        self.network = network.to(memory_format=torch.channels_last)
        self.pairs = pairs
        self.average = PoseAverage(copy.deepcopy(network), copy.deepcopy(pairs))
        self.average.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PoseModel:
        """Training mode for all but the average."""
        super().train(mode)
        self.average.eval()
        return self

    def losses(self, batch: PoseBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, and its parts."""
        with self.config.autocast(batch.images.device):
            codes, outputs = self.network.codes_and_outputs(prepared(batch.images))
        codes, outputs = codes.float(), outputs.float()
        pose = rotation_loss(self.head, outputs, batch.rotation, batch.symmetry).mean()
        first, second = codes[0::2], codes[1::2]
        predicted, _ = self.pairs(first, second)
        truth = relative_rotation(batch.rotation[0::2], batch.rotation[1::2])
        alone = (batch.symmetry[0::2] == 1).to(predicted)  # of a symmetric object the turn is not known
        relative = (relative_loss(predicted, truth) * alone).sum() / alone.sum().clamp_min(1)
        match = self.pairs.match_loss(first, second)
        total = pose + RELATIVE_WEIGHT * relative + MATCH_WEIGHT * match
        return total, {"pose": pose.detach(), "relative": relative.detach(), "match": match.detach()}

    def optimizers(self) -> Optimizers:
        """AdamW for the network and the siamese head."""
        own = [*self.network.parameters(), *self.pairs.parameters()]
        return [adamw(decaying(own, self.config.weight_decay), self.config.rate)]

    def update_average(self, step: int) -> None:
        """Move the average towards the weights; quickly at first."""
        move_average(self.average.network, self.network, step, self.config.average)
        move_average(self.average.pairs, self.pairs, step, self.config.average)

    @torch.no_grad()
    def figures(self, images: Tensor, rotation: Tensor, symmetry: Tensor) -> dict[str, float]:
        """Pose figures of the averaged network on images (N, 3, H, W) uint8, and how many units of its code
        are dead (never above zero)."""
        network = self.average.network
        device = next(network.parameters()).device
        parts = [
            network.codes_and_outputs(prepared(part.to(device).float() / 255))
            for part in torch.split(images, 256)
        ]
        codes, outputs = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
        found = pose_summary(self.head.rotation(outputs), rotation, symmetry)
        return found | {"dead_code_units": float((codes <= 0).all(0).sum())}

    def file(self, facts: Mapping[str, Any]) -> PoseFile:
        """The averaged network, its BatchNorm folded into the layers before."""
        bare = folded(self.average.network)
        facts = {"plan": self.config.to_json(), **facts}
        return PoseFile(bare, self.average.pairs, self.topology, self.head, facts)


def prepared(images: Tensor) -> Tensor:
    """Images in [0, 1] as the pose networks want them."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
