"""Sets of objects that are trained on, chosen by and tested on."""

import itertools

from netinvert.experiments.configs.studies import (
    CodeStudy,
    StudyAgree,
    StudyAttributes,
    StudyFeatures,
    StudyMethods,
    StudySurgery,
)
from netinvert.experiments.configs.training import DecoderEvaluate, PoseEvaluate
from netinvert.models.decoder import decoder_file
from netinvert.models.zoo.pose import load_pose_file
from netinvert.scenes import seeds
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.seeds import SETS


def objects(one):
    """The first and the last object of a set, as what makes them; a library is one."""
    if one.library:
        return (one.library, one.library)
    plan = DatasetConfig(seed=one.seed)
    return (plan.object_seed(0), plan.object_seed(999_999))


def test_no_two_sets_share_an_object():
    for (name, one), (other_name, other) in itertools.combinations(SETS.items(), 2):
        (first, last), (low, high) = objects(one), objects(other)
        assert type(first) is not type(low) or last < low or high < first, (name, other_name)


def test_what_ships_was_trained_on_what_is_said():
    for name, seed in (("posenet", seeds.POSENET), ("posenet-judge", seeds.JUDGE)):
        assert load_pose_file(name).facts["data"]["plan"]["seed"] == seed
    for name in ("posenet-conv5", "posenet-pose", "objectron-chair"):
        assert decoder_file(name).facts["data"]["plan"]["seed"] == seeds.POSENET


def test_every_set_is_of_a_seed_or_a_library():
    assert all((one.seed is None) == bool(one.library) for one in SETS.values())


def test_only_the_library_in_the_public_domain_may_be_trained_on():
    libraries = {one.library: one.use for one in SETS.values() if one.library}
    assert libraries.pop("BlendSwap-CC-0.sh3f") == "training"
    assert len(libraries) == 4
    assert set(libraries.values()) == {"test"}
    assert seeds.trained_on_library("BlendSwap-CC-0.sh3f")
    assert not seeds.trained_on_library("Scopia.sh3f")


def test_defaults_open_no_test_set():
    of = {one.seed: one.use for one in SETS.values()}
    studies = (CodeStudy, StudyAgree, StudyAttributes, StudyFeatures, StudyMethods, StudySurgery)
    for config in (*studies, DecoderEvaluate, PoseEvaluate):
        assert of[config.seed] == "opened"
    tests = (
        *(seeds.TEST, seeds.TEST_POSE, seeds.TEST_HAND_MADE),
        *(seeds.TEST_FEATURES, seeds.TEST_AGREE, seeds.TEST_SURGERY, seeds.TEST_PRIORS),
    )
    for seed in tests:
        assert of[seed] == "test"
        assert not seeds.trained_on(seed)
    for seed in (seeds.POSENET, seeds.JUDGE, seeds.HOG, *seeds.REPLICATES):
        assert seeds.trained_on(seed)
