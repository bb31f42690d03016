"""An encoder-decoder that is given an image and the view that is asked for, and draws the object from there
(Tatarchenko, Dosovitskiy & Brox 2016, "Multi-view 3D models from single images with a convolutional
network"), at smaller widths and without depths: what a new view is compared with."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.io.images import fit
from netinvert.io.running import generator_at, sent
from netinvert.models.generator import TRANSFORMS, VIEW, view_numbers
from netinvert.models.upconv import FIRST_SIDE, Widths, fully_connected, initialise, up_path
from netinvert.training.config import TrainingConfig, TrainingRun
from netinvert.training.loop import Optimizers, Trainee, Watched, adamw, decaying, fit_trainee
from netinvert.training.views.train import BETAS, drawn_figures, masked_loss
from netinvert.training.views.turntables import AZIMUTHS, Turntables, transformed_planes

CHANNELS = 160
"""Of the encoder's last map, and of the decoder's first; twice the side has half as many, 32 at least."""
HIDDEN = 384
COLOURS = [place for place, name in enumerate(TRANSFORMS) if name in ("hue", "saturation", "brightness")]


class EncoderDecoder(nn.Module):
    """Images (N, 3, H, W) in [0, 1] and views (N, 4) to (N, 4, size, size) in (0, 1): colours multiplied by
    the mask, and the mask. The code of the image is joined with the view, as in the paper."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        widths = Widths(hidden=HIDDEN, first=CHANNELS, least=32, refined=True)
        ups, few = round(math.log2(size / FIRST_SIDE)), HIDDEN // 4
        channels = [3, *(max(widths.least, CHANNELS // 2**k) for k in reversed(range(ups)))]
        convolutions: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            convolutions += [nn.Conv2d(before, after, 5, 2, padding=2), nn.LeakyReLU(widths.slope)]
        self.image = nn.Sequential(*convolutions, nn.Flatten())
        self.code = fully_connected(channels[-1] * FIRST_SIDE**2, HIDDEN, slope=widths.slope)
        self.view = fully_connected(VIEW, few, few, slope=widths.slope)
        self.joint = fully_connected(HIDDEN + few, HIDDEN, CHANNELS * FIRST_SIDE**2, slope=widths.slope)
        self.ups = up_path(widths, ups, 4)
        self.to(memory_format=torch.channels_last)
        initialise(self, widths.slope)

    def forward(self, images: Tensor, view: Tensor) -> Tensor:
        """As the class says; images of other sizes are fitted."""
        small = fit(images, (self.size, self.size))
        joined = torch.cat([self.code(self.image(small - 0.5)), self.view(view)], 1)
        x = self.joint(joined).unflatten(1, (CHANNELS, FIRST_SIDE, FIRST_SIDE))
        drawn: Tensor = torch.sigmoid(self.ups(x.contiguous(memory_format=torch.channels_last)))
        return drawn


@dataclass(frozen=True, eq=False)
class TurnBatch:
    """Objects in given images (B, 3, H, W), and what is to be drawn of them, ``planes`` (B, 4, H, W), from
    ``view`` (B, 4)."""

    images: Tensor
    view: Tensor
    planes: Tensor

    def to(self, device: torch.device) -> TurnBatch:
        """The same on another device."""
        return TurnBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class TurnBatches:
    """Makes batches of two of the first 31 views of an object each, in the same changed colours, on ``paper``
    of that grey; each by (seed, step) alone."""

    tables: Turntables
    size: int
    seed: int
    paper: float

    def __call__(self, step: int) -> TurnBatch:
        """The batch of a step."""
        generator = generator_at(self.seed, step)
        who = torch.randint(len(self.tables.planes), (self.size,), generator=generator)
        view = torch.randint(AZIMUTHS, (2, self.size), generator=generator)
        amounts = torch.zeros(self.size, len(TRANSFORMS))
        amounts[:, COLOURS] = 2 * torch.rand((self.size, len(COLOURS)), generator=generator) - 1
        device = self.tables.planes.device
        who, view, amounts = (sent(one, device) for one in (who, view, amounts))
        given, asked = (
            transformed_planes(self.tables.planes[who, one].float().div(255), amounts) for one in view
        )
        angles = (one.to(device)[view[1]] for one in (self.tables.azimuth, self.tables.elevation))
        return TurnBatch(given[:, :3] + (1 - given[:, 3:]) * self.paper, view_numbers(*angles), asked)


class EncoderDecoderModel(Trainee):
    """The network in training, and the running average that is kept in the end."""

    def __init__(self, config: TrainingConfig, size: int) -> None:
        super().__init__(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = EncoderDecoder(size)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()

    def losses(self, batch: TurnBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """As those of generators."""
        del step
        return masked_loss(self.network(batch.images, batch.view), batch.planes)

    def optimizers(self) -> Optimizers:
        """AdamW."""
        groups = decaying(list(self.network.parameters()), self.config.weight_decay)
        return [adamw(groups, self.config.rate, BETAS)]

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """The average and what it follows."""
        return [(self.average, self.network)]


def train_encoder_decoder(
    config: TrainingConfig, tables: Turntables, run: TrainingRun, size: int, paper: float
) -> EncoderDecoder:
    """Train on the first 31 views of turntables, at ``size`` pixels, before ``paper`` of that grey.

    Raises TrainingError, OutputError as all trainings do.
    """
    planes = F.interpolate(tables.planes.flatten(0, 1).float(), (size, size), mode="area")
    small = planes.round().to(torch.uint8).reshape(*tables.planes.shape[:3], size, size)
    model = EncoderDecoderModel(config, size)
    batches = TurnBatches(replace(tables, planes=small), config.batch, config.seed, paper)
    shown = batches(0)

    def watch() -> Watched:
        with torch.no_grad():
            return drawn_figures(model.average(shown.images, shown.view), shown.planes), None

    fit_trainee(model, batches, watch, run)
    return model.average
