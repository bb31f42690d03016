"""A random search over the regularisers of Yosinski et al. 2015.

Every setting makes images for the same units; what looks best is for the eye to choose (the report). Beside
the random settings stand the paper's four sets, and these with longer steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from netinvert.errors import MissingExtraError
from netinvert.evaluation import report
from netinvert.evaluation.metrics import gradient_histogram, histogram_intersection
from netinvert.evaluation.report import by, code, counted, listed, number
from netinvert.experiments.configs.looks import Deepvis
from netinvert.experiments.inputs import open_network
from netinvert.experiments.invert import run_told
from netinvert.experiments.runs import PAGE, network_facts, publish, run_facts, workers_of
from netinvert.inversion.invert import prepare_maximising
from netinvert.inversion.objectives import Activate, one_layer
from netinvert.inversion.presets.yosinski15 import (
    DEEPVIS,
    ConstantRate,
    DeepVis,
    ProgressRate,
    Regularisers,
    deepvis,
    stretched,
)
from netinvert.inversion.units import channel, neuron
from netinvert.io.assets import photographs
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.running import generators
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobile import class_names

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
SHOWN = 128
"""The longer side of an image on the page."""
TOP = 8
REGULARISERS = {
    "decay": ("decay", "decay {0.decay:g}"),
    "blur": ("blur", "blur {0.blur:g} every {0.blur_every}"),
    "small norm": ("small_norm", "small norm {0.small_norm:g} %"),
    "small contribution": ("small_contribution", "contribution {0.small_contribution:g} %"),
}
"""By the names of filters: the field, and how a setting says it."""
ABOUT_FIGURES = (
    "Activation: as the network gives it, the mean over the images. Naturalness: the intersection of the "
    "histogram of gradient directions with that of photographs (1: the same; white noise, which has all "
    "directions, comes near). Roughness: 1 less the correlation of neighbouring pixels (white noise: 1). "
    "Spread: the standard deviation around the mean, in 0..255, before the stretching. None of them replaces "
    "looking."
)


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
    for place in range(1, config.draws + 1):
        numbers = torch.rand(10, generator=source, dtype=torch.float64).tolist()
        found.append(Candidate(f"draw-{place:04d}", drawn(numbers, config.steps)))
    return found


def drawn(numbers: Sequence[float], steps: int) -> DeepVis:
    """A setting from ten numbers in [0, 1): four say which regularisers there are, others how."""
    decays, blurs, norms, contributions, decay, blur, every, norm, contribution, desired = numbers

    def between(name: str, share: float) -> float:
        low, high = RANGES[name]
        if name.startswith("small"):
            return round(low + share * (high - low), 1)
        return float(f"{low * (high / low) ** share:.3g}")

    often = RANGES["blur_every"]
    regularisers = Regularisers(
        decay=between("decay", decay) if decays < 0.5 else 0.0,
        blur=between("blur", blur) if blurs < 0.5 else 0.0,
        blur_every=int(often[int(every * len(often))]) if blurs < 0.5 else 0,
        small_norm=between("small_norm", norm) if norms < 0.5 else 0.0,
        small_contribution=between("small_contribution", contribution) if contributions < 0.5 else 0.0,
    )
    return DeepVis(steps, ProgressRate(between("desired", desired), HIGHEST_RATE), regularisers)


# -- trying --------------------------------------------------------------------------------------------


def deepvis_encoder(config: Deepvis, tell: Tell | None = None) -> Encoder:
    """The encoder at the size that was asked for."""
    size = None if config.pixels is None else (config.pixels, config.pixels)
    return Encoder(open_network(config, config.device, tell), config.layer, size=size)


@dataclass(frozen=True, eq=False)
class DeepvisWork:
    """Makes the cell of a candidate: what `Tried` holds of it."""

    config: Deepvis

    def open(self) -> Callable[[Candidate, Piece], Cell]:
        """Loads the network."""
        encoder = deepvis_encoder(self.config)
        direction = unit_directions(encoder, self.config.channel)
        photographed = None  # the mean histogram (1, bins) of the package's photographs, of colour images
        if encoder.preprocessing.channels == 3:
            images = photographs(encoder.size)[1].to(encoder.device)
            photographed = gradient_histogram(images).mean(0, keepdim=True)

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
    how = deepvis(encoder, candidate.settings, None, candidate.name)
    ready = prepare_maximising(encoder, Activate(direction), how, None, len(direction))
    result = run_told(ready, [seed] * len(direction), piece.tell, piece.checkpoint)
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


def _facts(tried: Tried, channels: Sequence[int]) -> dict[str, object]:
    candidate = tried.candidate
    return {
        "name": candidate.name,
        "published": candidate.published,
        "rule": type(candidate.settings.optimizer).__name__,
        **asdict(candidate.settings),
        "channels": [
            {
                "channel": index,
                "image": f"images/{candidate.name}-{index}.png",
                **{name: getattr(tried, name)[k].item() for name in FIGURES},
            }
            for k, index in enumerate(channels)
        ],
    }


# -- the page ------------------------------------------------------------------------------------------


def deepvis_page(config: Deepvis, encoder: Encoder, found: Sequence[Tried]) -> report.Report:
    """The published sets, the best by each measure, all draws."""
    published = [tried for tried in found if tried.candidate.published]
    draws = [tried for tried in found if not tried.candidate.published]
    names = [_label(encoder, index) for index in config.channel]
    order = " (in this order, from left to right)" * (len(names) > 1)
    lead = (
        f"Images of {code(encoder.network.name)}, layer {code(encoder.layer)}, that raise {listed(names)}"
        f"{order}, {by(encoder.size)} pixels: {counted(len(draws), 'random setting')} of the four "
        f"regularisers of Yosinski et al. 2015, {counted(config.steps, 'step')} each, and the paper's own "
        "four sets. All images are stretched around the mean, as the authors' code saves them; single ones, "
        "at their full size, are in `images/`, all figures in `manifest.json`."
    )
    activated, natural = (sorted(draws, key=lambda tried: -tried.mean(name)) for name in FIGURES[:2])
    smooth = sorted(draws, key=lambda tried: tried.mean("roughness"))
    both = sorted(draws, key=lambda tried: activated.index(tried) + smooth.index(tried))
    low = {name: f"{values[0]:g} to {values[-1]:g}" for name, values in RANGES.items()}
    ranges = (
        f"Each regulariser is in half of the draws: decay {low['decay']} and blur {low['blur']} pixels, even "
        f"in their logarithm, the blur every {', '.join(f'{value:g}' for value in RANGES['blur_every'])} "
        f"steps; small norm {low['small_norm']} and small contribution {low['small_contribution']} per cent. "
        f"Steps are as long as to make progress {low['desired']} (even in its logarithm) if the activation "
        "were linear."
    )
    of_draws: list[report.Part] = []
    if draws:
        of_draws += ["## Highest activation", _grid(activated[:TOP])]
        of_draws += ["## Most natural by the directions of gradients", _grid(natural[:TOP])]
        smallest = report.Prose("The smallest sum of the two ranks.", quiet=True)
        of_draws += ["## Smooth, and a high activation", smallest, _grid(both[:TOP])]
        of_draws += ["## All draws", _grid(draws, sortable=True), report.Prose(ranges, quiet=True)]
    figures = report.Prose(ABOUT_FIGURES, quiet=True)
    title = f"{counted(len(draws), 'draw')} of four regularisers"
    return report.Report.of(title, lead, figures, "## The published sets", _grid(published), of_draws)


def _label(encoder: Encoder, index: int) -> str:
    """What the channel is, with its name where it is an ImageNet class."""
    if encoder.network.name == "efficientnet-lite0" and encoder.code_shape == (1000,):
        with contextlib.suppress(MissingExtraError):
            return f"{class_names()[index]} ({index})"
    return f"channel {index}"


def _grid(found: Sequence[Tried], sortable: bool = False) -> report.ImageGrid:
    """A tile a setting: the images of all channels side by side, the setting, and its figures."""
    tiles = []
    for tried in found:
        settings = tried.candidate.settings
        theta, how = settings.regularisers, settings.optimizer
        rate = f"progress {how.desired:g}" if isinstance(how, ProgressRate) else repr(how)
        rate = f"rate {how.rate:g}" if isinstance(how, ConstantRate) else rate
        values = {name: tried.mean(name) for name in ("activation", "naturalness", "roughness", "spread")}
        own = {name: getattr(theta, field) for name, (field, _) in REGULARISERS.items()}
        parts = [text.format(theta) for name, (_, text) in REGULARISERS.items() if own[name]]
        lines = (
            f"{rate}, {settings.steps} steps",
            ", ".join(parts) or "no regulariser",
            f"activation {number(values['activation'], 1)}, natural {number(values['naturalness'], 2)}",
            f"rough {number(values['roughness'], 2)}, spread {number(values['spread'], 1)}",
        )
        tiles.append(report.Tile(tried.images / 255, lines, tried.candidate.name, values={**values, **own}))
    width = len(found[0].images) * SHOWN
    return report.ImageGrid(
        report.ImageGrid.flow(tiles).rows,
        size=min(width, 3 * SHOWN),
        quality=85,
        longest=2 * width,
        sort=("activation", "naturalness", "-roughness", "spread") if sortable else (),
        filters=tuple(REGULARISERS) if sortable else (),
    )


def run_deepvis(config: Deepvis, tell: Tell) -> Outcome:
    """Try everything, and leave the page. Raises NetinvertError before any long work."""
    encoder = deepvis_encoder(config, tell)
    unit_directions(encoder, config.channel)  # refuses channels that are not there
    wanted = candidates(config)
    with RunDir(config.out, run_facts(config, network_facts(encoder)), config.overwrite) as folder:
        cells = run_cells(folder, DeepvisWork(config), wanted, workers_of(config), progress="settings")
        found = [Tried(one, **cell.tensors) for one, cell in zip(wanted, cells, strict=True)]
        for tried in found:
            for index, image in zip(config.channel, tried.images, strict=True):
                write_png(image / 255, folder.path(f"images/{tried.candidate.name}-{index}.png"))
        entries = {
            **network_facts(encoder),
            "code_shape": encoder.code_shape,
            "image_size": encoder.size,
            "ranges": RANGES,
            "results": [_facts(tried, config.channel) for tried in found],
        }
        draws = len(wanted) - sum(one.published for one in wanted)
        text = f"{draws} draws and {len(wanted) - draws} published settings"
        return publish(folder, config, deepvis_page(config, encoder, found), entries, text, PAGE)
