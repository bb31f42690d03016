"""Training a generator: objects drawn from their number, a view and a transformation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.evaluation.metrics import ssim
from netinvert.models.generator import GeneratorFile, GeneratorForm, GeneratorNetwork, view_numbers
from netinvert.training.config import TrainingConfig, TrainingRun, device_of, fits_on
from netinvert.training.loop import Optimizers, Trainee, Watched, adamw, decaying, fit_trainee
from netinvert.training.views.turntables import KnownViews, Turntables, ViewBatch, ViewBatches

COLOUR_WEIGHT = 10.0
"""Of colours, where the mask counts 1 (Dosovitskiy et al. 2015, section 3.2)."""
BETAS = (0.9, 0.99)
WATCHED = 256
"""Held-out views that are watched while it learns."""
SHOWN = 16


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(TrainingConfig):
    """How a generator is trained: on ``identities`` objects of a dataset (all, if None). Of every other one
    only ``known_azimuths`` of 31 azimuths are known, at both elevations or at ``one_elevation`` alone."""

    identities: int | None = None
    known_azimuths: int = 16
    one_elevation: bool = False
    samples: int = 500_000
    rate: float = 2e-3

    @property
    def known(self) -> KnownViews:
        """Which views it knows."""
        return KnownViews(self.known_azimuths, not self.one_elevation)


class GeneratorModel(Trainee):
    """The generator in training, and the running average that is kept in the end."""

    config: GeneratorConfig

    def __init__(self, config: GeneratorConfig, form: GeneratorForm) -> None:
        super().__init__(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = GeneratorNetwork(form)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()

    def drawn(self, network: GeneratorNetwork, batch: ViewBatch) -> Tensor:
        """What a network draws of a batch, (B, 4, H, W)."""
        view = view_numbers(batch.azimuth, batch.elevation)
        with self.config.autocast(view.device):
            made: Tensor = network(network.table(batch.identity), view, batch.transformation)
        return made.float()

    def losses(self, batch: ViewBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, and its parts: squared errors of colours within the mask and of it."""
        del step
        return masked_loss(self.drawn(self.network, batch), batch.planes)

    def optimizers(self) -> Optimizers:
        """AdamW; the table of identities does not decay."""
        table = self.network.table.weight
        others = [one for one in self.network.parameters() if one is not table]
        groups = [*decaying(others, self.config.weight_decay), {"params": [table], "weight_decay": 0.0}]
        return [adamw(groups, self.config.rate, BETAS)]

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """The average and what it follows."""
        return [(self.average, self.network)]

    def file(self, facts: Mapping[str, Any]) -> GeneratorFile:
        """The averaged generator."""
        return GeneratorFile(self.average, {"plan": self.config.to_json(), **facts})


def masked_loss(made: Tensor, true: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared errors of planes (B, 4, H, W): of colours within the mask and of the mask, weighed; both."""
    square = (made - true).square()
    colour, mask = square[:, :3].sum(1).mean(), square[:, 3].mean()
    return COLOUR_WEIGHT * colour + mask, {"colour": colour.detach(), "mask": mask.detach()}


def train_generator(
    config: GeneratorConfig, tables: Turntables, run: TrainingRun, known: Tensor | None = None
) -> GeneratorModel:
    """Train on turntables, watching views that are not known; take up what ``run`` left. ``known`` (I, 62)
    are other views than those of the config.

    Raises TrainingError, OutputError as all trainings do; ConfigError: settings that cannot be.
    """
    if run.devices * run.nodes > 1:
        raise ConfigError("a generator is trained on one device: leave out the others")
    objects = len(tables.planes)
    known = config.known.mask(objects) if known is None else known
    model = GeneratorModel(config, GeneratorForm(objects, tables.size))
    batches = ViewBatches(tables, known, config.batch, config.seed)
    if fits_on(device := device_of(run.device), tables.planes):
        batches, run = batches.to(device), replace(run, workers=0)
    watched = unseen_views(tables, known, WATCHED)

    def watch() -> Watched:
        figures, made = generator_figures(model, watched)
        return figures, torch.cat(
            [torch.cat(list(one[:SHOWN, :3]), -1) for one in (watched.planes, made)], -2
        )

    fit_trainee(model, batches, watch, run)
    model.place(torch.device("cpu"))
    return model


def unseen_views(tables: Turntables, known: Tensor, count: int) -> ViewBatch:
    """Up to ``count`` views that a training does not know, always the same, as they are; of views that it
    knows where it knows all."""
    places = (~known).nonzero() if not known.all() else known.nonzero()
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    which = places[order[:count]]
    return ViewBatch(
        which[:, 0],
        tables.azimuth[which[:, 1]],
        tables.elevation[which[:, 1]],
        torch.zeros(len(which), 8),
        tables.planes[which[:, 0], which[:, 1]].float().div(255),
    )


@torch.no_grad()
def generator_figures(model: GeneratorModel, watched: ViewBatch) -> tuple[dict[str, float], Tensor]:
    """Metrics of the averaged generator on views, and what it draws (N, 4, H, W)."""
    device = model.average.table.weight.device
    names = tuple(watched.__dataclass_fields__)
    made = torch.cat(
        [
            model.drawn(model.average, ViewBatch(*part).to(device)).cpu()
            for part in zip(*(getattr(watched, name).split(64) for name in names), strict=True)
        ]
    )
    return drawn_figures(made, watched.planes), made


def mean_view_figures(tables: Turntables, known: Tensor, watched: ViewBatch) -> dict[str, float]:
    """The metrics of drawing the mean of the objects that are known in a view."""
    made = []
    for azimuth, elevation in zip(watched.azimuth.tolist(), watched.elevation.tolist(), strict=True):
        off = (tables.azimuth - azimuth).abs() + (tables.elevation - elevation).abs()
        view = int(off.argmin())
        made.append(tables.planes[known[:, view], view].float().mean(0) / 255)
    return drawn_figures(torch.stack(made), watched.planes)


def drawn_figures(made: Tensor, true: Tensor) -> dict[str, float]:
    """The means of ``view_errors``."""
    return {name: values.mean().item() for name, values in view_errors(made, true).items()}


def view_errors(made: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Of images with masks (N, 4, H, W) against the true ones, on white paper, each (N,): the mean absolute
    error over the object's pixels, SSIM, and how the masks overlap."""
    images, originals = (one[:, :3] + 1 - one[:, 3:] for one in (made, true))
    inside = true[:, 3:] > 0.5
    off = ((images - originals).abs() * inside).sum((1, 2, 3)) / (3 * inside.sum((1, 2, 3))).clamp_min(1)
    both = (made[:, 3:] > 0.5, inside)
    iou = (both[0] & both[1]).sum((1, 2, 3)) / (both[0] | both[1]).sum((1, 2, 3)).clamp_min(1)
    return {"l1_on_object": off, "ssim": ssim(images, originals), "mask_iou": iou}
