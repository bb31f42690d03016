"""Mahendran & Vedaldi, Understanding deep image representations by inverting them (CVPR 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from netinvert.inversion.canvas import Canvas
from netinvert.inversion.canvases import normal_noise, paper_canvas
from netinvert.inversion.objectives import AnyEncoder, Terms
from netinvert.inversion.priors import AlphaNorm, weigh_priors
from netinvert.inversion.schedule import MakeCanvas, Momentum, Recipe, Stage

CVPR15_SIGMA = 27098.1157
"""Mean norm of a mean-subtracted image of 227 x 227 x 3 in 0..255 (their x0_sigma)."""
CVPR15_LAMBDA_ALPHA = 8e-10
CVPR15_LAMBDA_TV = (1.0, 10.0, 100.0)
"""Their code's λ's for the layers up to relu2, up to relu4, and above; the paper prints halves."""
CVPR15_DEPTHS = (6 / 20, 12 / 20)
CVPR15_RATE = 0.004
CVPR15_SCHEDULE = ((100, 1.0), (200, 0.1), (100, 0.01))


def cvpr15_paper_lambdas(lambda_tv: float, lambda_alpha: float) -> tuple[float, float]:
    """The paper's (λ_TV, λ_α), for images in units of σ, from those of the released code (β = 2, α = 6)."""
    return lambda_tv / 2, lambda_alpha / 2 * CVPR15_SIGMA**4


def sigma_squared(encoder: AnyEncoder) -> float:
    """σ² of images of the encoder's size."""
    numbers = encoder.size[0] * encoder.size[1] * encoder.preprocessing.channels
    return CVPR15_SIGMA**2 * numbers / (227 * 227 * 3)


def _canvas(sigma2: float) -> MakeCanvas:
    """Normal noise of norm σ."""

    def canvas(encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
        def noise() -> Tensor:
            drawn = normal_noise(encoder, seeds)
            # They divide by the norm of the whole batch, so that repeats start fainter; here each is at σ.
            norms = drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            scaled: Tensor = drawn / norms * math.sqrt(sigma2)
            return scaled

        return paper_canvas(encoder, start, noise)

    return canvas


def cvpr15(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Mahendran & Vedaldi 2015: pixels, momentum with two drops of the rate, TV², α-norm of 6, no bound.

    Their σ is of images of 227 x 227 x 3; here it goes with the size. The best image is returned; theirs is
    the last.
    """
    lambda_tv = CVPR15_LAMBDA_TV[sum(encoder.depth > depth for depth in CVPR15_DEPTHS)]
    return _recipe("cvpr15", encoder, prior, (lambda_tv, sigma_squared(encoder)), CVPR15_SCHEDULE)


CVPR15_SHALLOW_LAMBDA_TV = 1.0
CVPR15_SHALLOW_SCHEDULE = ((200, 1.0), (200, 0.1), (200, 0.01), (200, 0.001))


def cvpr15_shallow(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Mahendran & Vedaldi 2015 as for CNNs, but the weakest TV² whatever the depth, and 800 steps.

    ``experiment_shallow_quantitative`` of their released code, where σ is the same whatever the size. Below
    some 180 x 180 pixels of grey the noise is then so loud that the α-norm's steps diverge.
    """
    weight_and_scale = (CVPR15_SHALLOW_LAMBDA_TV, CVPR15_SIGMA**2)
    return _recipe("cvpr15-shallow", encoder, prior, weight_and_scale, CVPR15_SHALLOW_SCHEDULE)


def _recipe(
    name: str,
    encoder: AnyEncoder,
    prior: Terms | None,
    weight_and_scale: tuple[float, float],
    schedule: Sequence[tuple[int, float]],
) -> Recipe:
    """With (λ_TV, σ²). The momentum restarts at every drop of the rate, as a new stage does."""
    lambda_tv, sigma2 = weight_and_scale
    alpha = AlphaNorm(encoder.centre, alpha=6, colour=False)
    # Their energy sums over pixels and divides by 2 and by σ²; our priors are means over pixels in [0, 1].
    scale = encoder.size[0] * encoder.size[1] / (2 * sigma2)
    priors, text = weigh_priors(
        "tv-quadratic" if prior is None else prior, encoder, 1.0, lambda tv: scale * lambda_tv * 255**tv.beta
    )
    if priors:
        priors = (*priors, (scale * CVPR15_LAMBDA_ALPHA * 255**alpha.alpha, alpha))
    stages = tuple(Stage(steps, Momentum(CVPR15_RATE * drop * sigma2)) for steps, drop in schedule)
    return Recipe(name, _canvas(sigma2), 1.0, priors, stages, text)
