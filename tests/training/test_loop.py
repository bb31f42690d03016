"""The loop of all trainings, on a small network."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from netinvert.errors import ConfigError, OutputError
from netinvert.io.files import load_tensors
from netinvert.training import loop
from netinvert.training.config import TrainingConfig, TrainingError, TrainingRun
from netinvert.training.loop import BEFORE, LAST, Trainee, adamw, decaying, fit_trainee, move_average

CONFIG = TrainingConfig(samples=48, batch=8, seed=4)


class Line(Trainee):
    """Learns a line through points."""

    def __init__(self, config=CONFIG):
        super().__init__(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
            self.average = nn.Linear(3, 1).requires_grad_(False)
        self.seen = []

    def optimizers(self):
        return [adamw(decaying(list(self.network.parameters()), 0.01), self.config.rate)]

    def losses(self, batch, step):
        self.seen.append(step)
        return (self.network(batch) - batch.sum(1, keepdim=True)).square().mean(), {}

    def update_average(self, step):
        self.average.weight.lerp_(self.network[0].weight[:1].detach(), 0.5)


def points(step):
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(step))


def trained(folder, model=None, batches=points, **more):
    model = model or Line()
    run = TrainingRun(folder, **({"every": 2, "progress": False, "tell": print} | more))
    fit_trainee(model, batches, lambda: ({"steps": len(model.seen)}, None), run)
    return model


def same_bits(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Stops(Line):
    """Something happens in its fourth step."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def losses(self, batch, step):
        if len(self.seen) == 3:
            self.what()
        return super().losses(batch, step)


def interrupted():
    os.kill(os.getpid(), signal.SIGINT)


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def broken():
    raise RuntimeError("power cut")


@pytest.mark.parametrize(
    ("what", "error", "left"),
    [(broken, RuntimeError, 2), (interrupted, KeyboardInterrupt, 4), (terminated, KeyboardInterrupt, 4)],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_that_is_stopped_goes_on_to_the_same_bits(tmp_path, what, error, left, workers):
    whole = trained(tmp_path / "whole")
    with pytest.raises(error):
        trained(tmp_path / "stopped", Stops(what), workers=workers)
    resumed = trained(tmp_path / "stopped", workers=workers)
    assert resumed.seen == list(range(left, 6))
    assert resumed.seconds > 0
    assert same_bits(whole, resumed)
    one, other = (load_tensors(tmp_path / each / LAST)[0] for each in ("whole", "stopped"))
    assert one.keys() == other.keys()
    assert any("exp_avg_sq" in key for key in one)
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    again = trained(tmp_path / "whole")  # nothing is left to do
    assert again.seen == []
    assert same_bits(whole, again)


def stops_at(step, what):
    """Batches; something happens as one is made."""

    def made(number):
        if number == step:
            what()
        return points(number)

    return made


def test_a_signal_in_the_last_step_is_not_lost(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, batches=stops_at(5, terminated))
    assert trained(tmp_path).seen == []


def test_a_signal_while_packages_are_imported_is_not_lost(tmp_path, monkeypatch):
    class Module:
        """As some packages, makes an ImportError of what is raised in them."""

        def __getattr__(self, name):
            try:
                interrupted()
            except KeyboardInterrupt:
                raise ImportError("cannot load module more than once per process") from None
            raise ImportError(name)

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", Module())
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path)
    assert trained(tmp_path).seen == [1, 2, 3, 4, 5]


def test_the_global_generator_is_left_alone(tmp_path):
    model = Line()
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    trained(tmp_path, model)
    assert torch.equal(torch.rand(1), expected)


def test_the_first_checkpoint_comes_soon_and_others_after_minutes(tmp_path, monkeypatch):
    clock, saved = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    real = loop.Checkpoints.save

    def save(self, step, seconds):
        saved.append(step)
        real(self, step, seconds)

    def ticking(step):
        clock[0] += 20
        return points(step)

    monkeypatch.setattr(loop.Checkpoints, "save", save)
    trained(tmp_path, Line(TrainingConfig(samples=112, batch=8)), ticking, every=1000, minutes=2)
    assert saved == [3, 9, 14]  # within a minute, then every two, and at the end


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_bytes(b"nothing")


