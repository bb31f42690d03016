"""Recipes for inversion: our default and the set-ups of the papers, to their constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinvert.canvas import Canvas, Fourier, Pixels
from netinvert.encoder import Encoder
from netinvert.energy import Term
from netinvert.errors import ConfigError
from netinvert.lbfgs import LBFGS
from netinvert.optimizers import Adam, DecayingAdaGrad, Momentum
from netinvert.priors import AlphaNorm, TotalVariation
from netinvert.projections import Ball
from netinvert.seeds import draw
from netinvert.stages import Stage

PIXEL = 1 / 255
"""The papers measure images in 0..255 around the mean; our pixel canvas keeps that as its unit."""


@dataclass(frozen=True)
class Recipe:
    """How a code is inverted. ``canvas`` makes N start canvases from N seeds, or shows a start image.

    ``data_weight`` multiplies the normalised squared code error; ``priors`` are (weight, prior).
    """

    name: str
    canvas: Callable[[Sequence[int], Tensor | None], Canvas]
    data_weight: float
    priors: tuple[tuple[float, Term], ...]
    stages: tuple[Stage, ...]

    @property
    def steps(self) -> int:
        """Evaluations of network and gradient at most."""
        return sum(stage.steps for stage in self.stages)

    def with_steps(self, steps: int) -> Recipe:
        """The same recipe with so many steps, shared among the stages as before."""
        if steps < len(self.stages):
            raise ConfigError(
                f"the recipe '{self.name}' has {len(self.stages)} stages and needs as many steps"
            )
        stages: list[Stage] = []
        before = done = 0  # so far, in this recipe and in the new one
        for stage in self.stages:
            before += stage.steps
            left = len(self.stages) - len(stages) - 1  # stages, a step each at least
            end = min(max(done + 1, round(before * steps / self.steps)), steps - left)
            stages.append(replace(stage, steps=end - done))
            done = end
        return replace(self, stages=tuple(stages))


PRIORS: dict[str, TotalVariation | None] = {
    "none": None,
    "tv-isotropic": TotalVariation(beta=1, isotropic=True),
    "tv-anisotropic": TotalVariation(beta=1, isotropic=False),
    "tv-quadratic": TotalVariation(beta=2),
}


@dataclass(frozen=True)
class PriorChoice:
    """A total variation by name, and its weight; None takes the recipe's own."""

    name: str
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.name not in PRIORS:
            raise ConfigError(f"there is no prior '{self.name}'; choose from {', '.join(PRIORS)}")
        if self.weight is not None and not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"the weight of a prior is a number of at least 0, got {self.weight}")

    @classmethod
    def parse(cls, text: str) -> PriorChoice:
        """From ``name`` or ``name=weight``."""
        name, equals, weight = text.partition("=")
        try:
            return cls(name, float(weight) if equals else None)
        except ValueError:
            raise ConfigError(
                f"'{text}' is not a prior; write name or name=weight, the weight a number"
            ) from None


# -- the default ---------------------------------------------------------------------------------------

DEFAULT_STEPS = 300
DEFAULT_TV = 0.3
DEFAULT_RANGE = 1e-4
"""Weight of the α-norm, in units of B: next to nothing within the range of natural images. Without it, the
brightness of images whose code says nothing of it drifts to black or white."""
WARM_UP = 10
"""Steps of Adam before L-BFGS. In nearly grey noise the gradient changes too fast for curvature to help; a
few small steps of fixed size leave it."""


COARSE = 32
"""The stride in pixels from which a code says too little of where things are for L-BFGS to look well."""


