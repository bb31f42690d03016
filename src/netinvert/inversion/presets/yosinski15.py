"""Yosinski et al. 2015 (arXiv 1506.06579): gradient steps with four regularisers, in four published sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from netinvert.inversion.canvas import Canvas, Pixels
from netinvert.inversion.canvases import PIXEL, around_centre, normal_noise
from netinvert.inversion.constraints import Blur, Box, ClipSmallContribution, ClipSmallNorm, Decay, Projection
from netinvert.inversion.objectives import Terms
from netinvert.inversion.optimizers import ConstantRate, GradientSteps, ProgressRate
from netinvert.inversion.prior_spec import NONE, weigh_priors
from netinvert.inversion.schedule import Recipe, Stage
from netinvert.models.encoder import Encoder

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
    return Recipe(
        name=name,
        canvas=_canvas,
        data_weight=1.0,
        priors=priors,
        stages=(Stage(settings.steps, settings.optimizer, projections=projections),),
        prior=text,
        unnormalised=True,
    )


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
