"""A random search over the regularisers of Yosinski et al. 2015.

Every setting makes images for the same units; what looks best is for the eye to choose (the report). Beside
the random settings stand the paper's four sets, and these with longer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from netinvert.evaluation.naturalness import gradient_histogram, histogram_intersection
from netinvert.experiments.configs.studies import Deepvis
from netinvert.experiments.inputs import open_network
from netinvert.inversion.codes import one_layer
from netinvert.inversion.constraints import stretched
from netinvert.inversion.history import StepInfo
from netinvert.inversion.maximise import prepare_maximising
from netinvert.inversion.objectives import Activate
from netinvert.inversion.optimize import Run
from netinvert.inversion.optimizers import ProgressRate
from netinvert.inversion.presets.yosinski15 import DEEPVIS, DeepVis, Regularisers, deepvis
from netinvert.inversion.units import channel, neuron
from netinvert.io.assets import photographs
from netinvert.io.cells import Cell, Piece
from netinvert.io.seeds import generators
from netinvert.models.encoder import Encoder

HIGHEST_RATE = 1e8
RANGES: dict[str, tuple[float, ...]] = {
    "decay": (1e-4, 0.3),
    "blur": (0.3, 2.0),
    "blur_every": (1, 2, 4, 8, 16),
    "small_norm": (5.0, 90.0),
    "small_contribution": (5.0, 95.0),
    "desired": (2.0, 200.0),
}
"""Ours; the paper names none. Each regulariser is in half of the draws. ``decay``, ``blur`` and ``desired``
(the progress that a step is to make) are drawn evenly by their logarithm, percentiles evenly."""
FIGURES = ("activation", "naturalness", "roughness", "spread", "best_step")


@dataclass(frozen=True)
class Candidate:
    """A setting to try; ``name`` is its file name."""

    name: str
    settings: DeepVis
    published: bool = False


@dataclass(frozen=True, eq=False)
class Tried:
    """What came of it, one value a channel: ``images`` (N, C, H, W) uint8, stretched around the mean.

    ``activation`` as the network gives it; ``naturalness`` the intersection of the gradients' histogram with
    that of photographs; ``roughness`` as :func:`roughness`; ``spread`` the standard deviation in 0..255.
    """

    candidate: Candidate
    images: Tensor
    activation: Tensor
    naturalness: Tensor
    roughness: Tensor
    spread: Tensor
    best_step: Tensor

    def mean(self, name: str) -> float:
        """Of a figure over the channels; 0 for what is unknown."""
        values: Tensor = getattr(self, name)
        return torch.nan_to_num(values).mean().item()


def candidates(config: Deepvis) -> list[Candidate]:
    """The published sets first, then the draws; more draws begin with the same ones."""
    found = [
        Candidate(name, settings, True)
        for published, own in DEEPVIS.items()
        for name, settings in (
            (published, own),
            (f"{published}-x{config.factor:g}", own.faster(config.factor)),
        )
        if settings is own or config.factor != 1
    ]
    if config.published_steps is not None:
        steps = config.published_steps
        found = [replace(one, settings=replace(one.settings, steps=steps)) for one in found]
    source = generators([config.seed])[0]
    for number in range(1, config.draws + 1):
        numbers = torch.rand(10, generator=source, dtype=torch.float64).tolist()
        found.append(Candidate(f"draw-{number:04d}", drawn(numbers, config.steps)))
    return found


def drawn(numbers: Sequence[float], steps: int) -> DeepVis:
    """A setting from ten numbers in [0, 1): four say which regularisers there are, others how."""
    decays, blurs, norms, contributions, decay, blur, every, norm, contribution, desired = numbers
    often = RANGES["blur_every"]
    regularisers = Regularisers(
        decay=_log_between("decay", decay) if decays < 0.5 else 0.0,
        blur=_log_between("blur", blur) if blurs < 0.5 else 0.0,
        blur_every=int(often[int(every * len(often))]) if blurs < 0.5 else 0,
        small_norm=_between("small_norm", norm) if norms < 0.5 else 0.0,
        small_contribution=_between("small_contribution", contribution) if contributions < 0.5 else 0.0,
    )
    return DeepVis(steps, ProgressRate(_log_between("desired", desired), HIGHEST_RATE), regularisers)


def _between(name: str, share: float) -> float:
    low, high = RANGES[name]
    return round(low + share * (high - low), 1)


def _log_between(name: str, share: float) -> float:
    low, high = RANGES[name]
    return float(f"{low * (high / low) ** share:.3g}")


# -- trying --------------------------------------------------------------------------------------------


def deepvis_encoder(config: Deepvis) -> Encoder:
    """The encoder at the size that was asked for."""
    size = None if config.pixels is None else (config.pixels, config.pixels)
    return Encoder(open_network(config, config.device), config.layer, size=size)


@dataclass(frozen=True, eq=False)
class DeepvisWork:
    """Makes the cell of a candidate: what `Tried` holds of it."""

    config: Deepvis

    def open(self) -> Callable[[Candidate, Piece], Cell]:
        """Loads the network."""
        encoder = deepvis_encoder(self.config)
        direction = unit_directions(encoder, self.config.channel)
        photographed = _photographs_histogram(encoder)

        def make(candidate: Candidate, piece: Piece) -> Cell:
            return Cell(_tried(encoder, candidate, direction, self.config.seed, photographed, piece))

        return make


def _tried(
    encoder: Encoder,
    candidate: Candidate,
    direction: Tensor,
    seed: int,
    photographed: Tensor | None,
    piece: Piece,
) -> Mapping[str, Tensor]:
    def callback(info: StepInfo) -> None:
        piece.tell(info.step / info.steps, f"step {info.step} of {info.steps}")

    run = Run(seed=[seed] * len(direction), callback=callback, checkpoint=piece.checkpoint)
    how = deepvis(encoder, candidate.settings, None, candidate.name)
    result = prepare_maximising(encoder, Activate(direction), how, None, len(direction)).run(run)
    if result.interrupted:
        raise KeyboardInterrupt
    image = result.image
    shown = stretched(image, encoder.centre)
    natural = torch.full((len(image),), torch.nan, dtype=torch.float64)
    if photographed is not None:
        natural = histogram_intersection(gradient_histogram(shown), photographed)
    return {
        "images": (255 * shown).round().to(torch.uint8),
        "activation": (one_layer(result.code, "deepvis") * direction).flatten(1).sum(1).double(),
        "naturalness": natural,
        "roughness": roughness(image),
        "spread": 255 * image.double().flatten(1).std(1),
        "best_step": result.best_step + 1,
    }


def roughness(images: Tensor) -> Tensor:
    """1 less the correlation of neighbouring pixels, (N,): 1 for white noise, 0 for a constant image."""
    x = images.double() - images.double().mean((2, 3), keepdim=True)
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    steps = across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))
    power = x.square().mean((1, 2, 3))
    return torch.where(power > 0, steps / (4 * power.clamp_min(1e-300)), 0.0)


def unit_directions(encoder: Encoder, channels: Sequence[int]) -> Tensor:
    """Of a vector its numbers; of maps the neurons in the middle, as in their code. (N, *code_shape)."""
    one = channel if len(encoder.code_shape) == 1 else neuron
    return torch.cat([one(encoder, index) for index in channels])


def _photographs_histogram(encoder: Encoder) -> Tensor | None:
    """The mean histogram of the package's photographs, (1, bins); None for other than colour images."""
    if encoder.preprocessing.channels != 3:
        return None
    images = photographs(encoder.size)[1].to(encoder.device)
    return gradient_histogram(images).mean(0, keepdim=True)


def tried_image(tried: Tried, channel: int) -> str:
    """Where the image of a channel is written."""
    return f"images/{tried.candidate.name}-{channel}.png"


def tried_facts(tried: Tried, channels: Sequence[int]) -> dict[str, object]:
    """Every figure of a setting, for the manifest."""
    candidate = tried.candidate
    return {
        "name": candidate.name,
        "published": candidate.published,
        "rule": type(candidate.settings.optimizer).__name__,
        **asdict(candidate.settings),
        "channels": [
            {
                "channel": index,
                "image": tried_image(tried, index),
                **{name: getattr(tried, name)[k].item() for name in FIGURES},
            }
            for k, index in enumerate(channels)
        ],
    }
