"""Training a pose network on pairs of views of an object."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.models.zoo.pose import MEAN, STD, TOPOLOGIES, PoseFile
from netinvert.models.zoo.pose_heads import (
    NEAR,
    SiameseHead,
    confidence_logit,
    relative_loss,
    relative_rotation,
    rotation_loss,
)
from netinvert.models.zoo.pose_topologies import Tower, folded
from netinvert.scenes.cameras import pose_summary, symmetric_geodesic_degrees
from netinvert.scenes.dataset_reader import Views, background_pool, load_arrays
from netinvert.scenes.poses import nearest_rotation
from netinvert.training.config import TrainingConfig, TrainingRun, device_of, fits_on, relaunch
from netinvert.training.loop import Optimizers, Trainee, adamw, decaying, fit_trainee
from netinvert.training.pose.batches import SURROUNDINGS, TEXTURES, PoseBatch, PoseBatches, composed

RELATIVE_WEIGHT, MATCH_WEIGHT = 0.25, 0.1
BOTH, POSE, MATCH = "both", "pose", "match"
TASKS = (BOTH, POSE, MATCH)
"""What the code is trained for. The heads of the other task learn to read it as it is."""


def train_pose(config: PoseConfig, data: Sequence[Path], run: TrainingRun) -> PoseModel:
    """Train on the train splits of datasets, watching their validation splits; take up what ``run`` left.

    Checkpoints and TensorBoard logs go to ``run.folder``.

    Raises TrainingError: the loss is not finite, and the last checkpoint is kept; or the checkpoint to go on
    from is of another training; DatasetError: a dataset is missing or damaged; ConfigError: datasets of
    another size than the network's images; OutputError: the folder cannot be written, or another process
    trains there.
    """
    relaunch(run.devices, run.nodes)
    arrays = [load_arrays(one, "train", run.damaged) for one in data]
    for skipped in (one.skipped for one in arrays if one.skipped):
        run.note(f"{len(skipped)} damaged shards are left out: {', '.join(skipped)}")
    watched = validation_views(data, config.seed)
    return train_pose_on(config, Views.of(*arrays), watched, run)


@dataclass(frozen=True, eq=False)
class WatchedViews:
    """Held-out images (N, 3, H, W) uint8 with their ``rotation`` (N, 3, 3) and ``symmetry`` (N,)."""

    images: Tensor
    rotation: Tensor
    symmetry: Tensor


def train_pose_on(
    config: PoseConfig, views: Views, watched: WatchedViews, run: TrainingRun, pool: Tensor | None = None
) -> PoseModel:
    """As ``train_pose``, on views in memory and, if it is at hand, the ``pool`` of their backgrounds."""
    side = TOPOLOGIES[config.network].side
    if views.rgba.shape[-1] != side:
        raise ConfigError(
            f"{config.network} takes images of {side} pixels, the dataset has {views.rgba.shape[-1]}: render "
            f"with --pixels {side}"
        )
    part = config.batch // (run.devices * run.nodes)
    batches = PoseBatches(views, part, config.seed, config.surroundings, pool)
    if run.devices * run.nodes == 1 and fits_on(device := device_of(run.device), views.rgba, batches.pool):
        batches, run = batches.to(device), replace(run, workers=0)
        if run.compiled:
            batches.compose = torch.compile(composed)
    model = PoseModel(config)
    model.constant = nearest_rotation(views.rotation.mean(0, keepdim=True))
    fit_trainee(model, batches, lambda: (model.figures(watched), None), run)
    model.calibrate(watched)
    model.place(torch.device("cpu"))
    return model


def validation_views(data: Sequence[Path], seed: int) -> WatchedViews:
    """The validation views of the datasets that have any, on fixed backgrounds."""
    splits = [load_arrays(one, "validation") for one in data if any(one.glob("validation-*.tar"))]
    return on_fixed_backgrounds(Views.of(*(splits or [load_arrays(data[0], "validation")])), seed)


def on_fixed_backgrounds(views: Views, seed: int) -> WatchedViews:
    """Views before backgrounds that no training has."""
    pool = background_pool(seed + 1, views.rgba.shape[-1], count=500)
    images = torch.empty_like(views.rgba[:, :3])
    for k, rgba in enumerate(views.rgba):
        alpha = rgba[3:].float() / 255
        images[k] = (rgba[:3] * alpha + pool[k % len(pool)] * (1 - alpha)).round().to(torch.uint8)
    return WatchedViews(images, views.rotation, views.symmetry)


def final_figures(model: PoseModel, watched: WatchedViews) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of a trained model on held-out views, as during the training; and those of its constant
    answer."""
    always = pose_summary(model.constant.expand_as(watched.rotation), watched.rotation, watched.symmetry)
    return model.figures(watched), always


@dataclass(frozen=True, kw_only=True)
class PoseConfig(TrainingConfig):
    """How a pose network is trained: ``network`` is one of TOPOLOGIES, ``task`` of TASKS, ``surroundings`` of
    SURROUNDINGS."""

    network: str = "posenet"
    task: str = BOTH
    surroundings: str = TEXTURES
    samples: int = 1_500_000
    rate: float = 2e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if self.network not in TOPOLOGIES:
            raise ConfigError(f"no topology {self.network!r} to train: there are {', '.join(TOPOLOGIES)}")
        if self.task not in TASKS or self.surroundings not in SURROUNDINGS:
            raise ConfigError(
                f"a task is one of {', '.join(TASKS)}, surroundings one of {', '.join(SURROUNDINGS)}; got "
                f"{self.task!r} and {self.surroundings!r}"
            )
        super().__post_init__()


