"""Checkpoints: a run taken up again ends at the same bits, and nobody else's run is taken up."""

import functools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from netinvert import (
    LBFGS,
    Adam,
    ConfigError,
    EarlyStopping,
    Encoder,
    Energy,
    Fourier,
    Match,
    Pixels,
    Preprocessing,
    Run,
    Stage,
    TotalVariation,
    optimize,
)
from netinvert.inversion.canvases import DeepPrior
from netinvert.inversion.lbfgs_parts import WarmUp
from netinvert.inversion.objectives import Activate, Caricature, PoseTowards
from netinvert.inversion.schedule import DecayingAdaGrad, Momentum
from netinvert.inversion.transforms import Box
from netinvert.io.files import FileError
from tiny import encoder, images

OPTIMIZERS = {
    "adam": Adam(0.03),
    "momentum": Momentum(8.0),
    "adagrad": DecayingAdaGrad(0.05, 256),
    "lbfgs": LBFGS(history=3),
}
SEEDS = (1, 2)


def stages_of(optimizer):
    jitter = 1 if optimizer.needs_fixed_objective else 4
    projections = () if optimizer.needs_fixed_objective else (Box(-1.0, 2.0),)
    return (Stage(9, optimizer, jitter, projections), Stage(6, Adam(0.01), 3), Stage(5, optimizer))


one_encoder = functools.cache(encoder)


def inversion(stages, kind="pixels", run=None, **changes):
    cut = changes.pop("cut", None) or one_encoder()
    target = changes.pop("target", None)
    target = cut(images(2)).detach() if target is None else target
    canvas = Fourier.noise((3, *tiny.SIZE), SEEDS, torch.empty(0, dtype=torch.float64))
    if kind == "pixels":
        canvas = Pixels(canvas().detach(), (0.5,) * 3)
    energy = Energy(((1.0, Match(target, changes.pop("mask", None))), (0.01, TotalVariation())))
    assert not changes
    return optimize(canvas, energy, cut, stages, run or Run(seed=SEEDS))


def interrupt_at(step):
    def callback(snapshot):
        if snapshot.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return callback


def assert_same(found, expected):
    assert torch.equal(found.image, expected.image)
    assert torch.equal(found.code, expected.code)
    assert torch.equal(found.losses.nan_to_num(-1), expected.losses.nan_to_num(-1))
    assert torch.equal(found.best_step, expected.best_step)
    assert found.status == expected.status


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["pixels", "fourier"])
def test_resumed_is_uninterrupted_to_the_bit(name, kind, tmp_path):
    stages = stages_of(OPTIMIZERS[name])
    expected = inversion(stages, kind)
    # in stage 1 (for L-BFGS also between the trials of a line search), at both boundaries, in stage 2 and 3
    for step in (1, 2, 3, 4, 7, 9, 12, 15, 18):
        run = Run(seed=SEEDS, checkpoint=tmp_path / f"{step}", callback=interrupt_at(step))
        first = inversion(stages, kind, run)
        assert first.interrupted
        assert first.steps == step
        second = inversion(stages, kind, replace(run, callback=None))
        assert not second.interrupted
        assert_same(second, expected)


def test_several_interruptions(tmp_path):
    stages = stages_of(OPTIMIZERS["lbfgs"])
    run = Run(seed=SEEDS, checkpoint=tmp_path / "checkpoint")
    for step in (2, 5, 9, 13):
        assert inversion(stages, run=replace(run, callback=interrupt_at(step))).steps == step
    assert_same(inversion(stages, run=run), inversion(stages))


def test_checkpoints_by_time_survive_a_crash(tmp_path):
    def crash(snapshot):
        if snapshot.step == 11:
            raise ZeroDivisionError

    stages = stages_of(OPTIMIZERS["adam"])
    run = Run(seed=SEEDS, checkpoint=tmp_path / "checkpoint", checkpoint_seconds=0)
    with pytest.raises(ZeroDivisionError):
        inversion(stages, run=replace(run, callback=crash))
    seen = []
    result = inversion(stages, run=replace(run, callback=lambda snapshot: seen.append(snapshot.step)))
    assert seen[0] == 11  # from the state before the step that crashed
    assert_same(result, inversion(stages))


def test_no_checkpoint_is_written_before_it_is_time(tmp_path):
    inversion(stages_of(Adam()), run=Run(checkpoint=tmp_path / "checkpoint", checkpoint_seconds=1e6))
    assert list(tmp_path.iterdir()) == []


def test_stopped_and_diverged_samples_stay_so(tmp_path):
    stages = (Stage(30, Adam(0.03)),)
    level = inversion(stages).losses.sum(1)[12].max().item()
    stop = EarlyStopping(below=level, patience=9)
    expected = inversion(stages, run=Run(seed=SEEDS, stop=stop))
    assert "stopped by rule" in expected.status
    run = Run(seed=SEEDS, stop=stop, checkpoint=tmp_path / "checkpoint", callback=interrupt_at(11))
    assert inversion(stages, run=run).interrupted
    assert_same(inversion(stages, run=replace(run, callback=None)), expected)


