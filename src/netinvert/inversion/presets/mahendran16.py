"""Mahendran & Vedaldi, Visualizing deep CNNs using natural pre-images (IJCV 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netinvert.inversion.canvas import Canvas
from netinvert.inversion.canvases import PIXEL, paper_canvas
from netinvert.inversion.objectives import Terms
from netinvert.inversion.priors import AlphaNorm, weigh_priors
from netinvert.inversion.schedule import DecayingAdaGrad, Recipe, Stage
from netinvert.inversion.transforms import Ball
from netinvert.io.running import draw
from netinvert.models.encoder import Encoder
from netinvert.models.layers import list_layers

IJCV16_SIGMA = 80.0
"""B: the typical norm of a pixel's colour, mean-subtracted, in 0..255."""
IJCV16_BOUND = 2 * IJCV16_SIGMA
IJCV16_ALPHA = 6.0
IJCV16_RATE = 0.05 * IJCV16_SIGMA**2 / IJCV16_ALPHA
IJCV16_C = 100.0
"""From 1 (most natural, their code's default) over 20 and 100 to 300 (most accurate): ``data_weight``."""


def ijcv16_lambdas(alpha: float = IJCV16_ALPHA, beta: float = 2.0) -> tuple[float, float]:
    """(λ_α, λ_β) for images in 0..255: (1/B)^α and (6.5/B)^β."""
    return (1 / IJCV16_SIGMA) ** alpha, (6.5 / IJCV16_SIGMA) ** beta


def ijcv16(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Mahendran & Vedaldi 2016: pixels in a ball, jitter of a quarter stride, their AdaGrad, two stages.

    The best image of the second stage is returned; theirs is the last.
    """
    pixels = encoder.size[0] * encoder.size[1]
    alpha = AlphaNorm(encoder.centre, IJCV16_ALPHA)
    ball = (Ball(encoder.centre, IJCV16_BOUND * PIXEL),)

    priors, text = weigh_priors(
        "tv-quadratic" if prior is None else prior,
        encoder,
        IJCV16_C,
        lambda tv: ijcv16_lambdas(beta=tv.beta)[1] * 255**tv.beta,
    )
    if priors:
        priors = (*priors, (ijcv16_lambdas()[0] * 255**IJCV16_ALPHA, alpha))
    fast, slow = (DecayingAdaGrad(IJCV16_RATE * factor, pixels) for factor in (1.0, 0.1))
    stages = (Stage(300, fast, jitter_of(encoder), ball), Stage(50, slow, 1, ball))
    return Recipe("ijcv16", _canvas, IJCV16_C, priors, stages, text)


def _canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """Uniform noise with room for the jitter, its 95 % quantile at B / √3."""
    margin = jitter_of(encoder) - 1
    shape = (encoder.preprocessing.channels, *(length + margin for length in encoder.size))

    def noise() -> Tensor:
        drawn = draw(seeds, lambda source: 2 * torch.rand(shape, generator=source, dtype=torch.float32) - 1)
        peak = torch.stack([_quantile(sample, 0.95) for sample in drawn]).view(-1, 1, 1, 1)
        return drawn / peak * IJCV16_SIGMA / math.sqrt(3)

    return paper_canvas(encoder, start, noise)


def jitter_of(encoder: Encoder) -> int:
    """A quarter of the stride, at least 1."""
    return max(round(encoder.stride / 4), 1)


def _quantile(sample: Tensor, share: float) -> Tensor:
    """torch.quantile refuses more than 16 million numbers; sorting does not."""
    ordered = sample.flatten().sort().values
    return ordered[min(round(share * (ordered.numel() - 1)), ordered.numel() - 1)]


IJCV16_GAIN = 1e4
"""Over the receptive field's area, it weighs the activation (``innerWeight`` of their code)."""


def ijcv16_maximising(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Mahendran & Vedaldi 2016, section 4.2: their inversion's first stage, with an inner product."""
    how = ijcv16(encoder, prior)
    return replace(how, data_weight=IJCV16_GAIN / _receptive_field(encoder) ** 2, stages=how.stages[:1])


def _receptive_field(encoder: Encoder) -> int:
    """In pixels, by the layers' windows; theirs do not end at the image's border. A fully connected layer is
    a window over the whole map. By what reaches the code where that is more, as through attention."""
    measured = {info.name: info.receptive_field for info in list_layers(encoder.network)}
    return max(measured.get(encoder.layer) or 1, encoder.trace.receptive_field)
