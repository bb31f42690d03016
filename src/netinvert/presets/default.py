"""Our own recipes for inversion."""

from __future__ import annotations

from dataclasses import replace

from netinvert.canvases import fourier_canvas
from netinvert.encoder import Encoder
from netinvert.energy import Term
from netinvert.lbfgs import LBFGS
from netinvert.optimizers import Adam
from netinvert.presets.mahendran16 import IJCV16_ALPHA, IJCV16_SIGMA, jitter_of
from netinvert.prior_choice import PriorChoice
from netinvert.priors import AlphaNorm
from netinvert.recipes import Recipe
from netinvert.stages import Stage

DEFAULT_STEPS = 300
DEFAULT_PRIOR = PriorChoice((("tv-isotropic", None),))
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
    choice = prior or DEFAULT_PRIOR
    priors = default_priors(encoder, choice)
    return Recipe(
        name="default",
        canvas=lambda seeds, start: fourier_canvas(encoder, seeds, start),
        data_weight=1.0,
        priors=priors,
        prior=choice.text(priors),
        stages=(Stage(WARM_UP, Adam(0.02)), Stage(DEFAULT_STEPS - WARM_UP, LBFGS())),
    )


def fourier_adam(encoder: Encoder, prior: PriorChoice | None = None) -> Recipe:
    """Adam on a Fourier canvas with jitter: for late layers, and codes that are plain vectors."""
    choice = prior or DEFAULT_PRIOR
    priors = default_priors(encoder, choice)
    return Recipe(
        name="fourier-adam",
        canvas=lambda seeds, start: fourier_canvas(encoder, seeds, start),
        data_weight=1.0,
        priors=priors,
        prior=choice.text(priors),
        stages=(Stage(200, Adam(0.05), jitter=jitter_of(encoder)), Stage(100, Adam(0.02))),
    )


def default_priors(encoder: Encoder, choice: PriorChoice) -> tuple[tuple[float, Term], ...]:
    """The priors chosen, and an α-norm unless none is wanted."""
    priors = choice.terms(encoder, 1.0)
    if not choice.parts:
        return priors
    alpha = AlphaNorm(encoder.centre, IJCV16_ALPHA)
    return (*priors, (DEFAULT_RANGE * (255 / IJCV16_SIGMA) ** IJCV16_ALPHA, alpha))
