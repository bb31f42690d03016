"""Training a pose network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netinvert.scenes.augment import Views, background_pool
from netinvert.scenes.dataset_reader import load_arrays
from netinvert.scenes.rotations import pose_summary
from netinvert.training.loop import TrainingError, TrainingRun, fit, lightning_module
from netinvert.training.pose.batches import Batches
from netinvert.training.pose.model import PoseModel, TrainingPlan, prepared

if TYPE_CHECKING:
    from lightning import LightningModule

CLIP = 1.0


def train(plan: TrainingPlan, data: Path, run: TrainingRun) -> PoseModel:
    """Train on the train split of a dataset, watching its validation split; take up what ``run`` left.

    Checkpoints and TensorBoard logs go to ``run.folder``.

    Raises:
        MissingExtraError: lightning is not installed.
        TrainingError: the loss is not finite; the last checkpoint is kept.
        DatasetError: the dataset is missing or damaged.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    arrays = load_arrays(data, "train", run.damaged)
    if arrays.skipped:
        run.tell(f"{len(arrays.skipped)} damaged shards are left out: {', '.join(arrays.skipped)}")
    batches = Batches(Views.of(arrays), plan.batch // (run.devices * run.nodes), plan.seed)
    held_out = validation_images(data, plan.seed)
    model = PoseModel(plan)
    module = _module(model, batches, held_out)
    fit(module, plan.steps, run, clip=CLIP)
    return model.cpu()


def validation_images(data: Path, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The validation views (N, 3, H, W) uint8 before fixed backgrounds, with rotations and symmetries."""
    views = Views.of(load_arrays(data, "validation"))
    pool = background_pool(seed + 1, views.rgba.shape[-1], 500)
    behind = pool[torch.arange(len(views.rgba)) % len(pool)].float()
    alpha = views.rgba[:, 3:].float() / 255
    images = (views.rgba[:, :3] * alpha + behind * (1 - alpha)).round().to(torch.uint8)
    return images, views.rotation, views.symmetry


def final_figures(model: PoseModel, data: Path) -> dict[str, float]:
    """Metrics of a trained model on the validation split, as during the training."""
    return figures_of(model, validation_images(data, model.plan.seed))


@torch.no_grad()
def figures_of(model: PoseModel, held_out: tuple[Tensor, Tensor, Tensor]) -> dict[str, float]:
    """Pose figures of the averaged network on images, and how many units of its code never speak."""
    images, rotation, symmetry = held_out
    network = model.average.network
    device = next(network.parameters()).device
    codes, outputs = [], []
    for part in torch.split(images, 256):
        code, output = network.codes_and_outputs(prepared(part.to(device).float() / 255))
        codes.append(code.cpu())
        outputs.append(output.cpu())
    dead = (torch.cat(codes) <= 0).all(0).sum()
    found = pose_summary(model.head.rotation(torch.cat(outputs)), rotation, symmetry)
    return found | {"dead_code_units": float(dead)}


def _module(model: PoseModel, batches: Batches, held_out: tuple[Tensor, Tensor, Tensor]) -> LightningModule:
    base: Any = lightning_module()

    class Training(base):  # type: ignore[misc]
        """The glue between the model and Lightning."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def on_train_start(self) -> None:
            self.began = time.perf_counter() - model.seconds

        def on_train_end(self) -> None:
            model.seconds = time.perf_counter() - self.began

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["seconds"] = time.perf_counter() - self.began

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            model.seconds = checkpoint["seconds"]

        def training_step(self, _beat: int, _index: int) -> Tensor:
            step = self.global_step * self.trainer.world_size + self.global_rank
            loss, parts = model.loss(batches(step).to(self.device))
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss.item()} at step {self.global_step}: the last checkpoint is kept; "
                    "train with a smaller --rate"
                )
            if self.global_step % 50 == 0:
                self.log_dict({f"loss/{name}": value for name, value in parts.items()}, batch_size=1)
            self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=1)
            return loss

        def optimizer_step(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401  (Lightning's own)
            # not at the batch's end: checkpoints are written before the module hears of that
            super().optimizer_step(*arguments, **more)
            model.update_average(self.global_step)

        def validation_step(self, _beat: int, _index: int) -> None:
            found = figures_of(model, held_out)
            self.log_dict({f"validation/{name}": value for name, value in found.items()}, batch_size=1)
            self.log("median", found["median_geodesic_deg"], prog_bar=True, logger=False, batch_size=1)

        def configure_optimizers(self) -> Any:  # noqa: ANN401  (Lightning's union of seven kinds)
            optimizer = torch.optim.AdamW(model.parameter_groups(), lr=model.plan.rate, fused=True)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, model.plan.rate_at)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return Training()