def default(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """L-BFGS on a Fourier canvas with isotropic total variation; what looked and measured best here.

    Plain vectors and maps as coarse as COARSE get the recipe ``fourier-adam``: there, L-BFGS matches the code
    by faint and murky pictures, or stays behind; large steps and jitter bring out the parts.
    """
    if len(encoder.code_shape) == 1 or encoder.stride >= COARSE:
        return replace(fourier_adam(encoder, prior), name="default")
    return Recipe(
        name="default",
        canvas=lambda seeds, start: _fourier(encoder, seeds, start),
        data_weight=1.0,
        priors=_default_priors(encoder, prior),
        stages=(Stage(WARM_UP, Adam(0.02)), Stage(DEFAULT_STEPS - WARM_UP, LBFGS())),
    )


def fourier_adam(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """Adam on a Fourier canvas with jitter: for late layers, and codes that are plain vectors."""
    return Recipe(
        name="fourier-adam",
        canvas=lambda seeds, start: _fourier(encoder, seeds, start),
        data_weight=1.0,
        priors=_default_priors(encoder, prior),
        stages=(Stage(200, Adam(0.05), jitter=_jitter(encoder)), Stage(100, Adam(0.02))),
    )


def _default_priors(encoder: Encoder, prior: PriorChoice | None) -> tuple[tuple[float, Term], ...]:
    choice = prior or PriorChoice("tv-isotropic")
    priors = _total_variation(choice, lambda tv: DEFAULT_TV)
    if choice.name == "none":
        return priors
    alpha = AlphaNorm(encoder.centre, IJCV16_ALPHA)
    return (*priors, (DEFAULT_RANGE * (255 / IJCV16_SIGMA) ** IJCV16_ALPHA, alpha))


def _fourier(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    if start is not None:
        return Fourier(start)
    shape = (encoder.preprocessing.channels, *encoder.size)
    return Fourier.noise(shape, seeds, torch.empty(0, dtype=encoder.dtype, device=encoder.device))


# -- Mahendran & Vedaldi, CVPR 2015 ----------------------------------------------------------------------

CVPR15_SIGMA = 27098.1157
"""Mean norm of a mean-subtracted image of 227 x 227 x 3 in 0..255 (their x0_sigma)."""
CVPR15_LAMBDA_ALPHA = 8e-10
CVPR15_LAMBDA_TV = (1.0, 10.0, 100.0)
"""Their code's λ's for the layers up to norm1, up to conv4's input, and above; the paper prints halves."""
CVPR15_DEPTHS = (6 / 20, 12 / 20)
CVPR15_RATE = 0.004
CVPR15_SCHEDULE = ((100, 1.0), (200, 0.1), (100, 0.01))


def cvpr15_paper_lambdas(lambda_tv: float, lambda_alpha: float) -> tuple[float, float]:
    """The paper's (λ_TV, λ_α), for images in units of σ, from those of the released code (β = 2, α = 6)."""
    return lambda_tv / 2, lambda_alpha / 2 * CVPR15_SIGMA**4


def cvpr15(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """Mahendran & Vedaldi 2015: pixels, momentum with two drops of the rate, TV², α-norm of 6, no bound."""
    height, width = encoder.size
    pixels = height * width
    sigma2 = CVPR15_SIGMA**2 * (pixels * encoder.preprocessing.channels) / (227 * 227 * 3)
    lambda_tv = CVPR15_LAMBDA_TV[sum(encoder.depth > depth for depth in CVPR15_DEPTHS)]
    alpha = AlphaNorm(encoder.centre, alpha=6, colour=False)
    # Their energy sums over pixels and divides by 2 and by σ²; our priors are means over pixels in [0, 1].
    scale = pixels / (2 * sigma2)

    def canvas(seeds: Sequence[int], start: Tensor | None) -> Canvas:
        if start is None:
            shape = (encoder.preprocessing.channels, height, width)
            noise = draw(seeds, lambda source: torch.randn(shape, generator=source, dtype=torch.float32))
            # They divide by the norm of the whole batch, so that repeats start fainter; here each is at σ.
            norms = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            start = _around_centre(encoder, noise / norms * math.sqrt(sigma2))
        return Pixels(start, encoder.centre, PIXEL, encoder.size)

    choice = prior or PriorChoice("tv-quadratic")
    priors = _total_variation(choice, lambda tv: scale * lambda_tv * 255**tv.beta)
    if choice.name != "none":
        priors = (*priors, (scale * CVPR15_LAMBDA_ALPHA * 255**alpha.alpha, alpha))
    return Recipe(
        name="cvpr15",
        canvas=canvas,
        data_weight=1.0,
        priors=priors,
        # The momentum restarts at every drop of the rate, as a new stage does.
        stages=tuple(Stage(steps, Momentum(CVPR15_RATE * drop * sigma2)) for steps, drop in CVPR15_SCHEDULE),
    )


# -- Mahendran & Vedaldi, IJCV 2016 ----------------------------------------------------------------------

IJCV16_SIGMA = 80.0
"""B: the typical norm of a pixel's colour, mean-subtracted, in 0..255."""
IJCV16_BOUND = 2 * IJCV16_SIGMA
IJCV16_ALPHA = 6.0
IJCV16_RATE = 0.05 * IJCV16_SIGMA**2 / IJCV16_ALPHA
IJCV16_C = 100.0
"""From 1 (most natural) over 20 and 100 to 300 (most accurate)."""


def ijcv16_lambdas(alpha: float = IJCV16_ALPHA, beta: float = 2.0) -> tuple[float, float]:
    """(λ_α, λ_β) for images in 0..255: (1/B)^α and (6.5/B)^β."""
    return (1 / IJCV16_SIGMA) ** alpha, (6.5 / IJCV16_SIGMA) ** beta


def ijcv16(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """Mahendran & Vedaldi 2016: pixels in a ball, jitter of a quarter stride, their AdaGrad, two stages."""
    channels, (height, width) = encoder.preprocessing.channels, encoder.size
    jitter = _jitter(encoder)
    alpha = AlphaNorm(encoder.centre, IJCV16_ALPHA)
    ball = (Ball(encoder.centre, IJCV16_BOUND * PIXEL),)

    def canvas(seeds: Sequence[int], start: Tensor | None) -> Canvas:
        if start is None:
            shape = (channels, height + jitter - 1, width + jitter - 1)
            noise = draw(
                seeds, lambda source: 2 * torch.rand(shape, generator=source, dtype=torch.float32) - 1
            )
            peak = torch.stack([_quantile(sample, 0.95) for sample in noise]).view(-1, 1, 1, 1)
            start = _around_centre(encoder, noise / peak * IJCV16_SIGMA / math.sqrt(3))
        return Pixels(start, encoder.centre, PIXEL, encoder.size)

    choice = prior or PriorChoice("tv-quadratic")
    priors = _total_variation(choice, lambda tv: ijcv16_lambdas(beta=tv.beta)[1] * 255**tv.beta)
    if choice.name != "none":
        priors = (*priors, (ijcv16_lambdas()[0] * 255**IJCV16_ALPHA, alpha))
    fast, slow = (DecayingAdaGrad(IJCV16_RATE * factor, height * width) for factor in (1.0, 0.1))
    return Recipe(
        name="ijcv16",
        canvas=canvas,
        data_weight=IJCV16_C,
        priors=priors,
        stages=(Stage(300, fast, jitter, ball), Stage(50, slow, 1, ball)),
    )


# -- shared ------------------------------------------------------------------------------------------------

Preset = Callable[[Encoder, PriorChoice | None], Recipe]
PRESETS: dict[str, Preset] = {
    "default": default,
    "fourier-adam": fourier_adam,
    "cvpr15": cvpr15,
    "ijcv16": ijcv16,
}


def recipe(preset: str, encoder: Encoder, prior: str | None = None) -> Recipe:
    """A preset's recipe for this encoder; ``prior`` (``name`` or ``name=weight``) replaces its own."""
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset '{preset}'; choose from {', '.join(PRESETS)}")
    return PRESETS[preset](encoder, None if prior is None else PriorChoice.parse(prior))


CANVASES = ("fourier", "pixels")
START_NOISE = 0.05


def with_canvas(how: Recipe, encoder: Encoder, canvas: str) -> Recipe:
    """The recipe on another canvas: ``fourier``, or ``pixels`` without a bound, both in units of [0, 1].

    Only for optimisers whose steps do not depend on the canvas's unit (L-BFGS, Adam). Raises ConfigError.
    """
    if canvas not in CANVASES:
        raise ConfigError(f"there is no canvas '{canvas}'; choose from {', '.join(CANVASES)}")
    if any(isinstance(stage.optimizer, Momentum | DecayingAdaGrad) for stage in how.stages):
        if canvas == "pixels":
            return how
        raise ConfigError(
            f"the steps of '{how.name}' are made for pixels in 0..255; use another preset with this canvas"
        )
    if canvas == "fourier":
        return replace(how, canvas=lambda seeds, start: _fourier(encoder, seeds, start))
    return replace(how, canvas=lambda seeds, start: _pixels(encoder, seeds, start))


def _pixels(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    if start is None:
        shape = (encoder.preprocessing.channels, *encoder.size)
        noise = draw(seeds, lambda source: torch.randn(shape, generator=source, dtype=torch.float32))
        start = _around_centre(encoder, START_NOISE / PIXEL * noise)
    return Pixels(start, encoder.centre, size=encoder.size)


def _total_variation(
    choice: PriorChoice, weight_of: Callable[[TotalVariation], float]
) -> tuple[tuple[float, Term], ...]:
    tv = PRIORS[choice.name]
    if tv is None:
        return ()
    return ((weight_of(tv) if choice.weight is None else choice.weight, tv),)


def _jitter(encoder: Encoder) -> int:
    return max(round(encoder.stride / 4), 1)


def _around_centre(encoder: Encoder, noise: Tensor) -> Tensor:
    centre = torch.tensor(encoder.centre, dtype=encoder.dtype, device=encoder.device).view(-1, 1, 1)
    return centre + PIXEL * noise.to(encoder.device, encoder.dtype)


def _quantile(sample: Tensor, share: float) -> Tensor:
    """torch.quantile refuses more than 16 million numbers; sorting does not."""
    ordered = sample.flatten().sort().values
    return ordered[min(round(share * (ordered.numel() - 1)), ordered.numel() - 1)]
