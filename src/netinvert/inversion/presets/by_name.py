"""Recipes by name: our own here, and the set-ups of the papers to their constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netinvert.inversion.canvas import Canvas, Fourier
from netinvert.inversion.canvases import paper_canvas, phase_canvas, pixel_canvas, shipped_start
from netinvert.inversion.lbfgs import LBFGS
from netinvert.inversion.lbfgs_parts import WarmUp
from netinvert.inversion.objectives import AnyEncoder, Term, Terms
from netinvert.inversion.presets.fitting import contrast_of, is_vector
from netinvert.inversion.presets.mahendran15 import cvpr15, cvpr15_shallow
from netinvert.inversion.presets.mahendran16 import (
    IJCV16_ALPHA,
    IJCV16_SIGMA,
    ijcv16,
    ijcv16_maximising,
    jitter_of,
)
from netinvert.inversion.presets.yosinski15 import DEEPVIS, ProgressRate, deepvis_preset
from netinvert.inversion.priors import NONE, AlphaNorm, Exposure, weigh_priors
from netinvert.inversion.schedule import Adam, MakeCanvas, Recipe, Stage
from netinvert.inversion.transforms import (
    RandomAffine,
    RandomCrop,
    RandomDownsample,
    RandomErasing,
    RandomNoise,
)
from netinvert.io.config import Registry
from netinvert.models.decoder import Decoder, fitting_decoder
from netinvert.models.encoder import Encoder

SHALLOW_PRIOR = "tv-isotropic=0.1"
SHALLOW_EXPOSURE = 0.1


def shallow(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """L-BFGS on a Fourier canvas, exposed like a photograph: for codes that do not know contrast."""
    priors, text = weigh_priors(SHALLOW_PRIOR if prior is None else prior, encoder)
    if priors:
        priors = (*priors, (SHALLOW_EXPOSURE, Exposure()))
    return Recipe("shallow", Fourier.begin, 1.0, priors, (Stage(10, Adam(0.02)), Stage(290, LBFGS())), text)


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
COARSE_STEPS = 100
OF_CONTRAST = 0.45
"""The share of priors' weights from which that is so: below it, beside codes that say little of contrast,
``quick`` gets there in half the steps and is read as well. Chosen between a pose network's coarse map (0.39)
and a classifier's (0.50); benchmarks/coarse_maps.py."""
QUICK_BETAS = (0.8, 0.99)
FIRST = WarmUp(rate=0.05, until=0.25, steps=150, betas=QUICK_BETAS)
QUICK = Stage(DEFAULT_STEPS, LBFGS(warm_up=FIRST))

ROBUST_PRIOR = "tv-isotropic=1.0"
SEEN = (
    RandomAffine(degrees=5, scale=0.1, shift=0.05),
    RandomDownsample(0.5),
    RandomNoise(0.05),
    RandomErasing(0.3, 0.4),
)
ROBUST_STEPS, VECTOR_STEPS = 300, 220
PLAIN_STEPS = 60
"""On the plain image at the end. More go on to lower the code error, and take the image's contrast away."""


