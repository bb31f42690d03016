"""What a code is trained for, and how sure a reading is."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.models.zoo.pose import read_pose_network
from netinvert.models.zoo.pose_heads import azimuth_mass
from netinvert.scenes.cameras import matrix_to_6d, rotation_from_angles
from netinvert.scenes.dataset_reader import Views, background_pool, load_arrays
from netinvert.training.card import export
from netinvert.training.config import TrainingRun
from netinvert.training.pose.batches import VARIED, PoseBatch, PoseBatches
from netinvert.training.pose.train import (
    BOTH,
    MATCH,
    MATCH_WEIGHT,
    POSE,
    RELATIVE_WEIGHT,
    TASKS,
    PoseConfig,
    PoseModel,
    WatchedViews,
    fitted_logistic,
    on_fixed_backgrounds,
    train_pose,
    train_pose_on,
    validation_views,
)


def batch(count=8, seed=0, side=128):
    generator = torch.Generator().manual_seed(seed)
    angles = 360 * torch.rand(count, generator=generator), *torch.rand(2, count, generator=generator)
    symmetry = torch.tensor([1, 1, 2, 2, 1, 1, 0, 0])[:count]
    return PoseBatch(
        torch.rand(count, 3, side, side, generator=generator), rotation_from_angles(*angles), symmetry
    )


def test_losses_and_images_can_be_compiled_in_one_piece(views):
    model, one = PoseModel(PoseConfig()).train(), batch()
    wanted, _ = model.losses(one, 0)
    found, _ = torch.compile(model.losses, backend="eager", fullgraph=True)(one, 0)
    torch.testing.assert_close(found, wanted)
    batches = PoseBatches(views, 4, 0, VARIED, background_pool(0, 128, 5))
    wanted = batches(3).images
    batches.compose = torch.compile(batches.compose, backend="eager", fullgraph=True)
    torch.testing.assert_close(batches(3).images, wanted)


# -- tasks ---------------------------------------------------------------------------------------------


def reached(task, name, monkeypatch):
    """The parts of the model that one part of the loss trains."""
    model, shown = PoseModel(PoseConfig(task=task)).train(), batch()
    own = {"relative": "relative", "match": "match_loss"}
    pairs = model.pairs
    for method in own.values():
        if method != own.get(name):
            real = getattr(pairs, method)
            monkeypatch.setattr(pairs, method, lambda *codes, real=real: real(*codes).detach())
    outputs = model.network.outputs
    if name != "pose":
        monkeypatch.setattr(model.network, "outputs", lambda codes: outputs(codes).detach())
    total, _ = model.losses(shown, 0)
    total.backward()
    parts = {
        "trunk": [model.network.conv1, model.network.fc7],
        "heads": [model.network.fc8, model.network.azimuth, model.network.turns],
        "relative": [pairs.fc1, pairs.pose],
        "match": [pairs.embed1, pairs.match],
    }
    return {
        name
        for name, members in parts.items()
        if all(one.weight.grad is not None and bool((one.weight.grad != 0).any()) for one in members)
    }


@pytest.mark.parametrize(
    ("task", "trains"),
    [(BOTH, {"pose", "relative", "match"}), (POSE, {"pose"}), (MATCH, {"match"})],
)
def test_what_is_not_the_task_reads_the_code_and_does_not_train_it(task, trains, monkeypatch):
    for name, head in (("pose", "heads"), ("relative", "relative"), ("match", "match")):
        with monkeypatch.context() as patch:
            assert reached(task, name, patch) == {head} | ({"trunk"} if name in trains else set())


def test_tasks_differ_in_their_gradients_alone():
    found = []
    for task in TASKS:
        total, parts = PoseModel(PoseConfig(task=task)).train().losses(batch(), 0)
        found.append([total.item(), *(value.item() for value in parts.values())])
        assert not any(value.requires_grad for value in parts.values())
    assert found[0] == found[1] == found[2]
    pose, more, relative, match = found[0][1:]
    assert found[0][0] == pytest.approx(pose + more + RELATIVE_WEIGHT * relative + MATCH_WEIGHT * match)


def test_turns_between_views_of_symmetric_objects_are_not_asked_for():
    model, shown = PoseModel(PoseConfig()).eval(), batch()
    _, parts = model.losses(shown, 0)
    turned = shown.rotation.clone()
    turned[2:4], turned[6:8] = shown.rotation[[5, 1]], shown.rotation[[4, 0]]  # of those with symmetries
    _, other = model.losses(replace(shown, rotation=turned), 0)
    assert other["relative"] == parts["relative"]
    turned[0] = shown.rotation[4]
    _, other = model.losses(replace(shown, rotation=turned), 0)
    assert other["relative"] != parts["relative"]
    _, none = model.losses(replace(shown, symmetry=torch.full((8,), 4)), 0)
    assert none["relative"] == 0


# -- calibration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (-1.2, 0.7), (0.6, 1.6)])
def test_a_known_logistic_is_recovered(shift, scale):
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, 40_000)
    right = (rng.random(len(x)) < 1 / (1 + np.exp(-shift - scale * x))).astype(float)
    assert fitted_logistic(x, right) == pytest.approx((shift, scale), abs=0.06)


def test_where_all_are_right_or_wrong_or_there_is_nothing_it_stays_finite():
    x = np.linspace(-14, 14, 50)
    sure, unsure = (fitted_logistic(x, np.full(50, value)) for value in (1.0, 0.0))
    # Platt's targets are 51 of 52 and 1 of 52, whatever is read
    assert sure == pytest.approx((math.log(51), 0), abs=0.1)
    assert unsure == pytest.approx((-math.log(51), 0), abs=0.1)
    apart = fitted_logistic(x, (x > 0).astype(float))
    assert apart[0] == pytest.approx(0, abs=0.01)
    assert 0.3 < apart[1] < 3
    assert fitted_logistic(np.zeros(0), np.zeros(0)) == pytest.approx((0, 1))


def watched_by(model, count=40):
    """Views of which the model reads three in four right; the last is of an object without a front."""
    images = torch.randint(256, (count, 3, 128, 128), generator=torch.Generator().manual_seed(3))
    images = images.to(torch.uint8)
    _, outputs = model.read(images)
    rotation = model.head.rotation(outputs)
    half_turn = rotation_from_angles(*(torch.tensor(each) for each in (180.0, 90.0, 0.0)))
    wrong = torch.arange(count) % 4 == 3
    rotation = torch.where(wrong[:, None, None], rotation @ half_turn, rotation)
    symmetry = torch.ones(count, dtype=torch.long)
    symmetry[-1] = 2
    return WatchedViews(images, rotation, symmetry), outputs


def test_the_confidence_is_the_share_of_right_readings(tmp_path):
    model = PoseModel(PoseConfig(seed=3))
    watched, outputs = watched_by(model)
    assert model.file({"plan": {}}).calibration == (0.0, 1.0)
    model.calibrate(watched)
    path = export(tmp_path / "net", model.file({}))
    content = read_pose_network(path)
    shift, scale = content.calibration
    assert (shift, scale) == pytest.approx(model.calibration)
    mass = azimuth_mass(content.head, outputs)[:-1].double()
    confidence = torch.sigmoid(shift + scale * torch.logit(mass))
    assert confidence.mean().item() == pytest.approx(30 / 39, abs=0.03)


def test_symmetric_views_take_no_part_in_the_calibration():
    model = PoseModel(PoseConfig(seed=3))
    watched, _ = watched_by(model)
    model.calibrate(watched)
    known = model.calibration
    front = watched.symmetry == 1
    model.calibrate(WatchedViews(watched.images[front], watched.rotation[front], watched.symmetry[front]))
    assert model.calibration == pytest.approx(known, abs=1e-4)
    model.calibrate(replace(watched, symmetry=torch.zeros_like(watched.symmetry)))
    assert model.calibration == pytest.approx((0, 1))  # there is nothing to go by


def test_frontless_objects_that_are_found_and_those_that_are_not_are_counted():
    model = PoseModel(PoseConfig())
    six = matrix_to_6d(torch.eye(3)).expand(4, 6)
    outputs = torch.cat([six, torch.zeros(4, 28)], 1)
    outputs[[0, 2, 3], 30] = 9.0  # a front
    outputs[1, 33] = 9.0
    model.read = lambda images: (torch.ones(4, 512), outputs)
    images, rotation = torch.zeros(4, 3, 8, 8), torch.eye(3).expand(4, 3, 3)
    found = model.figures(WatchedViews(images, rotation, torch.tensor([2, 0, 1, 1])))
    assert (found["frontless_found"], found["frontless_false"]) == (0.5, 0.0)
    assert "frontless_found" not in model.figures(WatchedViews(images, rotation, torch.ones(4)))


# -- datasets ------------------------------------------------------------------------------------------


def run_in(folder):
    return TrainingRun(folder, every=100, threads=1, progress=False)


QUICK = PoseConfig(samples=16, batch=8, seed=4)


def test_two_datasets_are_trained_on_as_one(dataset, tmp_path):
    watched = validation_views([dataset, dataset], QUICK.seed)
    once = validation_views([dataset], QUICK.seed)
    assert len(watched.images) == 2 * len(once.images)
    train = load_arrays(dataset, "train")
    wanted = train_pose_on(QUICK, Views.of(train, train), watched, run_in(tmp_path / "wanted"))
    found = train_pose(QUICK, [dataset, dataset], run_in(tmp_path / "found"))
    assert found.calibration == wanted.calibration != (0.0, 1.0)
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_pool_at_hand_is_trained_before(dataset, views, tmp_path):
    watched = validation_views([dataset], QUICK.seed)
    black = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    first, other = (
        train_pose_on(replace(QUICK, samples=8), views, watched, run_in(tmp_path / str(k)), pool)
        for k, pool in enumerate((None, black))
    )
    assert not torch.equal(first.network.fc8.weight, other.network.fc8.weight)


def test_images_of_another_size_are_refused_before_any_work(half, dataset, tmp_path):
    watched = validation_views([dataset], 0)
    with pytest.raises(ConfigError, match="128 pixels, the dataset has 64: render with --pixels 128"):
        train_pose_on(QUICK, half, watched, run_in(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_watched_views_stand_before_backgrounds_that_no_training_has(views):
    found, again, other = (on_fixed_backgrounds(views, seed) for seed in (0, 0, 1))
    assert found.images.shape == (len(views.rgba), 3, 128, 128)
    assert torch.equal(found.images, again.images)
    assert not torch.equal(found.images, other.images)
    solid = (views.rgba[:, 3:] == 255).expand(-1, 3, -1, -1)
    assert torch.equal(found.images[solid], views.rgba[:, :3][solid])
    assert torch.equal(found.images[solid], other.images[solid])
