"""What ``netinvert study features`` asks on its test seed, written down before that seed was opened.

A run is the registered test if its chairs, seed and first network are these; any other is a trial. What no
hypothesis here names is exploratory, and the report calls it so.

Put right since, still before that seed was opened: "follows" is held against the control, too, not
the share of pixels alone; and what is said to be "no more" is not refuted by less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Measure = Literal["ratio", "gain", "follows"]


@dataclass(frozen=True)
class Hypothesis:
    """``change`` and ``control`` are names of changes of an image (:mod:`.changes`).

    ``measure``: "ratio", the mean logarithm of the geodesic error after the change over that after the
    control; "gain", the same less that of random weights; "follows", the share of azimuths that are read
    nearer to the turned part's than to the chair's, less, image by image, the larger of that part's share of
    the chair's pixels and of what is so read from the control: what reads nothing follows a part that is
    turned by 180° in half of its readings, too.
    ``expected``: on which side of 0; 0 where the test is of any difference, and only what is above 0
    contradicts what is said if it is ``not_above``."""

    says: str
    change: str
    control: str
    measure: Measure = "ratio"
    expected: Literal[-1, 0, 1] = 0
    not_above: bool = False


PARTS = ("back", "legs", "seat", "arms")
"""The classes of parts that the hypotheses are about; others that objects name are exploratory."""
BACKGROUNDS = ("paper", "photographs")
"""A factor within chairs: every chair is seen before both, and a chair's value is the mean of the two."""
UNCHANGED, NO_SHADOW = "unchanged", "shadow removed"
SILHOUETTE, INTERIOR, EDGES = "silhouette alone", "interior alone", "edges alone"
UNTEXTURED, UNSHADED, RELIT, MIRRORED = "texture off", "shading off", "light turned by 90°", "mirrored"
CUTOFFS = (4, 8, 16, 32)
"""Cycles per image at which a filter passes one half."""
TURNS = (90, 180)


def removed(part: str) -> str:
    """The change that renders a chair without a part."""
    return f"{part} removed"


def covered(part: str) -> str:
    """The change that gives a part's visible pixels the background."""
    return f"{part} covered"


def repainted(part: str) -> str:
    """The change that paints a part in another colour."""
    return f"{part} recoloured"


def control(change: str) -> str:
    """The control of a change of a part: the same treatment of as many visible pixels elsewhere."""
    return f"{change}: control"


def turned(part: str, degrees: int) -> str:
    """The change that turns a part alone about the chair's vertical axis."""
    return f"{part} turned by {degrees}°"


EXPECTED: tuple[tuple[str, str, Literal[-1, 1]], ...] = (
    ("back", "worse", 1),
    ("legs", "better", -1),
    ("seat", "better", -1),
    ("arms", "better", -1),
)
"""By the chairs of a tuning seed: what is elsewhere is often the back."""

HYPOTHESES = (
    *(
        Hypothesis(
            f"without its {part}, a chair is read {word} than with as much covered elsewhere",
            removed(part),
            control(covered(part)),
            expected=sign,
        )
        for part, word, sign in EXPECTED
    ),
    Hypothesis(
        "that the back counts is learned: its effect is larger than with random weights",
        removed("back"),
        control(covered("back")),
        "gain",
        1,
    ),
    Hypothesis(
        "another colour of the back matters no more than of as much elsewhere",
        repainted("back"),
        control(repainted("back")),
        not_above=True,
    ),
    Hypothesis(
        "the silhouette alone is read better than the interior alone", SILHOUETTE, INTERIOR, "ratio", -1
    ),
    Hypothesis("texture makes no difference", UNTEXTURED, UNCHANGED),
    Hypothesis("without shading a chair is read worse", UNSHADED, UNCHANGED, expected=1),
    Hypothesis("light from another side makes no difference", RELIT, UNCHANGED),
    Hypothesis("the shadow on the ground makes no difference", NO_SHADOW, UNCHANGED),
    Hypothesis("a mirrored chair is read as mirrored, no worse", MIRRORED, UNCHANGED, not_above=True),
    Hypothesis(
        "the reading follows a back that is turned round, more than its pixels weigh and "
        "than where it is not turned",
        turned("back", 180),
        NO_SHADOW,
        "follows",
        1,
    ),
)
