"""Our own recipes for inversion."""

from __future__ import annotations

from dataclasses import replace

from netinvert.inversion.augmentations import RandomAffine, RandomDownsample, RandomErasing, RandomNoise
from netinvert.inversion.canvases import fourier_canvas
from netinvert.inversion.codes import AnyEncoder, shapes_of
from netinvert.inversion.lbfgs import LBFGS, WarmUp
from netinvert.inversion.objectives import Term, Terms
from netinvert.inversion.optimizers import Adam
from netinvert.inversion.presets.mahendran16 import IJCV16_ALPHA, IJCV16_SIGMA, jitter_of
from netinvert.inversion.presets.shallow import knows_contrast, shallow
from netinvert.inversion.prior_spec import weigh_priors
from netinvert.inversion.priors import AlphaNorm
from netinvert.inversion.schedule import Recipe, Stage

DEFAULT_STEPS = 300
DEFAULT_PRIOR = "tv-isotropic"
DEFAULT_RANGE = 1e-4
"""Weight of the α-norm, in units of B: next to nothing within the range of natural images. Without it, the
brightness of images whose code says nothing of it drifts to black or white."""
LEAVING_GREY = Stage(3, Adam(0.05))
"""In nearly grey noise the gradient changes too fast for curvature to help; steps of fixed size leave it."""
COARSE = 32
"""The stride in pixels from which a code says so little of where things are that L-BFGS finds faint and murky
images: there, Adam with a little jitter brings out the parts."""
QUICK_BETAS = (0.8, 0.99)
FIRST = WarmUp(rate=0.05, until=0.25, steps=150, betas=QUICK_BETAS)


def default(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """L-BFGS on a Fourier canvas with isotropic total variation; what looked and measured best here.

    Plain vectors get the recipe ``robust``, and codes that know nothing of contrast (HOG, SIFT) ``shallow``.
    """
    if all(len(shape) == 1 for shape in shapes_of(encoder)):
        return replace(robust(encoder, prior), name="default")
    if not knows_contrast(encoder):
        return replace(shallow(encoder, prior), name="default")
    stages = (LEAVING_GREY, Stage(DEFAULT_STEPS - LEAVING_GREY.steps, LBFGS()))
    if encoder.stride >= COARSE:
        half, jitter = DEFAULT_STEPS // 2, encoder.stride // 8
        stages = (
            Stage(half, Adam(0.05, QUICK_BETAS), jitter),
            Stage(DEFAULT_STEPS - half, Adam(0.02, QUICK_BETAS)),
        )
    return _on_fourier("default", encoder, prior, stages)


def quick(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """The shortest way to a small code error that we know, at every layer: L-BFGS behind a warm-up by Adam.

    On fine maps it is the default but for the warm-up; on coarse ones and vectors its images are fainter.
    """
    stages = (Stage(DEFAULT_STEPS, LBFGS(warm_up=FIRST)),)
    return _on_fourier("quick", encoder, prior, stages)


def coarse_to_fine(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """L-BFGS on a tenth of the spectrum, then on a third, then on all of it: calmer, and a little slower."""
    shares = ((40, 0.1), (60, 0.3), (DEFAULT_STEPS - 103, 1.0))
    stages = (
        replace(LEAVING_GREY, resolution=shares[0][1]),
        *(Stage(steps, LBFGS(), resolution=share) for steps, share in shares),
    )
    return _on_fourier("coarse-to-fine", encoder, prior, stages)


def fourier_adam(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Adam on a Fourier canvas with jitter."""
    stages = (Stage(200, Adam(0.05), jitter=jitter_of(encoder)), Stage(100, Adam(0.02)))
    return _on_fourier("fourier-adam", encoder, prior, stages)


ROBUST_PRIOR = "tv-isotropic=1.0"
SEEN = (
    RandomAffine(degrees=5, scale=0.1, shift=0.05),
    RandomDownsample(0.5),
    RandomNoise(0.05),
    RandomErasing(0.3, 0.4),
)
ROBUST_STEPS, HALVING, AVERAGED = 300, 90, 100


def robust(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Adam on a Fourier canvas while views, noise and covers change: for codes that are plain vectors.

    What fools only this network does not survive that: a pattern has to be as large, as strong and as widely
    spread as an object's parts are. The rate falls and the last images are averaged, so that it is the
    average view that counts. No steps follow that see the image as it is: they would match the code far
    better, by what no other network sees. Found on chairs' codes of ``posenet``, with the pose that another
    network reads as the measure (benchmarks/posenet_codes.py).
    """
    stages = (
        Stage(ROBUST_STEPS, Adam(0.05), transforms=SEEN),
        Stage(ROBUST_STEPS, Adam(0.05, halving=HALVING), transforms=SEEN, averaged=AVERAGED),
    )
    return _on_fourier("robust", encoder, ROBUST_PRIOR if prior is None else prior, stages)


def _on_fourier(name: str, encoder: AnyEncoder, prior: Terms | None, stages: tuple[Stage, ...]) -> Recipe:
    priors, text = with_range(encoder, DEFAULT_PRIOR if prior is None else prior)
    return Recipe(name, fourier_canvas, 1.0, priors, stages, text)


def with_range(encoder: AnyEncoder, prior: Terms) -> tuple[tuple[tuple[float, Term], ...], str]:
    """The priors chosen, and an α-norm unless none is wanted; and their text."""
    priors, text = weigh_priors(prior, encoder)
    if priors:
        alpha = AlphaNorm(encoder.centre, IJCV16_ALPHA)
        priors = (*priors, (DEFAULT_RANGE * (255 / IJCV16_SIGMA) ** IJCV16_ALPHA, alpha))
    return priors, text
