"""Yosinski et al. 2015 (arXiv 1506.06579): gradient steps with four regularisers, in four published sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.canvas import Canvas, Pixels
from netinvert.inversion.canvases import PIXEL, around_centre, normal_noise
from netinvert.inversion.objectives import Terms
from netinvert.inversion.priors import NONE, weigh_priors
from netinvert.inversion.schedule import Moments, Recipe, Rule, Stage
from netinvert.inversion.transforms import Box, Projection
from netinvert.models.encoder import Encoder

G = TypeVar("G", bound="GradientSteps")


@dataclass(frozen=True)
class GradientSteps(Rule):
    """Downhill on the energy, each sample at its own rate; nothing is kept from step to step."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigError(f"{field.name} of {type(self).__name__} is a number above 0, got {value}")

    def times(self: G, factor: float) -> G:
        """The same rule with steps so many times as long."""
        return replace(self, **{field.name: factor * getattr(self, field.name) for field in fields(self)})

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """Learning rates (N,) from the energies and the gradients' squared norms, both (N,)."""
        raise NotImplementedError

    def rates(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Each sample's rate, (N,)."""
        squares = torch.zeros_like(losses)
        for gradient in gradients:
            squares = squares + gradient.flatten(1).square().sum(1)
        return self.rule(losses, squares)

    def move(self, parameter: Tensor, gradient: Tensor, moments: Moments, step: int, rates: Tensor) -> None:
        """One step."""
        parameter.sub_(rates.view(-1, *[1] * (gradient.ndim - 1)) * gradient)


@dataclass(frozen=True)
class ConstantRate(GradientSteps):
    """``constant``: x ← x + lr ∂a/∂x."""

    rate: float

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """The rate, (N,)."""
        return torch.full_like(losses, self.rate)


@dataclass(frozen=True)
class ProgressRate(GradientSteps):
    """``progress``: lr = min(``most``, ``desired`` / ‖g‖²): a linear activation gains ``desired``."""

    desired: float
    most: float

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """The highest rate where there is no gradient."""
        return (self.desired / squares).clamp_max(self.most)


@dataclass(frozen=True)
class Progress01Rate(GradientSteps):
    """``progress01``, for activations a in [0, 1] (a softmax): slower as a comes near 1.

    lr = min(``most``, min(``early``, ``late`` (1 - a)) / ‖g‖²).
    """

    early: float
    late: float
    most: float

    def rule(self, losses: Tensor, squares: Tensor) -> Tensor:
        """Zero where there is no gradient."""
        desired = (self.late * (1 + losses)).clamp_max(self.early)  # the energy is -a
        return torch.where(squares > 0, desired / squares, 0.0).clamp_max(self.most)


NARROWEST = 0.3
"""Blurs narrower than this "work very poorly", warns their code: they do next to nothing."""
TRUNCATE = 4.0
"""Where a Gaussian ends, in standard deviations (scipy.ndimage.gaussian_filter)."""


@dataclass(frozen=True)
class Decay:
    """L2 decay: every pixel comes nearer to the mean colour, x (1 - ``share``)."""

    centre: tuple[float, ...]
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"a decay is a share from 0 to less than 1, got {self.share}")

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image, paler."""
        centre = _colour(self.centre, image)
        return centre + (image - centre) * (1 - self.share)


@dataclass(frozen=True)
class Blur:
    """A Gaussian of standard deviation ``std`` pixels, each channel by itself, in every ``every``-th step.

    The first step is one of them, as in their code. Beyond its border the image is mirrored.
    """

    std: float
    every: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.std) and self.std >= NARROWEST):
            raise ConfigError(
                f"blurs narrower than {NARROWEST} pixels do next to nothing: choose a standard deviation of "
                f"{NARROWEST} or more, or leave the blur out; got {self.std}"
            )
        if self.every < 1:
            raise ConfigError(f"blur in every so many steps, 1 or more, got {self.every}")

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image, blurred if it is time."""
        if (step - 1) % self.every:
            return image
        return _blurred(_blurred(image, self.std, -2), self.std, -1)


@dataclass(frozen=True)
class ClipSmallNorm:
    """Pixels whose colour is among the nearest to the mean, below this percentile, become the mean colour."""

    centre: tuple[float, ...]
    percentile: float

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image with few pixels left."""
        centre = _colour(self.centre, image)
        norms = torch.linalg.vector_norm(image - centre, dim=1, keepdim=True)
        return torch.where(norms < percentile(norms, self.percentile), centre, image)


@dataclass(frozen=True)
class ClipSmallContribution:
    """Pixels that matter least to the activation a, below this percentile, become the mean colour.

    What is lost without a pixel, to first order, is |Σ_c -x ∂a/∂x|, with the gradient before the step.
    ``signed`` leaves out the absolute value, as an option of their code does: pixels that help go first.
    """

    centre: tuple[float, ...]
    percentile: float
    signed: bool = False

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)

    def __call__(self, image: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image with few pixels left."""
        centre = _colour(self.centre, image)
        # The energy is -a, so this is -x ∂a/∂x: what a would gain without the pixel.
        benefit = ((image - centre) * gradient).sum(1, keepdim=True)
        if not self.signed:
            benefit = benefit.abs()
        return torch.where(benefit < percentile(benefit, self.percentile), centre, image)