class PoseAverage(nn.Module):
    """The running average of a network and its siamese head."""

    def __init__(self, network: Tower, pairs: SiameseHead) -> None:
        super().__init__()
        self.network, self.pairs = network, pairs


class PoseModel(Trainee):
    """The network in training, its siamese head, and the running average of both that is kept in the end."""

    config: PoseConfig

    def __init__(self, config: PoseConfig) -> None:
        super().__init__(config)
        form = TOPOLOGIES[config.network]
        self.topology, self.task, self.head = config.network, config.task, form.head
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network: Tower = form.tower(self.head.outputs)
            pairs = SiameseHead(network.code_size)
        self.network = network.to(memory_format=torch.channels_last)
        self.pairs = pairs
        self.average = PoseAverage(copy.deepcopy(network), copy.deepcopy(pairs))
        self.average.requires_grad_(False).eval()
        self.constant = torch.eye(3)[None]
        """(1, 3, 3): the mean rotation of the training views, the answer without looking."""
        self.calibration = (0.0, 1.0)

    def losses(self, batch: PoseBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, and its parts."""
        with self.config.autocast(batch.images.device):
            codes = self.network.code(prepared(batch.images))
        codes = codes.float()
        # what is not the task learns to read the code as it is
        posed = codes.detach() if self.task == MATCH else codes
        outputs = self.network.outputs(posed)
        pose = rotation_loss(self.head, outputs, batch.rotation, batch.symmetry).mean()
        more = self.head.more_loss(outputs, batch.rotation, batch.symmetry).mean()
        paired = codes.detach() if self.task == POSE else codes
        turned = codes if self.task == BOTH else codes.detach()
        predicted = self.pairs.relative(turned[0::2], turned[1::2])
        truth = relative_rotation(batch.rotation[0::2], batch.rotation[1::2])
        alone = (batch.symmetry[0::2] == 1).float()  # of a symmetric object the turn is not known
        relative = (relative_loss(predicted, truth) * alone).sum() / alone.sum().clamp_min(1)
        match = self.pairs.match_loss(paired[0::2], paired[1::2])
        total = pose + more + RELATIVE_WEIGHT * relative + MATCH_WEIGHT * match
        parts = {"pose": pose, "azimuth and turns": more, "relative": relative, "match": match}
        return total, {name: value.detach() for name, value in parts.items()}

    def optimizers(self) -> Optimizers:
        """AdamW for the network and the siamese head."""
        own = [*self.network.parameters(), *self.pairs.parameters()]
        return [adamw(decaying(own, self.config.weight_decay), self.config.rate)]

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """The average of the network and of its siamese head."""
        return [(self.average, nn.ModuleList([self.network, self.pairs]))]

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and outputs of the averaged network, on the CPU, of images (N, 3, H, W) uint8."""
        network = self.average.network
        device = next(network.parameters()).device
        found = []
        for part in torch.split(images, 256):
            codes = network.code(prepared(part.to(device).float() / 255))
            found.append((codes.cpu(), network.outputs(codes).cpu()))
        codes, outputs = (torch.cat(each) for each in zip(*found, strict=True))
        return codes, outputs

    def figures(self, watched: WatchedViews) -> dict[str, float]:
        """Pose figures of the averaged network, and how many units of its code are dead."""
        codes, outputs = self.read(watched.images)
        found = pose_summary(self.head.rotation(outputs), watched.rotation, watched.symmetry)
        frontless = self.head.frontless(outputs)
        if frontless is not None and bool((watched.symmetry != 1).any()):
            said = (frontless > 0.5).float()  # as in the cards of all networks that ship
            found["frontless_found"] = float(said[watched.symmetry != 1].mean())
            found["frontless_false"] = float(said[watched.symmetry == 1].mean())
        return found | {"dead_code_units": float((codes <= 0).all(0).sum())}

    def calibrate(self, watched: WatchedViews) -> None:
        """Fit what makes the logits' confidence the share of right readings (Platt 1999), on views with a
        front."""
        front = watched.symmetry == 1
        _, outputs = self.read(watched.images[front])
        error = symmetric_geodesic_degrees(
            self.head.rotation(outputs), watched.rotation[front], watched.symmetry[front]
        )
        logits = confidence_logit(self.head, outputs).double().numpy()
        self.calibration = fitted_logistic(logits, (error < NEAR).double().numpy())

    def file(self, facts: Mapping[str, Any]) -> PoseFile:
        """The averaged network, its BatchNorm folded into the layers before."""
        bare = folded(self.average.network)
        facts = {"plan": self.config.to_json(), "calibration": self.calibration, **facts}
        return PoseFile(bare, self.average.pairs, self.topology, facts)


def fitted_logistic(x: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The shift a and scale b by which sigmoid(a + b x) tells best what of (N,) is right (0 or 1): Newton's
    method, with Platt's targets, which keep both finite."""
    count = right.sum()
    target = np.where(right > 0.5, (count + 1) / (count + 2), 1 / (len(right) - count + 2))
    design = np.stack([np.ones_like(x), x], 1)
    found = np.array([0.0, 1.0])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (target - likely) - 1e-3 * (found - [0.0, 1.0])
        bend = design.T @ (design * (likely * (1 - likely))[:, None]) + 1e-3 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        found = found + step * min(1.0, 1.0 / max(np.abs(step).max(), 1e-12))
    return float(found[0]), float(found[1])


def prepared(images: Tensor) -> Tensor:
    """Images in [0, 1] as the pose networks want them."""
    mean, std = MEAN[0], STD[0]  # the same for all channels
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
