import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert.cli.app import main
from netinvert.errors import ConfigError
from netinvert.io.files import load_tensors
from netinvert.models.zoo.pose import TOPOLOGIES, load_pose_network, read_pose_network
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import DatasetError, background_pool
from netinvert.training.card import add_test_figures, export
from netinvert.training.config import TrainingError, TrainingRun
from netinvert.training.loop import LAST
from netinvert.training.pose import batches, train
from netinvert.training.pose.batches import PoseBatches
from netinvert.training.pose.train import (
    PoseConfig,
    PoseModel,
    WatchedViews,
    final_figures,
    prepared,
    train_pose,
    train_pose_on,
    validation_views,
)

QUICK = PoseConfig(samples=48, batch=8, seed=4)


def run_in(folder):
    return TrainingRun(folder, every=2, threads=1, progress=False)


@given(st.integers(2000, 10**6), st.integers(0, 10**6), st.floats(0, 1))
def test_a_training_may_be_made_longer_while_its_rate_is_constant(samples, more, share):
    plan, longer = (PoseConfig(samples=64 * n, batch=64) for n in (samples, samples + more))
    step = int(share * 0.7 * plan.steps)
    assert plan.rate_at(step) == longer.rate_at(step)


def test_the_rate_rises_stays_and_falls():
    plan = PoseConfig(samples=64 * 10_000)
    rates = [plan.rate_at(step) for step in range(10_001)]
    assert rates[0] < 0.01
    assert rates[499] == rates[6999] == 1.0
    assert rates[8500] == pytest.approx(0.5)
    assert rates[10_000] == 0.0


@pytest.mark.parametrize(
    "bad",
    [
        {"network": "vgg"},
        {"task": "both of them"},
        {"surroundings": "none"},
        {"samples": 3},
        {"rate": 0.0},
        {"rate": 2.0},
        {"seed": -1},
        {"precision": "int8"},
    ],
)
def test_plans_that_cannot_be(bad):
    with pytest.raises(ConfigError):
        PoseConfig(**bad)


either = pytest.mark.parametrize(
    "network", ["posenet", pytest.param("posenet-judge", marks=pytest.mark.slow)]
)


@either
def test_a_network_can_learn_one_batch_by_heart(views, half, network):
    batch = PoseBatches(views if network == "posenet" else half, 8, 0)(0)
    model = PoseModel(PoseConfig(network=network)).train()
    optimizer = torch.optim.AdamW(model.optimizers()[0].param_groups, lr=1e-3)
    losses = []
    for step in range(18):
        loss, parts = model.losses(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts)
    assert losses[-1]["pose"] < 0.3 * losses[0]["pose"]
    assert losses[-1]["relative"] < 0.5 * losses[0]["relative"]
    assert losses[-1]["match"] < 0.3 * losses[0]["match"]
    if network == "posenet":
        assert losses[-1]["azimuth and turns"] < 0.7 * losses[0]["azimuth and turns"]


def test_every_parameter_is_trained_once_and_only_weights_decay():
    model = PoseModel(QUICK)
    (optimizer,) = model.optimizers()
    weights, rest = (group["params"] for group in optimizer.param_groups)
    ids = [id(p) for p in (*weights, *rest)]
    assert sorted(ids) == sorted(id(p) for part in (model.network, model.pairs) for p in part.parameters())
    assert all(p.ndim > 1 for p in weights)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [QUICK.weight_decay, 0.0]
    assert {group["lr"] for group in optimizer.param_groups} == {QUICK.rate}
    assert not any(p.requires_grad for p in model.average.parameters())


def test_the_average_follows_the_network():
    model = PoseModel(QUICK)
    with torch.no_grad():
        model.network.fc8.weight.fill_(1.0)
        before = model.average.network.fc8.weight.clone()
    model.update_average(90)  # keeps 91 / 100
    assert torch.allclose(model.average.network.fc8.weight, before + 0.09 * (1 - before), atol=1e-6)
    assert model.train().average.training is False