@pytest.mark.parametrize("spoil", [cut_short, overwrite])
def test_damaged_checkpoints_are_told_and_set_aside(tmp_path, spoil):
    whole, told = trained(tmp_path), []
    spoil(tmp_path / LAST)
    resumed = trained(tmp_path, tell=told.append)
    assert resumed.seen == [4, 5]
    assert same_bits(whole, resumed)
    assert "damaged" in told[0]
    assert "of step 4" in told[0]
    assert (tmp_path / f"{LAST}.damaged").exists()
    spoil(tmp_path / LAST)
    spoil(tmp_path / BEFORE)
    anew = trained(tmp_path, tell=told.append)
    assert anew.seen == whole.seen
    assert same_bits(whole, anew)
    assert "begun anew" in told[1]


def test_the_only_whole_checkpoint_stays_until_there_is_another(tmp_path, monkeypatch):
    whole = trained(tmp_path)
    cut_short(tmp_path / LAST)

    def full(*_):
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_tensors", full)
        with pytest.raises(OutputError, match="full"):
            trained(tmp_path)
    resumed = trained(tmp_path)
    assert resumed.seen == [4, 5]
    assert same_bits(whole, resumed)


def test_a_kill_between_two_checkpoints_leaves_the_first(tmp_path):
    whole = trained(tmp_path)
    (tmp_path / LAST).unlink()
    assert same_bits(whole, trained(tmp_path))


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path):
    def full(*_):
        raise OutputError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        model = Stops(lambda: patch.setattr(loop, "save_tensors", full))
        with pytest.raises(OutputError, match="full"):
            trained(tmp_path, model)
    assert trained(tmp_path).seen == [2, 3, 4, 5]


def test_a_limit_on_files_is_told_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    """As on a full disk, a file ends in the middle."""
    resource = pytest.importorskip("resource")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    whole, limits = trained(tmp_path / "whole"), resource.getrlimit(resource.RLIMIT_FSIZE)
    model = Stops(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1])))
    try:
        with pytest.raises(OutputError, match="larger than the file system"):
            trained(tmp_path / "cut", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in (tmp_path / "cut").iterdir()} <= {loop.LOCK, LAST, BEFORE}
    resumed = trained(tmp_path / "cut")
    assert resumed.seen == [2, 3, 4, 5]
    assert same_bits(whole, resumed)


def test_checkpoints_hold_nothing_that_could_run(tmp_path):
    trained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".safetensors"}


def test_a_training_of_something_else_is_refused_and_kept(tmp_path):
    trained(tmp_path)
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(TrainingError, match="seed 4, not 5"):
        trained(tmp_path, Line(TrainingConfig(samples=48, batch=8, seed=5)))
    assert (tmp_path / LAST).read_bytes() == before
    assert trained(tmp_path, Line(TrainingConfig(samples=64, batch=8, seed=4))).seen == [6, 7]


def test_one_process_at_a_time(tmp_path):
    def second():
        with pytest.raises(OutputError, match="another process"):
            trained(tmp_path)

    trained(tmp_path, Stops(second))


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        trained(tmp_path / "file" / "folder")


def test_a_loss_that_is_not_finite_stops(tmp_path):
    with pytest.raises(TrainingError, match=r"nan at step 3.*smaller --rate"):
        trained(tmp_path, batches=lambda step: points(step) * (float("nan") if step == 3 else 1))
    assert trained(tmp_path).seen == [2, 3, 4, 5]


