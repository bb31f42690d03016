"""What ``netinvert study attributes`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import OfLayers, Output, Processes, Seed


@dataclass(frozen=True, kw_only=True)
class StudyAttributes(OfLayers, Seed, Output, Processes):
    """Measure which attributes of an image codes keep: colour, position, scale, light, pose, parts.

    Each varies alone, by known amounts. It is read from the codes by linear probes on chairs that these were
    not fitted on and, with decoders, measured in the decoded images.
    """

    command: ClassVar[str] = "study attributes"

    layers: Annotated[tuple[str, ...], replace(pieces.LAYERS, default="all that are worth a look")] = ()
    decoders: Annotated[tuple[str, ...], pieces.DECODERS] = ()
    attributes: Annotated[
        tuple[str, ...],
        Option(
            "What is to vary, such as hue or azimuth; one or more.",
            also=("attribute",),
            metavar="NAME",
            default="all",
            choices="netinvert.experiments.attribute_series:ATTRIBUTES",
        ),
    ] = ()
    chairs: Annotated[
        int, replace(pieces.CHAIRS, help="How many held-out chairs each attribute varies on.", min=10)
    ] = 200
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of what is drawn at random.")] = 404
