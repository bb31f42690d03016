"""Training a pose network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from netinvert.scenes.dataset_reader import Views, background_pool, load_arrays
from netinvert.training.config import TrainingRun
from netinvert.training.loop import fit_trainee
from netinvert.training.parallel import relaunch
from netinvert.training.pose.batches import PoseBatches
from netinvert.training.pose.model import PoseConfig, PoseModel


def train_pose(config: PoseConfig, data: Path, run: TrainingRun) -> PoseModel:
    """Train on the train split of a dataset, watching its validation split; take up what ``run`` left.

    Checkpoints and TensorBoard logs go to ``run.folder``.

    Raises TrainingError: the loss is not finite, and the last checkpoint is kept; or the checkpoint to go on
    from is damaged or of another training; DatasetError: the dataset is missing or damaged; OutputError: the
    folder cannot be written, or another process trains there.
    """
    relaunch(run.devices, run.nodes)
    arrays = load_arrays(data, "train", run.damaged)
    if arrays.skipped:
        run.note(f"{len(arrays.skipped)} damaged shards are left out: {', '.join(arrays.skipped)}")
    batches = PoseBatches(Views.of(arrays), config.batch // (run.devices * run.nodes), config.seed)
    watched = validation_images(data, config.seed)
    model = PoseModel(config)
    fit_trainee(model, batches, lambda: (model.figures(*watched), None), run)
    model.place(torch.device("cpu"))
    return model


def validation_images(data: Path, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The validation views (N, 3, H, W) uint8 on fixed backgrounds, with rotations and symmetries."""
    views = Views.of(load_arrays(data, "validation"))
    pool = background_pool(seed + 1, views.rgba.shape[-1], 500)
    behind = pool[torch.arange(len(views.rgba)) % len(pool)].float()
    alpha = views.rgba[:, 3:].float() / 255
    images = (views.rgba[:, :3] * alpha + behind * (1 - alpha)).round().to(torch.uint8)
    return images, views.rotation, views.symmetry


def final_figures(model: PoseModel, data: Path) -> dict[str, float]:
    """Metrics of a trained model on the validation split, as during the training."""
    return model.figures(*validation_images(data, model.config.seed))