def _changing_views(steps: int) -> tuple[Stage, Stage]:
    """Twice so many steps; in the second half the rate falls, and the last third of images is averaged."""
    averaged = -(-steps // 3)
    last = Stage(steps, Adam(0.05, halving=round(0.3 * steps)), transforms=SEEN, averaged=averaged)
    return Stage(steps, Adam(0.05), transforms=SEEN), last


def default(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Fitted to the code, on a Fourier canvas with isotropic total variation; what looked and measured best.

    Maps: L-BFGS; coarse ones Adam with jitter first, or as ``quick`` where they say little of contrast.
    Vectors: first the changing views of ``robust``. Codes that know nothing of contrast (HOG, SIFT):
    ``shallow``. Priors without a weight of the user's have a share of theirs, by what the code says of
    contrast (:class:`Contrast`).
    """
    contrast = contrast_of(encoder)
    stages: tuple[Stage, ...] = (LEAVING_GREY, Stage(DEFAULT_STEPS - LEAVING_GREY.steps, LBFGS()))
    if is_vector(encoder):
        stages = (*_changing_views(VECTOR_STEPS), Stage(PLAIN_STEPS, LBFGS()))
    elif not contrast.known:
        return replace(shallow(encoder, prior), name="default")
    elif encoder.stride >= COARSE:
        stages = (
            Stage(COARSE_STEPS, Adam(0.05, QUICK_BETAS), encoder.stride // 8),
            Stage(DEFAULT_STEPS - COARSE_STEPS, LBFGS()),
        )
        stages = stages if contrast.share >= OF_CONTRAST else (QUICK,)
    return _on_fourier("default", encoder, prior, stages, contrast.share)


def quick(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """The shortest way to a small code error that we know, at every layer: L-BFGS behind a warm-up by Adam.

    On fine maps it is the default but for the warm-up; on coarse ones and vectors its images are fainter.
    """
    return _fitted("quick", encoder, prior, (QUICK,))


DECODED = "decoded"
DECODED_STEPS = 20
DECODED_ERROR = 0.03
DECODED_FIRST = 0.002
"""The root mean square of the first move in pixels: a decoder's image is nearer than noise is."""


def from_decoder(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """From a decoder's image of the code, L-BFGS for a few steps, until the code is near.

    Of vectors in pixels: to the eye the image stays the decoder's, for they say little of where it is wrong.
    Of maps on a spectrum, which brings images nearer to the originals, too. No prior: in so few steps it only
    takes time. The decoder is the shipped one that fits, unless start images (of ``invert``'s) are given.
    """
    priors, text = with_range(encoder, NONE if prior is None else prior)
    canvas: MakeCanvas = Fourier.begin
    method = LBFGS()
    if is_vector(encoder):
        canvas, method = pixel_canvas, LBFGS(first_step=DECODED_FIRST)
    how = Recipe(DECODED, canvas, 1.0, priors, (Stage(DECODED_STEPS, method),), text)
    return replace(how, start=shipped_start, below=DECODED_ERROR**2)


def coarse_to_fine(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """L-BFGS on a tenth of the spectrum, then on a third, then on all of it: calmer, and a little slower."""
    shares = ((40, 0.1), (60, 0.3), (DEFAULT_STEPS - 103, 1.0))
    stages = (
        replace(LEAVING_GREY, resolution=shares[0][1]),
        *(Stage(steps, LBFGS(), resolution=share) for steps, share in shares),
    )
    return _fitted("coarse-to-fine", encoder, prior, stages)


def fourier_adam(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Adam on a Fourier canvas with jitter."""
    stages = (Stage(200, Adam(0.05), jitter=jitter_of(encoder)), Stage(100, Adam(0.02)))
    return _fitted("fourier-adam", encoder, prior, stages)


def robust(encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """Adam on a Fourier canvas while views, noise and covers change: for codes that are plain vectors.

    What fools only this network does not survive that: a pattern has to be as large, as strong and as widely
    spread as an object's parts are. The rate falls and the last images are averaged, so that it is the
    average view that counts. No steps follow that see the image as it is: they would match the code far
    better, by what no other network sees. Found on chairs' codes of ``posenet``, with the pose that another
    network reads as the measure (benchmarks/posenet_codes.py).
    """
    return _on_fourier(
        "robust", encoder, ROBUST_PRIOR if prior is None else prior, _changing_views(ROBUST_STEPS)
    )


def _fitted(name: str, encoder: AnyEncoder, prior: Terms | None, stages: tuple[Stage, ...]) -> Recipe:
    """With priors that leave images their contrast."""
    return _on_fourier(name, encoder, prior, stages, contrast_of(encoder).share)


def _on_fourier(
    name: str, encoder: AnyEncoder, prior: Terms | None, stages: tuple[Stage, ...], share: float = 1.0
) -> Recipe:
    priors, text = with_range(encoder, DEFAULT_PRIOR if prior is None else prior, share)
    return Recipe(name, Fourier.begin, 1.0, priors, stages, text)


def with_range(
    encoder: AnyEncoder, prior: Terms, share: float = 1.0
) -> tuple[tuple[tuple[float, Term], ...], str]:
    """The priors chosen, and an α-norm unless none is wanted; and their text. Weights that the user does not
    give are such a share of the priors' own."""
    priors, text = weigh_priors(prior, encoder, share)
    if priors:
        alpha = AlphaNorm(encoder.centre, IJCV16_ALPHA)
        priors = (*priors, (share * DEFAULT_RANGE * (255 / IJCV16_SIGMA) ** IJCV16_ALPHA, alpha))
    return priors, text


MAXIMISING_SEEN = (RandomAffine(degrees=8, scale=0.1, shift=0),)
MAXIMISING_PRIOR = "tv-isotropic=1.0"


def maximising_default(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Adam on a Fourier canvas while jitter, scale and rotation change (Olah et al. 2017)."""
    priors, text = with_range(encoder, MAXIMISING_PRIOR if prior is None else prior)
    jitter = max(2, min(encoder.size) // 16)
    stages = (
        Stage(200, Adam(0.05), jitter, transforms=MAXIMISING_SEEN),
        Stage(56, Adam(0.02), max(2, jitter // 2)),
    )
    return Recipe("default", Fourier.begin, 1.0, priors, stages, text)


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
    stage = Stage(SIMONYAN13_STEPS, ProgressRate(SIMONYAN13_PROGRESS, SIMONYAN13_LONGEST))
    return Recipe("simonyan13", _mean_canvas, 1.0, priors, (stage,), text)


def _mean_canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """The zero image, which is the mean."""
    shape = (len(seeds), encoder.preprocessing.channels, *encoder.size)
    return paper_canvas(encoder, start, lambda: torch.zeros(shape))


MACO_STEPS = 256
MACO_NOISE = 0.08
MACO_CROP = RandomCrop(0.6, 0.95)
"""Theirs are 32 a step, from half of the side to a twentieth; of one a step, small ones leave only noise."""


def maco(encoder: Encoder, prior: Terms | None = None) -> Recipe:
    """Fel et al. 2023: the phase alone, under random crops and noise."""
    priors, text = weigh_priors(NONE if prior is None else prior, encoder)
    seen = (MACO_CROP, RandomNoise(MACO_NOISE))
    stage = Stage(MACO_STEPS, Adam(0.3, halving=64), transforms=seen, averaged=1)
    return Recipe("maco", phase_canvas, 1.0, priors, (stage,), text)


Preset = Callable[[AnyEncoder, Terms | None], Recipe]
"""Makes the recipe for an encoder; with the user's priors in place of its own, where they are not None."""
PRESETS: Registry[Preset] = Registry("preset", "netinvert.presets")
MAXIMISING: Registry[Preset] = Registry("preset", "netinvert.maximising_presets")


def register_preset(
    name: str, preset: Preset | None = None, maximising: bool = False
) -> Callable[[Preset], Preset]:
    """Give a recipe a name for ``preset=`` and ``--preset``, of ``invert`` or of ``maximise``.

    A decorator, or a call with the function. Raises ConfigError if the name is taken.

    >>> @register_preset("doctest-short")
    ... def short(encoder, prior=None):
    ...     return recipe("quick", encoder, prior).with_steps(20)
    >>> list(PRESETS)[-1]
    'doctest-short'
    >>> PRESETS.remove("doctest-short")
    """
    return (MAXIMISING if maximising else PRESETS).register(name, preset)


for _preset in (
    default,
    quick,
    coarse_to_fine,
    fourier_adam,
    robust,
    cvpr15,
    ijcv16,
    shallow,
    cvpr15_shallow,
):
    register_preset(_preset.__name__.replace("_", "-"), _preset)
register_preset(DECODED, from_decoder)
register_preset("default", maximising_default, maximising=True)
register_preset("simonyan13", simonyan13, maximising=True)
register_preset("ijcv16", ijcv16_maximising, maximising=True)
register_preset("maco", maco, maximising=True)
for _name in DEEPVIS:
    register_preset(_name, deepvis_preset(_name), maximising=True)


def recipe(preset: str, encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """A preset's recipe for this encoder; ``prior`` replaces its own (``name``, ``name=weight``, a function).

    Raises ConfigError.
    """
    return PRESETS.find(preset)(encoder, prior)


def usual_preset(
    encoder: AnyEncoder, decoder: Decoder | None = None, otherwise: bool = False
) -> tuple[str, Decoder | None]:
    """The preset where none is asked for, and the decoder to begin with: the one given, or a shipped one that
    fits, unless it is to begin ``otherwise``; without one, the default.
    """
    if decoder is None and not otherwise:
        decoder = fitting_decoder(encoder)
    return "default" if decoder is None else DECODED, decoder


def maximising_recipe(preset: str, encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """The same of the presets for activation maximisation and caricatures."""
    return MAXIMISING.find(preset)(encoder, prior)
