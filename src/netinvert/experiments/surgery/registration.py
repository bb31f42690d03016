"""What ``netinvert study surgery`` asks on its test seed, written down before that seed was opened.

A run is the registered test if its decoders, chairs, other views and seed are these; any other is a trial.
What no hypothesis here names is exploratory, and the report calls it so. Directions were chosen on the chairs
of a tuning seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from netinvert.evaluation.readers import JUDGE
from netinvert.experiments.registered import SURGERY
from netinvert.experiments.surgery.measures import KEPT, REMOVED, SWAPPED, UNTOUCHED
from netinvert.experiments.surgery.subspaces import HARMONICS, PRINCIPAL, RANDOM, ROTATION_HEAD, control_of

Edit = tuple[str, str]
"""What was done, and to which subspace."""


@dataclass(frozen=True)
class SurgeryHypothesis:
    """About the images that ``decoder`` makes: the mean over chairs of a ``measure`` (a reader's error in
    degrees, or the error of the colour) after ``edit`` less that after ``control``; of a swap, less that
    against the chair whose part was put in. ``expected`` is the sign; 0: no more than ``margin``."""

    says: str
    decoder: str
    measure: str
    edit: Edit
    control: Edit | None
    expected: Literal[-1, 0, 1]
    margin: float = 0.0


_RANDOM = control_of(HARMONICS, RANDOM)
_WHOLE = (UNTOUCHED, "")
_CLOSE = 5.0
"""Degrees that make no difference."""


def _about(decoder: str) -> tuple[SurgeryHypothesis, ...]:
    def one(
        says: str, edit: Edit, control: Edit | None, expected: Literal[-1, 0, 1], measure: str = JUDGE
    ) -> SurgeryHypothesis:
        return SurgeryHypothesis(f"{decoder}: {says}", decoder, measure, edit, control, expected, _CLOSE)

    return (
        one(
            "without the harmonics' part the judge is farther off than without a random part of its size",
            (REMOVED, HARMONICS),
            (REMOVED, _RANDOM),
            1,
        ),
        one(
            "from that part alone it is nearer than from a random part alone",
            (KEPT, HARMONICS),
            (KEPT, _RANDOM),
            -1,
        ),
        one(
            f"from that part alone it is at most {_CLOSE:g}° farther off than from the whole",
            (KEPT, HARMONICS),
            _WHOLE,
            0,
        ),
        one(
            "from that part alone it is no farther off than from as many principal components",
            (KEPT, HARMONICS),
            (KEPT, control_of(HARMONICS, PRINCIPAL)),
            0,
        ),
        one(
            f"without what the rotation head reads the judge is at most {_CLOSE:g}° farther off",
            (REMOVED, ROTATION_HEAD),
            _WHOLE,
            0,
        ),
        one("a swapped part takes the pose with it", (SWAPPED, HARMONICS), None, 1),
        one("a swapped part leaves the colour behind", (SWAPPED, HARMONICS), None, -1, "colour"),
    )


SURGERY_HYPOTHESES = tuple(one for decoder in SURGERY.decoders for one in _about(decoder))