def test_logs_need_tensorboard_and_nothing_else_does(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    told = []
    assert trained(tmp_path, tell=told.append).seen == list(range(6))
    assert "netinvert[training]" in told[0]
    assert not (tmp_path / "logs").exists()


def test_progress_is_told_in_a_pipe(tmp_path, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("netinvert.io.running.time.monotonic", lambda: clock[0])

    def ticking(step):
        clock[0] += 6
        return points(step)

    trained(tmp_path, batches=ticking, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("netinvert: 2 of 6 steps: loss ")
    assert lines[0].endswith(" left")
    assert len(lines) == 3


@pytest.mark.parametrize(
    "bad", [{"every": 0}, {"devices": 0}, {"nodes": 0}, {"threads": -1}, {"workers": -1}]
)
def test_runs_that_cannot_be(tmp_path, bad):
    with pytest.raises(ConfigError):
        TrainingRun(tmp_path, **bad)


def test_devices_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="try auto"):
        trained(tmp_path, device="abacus")


def test_the_average_moves_quickly_at_first_and_leaves_counters():
    average, now = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    now.weight.data.fill_(2)
    now.running_mean.fill_(1)
    now.num_batches_tracked.fill_(7)
    move_average(average, now, 90, 0.999)  # keeps 91 / 100
    assert average.weight.tolist() == pytest.approx([1.09, 1.09])
    assert average.running_mean.tolist() == pytest.approx([0.09, 0.09])
    assert average.num_batches_tracked == 0
    before = average.weight.detach().clone()
    move_average(average, now, 10**6, 0.999)
    assert torch.allclose(average.weight, before + 0.001 * (2 - before))


BEGINNING = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_loop import Line, fit_trainee, points, trained
from netinvert.training.config import TrainingRun
from netinvert.training.config import is_main_process, relaunch
"""
TWO = """
if __name__ == "__main__":
    run = TrainingRun(Path(sys.argv[1]), every=2, device="cpu", devices=2, progress=False)
    relaunch(run.devices, run.nodes)
    model = Line()
    fit_trainee(model, points, lambda: ({}, None), run)
    name = "main" if is_main_process() else "other"
    Path(sys.argv[1]).with_suffix("." + name).write_text(str(model.network[0].weight.sum().item()))
"""
SLOW = """
def slow(step):
    time.sleep(0.05)
    return points(step)
trained(Path(sys.argv[1]), batches=slow, every=2, workers=2, threads=1)
"""


@pytest.mark.slow
def test_two_processes_see_other_batches_and_agree(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(BEGINNING + TWO)
    command = [sys.executable, script, tmp_path / "out"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert found.returncode == 0, found.stderr
    said = [float((tmp_path / name).read_text()) for name in ("out.main", "out.other")]
    assert said[0] == said[1]
    # the same by hand: the mean gradient of batches 2k and 2k + 1
    models = Line(), Line()
    (optimizer,) = models[0].optimizers()
    for step in range(CONFIG.steps):
        for group in optimizer.param_groups:
            group["lr"] = CONFIG.rate * CONFIG.rate_at(step)
        models[1].load_state_dict(models[0].state_dict())
        for rank, model in enumerate(models):
            model.zero_grad()
            model.losses(points(2 * step + rank), step)[0].backward()
        for one, other in zip(*(model.network.parameters() for model in models), strict=True):
            one.grad = (one.grad + other.grad) / 2
        nn.utils.clip_grad_norm_(models[0].network.parameters(), loop.CLIP)
        optimizer.step()
    assert said[0] == pytest.approx(models[0].network[0].weight.sum().item(), abs=1e-5)


@pytest.mark.slow
def test_a_terminated_process_leaves_a_checkpoint(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", BEGINNING + SLOW, tmp_path / "killed"])
    began = time.monotonic()
    while not (tmp_path / "killed" / LAST).exists() and time.monotonic() - began < 180:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(180) != 0
    assert (tmp_path / "killed" / LAST).exists()
    model = trained(tmp_path / "killed", threads=1)
    assert 0 < len(model.seen) < CONFIG.steps
    assert same_bits(model, trained(tmp_path / "whole", threads=1))


def test_threads_are_as_before_afterwards(tmp_path):
    before, within = torch.get_num_threads(), []
    trained(
        tmp_path,
        batches=lambda step: within.append(torch.get_num_threads()) or points(step),
        threads=before + 1,
    )
    assert set(within) == {before + 1}
    assert torch.get_num_threads() == before
