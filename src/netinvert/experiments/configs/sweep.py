"""What ``netinvert sweep`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import OfLayers, OnNetwork


@dataclass(frozen=True, kw_only=True)
class Sweep(OfLayers, OnNetwork):
    """Try priors, weights and canvases on a few codes; leave a page of trade-off curves and images."""

    command: ClassVar[str] = "sweep"

    input: Annotated[str, pieces.INPUT]
    priors: Annotated[
        tuple[str, ...],
        replace(pieces.PRIOR, help="As of 'netinvert invert'; one or more.", also=("prior",), default="all"),
    ] = ()
    prior_weights: Annotated[
        tuple[float, ...],
        Option("Of the priors; one or more.", above=0, default="0.1, 1 and 10 times each one's own"),
    ] = ()
    canvases: Annotated[
        tuple[str, ...],
        Option(
            "fourier, pixels, phase, deep-prior; one or more.",
            also=("canvas",),
            metavar="NAME",
            default="the preset's own",
            choices="netinvert.inversion.canvases:CANVASES",
        ),
    ] = ()
    random: Annotated[
        int | None,
        Option("So many random settings instead of all; weights between the extremes.", min=1, default="all"),
    ] = None
    preset: Annotated[
        str,
        replace(
            pieces.PRESET,
            help="What the rest of the recipe is, as of 'netinvert invert'.",
            choices="netinvert.inversion.presets.by_name:PRESETS",
        ),
    ] = "default"
    measure: Annotated[
        str,
        Option(
            "Of naturalness: gradients (strength and direction), naturalness (the IJCV paper's, direction "
            "alone) or ssim.",
            choices=("gradients", "naturalness", "ssim"),
            metavar="NAME",
        ),
    ] = "gradients"
    steps: Annotated[int | None, pieces.STEPS] = None
    seed: Annotated[
        int, replace(pieces.SEED, help="Of the random settings and of the noise to start from.")
    ] = 0