class Shut(torch.nn.Module):
    """A ReLU that can be shut from outside, far below what an image could open."""

    by = 0.0

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=2)
        self.relu = torch.nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x) - Shut.by)


def test_dead_samples_are_helped_no_longer_than_without_the_stop(tmp_path, monkeypatch):
    """How often ReLUs have leaked is part of the state."""
    cut = Encoder(tiny.seeded(Shut), "output", tiny.PLAIN)
    target = cut(images(2)).detach()
    monkeypatch.setattr(Shut, "by", 1e3)
    stages = (Stage(40, Adam(1e-6)),)
    expected = inversion(stages, cut=cut, target=target)
    assert expected.status == ("no gradient",) * 2
    assert 9 < expected.steps < 40
    run = Run(seed=SEEDS, checkpoint=tmp_path / "checkpoint", callback=interrupt_at(9))
    assert inversion(stages, cut=cut, target=target, run=run).interrupted
    assert_same(inversion(stages, cut=cut, target=target, run=replace(run, callback=None)), expected)


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    stages = (Stage(12, Adam(0.03)),)
    run = Run(seed=SEEDS, checkpoint=tmp_path / "checkpoint", callback=interrupt_at(5))
    mask = torch.ones(4, 8, 8, dtype=torch.float64)
    inversion(stages, run=run, mask=mask)
    run = replace(run, callback=None)
    cut = encoder()
    half = mask.clone()
    half[:2] = 0
    blue = Encoder(tiny.seeded(tiny.smooth), "output", Preprocessing(tiny.SIZE, order="BGR"))
    others = {
        "seed": {"run": replace(run, seed=(1, 3))},
        "stop": {"run": replace(run, stop=EarlyStopping(patience=3))},
        "stages": {"stages": (Stage(12, Adam(0.02)),)},
        "steps": {"stages": (Stage(13, Adam(0.03)),)},
        "code": {"target": cut(images(2)).detach() + 1e-12},
        "mask": {"mask": half},
        "layer": {"cut": encoder(layer="2")},
        "weights": {"cut": Encoder(tiny.seeded(tiny.smooth, 1), "output", tiny.PLAIN)},
        "preprocessing": {"cut": blue, "target": cut(images(2)).detach()},
        "canvas": {"kind": "fourier"},
    }
    for change in others.values():
        settings = {"stages": stages, "run": run, "mask": mask, **change}
        with pytest.raises(ConfigError, match="checkpoint of a run with another"):
            inversion(**settings)
    assert inversion(stages, run=run, mask=mask).steps == 12


def test_a_damaged_checkpoint_is_set_aside(tmp_path):
    path = tmp_path / "checkpoint"
    stages = (Stage(12, Adam(0.03)),)
    whole = inversion(stages, run=Run(seed=SEEDS))
    inversion(stages, run=Run(seed=SEEDS, checkpoint=path, callback=interrupt_at(5)))
    path.write_bytes(damaged := path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"damaged or cut off.*kept as checkpoint.damaged"):
        anew = inversion(stages, run=Run(seed=SEEDS, checkpoint=path))
    assert torch.equal(anew.losses, whole.losses)
    assert (tmp_path / "checkpoint.damaged").read_bytes() == damaged


