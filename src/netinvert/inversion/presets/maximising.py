"""Recipes for making an activation large: ours and the papers'. 1 is the best of the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netinvert.inversion.augmentations import RandomAffine, RandomCrop, RandomNoise
from netinvert.inversion.canvas import Canvas
from netinvert.inversion.canvases import fourier_canvas, paper_canvas, phase_canvas
from netinvert.inversion.objectives import Terms
from netinvert.inversion.optimizers import Adam, ProgressRate
from netinvert.inversion.presets.default import with_range
from netinvert.inversion.presets.mahendran16 import ijcv16
from netinvert.inversion.prior_spec import NONE, weigh_priors
from netinvert.inversion.priors import AlphaNorm
from netinvert.inversion.schedule import Recipe, Stage
from netinvert.models.encoder import Encoder
from netinvert.models.layers import list_layers

SEEN = (RandomAffine(degrees=8, scale=0.1, shift=0),)
PRIOR = "tv-isotropic=1.0"


def maximising_default(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Adam on a Fourier canvas while jitter, scale and rotation change (Olah et al. 2017)."""
    priors, text = with_range(encoder, PRIOR if prior is None else prior)
    jitter = max(2, min(encoder.size) // 16)
    return Recipe(
        name="default",
        canvas=fourier_canvas,
        data_weight=1.0,
        priors=priors,
        stages=(
            Stage(200, Adam(0.05), jitter, transforms=SEEN),
            Stage(56, Adam(0.02), max(2, jitter // 2)),
        ),
        prior=text,
    )


SIMONYAN13_STEPS = 200
SIMONYAN13_LAMBDA = 50.0
"""The paper names no λ; ours, in units of B² (80² of 255²) where a photograph's best score counts 1."""
SIMONYAN13_PROGRESS, SIMONYAN13_LONGEST = 3.0, 1e6
"""What a step would gain were the score linear; and the largest rate, for the zero image has little gradient.
The paper says nothing of its steps; steps of a fixed rate end at faint patterns, or at none."""


def simonyan13(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Simonyan et al. 2013: pixels from the zero (mean) image, score less λ‖I‖², gradient steps, no more."""
    priors, text = weigh_priors(NONE if prior is None else prior, encoder)
    priors = (*priors, (SIMONYAN13_LAMBDA * (255 / 80) ** 2, AlphaNorm(encoder.centre, alpha=2)))
    return Recipe(
        name="simonyan13",
        canvas=_mean_canvas,
        data_weight=1.0,
        priors=priors,
        stages=(Stage(SIMONYAN13_STEPS, ProgressRate(SIMONYAN13_PROGRESS, SIMONYAN13_LONGEST)),),
        prior=text,
    )


def _mean_canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """The zero image, which is the mean."""
    shape = (len(seeds), encoder.preprocessing.channels, *encoder.size)
    return paper_canvas(encoder, start, lambda: torch.zeros(shape))


IJCV16_GAIN = 1e4
"""Over the receptive field's area, it weighs the activation (``innerWeight`` of their code)."""


def ijcv16_maximising(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Mahendran & Vedaldi 2016, section 4.2: their inversion's first stage, with an inner product."""
    how = ijcv16(encoder, prior)
    return replace(how, data_weight=IJCV16_GAIN / _receptive_field(encoder) ** 2, stages=how.stages[:1])


def _receptive_field(encoder: Encoder) -> int:
    """In pixels; the image's side for codes without space."""
    fields = {info.name: info.receptive_field for info in list_layers(encoder.network)}
    return fields.get(encoder.layer) or min(encoder.size)


MACO_STEPS = 256
MACO_NOISE = 0.08
MACO_CROP = RandomCrop(0.6, 0.95)
"""Theirs are 32 a step, from half of the side to a twentieth; of one a step, small ones leave only noise."""


def maco(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Fel et al. 2023: the phase alone, under random crops and noise."""
    priors, text = weigh_priors(NONE if prior is None else prior, encoder)
    seen = (MACO_CROP, RandomNoise(MACO_NOISE))
    return Recipe(
        name="maco",
        canvas=phase_canvas,
        data_weight=1.0,
        priors=priors,
        stages=(Stage(MACO_STEPS, Adam(0.3, halving=64), transforms=seen, averaged=1),),
        prior=text,
    )
