"""What ``netinvert study methods`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Output, Processes, Seed

POSENET = ("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose")


@dataclass(frozen=True, kw_only=True)
class StudyMethods(Seed, Output, Processes):
    """Compare optimising, decoding, both together and autoencoders, layer by layer.

    Every method gets the codes of the same held-out chairs; another network reads the poses of the images.
    """

    command: ClassVar[str] = "study methods"

    decoders: Annotated[tuple[str, ...], replace(pieces.DECODERS, default="all of posenet")] = ()
    autoencoders: Annotated[
        tuple[str, ...],
        Option(
            "Files of 'netinvert decoder train --autoencoder', each of the layer of one of the decoders.",
            also=("autoencoder",),
            metavar="FILE",
        ),
    ] = ()
    chairs: Annotated[int, replace(pieces.CHAIRS, help="How many held-out chairs.", min=2)] = 24
    steps: Annotated[
        int | None, replace(pieces.STEPS, help="Of plain optimisation.", default="the default preset's")
    ] = None
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs.")] = 404
