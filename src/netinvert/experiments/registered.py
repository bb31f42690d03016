"""The tests that were planned before their seeds were opened, which ``study all`` carries out: a run with
these options is the registered test, any other is a trial. (What ``study features``, ``agree`` and
``surgery`` ask is more: see their modules ``registration``.)"""

from __future__ import annotations

from pathlib import Path

from netinvert.experiments.agree import registration as agreement
from netinvert.experiments.configs.studies import (
    StudyAgree,
    StudyAttributes,
    StudyFeatures,
    StudyPriors,
    StudySurgery,
)
from netinvert.experiments.features.registration import REGISTRATION
from netinvert.experiments.surgery import registration as parts
from netinvert.io.config import Config
from netinvert.scenes.seeds import TEST, TEST_PRIORS

FEATURES = StudyFeatures(
    networks=(
        REGISTRATION.subject,
        "posenet-only",
        "posenet-match",
        "posenet-plain",
        "posenet-judge",
        "objectron-chair",
    ),
    chairs=REGISTRATION.chairs,
    seed=REGISTRATION.seed,
    out=Path("out/features"),
)
PRIORS = StudyPriors(
    network="posenet",
    layers=("relu5", "relu7", "fc8"),
    priors=("tv-isotropic", "tv-anisotropic", "tv-quadratic", "tv-huber", "second-order", "none"),
    prior_weights=(0.01, 0.03, 0.1, 0.3, 1.0),
    canvases=("fourier",),
    preset="quick",
    steps=100,
    count=60,
    bank=300,
    restarts=1,
    learned=1500,
    seed=TEST_PRIORS,
    batch=20,
    out=Path("out/priors"),
)
"""Primary is what ``objectron-chair`` reads, at the code error of isotropic total variation; expected is that
no prior differs from it by 5 points, at any layer. (Planned with two canvases, two restarts and the default
preset, which takes a GPU or a day: a run of that was stopped at its first layer, before anything of it was
looked at.)"""
AGREE = StudyAgree(
    network=agreement.AGREE_PLAN.network,
    layers=agreement.AGREE_PLAN.layers,
    preset=agreement.AGREE_PLAN.preset,
    steps=agreement.AGREE_PLAN.steps,
    method=agreement.AGREE_PLAN.method,
    samples=agreement.AGREE_PLAN.samples,
    chairs=agreement.AGREE_PLAN.chairs,
    seed=agreement.AGREE_PLAN.seed,
    out=Path("out/agree"),
)
SURGERY = StudySurgery(
    decoders=parts.SURGERY_PLAN.decoders,
    chairs=parts.SURGERY_PLAN.chairs,
    others=parts.SURGERY_PLAN.others,
    steps=0,
    learned=1500,
    seed=parts.SURGERY_PLAN.seed,
    out=Path("out/surgery"),
)
ATTRIBUTES = StudyAttributes(
    network="posenet",
    decoders=("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose"),
    chairs=200,
    seed=TEST,
    out=Path("out/attributes"),
)
"""Primary is what training adds, against random weights, at each layer; expected is that it adds azimuth and
elevation and takes away hue at the last."""
WHERE = ("device", "batch")
"""Options that say where a run is made: its figures differ by less than their intervals."""


def registered(config: Config, plan: Config) -> bool:
    """Whether a run is the test that was planned."""
    asked, planned = ({k: v for k, v in one.identity().items() if k not in WHERE} for one in (config, plan))
    return asked == planned
