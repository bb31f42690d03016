"""Recipes for making an activation large: ours and the papers'. 1 is the best of the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netinvert.inversion.augmentations import RandomAffine, RandomCrop, RandomNoise
from netinvert.inversion.canvas import Canvas, Pixels
from netinvert.inversion.canvases import PIXEL, fourier_canvas, phase_canvas
from netinvert.inversion.optimizers import Adam, ProgressRate
from netinvert.inversion.presets.default import default_priors
from netinvert.inversion.presets.mahendran16 import ijcv16
from netinvert.inversion.prior_spec import PriorChoice
from netinvert.inversion.priors import AlphaNorm
from netinvert.inversion.schedule import Recipe, Stage
from netinvert.models.encoder import Encoder
from netinvert.models.layers import list_layers

SEEN = (RandomAffine(degrees=8, scale=0.1, shift=0),)
PRIOR = PriorChoice((("tv-isotropic", 1.0),))


def maximising_default(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """Adam on a Fourier canvas while jitter, scale and rotation change (Olah et al. 2017)."""
    choice = prior or PRIOR
    priors = default_priors(encoder, choice)
    jitter = max(2, min(encoder.size) // 16)
    return Recipe(
        name="default",
        canvas=lambda seeds, start: fourier_canvas(encoder, seeds, start),
        data_weight=1.0,
        priors=priors,
        stages=(
            Stage(200, Adam(0.05), jitter, transforms=SEEN),
            Stage(56, Adam(0.02), max(2, jitter // 2)),
        ),
        prior=choice.text(priors),
    )


SIMONYAN13_STEPS = 200
SIMONYAN13_LAMBDA = 50.0
"""The paper names no λ; ours, in units of B² (80² of 255²) where a photograph's best score counts 1."""
SIMONYAN13_PROGRESS, SIMONYAN13_LONGEST = 3.0, 1e6
"""What a step would gain were the score linear; and the largest rate, for the zero image has little gradient.
The paper says nothing of its steps; steps of a fixed rate end at faint patterns, or at none."""


def simonyan13(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """Simonyan et al. 2013: pixels from the zero (mean) image, score less λ‖I‖², gradient steps, no more."""

    def canvas(seeds: Sequence[int], start: Tensor | None) -> Canvas:
        if start is None:
            centre = torch.tensor(encoder.centre, dtype=encoder.dtype, device=encoder.device)
            start = centre.view(1, -1, 1, 1).expand(len(seeds), -1, *encoder.size)
        return Pixels(start, encoder.centre, PIXEL, encoder.size)

    choice = prior or PriorChoice(())
    square = AlphaNorm(encoder.centre, alpha=2)
    priors = (*choice.terms(encoder, 1.0), (SIMONYAN13_LAMBDA * (255 / 80) ** 2, square))
    return Recipe(
        name="simonyan13",
        canvas=canvas,
        data_weight=1.0,
        priors=priors,
        stages=(Stage(SIMONYAN13_STEPS, ProgressRate(SIMONYAN13_PROGRESS, SIMONYAN13_LONGEST)),),
        prior=choice.text(priors),
    )


IJCV16_GAIN = 1e4
"""Over the receptive field's area, it weighs the activation (``innerWeight`` of their code)."""


def ijcv16_maximising(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
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


def maco(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """Fel et al. 2023: the phase alone, under random crops and noise."""
    choice = prior or PriorChoice(())
    priors = choice.terms(encoder, 1.0)
    seen = (MACO_CROP, RandomNoise(MACO_NOISE))
    return Recipe(
        name="maco",
        canvas=lambda seeds, start: phase_canvas(encoder, seeds, start),
        data_weight=1.0,
        priors=priors,
        stages=(Stage(MACO_STEPS, Adam(0.3, halving=64), transforms=seen, averaged=1),),
        prior=choice.text(priors),
    )
