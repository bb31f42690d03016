"""Training a pose network on pairs of views, mirrored, shifted, recoloured, on random backgrounds.

Every batch is a function of (seed, step) alone, so a training that was stopped goes on exactly as it
would have gone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.io.running import generator_at
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
from netinvert.scenes.dataset_reader import Views, background_pool, load_arrays, mirrored, shifted
from netinvert.scenes.poses import nearest_rotation
from netinvert.training.config import TrainingConfig, TrainingRun, relaunch
from netinvert.training.loop import Optimizers, Trainee, adamw, decaying, fit_trainee

TOPOLOGIES = ("posenet", "posenet-judge")
RELATIVE_WEIGHT, MATCH_WEIGHT = 0.25, 0.1
NOISE = 64  # frames of noise


def train_pose(config: PoseConfig, data: Path, run: TrainingRun) -> PoseModel:
    """Train on the train split of a dataset, watching its validation split; take up what ``run`` left.

    Checkpoints and TensorBoard logs go to ``run.folder``.

    Raises TrainingError: the loss is not finite, and the last checkpoint is kept; or the checkpoint to go on
    from is of another training; DatasetError: the dataset is missing or damaged; OutputError: the
    folder cannot be written, or another process trains there.
    """
    relaunch(run.devices, run.nodes)
    arrays = load_arrays(data, "train", run.damaged)
    if arrays.skipped:
        run.note(f"{len(arrays.skipped)} damaged shards are left out: {', '.join(arrays.skipped)}")
    views = Views.of(arrays)
    batches = PoseBatches(views, config.batch // (run.devices * run.nodes), config.seed)
    watched = validation_images(data, config.seed)
    model = PoseModel(config)
    model.constant = nearest_rotation(views.rotation.mean(0, keepdim=True))
    fit_trainee(model, batches, lambda: (model.figures(*watched), None), run)
    model.place(torch.device("cpu"))
    return model


def validation_images(data: Path, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The validation views (N, 3, H, W) uint8 on fixed backgrounds, with rotations and symmetries."""
    views = Views.of(load_arrays(data, "validation"))
    pool = background_pool(seed + 1, views.rgba.shape[-1], count=500)
    behind = pool[torch.arange(len(views.rgba)) % len(pool)].float()
    alpha = views.rgba[:, 3:].float() / 255
    images = (views.rgba[:, :3] * alpha + behind * (1 - alpha)).round().to(torch.uint8)
    return images, views.rotation, views.symmetry