def test_a_checkpoint_that_cannot_be_read_is_left(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    stages = (Stage(12, Adam(0.03)),)
    inversion(stages, run=Run(seed=SEEDS, checkpoint=path, callback=interrupt_at(5)))

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", forbidden)
        patch.setattr("safetensors.safe_open", forbidden)
        with pytest.raises(FileError, match="Permission denied"):
            inversion(stages, run=Run(seed=SEEDS, checkpoint=path))
    assert inversion(stages, run=Run(seed=SEEDS, checkpoint=path)).steps == 12


class Bright:
    """A term of the user's own, with Python's plain repr."""

    name = "bright"

    def __call__(self, image, code):
        return (image - 0.8).square().flatten(1).mean(1)


def with_a_term_of_ones_own(path, stop_at):
    cut = encoder()
    energy = Energy(((1.0, Match(cut(images(2)).detach())), (0.1, Bright())))
    canvas = Fourier.noise((3, *tiny.SIZE), SEEDS, torch.empty(0, dtype=torch.float64))
    run = Run(seed=SEEDS, checkpoint=path, callback=interrupt_at(stop_at))
    result = optimize(canvas, energy, cut, [Stage(8, Adam(0.03), jitter=2)], run)
    return f"{result.interrupted} {result.steps} {result.losses.sum().item().hex()}"


SCRIPT = """
import sys
from pathlib import Path
ballast = [object() for _ in range(int(sys.argv[1]))]  # other addresses in each process
from test_resume import with_a_term_of_ones_own
print(with_a_term_of_ones_own(Path(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.mark.slow
def test_another_process_goes_on(tmp_path):
    path = tmp_path / "checkpoint"

    def in_a_process(ballast, stop_at):
        command = [sys.executable, "-W", "error", "-c", SCRIPT, str(ballast), str(path), str(stop_at)]
        here = Path(__file__).parents[1]
        paths = (".", "inversion", os.environ.get("PYTHONPATH"))
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            cwd=here,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(part for part in paths if part)},
        )
        return done.stdout.strip()

    assert in_a_process(20, 4).startswith("True 4 ")
    assert in_a_process(50000, 0) == with_a_term_of_ones_own(None, 0)


# --- what a stage changes of the canvas ---------------------------------------------------------------


def coarse_to_fine(optimizer):
    """Coarse, less coarse, whole, and coarse once more, with projections in between."""
    box = () if optimizer.needs_fixed_objective else (Box(0.2, 0.8),)
    jitter = 1 if optimizer.needs_fixed_objective else 3
    return (
        Stage(5, optimizer, jitter, box, resolution=0.25),
        Stage(4, optimizer, resolution=0.5),
        Stage(4, Adam(0.02), 2, (Box(0.3, 0.7),)),
        Stage(5, optimizer, 1, box, resolution=0.5),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "momentum", "lbfgs"])
@pytest.mark.parametrize("kind", ["pixels", "fourier"])
def test_coarse_stages_are_taken_up_to_the_bit(name, kind, tmp_path):
    stages = coarse_to_fine(OPTIMIZERS[name])
    expected = inversion(stages, kind)
    for step in (1, 4, 5, 7, 9, 11, 13, 14, 16):
        run = Run(seed=SEEDS, checkpoint=tmp_path / f"{step}", callback=interrupt_at(step))
        assert inversion(stages, kind, run).steps == step
        assert_same(inversion(stages, kind, replace(run, callback=None)), expected)


def test_a_warm_up_is_taken_up_to_the_bit(tmp_path):
    stages = (Stage(24, LBFGS(history=3, warm_up=WarmUp(0.02, until=0.6, steps=9))),)
    expected = inversion(stages)
    for step in (1, 4, 8, 9, 10, 17):
        run = Run(seed=SEEDS, checkpoint=tmp_path / f"{step}", callback=interrupt_at(step))
        assert inversion(stages, run=run).steps == step
        assert_same(inversion(stages, run=replace(run, callback=None)), expected)


def test_a_deep_prior_is_taken_up_to_the_bit(tmp_path):
    cut = encoder()
    energy = Energy(((1.0, Match(cut(images(2)).detach())),))

    def go(**how):
        canvas = DeepPrior((3, *tiny.SIZE), SEEDS, torch.empty(0, dtype=torch.float64), (4, 6))
        return optimize(canvas, energy, cut, [Stage(12, Adam(0.02), 3)], Run(seed=SEEDS, **how))

    path = tmp_path / "checkpoint"
    assert go(checkpoint=path, callback=interrupt_at(5)).interrupted
    assert_same(go(checkpoint=path), go())


def test_the_checkpoint_of_another_objective_is_refused(tmp_path):
    """Also where large tensors look the same, for their text leaves out the middle."""
    cut = encoder()
    stages = (Stage(8, Adam(0.03)),)
    direction = torch.zeros(1, *cut.code_shape, dtype=torch.float64)
    direction[0, 2, 3, 4] = 1
    other = direction.roll(1, -1)
    turned = torch.eye(3, dtype=torch.float64).expand(2, 3, 3).clone()
    turned[0, 0, 0] += 1e-9
    pose = lambda code, rotation: (code.flatten(1)[:, :9] - rotation.flatten(1)).square().sum(1)  # noqa: E731
    pairs = {
        "activation": (Activate(direction), Activate(other)),
        "caricature": (Caricature(direction + other), Caricature(direction + 2 * other)),
        "pose": (PoseTowards(torch.eye(3).expand(2, 3, 3).double(), pose), PoseTowards(turned, pose)),
    }
    for name, (first, second) in pairs.items():

        def go(term, callback=None, path=tmp_path / name):
            canvas = Fourier.noise((3, *tiny.SIZE), SEEDS, torch.empty(0, dtype=torch.float64))
            run = Run(seed=SEEDS, checkpoint=path, callback=callback)
            return optimize(canvas, Energy(((1.0, term),)), cut, stages, run)

        assert go(first, interrupt_at(3)).interrupted
        with pytest.raises(ConfigError, match="checkpoint of a run with another"):
            go(second)
        assert go(first).steps == 8
