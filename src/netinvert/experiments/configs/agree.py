"""What the study of agreement is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.experiments.configs.studies import PRESET
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import OfLayers, OnNetwork
from netinvert.scenes.seeds import OPENED


@dataclass(frozen=True, kw_only=True)
class StudyAgree(OfLayers, OnNetwork):
    """Find whether inversions show the parts that a pose is read from: part by part, is what the network
    needs what comes back best, and where attributions fall?

    Each chair's parts are ranked by how far off the pose is without them, by how well they come back in
    inverted codes, and by an attribution; random weights are beside them. A stopped run is resumed by the
    same command.
    """

    command: ClassVar[str] = "study agree"

    network: Annotated[
        str,
        replace(pieces.NETWORK, help="One that reads poses: posenet, posenet-only, …; see pose evaluate."),
    ] = "posenet"
    layers: Annotated[tuple[str, ...], replace(pieces.LAYERS, default="relu5, relu7 and fc8")] = ()
    preset: Annotated[str, PRESET] = "default"
    steps: Annotated[int, pieces.STEPS] = 100
    method: Annotated[
        str,
        Option(
            "The attribution, as of 'netinvert explain parts'.",
            metavar="NAME",
            choices="netinvert.explain.sanity:EXPLANATIONS",
        ),
    ] = "integrated"
    samples: Annotated[
        int, Option("Of smoothgrad's noise and of the path of integrated.", min=1, max=10**4)
    ] = 8
    chairs: Annotated[int, pieces.CHAIRS] = 100
    learned: Annotated[int, replace(pieces.LEARNED, help="Views that the reader of parts learns from.")] = 500
    seed: Annotated[
        int,
        replace(pieces.SEED, help="Which chairs, views, lights and backgrounds, and of the noise to start."),
    ] = OPENED