def percentile(values: Tensor, percent: float) -> Tensor:
    """The percentile of each sample's values (N, ...) -> (N, 1, ...), linear between them as numpy's."""
    flat = values.flatten(1)
    place = percent / 100 * (flat.shape[1] - 1)
    low = math.floor(place)
    below = flat.kthvalue(low + 1, dim=1).values
    above = flat.kthvalue(min(low + 2, flat.shape[1]), dim=1).values
    found = below + (above - below) * (place - low)
    return found.view(-1, *[1] * (values.ndim - 1))


def stretched(image: Tensor, centre: tuple[float, ...]) -> Tensor:
    """Images (N, C, H, W) as their code saves them: the mean colour grey, the largest difference 0 or 1.

    Without it, images in which a small difference from the mean does all show nothing (``norm01c``).
    """
    offset = image - _colour(centre, image)
    largest = offset.abs().amax((1, 2, 3), keepdim=True)
    return 0.5 + offset / (2 * largest.clamp_min(torch.finfo(image.dtype).tiny))


def _blurred(image: Tensor, std: float, dimension: int) -> Tensor:
    """Along one dimension, the image mirrored at its border (the border pixel twice)."""
    radius = int(TRUNCATE * std + 0.5)
    length = image.shape[dimension]
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / std).square())
    weights = weights / weights.sum()
    index = torch.arange(-radius, length + radius, device=image.device) % (2 * length)
    mirrored = image.index_select(dimension, torch.where(index < length, index, 2 * length - 1 - index))
    parts = (mirrored.narrow(dimension, k, length) * weight for k, weight in enumerate(weights.tolist()))
    blurred = torch.zeros_like(image)
    for part in parts:
        blurred += part
    return blurred


def _colour(centre: tuple[float, ...], image: Tensor) -> Tensor:
    return torch.tensor(centre, dtype=image.dtype, device=image.device).view(-1, 1, 1)


def _check_percentile(percent: float) -> None:
    if not 0 <= percent <= 100:
        raise ConfigError(f"a percentile is a number from 0 to 100, got {percent}")


DEEPVIS_NOISE = 10.0
"""Standard deviation of the start around the mean, in 0..255 (``start_at = 'mean_plus_rand'``)."""


@dataclass(frozen=True)
class Regularisers:
    """θ of the paper's table 1; 0 leaves one out.

    ``decay`` a share, ``blur`` a standard deviation in pixels, applied in every ``blur_every``-th step,
    ``small_norm`` and ``small_contribution`` percentiles.
    """

    decay: float = 0.0
    blur: float = 0.0
    blur_every: int = 0
    small_norm: float = 0.0
    small_contribution: float = 0.0

    def projections(self, centre: tuple[float, ...]) -> tuple[Projection, ...]:
        """In the order of their code, and last what it begins the next step with: the range of pixels.

        They skip all this in the last step, and so do we: the best image is one whose activation is known,
        and behind the last step none is measured. Raises ConfigError.
        """
        found: list[Projection] = []
        if self.decay:
            found.append(Decay(centre, self.decay))
        if self.blur and self.blur_every:
            found.append(Blur(self.blur, self.blur_every))
        if self.small_norm:
            found.append(ClipSmallNorm(centre, self.small_norm))
        if self.small_contribution:
            found.append(ClipSmallContribution(centre, self.small_contribution))
        return (*found, Box())


@dataclass(frozen=True)
class DeepVis:
    """A set of the paper's hyperparameters."""

    steps: int
    optimizer: GradientSteps
    regularisers: Regularisers

    def faster(self, factor: float) -> DeepVis:
        """The same with ``factor`` times the learning rate: theirs are made for CaffeNet's gradients."""
        return replace(self, optimizer=self.optimizer.times(factor))


DEEPVIS = {
    "deepvis-1": DeepVis(500, ProgressRate(2.0, 100.0), Regularisers(0.0, 0.5, 4, 50.0, 0.0)),
    "deepvis-2": DeepVis(750, ConstantRate(100.0), Regularisers(0.3, 0.0, 0, 20.0, 0.0)),
    "deepvis-3": DeepVis(1000, ConstantRate(100.0), Regularisers(0.0001, 1.0, 4, 0.0, 0.0)),
    "deepvis-4": DeepVis(1000, ProgressRate(2.0, 1e8), Regularisers(0.0, 0.5, 4, 0.0, 90.0)),
}
"""Table 1 of the paper, as doc/running-optimize-image.md of their code has it. For CaffeNet."""


def deepvis(encoder: Encoder, settings: DeepVis, prior: Terms | None = None, name: str = "deepvis") -> Recipe:
    """The recipe of such a set: pixels in 0..255 around the mean, the raw activation, no priors but θ."""
    priors, text = weigh_priors(NONE if prior is None else prior, encoder)
    projections = settings.regularisers.projections(encoder.centre)
    stages = (Stage(settings.steps, settings.optimizer, projections=projections),)
    return Recipe(name, _canvas, 1.0, priors, stages, text, unnormalised=True)


def _canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """Normal noise around the mean, within the range of pixels."""
    if start is None:
        start = around_centre(encoder, DEEPVIS_NOISE * normal_noise(encoder, seeds))
    return Pixels(start.clamp(0, 1), encoder.centre, PIXEL, encoder.size)


def deepvis_preset(name: str) -> Callable[[Encoder, Terms | None], Recipe]:
    """One of DEEPVIS as a preset."""

    def preset(encoder: Encoder, prior: Terms | None = None) -> Recipe:
        return deepvis(encoder, DEEPVIS[name], prior, name)

    return preset
