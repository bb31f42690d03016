"""The seeds of all chairs that are trained on, chosen by or tested on, and the libraries of furniture, in one
place: no two sets share an object.

A set's objects are those of ``DatasetConfig.object_seed``: a million for each seed. Test sets of this release
are opened once, at its end: what is tried, is tried on TUNING. What was opened before, and shown in tables,
is called so, and nothing new is claimed on it. (Of libraries for testing there are no others: they are shown
again to new networks, and still nothing is chosen on them.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ObjectSet:
    """Objects for one purpose: the procedural ones of a dataset ``seed``, or a furniture ``library``."""

    use: Literal["training", "tuning", "opened", "test"]
    about: str
    seed: int | None = None
    library: str = ""


POSENET, JUDGE, HOG = 0, 2, 606
"""Of training: posenet, its controls and the decoders; posenet-judge; the reader without a network."""
REPLICATES = (10, 11, 12)
"""Of training: for replicates of posenet on other chairs."""
TUNING = (101, 303)
"""Recipes, losses and sizes are chosen on these."""
SPREAD = 3
"""The thresholds of how sure ``pose read`` is were chosen on these."""
DEMO = 4
"""The four chairs that ship."""
STATISTICS = 100_000
"""Added to the seed of the chairs that are studied: those whose codes the statistics are of."""
OPENED, OPENED_POSE = 404, 1
"""The defaults of studies and evaluations: their chairs have been shown in tables since 0.1.0 was begun."""
OPENED_TESTS = (9002, 9003, 9004, 9005)
"""Test sets of pose networks that were opened, for those of 0.9 and of 1.9 million views
(docs/pose-networks.md)."""
TEST, TEST_POSE, TEST_HAND_MADE = 9001, 9007, 9008
"""Of methods, decoders and attributes; of pose networks; of the cameras before hand-made models."""
TEST_FEATURES, TEST_AGREE, TEST_SURGERY, TEST_PRIORS = 9006, 9010, 9011, 9009
"""Of the features that carry an orientation; of what inversions show of these; of the parts of codes that
carry the pose; of priors. All were opened, for docs/answers.md; 9001, too, for attributes and methods."""

SETS: Mapping[str, ObjectSet] = {
    "posenet, its controls, decoders": ObjectSet("training", "trained on", POSENET),
    "posenet-judge": ObjectSet("training", "trained on", JUDGE),
    **{f"replicate {seed}": ObjectSet("training", "trained on", seed) for seed in REPLICATES},
    "reader without a network": ObjectSet("training", "fitted on", HOG),
    "hand-made, CC0": ObjectSet("training", "may be trained on", library="BlendSwap-CC-0.sh3f"),
    **{f"recipes {seed}": ObjectSet("tuning", "recipes are chosen on these", seed) for seed in TUNING},
    "sureness": ObjectSet("tuning", "thresholds of pose read were chosen on these", SPREAD),
    "demo": ObjectSet("opened", "four ship with the package", DEMO),
    "studies": ObjectSet("opened", "the defaults of studies and of decoder evaluate", OPENED),
    "codes of other chairs": ObjectSet("opened", "statistics of codes", OPENED + STATISTICS),
    "pose evaluation": ObjectSet("opened", "the default of pose evaluate", OPENED_POSE),
    **{f"pose evaluation {seed}": ObjectSet("opened", "tests of before", seed) for seed in OPENED_TESTS},
    "test of methods": ObjectSet("test", "methods, decoders, attributes", TEST),
    "codes beside the test": ObjectSet("test", "statistics of codes", TEST + STATISTICS),
    "test of poses": ObjectSet("test", "pose networks", TEST_POSE),
    "test on hand-made": ObjectSet("test", "cameras before the hand-made test libraries", TEST_HAND_MADE),
    "test of features": ObjectSet("test", "which features carry an orientation", TEST_FEATURES),
    "test of priors": ObjectSet("test", "which prior makes the most interpretable images", TEST_PRIORS),
    "test of surgery": ObjectSet("test", "which part of a code carries the pose", TEST_SURGERY),
    "codes beside the test of surgery": ObjectSet("test", "parts of codes", TEST_SURGERY + STATISTICS),
    "test of agreement": ObjectSet("test", "whether inversions show what carries an orientation", TEST_AGREE),
    "hand-made, BlendSwap": ObjectSet("test", "CC-BY", library="BlendSwap-CC-BY.sh3f"),
    "hand-made, Kator Legaz": ObjectSet("test", "CC-BY", library="KatorLegaz.sh3f"),
    "hand-made, Reallusion": ObjectSet("test", "CC-BY", library="Reallusion.sh3f"),
    "hand-made, Scopia": ObjectSet("test", "CC-BY", library="Scopia.sh3f"),
}
"""Every set by its name."""


def trained_on(seed: int) -> bool:
    """Whether a network, decoder or reader of netinvert has been fitted on the chairs of a seed.

    Example:
        >>> trained_on(POSENET), trained_on(TEST)
        (True, False)
    """
    return any(one.use == "training" and one.seed == seed for one in SETS.values())


def trained_on_library(name: str) -> bool:
    """Whether the models of a library, by its file's name, may have been trained on."""
    return any(one.use == "training" and one.library == name for one in SETS.values())
