"""What one step of training a pose network is: the networks, the loss, the rate, the average."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.models.zoo.pose_resnet import PoseResNet
from netinvert.models.zoo.posenet import MEAN, STD, PoseNet
from netinvert.models.zoo.rotation_heads import rotation_head, rotation_loss
from netinvert.models.zoo.siamese_head import SiameseHead, relative_loss, relative_rotation
from netinvert.training.loop import move_average, rate_at
from netinvert.training.pose.batches import Batch

TOPOLOGIES = ("posenet", "posenet-judge")
AVERAGE = 0.999
RELATIVE_WEIGHT, MATCH_WEIGHT = 0.25, 0.1


@dataclass(frozen=True)
class TrainingPlan:
    """How a pose network is trained: ``samples`` views in batches of ``batch``.

    ``network`` is one of TOPOLOGIES, ``head`` one of rotation_heads.HEADS; ``rate`` is AdamW's peak.
    """

    network: str = "posenet"
    head: str = "6d"
    samples: int = 1_500_000
    batch: int = 64
    seed: int = 0
    rate: float = 2e-3
    decay: float = 1e-2

    def __post_init__(self) -> None:
        if self.network not in TOPOLOGIES:
            raise ConfigError(f"no topology {self.network!r} to train: there are {', '.join(TOPOLOGIES)}")
        rotation_head(self.head)
        if self.samples < self.batch:
            raise ConfigError(f"{self.samples} samples are less than one batch of {self.batch}: give more")
        if not (0 < self.rate < 1 and self.decay >= 0 and self.seed >= 0):
            raise ConfigError("the rate must be in (0, 1), weight decay and seed not negative")

    @property
    def steps(self) -> int:
        """How many batches."""
        return self.samples // self.batch

    def rate_at(self, step: int) -> float:
        """The share of the peak rate."""
        return rate_at(step, self.steps)

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)


class Average(nn.Module):
    """The running average of a network and its siamese head."""

    def __init__(self, network: PoseNet | PoseResNet, pairs: SiameseHead) -> None:
        super().__init__()
        self.network, self.pairs = network, pairs


class PoseModel(nn.Module):
    """The network in training, its siamese head, and the running average of both that is kept in the end.

    ``seconds`` is how long it has been trained, over all resumes.
    """

    def __init__(self, plan: TrainingPlan) -> None:
        super().__init__()
        self.plan, self.head, self.seconds = plan, rotation_head(plan.head), 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            topology = PoseNet if plan.network == "posenet" else PoseResNet
            network = topology(self.head.outputs)
            last = network.fc8 if isinstance(network, PoseNet) else network.fc6
            pairs = SiameseHead(last.in_features)
        self.network = network.to(memory_format=torch.channels_last)
        self.pairs = pairs
        self.average = Average(copy.deepcopy(network), copy.deepcopy(pairs))
        self.average.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PoseModel:
        """Training mode for all but the average."""
        super().train(mode)
        self.average.eval()
        return self

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, and its parts."""
        codes, outputs = self.network.codes_and_outputs(prepared(batch.images))
        pose = rotation_loss(self.head, outputs, batch.rotation, batch.symmetry).mean()
        first, second = codes[0::2], codes[1::2]
        predicted, _ = self.pairs(first, second)
        truth = relative_rotation(batch.rotation[0::2], batch.rotation[1::2])
        alone = (batch.symmetry[0::2] == 1).to(predicted)  # of a symmetric object the turn is not known
        relative = (relative_loss(predicted, truth) * alone).sum() / alone.sum().clamp_min(1)
        match = self.pairs.match_loss(first, second)
        total = pose + RELATIVE_WEIGHT * relative + MATCH_WEIGHT * match
        return total, {"pose": pose.detach(), "relative": relative.detach(), "match": match.detach()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights, which decay, and biases and norms, which do not."""
        own = [p for part in (self.network, self.pairs) for p in part.parameters()]
        return [
            {"params": [p for p in own if p.ndim > 1], "weight_decay": self.plan.decay},
            {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Move the average towards the weights; quickly at first."""
        move_average(self.average.network, self.network, step, AVERAGE)
        move_average(self.average.pairs, self.pairs, step, AVERAGE)


def prepared(images: Tensor) -> Tensor:
    """Images in [0, 1] as the pose networks want them."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
