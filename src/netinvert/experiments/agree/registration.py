"""What ``netinvert study agree`` asks on its test seed, written down before that seed was opened.

A run is the registered test if its network, layers, way of inverting and chairs are these; any other is a
trial. What no hypothesis here names is exploratory, and the report calls it so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Held = Literal["", "size", "kind"]
"""What is held fixed where witnesses are compared: nothing; each part's share of the visible pixels; what is
common to all backs, all legs, and so on."""
Kind = Literal["parts", "pixels"]
"""How recovery is measured: by a reader of parts, or by pixels."""


@dataclass(frozen=True)
class AgreeHypothesis:
    """About the first witness, necessity, and beside it the recovery at a ``layer`` (measured ``by`` a reader
    of parts or by pixels, in images that were optimised), or the attribution, "". ``expected``: above 0, or
    0, nothing."""

    says: str
    layer: str
    held: Held
    expected: Literal[0, 1]
    by: Kind = "parts"


AGREE_HYPOTHESES = (
    AgreeHypothesis(
        "parts of one size that the network needs more come back better at fc8", "fc8", "size", 1
    ),
    AgreeHypothesis(
        "at relu5, parts of one size come back alike, whether the network needs them or not",
        "relu5",
        "size",
        0,
    ),
    AgreeHypothesis(
        "at fc8, the pixels of parts of one size that the network needs more come back better",
        "fc8",
        "size",
        1,
        "pixels",
    ),
    AgreeHypothesis("attributions fall on the parts that the network needs", "", "", 1),
)