def final_figures(model: PoseModel, data: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of a trained model on the validation split, as during the training; and those of its constant
    answer."""
    images, rotation, symmetry = validation_images(data, model.config.seed)
    always = pose_summary(model.constant.expand_as(rotation), rotation, symmetry)
    return model.figures(images, rotation, symmetry), always


@dataclass(frozen=True, kw_only=True)
class PoseConfig(TrainingConfig):
    """How a pose network is trained: ``network`` is one of TOPOLOGIES, ``head`` of rotation_heads.HEADS."""

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
        self.constant = torch.eye(3)[None]
        """(1, 3, 3): the mean rotation of the training views, the answer without looking."""

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
        parts = {"pose": pose, "relative": relative, "match": match}
        return total, {name: value.detach() for name, value in parts.items()}

    def optimizers(self) -> Optimizers:
        """AdamW for the network and the siamese head."""
        own = [*self.network.parameters(), *self.pairs.parameters()]
        return [adamw(decaying(own, self.config.weight_decay), self.config.rate)]

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """The average of the network and of its siamese head."""
        return [(self.average, nn.ModuleList([self.network, self.pairs]))]

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


@dataclass(frozen=True, eq=False)
class PoseBatch:
    """``images`` (B, 3, H, W) in [0, 1]; views 2k and 2k + 1 show the same object. ``rotation`` (B, 3, 3),
    ``symmetry`` (B,)."""

    images: Tensor
    rotation: Tensor
    symmetry: Tensor

    def to(self, device: torch.device) -> PoseBatch:
        """The same on another device."""
        return PoseBatch(self.images.to(device), self.rotation.to(device), self.symmetry.to(device))


class PoseBatches:
    """Makes batches of ``size`` views, half as many identities, from views in memory."""

    def __init__(self, views: Views, size: int, seed: int) -> None:
        if size < 4 or size % 4:
            raise ConfigError(f"a batch of {size} views: give a multiple of 4, such as 64")
        if size // 2 > len(views.table):
            raise ConfigError(
                f"a batch of {size} views needs {size // 2} identities, the dataset has {len(views.table)}: "
                "give a smaller batch or render more"
            )
        self.views, self.size, self.seed = views, size, seed
        side = views.rgba.shape[-1]
        self.pool = background_pool(seed, side)
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn((NOISE, 3, side, side), generator=generator)

    def __call__(self, step: int) -> PoseBatch:
        """The batch of a step."""
        generator = generator_at(self.seed, step)
        views, count = self.views, self.size // 2
        identities = torch.randperm(len(views.table), generator=generator)[:count]
        chosen = torch.stack(
            [torch.randperm(views.table.shape[1], generator=generator)[:2] for _ in range(count)]
        )
        index = views.table[identities[:, None], chosen].flatten()
        rgba = views.rgba[index].float().div_(255)
        rotation, symmetry = views.rotation[index], views.symmetry[index]
        rgba, rotation = mirrored(rgba, rotation, generator)
        rgba = shifted(rgba, generator)
        return PoseBatch(self._composed(rgba, generator), rotation, symmetry)

    def _composed(self, rgba: Tensor, generator: torch.Generator) -> Tensor:
        """The objects recoloured, on backgrounds, some occluded or blurred, with noise and other contrast."""
        count = len(rgba)
        behind = self._backgrounds(count, generator)
        colour, alpha = recoloured(rgba[:, :3], generator), rgba[:, 3:]
        images = behind + alpha * (colour - behind)
        self._occlude(images, generator)
        contrast = 0.75 + 0.5 * torch.rand((count, 1, 1, 1), generator=generator)
        shift = 0.2 * torch.rand((count, 1, 1, 1), generator=generator) - 0.1
        images = (images - 0.5) * contrast + 0.5 + shift
        blurred = (torch.rand(count, generator=generator) < 0.15).nonzero().squeeze(1)
        if len(blurred):
            padded = F.pad(images[blurred], (1, 1, 1, 1), mode="replicate")
            images[blurred] = F.avg_pool2d(padded, 3, 1)
        strength = 0.03 * torch.rand((count, 1, 1, 1), generator=generator)
        images += strength * self.noise[torch.randint(NOISE, (count,), generator=generator)]
        return images.clamp_(0, 1)

    def _backgrounds(self, count: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(self.pool), (count,), generator=generator)
        behind = self.pool[index].float().div_(255)
        turned = (torch.rand(count, generator=generator) < 0.5).nonzero().squeeze(1)
        behind[turned] = behind[turned].flip(-1)
        order = torch.rand((count, 3), generator=generator).argsort(1)
        return behind.gather(1, order[:, :, None, None].expand_as(behind))

    def _occlude(self, images: Tensor, generator: torch.Generator) -> None:
        """A rectangle of another background over one image in eight."""
        side = images.shape[-1]
        for k in (torch.rand(len(images), generator=generator) < 0.12).nonzero().squeeze(1).tolist():
            h, w = (torch.rand(2, generator=generator) * 0.35 * side + 4).long().tolist()
            top = int(torch.randint(side - h + 1, (1,), generator=generator))
            left = int(torch.randint(side - w + 1, (1,), generator=generator))
            pick = int(torch.randint(len(self.pool), (1,), generator=generator))
            images[k, :, top : top + h, left : left + w] = self.pool[pick, :, :h, :w].float() / 255


def recoloured(colour: Tensor, generator: torch.Generator) -> Tensor:
    """Colours (B, 3, H, W) mixed by a random matrix, sometimes with exchanged channels.

    Both views of a pair get the same: an object keeps its colours when the camera moves.
    """
    pairs = len(colour) // 2
    matrix = torch.eye(3) + 0.15 * torch.randn((pairs, 3, 3), generator=generator)
    order = torch.rand((pairs, 3), generator=generator).argsort(1)
    exchanged = torch.rand(pairs, generator=generator) < 0.4
    matrix[exchanged] = matrix[exchanged].gather(1, order[exchanged][:, :, None].expand(-1, -1, 3))
    matrix = (matrix * (0.7 + 0.6 * torch.rand((pairs, 1, 1), generator=generator))).repeat_interleave(2, 0)
    return torch.einsum("bij,bjhw->bihw", matrix, colour).clamp_(0, 1)