def test_training_does_not_touch_the_global_generator():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    PoseModel(QUICK)
    assert torch.equal(torch.rand(1), expected)


def breaks_at(patch, call, what):
    """Let a training step fail, or its loss be changed, the ``call``-th time."""
    real, calls = PoseModel.losses, []

    def losses(self, *arguments):
        calls.append(1)
        loss, parts = real(self, *arguments)
        return (what(loss) if len(calls) == call else loss), parts

    patch.setattr(PoseModel, "losses", losses)


def power_cut(_loss):
    raise RuntimeError("power cut")


def test_a_training_that_is_broken_off_goes_on_to_the_same_bits(dataset, tmp_path):
    whole = train_pose(QUICK, [dataset], run_in(tmp_path / "whole"))
    with pytest.MonkeyPatch.context() as patch:
        breaks_at(patch, 4, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train_pose(QUICK, [dataset], run_in(tmp_path / "broken"))
    resumed = train_pose(QUICK, [dataset], run_in(tmp_path / "broken"))
    wanted, found = whole.state_dict(), resumed.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_a_loss_that_is_not_finite_stops_the_training(dataset, tmp_path, monkeypatch):
    breaks_at(monkeypatch, 4, lambda loss: loss * float("nan"))
    with pytest.raises(TrainingError, match="smaller --rate"):
        train_pose(QUICK, [dataset], run_in(tmp_path))
    kept, facts = load_tensors(tmp_path / LAST)
    assert json.loads(facts["training"])["step"] == 2
    assert all(value.isfinite().all() for value in kept.values() if value.is_floating_point())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_that_of_the_layers_alone(views, precision):
    model = PoseModel(PoseConfig(precision=precision)).train()
    batch = PoseBatches(views, 8, 0)(0)
    seen = []
    model.network.conv2.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    loss, _ = model.losses(batch, 0)
    assert seen == [getattr(torch, precision)]
    assert loss.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_dataset_that_is_missing(tmp_path):
    with pytest.raises(DatasetError, match="netinvert scenes render"):
        train_pose(QUICK, [tmp_path / "nothing"], run_in(tmp_path / "out"))


@either
def test_what_is_exported_says_what_the_averaged_network_said(tmp_path, network):
    model = PoseModel(PoseConfig(network=network, seed=2)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # statistics that are not those of a new network
        for part in model.average.network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.normal_(generator=generator)
                part.running_var.uniform_(0.5, 2, generator=generator)
    path = export(tmp_path / network, model.file({"figures": {"median_geodesic_deg": 9.0}}))
    side = TOPOLOGIES[network].side
    images = prepared(torch.rand(3, 3, side, side, generator=generator))
    with torch.no_grad():
        codes, outputs = model.average.network.code(images), model.average.network(images)
        read = read_pose_network(path).network
        found, said = read.code(images), read(images)
        paired = read_pose_network(path).pairs(codes, codes.flip(0))
    close = {"rtol": 0.02, "atol": 0.02}  # written as float16
    assert torch.allclose(found, codes, **close)
    assert torch.allclose(said, outputs, **close)
    assert torch.allclose(paired[1], model.average.pairs(codes, codes.flip(0))[1], **close)
    loaded = load_pose_network(network, str(path))
    assert (loaded.name, loaded.held_out_pose_estimator) == (
        network,
        "posenet-judge" if network == "posenet" else "posenet",
    )
    assert "| median_geodesic_deg | 9 |" in path.with_suffix(".md").read_text()
    assert path.stat().st_size < 5_000_000


def test_figures_of_a_test_are_added_to_weights_and_card(tmp_path):
    plan = DatasetConfig(identities=7, background="mixed", elevation=(0.0, 30.0)).to_json()
    content = PoseModel(QUICK).file({"data": {"plan": plan}, "figures": {"acc_30": 0.5}})
    path = export(tmp_path / "mine", content)
    before = read_pose_network(path)
    add_test_figures(path, before, "netinvert pose evaluate", {"acc_30": 0.25, "groups": {}})
    after = read_pose_network(path)
    assert all(
        torch.equal(a, b) for a, b in zip(*(x.network.parameters() for x in (before, after)), strict=True)
    )
    assert after.facts == {
        **before.facts,
        "test": {"command": "netinvert pose evaluate", "figures": {"acc_30": 0.25}},
    }
    card = path.with_suffix(".md").read_text()
    assert "| acc_30 | 0.5 |" in card
    assert "| acc_30 | 0.25 |" in card
    said = "--identities 7 --views 20 --size 128 --seed 0 --elevation 0.0 30.0 --background mixed"
    assert f"`netinvert scenes render --objects chairs {said}`" in card


def test_a_name_keeps_its_dots(tmp_path):
    content = PoseModel(QUICK).file({})
    path = export(tmp_path / "mine.v2", content)
    assert export(path, content) == path
    add_test_figures(path, content, "netinvert pose evaluate", {"acc_30": 0.25})
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine.v2.md", "mine.v2.safetensors"]
    assert (tmp_path / "mine.v2.md").read_text().startswith("# mine.v2\n")
    assert "acc_30" in read_pose_network(path).facts["test"]["figures"]


def test_final_figures_are_those_of_the_validation_split(dataset):
    figures, _ = final_figures(PoseModel(QUICK), validation_views([dataset], 0))
    assert 0 <= figures["median_geodesic_deg"] <= 180
    assert 0 <= figures["dead_code_units"] <= 512


def about_z(*degrees):
    turns = [[[0.0, -turn, 0.0], [turn, 0.0, 0.0], [0.0, 0.0, 0.0]] for turn in map(math.radians, degrees)]
    return torch.matrix_exp(torch.tensor(turns))


def test_the_constant_answer_is_the_mean_rotation_of_the_training_views(views, tmp_path):
    turned = about_z(*(20 + 30 * (-1) ** k for k in range(len(views.rotation))))
    images = torch.zeros(3, 3, 128, 128, dtype=torch.uint8)
    watched = WatchedViews(images, about_z(20.0, 35.0, 60.0), torch.ones(3))
    model = train_pose_on(QUICK, replace(views, rotation=turned), watched, run_in(tmp_path / "out"))
    torch.testing.assert_close(model.constant, about_z(20.0))
    _, always = final_figures(model, watched)
    assert always["median_geodesic_deg"] == pytest.approx(15, abs=0.01)
    assert always["mean_geodesic_deg"] == pytest.approx((0 + 15 + 40) / 3, abs=0.05)
    assert always["acc_30"] == pytest.approx(2 / 3)


@pytest.mark.slow
def test_a_killed_training_of_the_command_line_ends_with_the_same_weights(dataset, tmp_path, monkeypatch):
    for module in (batches, train):  # as in another process
        monkeypatch.setattr(module, "background_pool", background_pool)

    def command(folder):
        options = ["--data", str(dataset), "--out", str(folder), "--samples", "120", "--batch", "8"]
        options += ["--surroundings", "plain"]  # no thousands of backgrounds
        return ["pose", "train", *options, "--threads", "1", "--every", "2", "--workers", "1"]

    assert main(command(tmp_path / "whole")) == 0
    killed = tmp_path / "killed"
    words = [sys.executable, "-m", "netinvert", *command(killed)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while not (killed / LAST).exists() and time.monotonic() - began < 120:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "posenet.safetensors").exists()
    assert main(command(killed)) == 0
    wanted, found = (read_pose_network(each / "posenet.safetensors") for each in (tmp_path / "whole", killed))
    for part in ("network", "pairs"):
        ours, theirs = (getattr(each, part).state_dict() for each in (wanted, found))
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
