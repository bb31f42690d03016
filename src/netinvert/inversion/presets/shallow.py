"""Recipes for HOG and SIFT: ours, and that of Mahendran & Vedaldi 2015 for shallow representations."""

from __future__ import annotations

from dataclasses import replace

import torch

from netinvert.inversion.canvases import fourier_canvas
from netinvert.inversion.codes import AnyEncoder, paired
from netinvert.inversion.lbfgs import LBFGS
from netinvert.inversion.objectives import Terms
from netinvert.inversion.optimizers import Adam, Momentum
from netinvert.inversion.presets.mahendran15 import CVPR15_RATE, CVPR15_SIGMA, cvpr15
from netinvert.inversion.prior_spec import weigh_priors
from netinvert.inversion.priors import Exposure
from netinvert.inversion.schedule import Recipe, Stage

SHALLOW_PRIOR = "tv-isotropic=0.1"
SHALLOW_EXPOSURE = 0.1
CVPR15_SHALLOW_LAMBDA_TV = 1.0
CVPR15_SHALLOW_SCHEDULE = ((200, 1.0), (200, 0.1), (200, 0.01), (200, 0.001))
INDIFFERENT = 0.02
"""How far (relative L2) a code may move when contrast is halved, and still say nothing of it."""


def shallow(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """L-BFGS on a Fourier canvas, exposed like a photograph: for codes that do not know contrast."""
    priors, text = weigh_priors(SHALLOW_PRIOR if prior is None else prior, encoder)
    if priors:
        priors = (*priors, (SHALLOW_EXPOSURE, Exposure()))
    return Recipe(
        name="shallow",
        canvas=fourier_canvas,
        data_weight=1.0,
        priors=priors,
        prior=text,
        stages=(Stage(10, Adam(0.02)), Stage(290, LBFGS())),
    )


def cvpr15_shallow(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Mahendran & Vedaldi 2015 as for CNNs, but the weakest TV² whatever the depth, and 800 steps.

    ``experiment_shallow_quantitative`` of their released code.
    """
    channels = encoder.preprocessing.channels
    # half their λ over σ², of a sum over pixels in 0..255; ours is a mean over pixels in [0, 1]
    weight = CVPR15_SHALLOW_LAMBDA_TV / 2 * 255**2 * (227 * 227 * 3) / (channels * CVPR15_SIGMA**2)
    sigma2 = CVPR15_SIGMA**2 * encoder.size[0] * encoder.size[1] * channels / (227 * 227 * 3)
    return replace(
        cvpr15(encoder, f"tv-quadratic={weight!r}" if prior is None else prior),
        name="cvpr15-shallow",
        stages=tuple(
            Stage(steps, Momentum(CVPR15_RATE * drop * sigma2)) for steps, drop in CVPR15_SHALLOW_SCHEDULE
        ),
    )


@torch.no_grad()
def knows_contrast(encoder: AnyEncoder) -> bool:
    """Whether the code of noise changes when its contrast is halved and its brightness raised."""
    shape = (1, encoder.preprocessing.channels, *encoder.size)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=encoder.dtype)
    noise = noise.to(encoder.device)
    pairs = paired(encoder(0.5 * noise + 0.4), encoder(noise))
    return any(bool((other - code).norm() > INDIFFERENT * code.norm()) for _, other, code in pairs)
