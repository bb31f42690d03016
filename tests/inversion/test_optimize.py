"""The loop: independent samples, the best so far, when it stops, and what happens when things go wrong."""

import gc
import math
import os
import signal
import threading

import pytest
import torch
from torch import nn

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
    NetworkError,
    Pixels,
    Run,
    Stage,
    TotalVariation,
    optimize,
)
from netinvert.inversion.lbfgs_parts import WarmUp
from netinvert.inversion.schedule import DecayingAdaGrad, Momentum
from netinvert.inversion.transforms import Ball, Box
from tiny import encoder, images, seeded

OPTIMIZERS = {
    "adam": Adam(0.03),
    "momentum": Momentum(8.0),
    "adagrad": DecayingAdaGrad(0.05, 256),
    "lbfgs": LBFGS(),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def canvas_of(kind="fourier", seeds=(1, 2, 3), size=tiny.SIZE):
    like = torch.empty(0, dtype=torch.float64)
    canvas = Fourier.noise((3, *size), seeds, like)
    if kind == "fourier":
        return canvas
    return Pixels(canvas().detach(), (0.5, 0.5, 0.5))


def energy_of(cut, target, tv=0.01):
    return Energy(((1.0, Match(target)), (tv, TotalVariation())))


def go(target, optimizer=OPTIMIZERS["adam"], steps=12, kind="fourier", seeds=None, **kwargs):
    """Invert target codes of the smooth network."""
    cut = kwargs.pop("cut", None) or encoder()
    count = target.shape[0]
    seeds = seeds or list(range(1, count + 1))
    stages = kwargs.pop("stages", None) or (Stage(steps, optimizer),)
    run = Run(seed=seeds, **kwargs)
    return optimize(canvas_of(kind, seeds), energy_of(cut, target), cut, stages, run)


@pytest.fixture(scope="module")
def target():
    return encoder()(images(3)).detach()


# --- independence -------------------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("kind", ["fourier", "pixels"])
def test_changing_one_code_changes_no_other_result_by_a_bit(optimizer, kind, target):
    other = target.clone()
    other[1] = encoder()(images(1, seed=99))[0] * 3
    stages = (Stage(10, optimizer), Stage(5, Adam(0.01), jitter=3))
    one, two = (go(t, kind=kind, stages=stages) for t in (target, other))
    for name in ("image", "code", "best_step"):
        first, second = getattr(one, name), getattr(two, name)
        assert torch.equal(first[[0, 2]], second[[0, 2]]), name
    assert torch.equal(one.losses[..., [0, 2]], two.losses[..., [0, 2]])
    assert not torch.equal(one.image[1], two.image[1])


@every_optimizer
def test_changing_one_code_in_float32(optimizer, target):
    cut = Encoder(seeded(tiny.smooth, dtype=torch.float32), "output", tiny.PLAIN)
    results = []
    for factor in (1.0, -2.0):
        code = target.float()
        code[1] *= factor
        canvas = Fourier.noise((3, *tiny.SIZE), [1, 2, 3], torch.empty(0))
        results.append(optimize(canvas, energy_of(cut, code), cut, [Stage(15, optimizer)]))
    assert torch.equal(results[0].image[[0, 2]], results[1].image[[0, 2]])


@every_optimizer
def test_a_batch_is_its_singles(optimizer, target):
    stages = (Stage(10, optimizer), Stage(6, Adam(0.01), jitter=3))
    together = go(target, stages=stages)
    for row in range(3):
        alone = go(target[row : row + 1], stages=stages, seeds=[row + 1])
        torch.testing.assert_close(alone.image[0], together.image[row], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(alone.losses[..., 0], together.losses[..., row], rtol=1e-6, atol=1e-9)


def test_same_seed_same_bits_whatever_the_global_generator(target):
    stages = (Stage(8, Adam(0.03), jitter=4),)
    torch.manual_seed(1)
    first = go(target, stages=stages)
    torch.manual_seed(2)
    torch.rand(5)
    state = torch.get_rng_state()
    second = go(target, stages=stages)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.losses, second.losses)
    third = go(target, stages=stages, seeds=[4, 5, 6])
    assert not torch.equal(first.image[0], third.image[0])


def test_jitter_differs_between_seeds_and_not_within():
    cut = encoder()
    code = cut(images(1)).expand(3, -1, -1, -1)
    canvas = Pixels(images(1).expand(3, -1, -1, -1) * 0.5, (0.5,) * 3)
    stages = [Stage(6, Adam(0.01), jitter=5)]
    result = optimize(canvas, energy_of(cut, code), cut, stages, Run(seed=[7, 8, 7]))
    assert torch.equal(result.losses[..., 0], result.losses[..., 2])
    assert not torch.equal(result.losses[..., 0], result.losses[..., 1])


# --- the best so far ----------------------------------------------------------------------------------


@every_optimizer
def test_the_image_is_that_of_the_smallest_energy_recorded(optimizer, target):
    cut = encoder()
    result = go(target, optimizer, cut=cut)
    totals = result.losses.sum(1)  # (steps, N)
    assert result.losses.shape == (result.steps, 2, 3)
    assert result.terms == ("code", "tv")
    assert result.best_step.tolist() == [totals[:, i].nan_to_num(math.inf).argmin().item() for i in range(3)]
    with torch.no_grad():
        again = energy_of(cut, target)(result.image, cut(result.image))
    for row, step in enumerate(result.best_step.tolist()):
        torch.testing.assert_close(again[:, row], result.losses[step, :, row], rtol=1e-9, atol=0)
    torch.testing.assert_close(result.code, cut(result.image))
    assert torch.equal(result.target, target)
    expected = (result.code - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)
    torch.testing.assert_close(result.error, expected)


def test_the_best_is_kept_when_later_steps_are_worse():
    views = []
    values = [(3.0, 1.0), (1.0, 2.0), (2.0, 0.5), (4.0, 0.5), (1.0, 9.0)]
    result = scripted(values, callback=lambda snapshot: views.append(snapshot.image.clone()))
    assert result.best_step.tolist() == [1, 2]  # the first of equals
    assert torch.equal(result.image, torch.stack([views[1][0], views[2][1]]))
    assert not torch.equal(views[1][0], views[4][0])


def noise(images, sources):
    drawn = [torch.randn(images.shape[1:], generator=one, dtype=images.dtype) for one in sources]
    return images + 0.3 * torch.stack(drawn)


@pytest.mark.parametrize("first", [{"jitter": 4}, {"transforms": (noise,)}], ids=["jitter", "transforms"])
def test_the_best_of_a_stage_with_random_views_is_forgotten(first, target):
    """Its energies are of lucky views, so that even a worse one of the next stage counts for more."""
    cut = encoder()
    luck = iter([1e-9] * 5 + [1.0] * 5)

    def lucky(image, code):
        return next(luck) * (1 + (code - code.detach()).flatten(1).sum(1) + 0 * image.flatten(1).sum(1))

    stages = [Stage(5, Adam(0.01), **first), Stage(5, Adam(0.01))]
    result = optimize(canvas_of("pixels"), Energy(((1.0, lucky),)), cut, stages, Run(seed=[1, 2, 3]))
    assert result.best_step.tolist() == [5, 5, 5]


def test_averaged_images_are_of_one_place(target):
    """Shifted views would average to a blur: under jitter, it is the view in the middle that is averaged."""
    cut = encoder()
    start = images(3)
    stages = [Stage(8, Adam(1e-9), jitter=5, averaged=8)]
    result = optimize(Pixels(start, (0.5,) * 3), energy_of(cut, target), cut, stages, Run(seed=[1, 2, 3]))
    torch.testing.assert_close(result.image, start, rtol=0, atol=1e-6)


def test_losses_belong_to_the_image_before_the_step(target):
    cut = encoder()
    canvas = canvas_of()
    start = canvas().detach()
    result = optimize(canvas, energy_of(cut, target), cut, [Stage(1, Adam(0.1))])
    assert torch.equal(result.image, start)
    assert not torch.equal(canvas().detach(), start)


@every_optimizer
def test_energy_falls(optimizer, target):
    result = go(target, optimizer, 60)
    totals = result.losses.sum(1)
    assert (totals.nan_to_num(math.inf).min(0).values < 0.3 * totals[0]).all()


def test_status_of_a_run_to_its_end(target):
    assert go(target).status == ("all steps done",) * 3
    assert not go(target).interrupted


# --- stop rules ---------------------------------------------------------------------------------------


def test_below_stops_each_sample_by_itself(target):
    free = go(target, steps=40)
    totals = free.losses.sum(1)
    level = totals[20, 0].item()
    result = go(target, steps=40, stop=EarlyStopping(below=level))
    for row in range(3):
        reached = (totals[:, row] <= level).nonzero().flatten()
        first = int(reached[0]) if len(reached) else None
        assert result.status[row] == ("all steps done" if first is None else "stopped by rule")
        last = 39 if first is None else first
        column = result.losses[:, 0, row]
        assert column[: last + 1].isfinite().all()
        assert column[last + 1 :].isnan().all()
        assert torch.equal(column[: last + 1], free.losses[: last + 1, 0, row])
        if first is not None:
            assert result.best_step[row] == first
    assert len({int((totals[:, row] <= level).sum()) for row in range(3)}) > 1


def test_a_stopped_sample_keeps_its_image(target):
    level = go(target, steps=30).losses.sum(1)[10].max().item()
    short, long = (go(target, steps=steps, stop=EarlyStopping(below=level)) for steps in (25, 60))
    assert torch.equal(short.image, long.image)
    assert long.steps < 60


class Scripted:
    """A term whose values are given; its gradient is not zero."""

    name = "scripted"

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, image, code):
        value = torch.tensor(next(self.values), dtype=image.dtype)
        return value + 0 * image.flatten(1).sum(1) + (code - code.detach()).flatten(1).sum(1)


def scripted(values, callback=None, **rule):
    """Energies of two samples, step by step."""
    cut = encoder()
    canvas = canvas_of(seeds=(1, 2))
    run = Run(stop=EarlyStopping(**rule), callback=callback)
    return optimize(canvas, Energy(((1.0, Scripted(values)),)), cut, [Stage(len(values), Adam(0.001))], run)


def test_patience():
    falling = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    stuck = [1.0, 0.9, 0.95, 0.9, 0.92, 0.1, 0.1, 0.1]
    result = scripted(list(zip(falling, stuck, strict=True)), patience=3)
    assert result.status == ("all steps done", "stopped by rule")
    assert result.best_step.tolist() == [7, 1]
    assert result.losses[:, 0, 1].isfinite().sum() == 5  # three steps after the best one


def test_progress_below_the_improvement_does_not_count():
    creeping = [1.0 - 1e-6 * step for step in range(8)]
    result = scripted(list(zip(creeping, creeping, strict=True)), patience=3, improvement=1e-3)
    assert result.status == ("stopped by rule",) * 2
    assert result.steps == 4
    assert result.best_step.tolist() == [3, 3]  # the best is the best, progress or not


def test_slow_progress_that_adds_up_counts():
    slow = [0.999**step for step in range(12)]
    assert scripted(list(zip(slow, slow, strict=True)), patience=6, improvement=0.004).steps == 12


def test_energies_below_zero_are_energies():
    falling = [-float(step) for step in range(1, 9)]
    result = scripted(list(zip(falling, falling, strict=True)), patience=3)
    assert result.steps == 8
    assert result.best_step.tolist() == [7, 7]
    creeping = [-1 - 1e-6 * step for step in range(8)]
    assert scripted(list(zip(creeping, creeping, strict=True)), patience=3).steps == 4


# --- no numbers ---------------------------------------------------------------------------------------


class Cliff(nn.Module):
    """Smooth, but NaN as soon as an image's mean (or maximum) crosses a height."""

    def __init__(self, height, measure=torch.mean):
        super().__init__()
        self.body = tiny.smooth()
        self.height = height
        self.measure = measure

    def forward(self, x):
        over = self.measure(x, (1, 2, 3), keepdim=True) > self.height
        return torch.where(over, torch.nan, self.body(x))


@pytest.mark.parametrize(
    "stages",
    [
        [Stage(30, LBFGS(warm_up=WarmUp(0.1, until=0.0, steps=25)))],
        [Stage(25, Adam(0.1)), Stage(5, LBFGS())],
    ],
    ids=["warm-up", "stage"],
)
def test_a_sample_that_turns_nan_under_adam_before_l_bfgs(stages):
    cut, free = (Encoder(seeded(lambda h=h: Cliff(h)), "output", tiny.PLAIN) for h in (0.6, 9.0))
    start = torch.full((2, 3, 16, 16), 0.5, dtype=torch.float64)
    code = torch.cat([cut(0.6 * images(1)), free(torch.full_like(start[:1], 0.95))]).detach()
    result = optimize(Pixels(start, (0.5,) * 3), energy_of(cut, code), cut, stages)
    assert result.status[0] != "diverged (NaN)"
    assert result.status[1] == "diverged (NaN)"
    assert result.image.isfinite().all()
    losses = result.losses.sum(1)[:, 1]
    assert losses[int(result.best_step[1])] == losses[losses.isfinite()].min()
    assert 0 < losses.isfinite().sum() < 25


@pytest.mark.parametrize("name", ["adam", "momentum", "adagrad"])
def test_a_sample_that_turns_nan_stops_with_its_last_finite_image(name):
    cut = Encoder(seeded(lambda: Cliff(0.6)), "output", tiny.PLAIN)
    free = Encoder(seeded(lambda: Cliff(9.0)), "output", tiny.PLAIN)
    start = images(3) * 0.6
    start[1] = 0.5
    dark = cut(images(3, seed=5) * 0.6).detach()
    bright = torch.cat([dark[:1], free(torch.full_like(start[:1], 0.95)), dark[2:]])
    one, two = (
        optimize(Pixels(start, (0.5,) * 3), energy_of(cut, code), cut, [Stage(40, OPTIMIZERS[name])])
        for code in (bright, dark)
    )
    assert one.status == ("all steps done", "diverged (NaN)", "all steps done")
    assert one.image.isfinite().all()
    assert one.code.isfinite().all()
    best = int(one.best_step[1])
    assert best > 0
    assert one.losses[: best + 1, :, 1].isfinite().all()
    end = int(one.losses[:, 0, 1].isnan().long().argmax())
    assert end > best
    assert one.losses[end + 1 :, :, 1].isnan().all()
    assert torch.equal(one.image[[0, 2]], two.image[[0, 2]])
    assert torch.equal(one.losses[..., [0, 2]], two.losses[..., [0, 2]])


def test_l_bfgs_steps_back_from_nan():
    cut = Encoder(seeded(lambda: Cliff(3.0, torch.amax)), "output", tiny.PLAIN)
    target = cut(images(2)).detach()
    canvas = Pixels(images(2, seed=5), (0.5,) * 3)
    result = optimize(canvas, energy_of(cut, target, 0), cut, [Stage(80, LBFGS(first_step=5.0))])
    assert result.losses[:, 0].isnan().any()
    assert (result.losses[:, 0].nan_to_num(9).min(0).values < 0.02 * result.losses[0, 0]).all()
    assert "diverged (NaN)" not in result.status


@every_optimizer
def test_nan_from_the_start(optimizer):
    cut = Encoder(seeded(lambda: Cliff(0.6)), "output", tiny.PLAIN)
    start = images(2) * 0.4
    start[1] += 0.6
    canvas = Pixels(start, (0.5,) * 3)
    target = cut(images(2) * 0.9).detach()
    result = optimize(canvas, energy_of(cut, target), cut, [Stage(5, optimizer)])
    assert result.status[1] == "diverged (NaN)"
    torch.testing.assert_close(result.image[1], start[1])
    assert result.losses[:, 0, 0].isfinite().sum() >= 5


class _Bad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bad):
        ctx.save_for_backward(bad)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (bad,) = ctx.saved_tensors
        return torch.where(bad, torch.nan, gradient), None


class NaNGradient(nn.Module):
    """A finite code whose gradient is NaN for bright images."""

    def __init__(self):
        super().__init__()
        self.body = tiny.smooth()

    def forward(self, x):
        return _Bad.apply(self.body(x), x.mean((1, 2, 3), keepdim=True) > 0.6)


@pytest.mark.parametrize("name", ["adam", "momentum", "adagrad"])
def test_a_gradient_of_nan_stops_the_sample_though_its_energy_is_finite(name):
    cut = Encoder(seeded(NaNGradient), "output", tiny.PLAIN)
    start = images(2) * 0.4
    start[1] += 0.6
    target = cut(images(2) * 0.9).detach()
    result = optimize(Pixels(start, (0.5,) * 3), energy_of(cut, target), cut, [Stage(5, OPTIMIZERS[name])])
    assert result.status == ("all steps done", "diverged (NaN)")
    assert result.losses[0].isfinite().all()
    torch.testing.assert_close(result.image[1], start[1])


# --- no gradient --------------------------------------------------------------------------------------


class HalfDead(nn.Module):
    """A ReLU that is shut for dark images, everywhere."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        with torch.no_grad():
            self.conv.weight.abs_()
            total = self.conv.weight.sum((1, 2, 3))
            self.conv.bias.copy_(-0.3 * total)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.conv(x))


def dark_start(count=2, level=0.1):
    return Pixels(level * images(count, seed=3), (0.5,) * 3)


@pytest.mark.parametrize("tv", [0.0, 0.01])
def test_dead_relus_are_overcome_by_leaking(tv):
    cut = Encoder(seeded(HalfDead), "output", tiny.PLAIN)
    target = cut(images(2)).detach()
    result = optimize(dark_start(), energy_of(cut, target, tv), cut, [Stage(60, Adam(0.03))])
    assert result.losses[0, 0].tolist() == pytest.approx([1, 1])
    assert (result.losses[-1, 0] < 0.3).all()
    assert result.status == ("all steps done",) * 2


def test_help_for_the_dead_leaves_the_others_alone():
    cut = Encoder(seeded(HalfDead), "output", tiny.PLAIN)
    target = cut(images(2)).detach()
    results = []
    for level in (0.1, 0.9):
        start = torch.cat([level * images(1, seed=3), images(1, seed=4)])
        canvas = Pixels(start, (0.5,) * 3)
        results.append(optimize(canvas, energy_of(cut, target), cut, [Stage(20, Adam(0.03))]))
    assert results[0].losses[0, 0, 0].item() == pytest.approx(1)
    assert torch.equal(results[0].image[1], results[1].image[1])


def test_a_gradient_that_cannot_be_made_is_an_error():
    class Gone(nn.Module):
        """Not a ReLU: a threshold, through which nothing leaks."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = x * (x.mean((1, 2, 3), keepdim=True) > 0.3)
            return self.conv(x)

    cut = Encoder(seeded(Gone), "output", tiny.PLAIN)
    target = cut(images(2)).detach()
    for tv in (0.0, 0.01):
        for optimizer in (Adam(0.03), LBFGS()):
            with pytest.raises(NetworkError, match="gives no gradient at the start image"):
                optimize(dark_start(), energy_of(cut, target, tv), cut, [Stage(5, optimizer)])
    start = torch.cat([0.1 * images(1), images(1)])
    result = optimize(Pixels(start, (0.5,) * 3), energy_of(cut, target), cut, [Stage(5, Adam(0.03))])
    assert result.status == ("no gradient", "all steps done")


def test_l_bfgs_says_that_it_has_no_gradient():
    cut = Encoder(seeded(HalfDead), "output", tiny.PLAIN)
    target = cut(images(2)).detach()
    with pytest.raises(NetworkError, match="first stage with Adam"):
        optimize(dark_start(), energy_of(cut, target), cut, [Stage(5, LBFGS())])
    start = Pixels(torch.cat([0.1 * images(1), images(1)]), (0.5,) * 3)
    result = optimize(start, energy_of(cut, target, 0), cut, [Stage(9, LBFGS())])
    assert result.status == ("no gradient", "all steps done")
    stages = [Stage(10, Adam(0.05)), Stage(40, LBFGS())]
    result = optimize(dark_start(), energy_of(cut, target), cut, stages)
    assert (result.losses[:, 0].nan_to_num(9).min(0).values < 0.05).all()


def test_a_perfect_start_is_not_a_dead_one(target):
    cut = encoder()
    canvas = Pixels(images(3), (0.0,) * 3)
    result = optimize(canvas, Energy(((1.0, Match(target)),)), cut, [Stage(4, LBFGS())])
    assert set(result.status) == {"converged"}
    torch.testing.assert_close(result.image, images(3))


def test_priors_alone():
    cut = encoder()
    result = optimize(canvas_of(), Energy(((1.0, TotalVariation()),)), cut, [Stage(5, Adam(0.01))])
    assert result.target is None
    assert (result.losses[-1] < result.losses[0]).all()
    with pytest.raises(ValueError, match="no target"):
        _ = result.error


# --- callbacks and Ctrl-C -----------------------------------------------------------------------------


def test_the_callback_sees_every_step_and_can_stop(target):
    seen = []

    def callback(snapshot):
        seen.append((snapshot.step, snapshot.losses.clone(), snapshot.best_loss.clone()))
        assert snapshot.steps == 12
        assert snapshot.terms == ("code", "tv")
        assert snapshot.image.shape == snapshot.best_image.shape == (3, 3, 16, 16)
        assert not snapshot.image.requires_grad
        return snapshot.step == 7

    result = go(target, callback=callback)
    assert [step for step, _, _ in seen] == list(range(1, 8))
    assert torch.equal(torch.stack([losses for _, losses, _ in seen]), result.losses)
    totals = result.losses.sum(1)
    assert torch.equal(torch.stack([best for _, _, best in seen]), totals.cummin(0).values)
    assert result.steps == 7
    assert not result.interrupted


def interrupting(step, also=lambda: None):
    def callback(snapshot):
        if snapshot.step == step:
            os.kill(os.getpid(), signal.SIGINT)
            also()

    return callback


def test_ctrl_c_gives_the_best_so_far(target):
    before = signal.getsignal(signal.SIGINT)
    result = go(target, callback=interrupting(5))
    assert result.interrupted
    assert result.steps == 5
    assert torch.equal(result.image, go(target, steps=5).image)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_last_step_is_not_lost(target):
    result = go(target, callback=interrupting(12))
    assert result.interrupted
    assert result.steps == 12


def test_ctrl_c_twice_does_not_wait_for_the_step(target):
    def again():
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one is raised at once")

    result = go(target, callback=interrupting(5, again))
    assert result.interrupted
    assert result.image.isfinite().all()


def test_errors_of_a_callback_come_through_and_give_the_signal_back(target):
    before = signal.getsignal(signal.SIGINT)

    def callback(snapshot):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go(target, callback=callback)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_can_run_it(target):
    found = []
    thread = threading.Thread(target=lambda: found.append(go(target)))
    thread.start()
    thread.join()
    assert torch.equal(found[0].image, go(target).image)


# --- what the loop leaves behind ----------------------------------------------------------------------


@pytest.mark.parametrize(  # to count all objects there are takes a second
    "optimizer",
    [
        OPTIMIZERS["lbfgs"],
        *(pytest.param(OPTIMIZERS[name], marks=pytest.mark.slow) for name in ("adam", "momentum", "adagrad")),
    ],
    ids=type,
)
def test_memory_does_not_grow_with_steps(optimizer, target):
    def tensors():
        gc.collect()
        return sum(1 for thing in gc.get_objects() if type(thing) in (torch.Tensor, nn.Parameter))

    counts = {}

    def callback(snapshot):
        if snapshot.step in (10, 40):
            counts[snapshot.step] = tensors()

    go(target, optimizer, 41, callback=callback)
    assert counts[40] <= counts[10] + 2 if 40 in counts else optimizer.needs_fixed_objective


def test_nothing_of_the_graph_is_left(target):
    result = go(target)
    for value in vars(result).values():
        if isinstance(value, torch.Tensor):
            assert value.grad_fn is None
            assert not value.requires_grad


@every_optimizer
def test_an_outer_no_grad_does_not_matter(optimizer, target):
    expected = go(target, optimizer)
    with torch.no_grad():
        found = go(target, optimizer)
        assert not torch.is_grad_enabled()
    assert torch.equal(found.image, expected.image)


def test_the_caller_s_target_and_start_stay_as_they_are(target):
    code, start = target.clone(), images(3)
    cut = encoder()
    canvas = Pixels(start, (0.5,) * 3)
    optimize(canvas, energy_of(cut, code), cut, [Stage(5, Adam(0.1))])
    assert torch.equal(code, target)
    assert torch.equal(start, images(3))
    assert all(parameter.grad is None for parameter in canvas.parameters())
    assert all(parameter.grad is None for parameter in cut.module.parameters())


# --- jitter and projections ---------------------------------------------------------------------------


def test_jitter_shows_the_network_crops_of_a_larger_canvas_and_then_the_middle(target):
    cut = encoder()
    canvas = canvas_of("pixels")
    views, sizes = [], []

    def callback(snapshot):
        views.append(snapshot.image.clone())
        sizes.append(tuple(canvas.optimised()[0].shape[-2:]))

    stages = [Stage(6, Adam(1e-9), jitter=5), Stage(3, Adam(1e-9))]
    optimize(canvas, energy_of(cut, target), cut, stages, Run(seed=[1, 2, 3], callback=callback))
    assert sizes == [(20, 20)] * 6 + [(16, 16)] * 3
    grown = nn.functional.pad(views[-1], (2, 2, 2, 2), mode="replicate")
    offsets = set()
    for view in views[:6]:
        for row in range(3):
            matches = [
                (y, x)
                for y in range(5)
                for x in range(5)
                if torch.allclose(view[row], grown[row, :, y : y + 16, x : x + 16], atol=1e-6)
            ]
            assert len(matches) == 1
            offsets.update(matches)
    assert len(offsets) > 8


def test_projections_hold_at_every_step(target):
    cut = encoder()
    canvas = Pixels(3 * images(3) - 1, (0.5,) * 3)
    ball = Ball((0.5,) * 3, 0.4)
    widest = []

    def callback(snapshot):
        image = canvas().detach()
        widest.append((image - 0.5).norm(dim=1).max().item())
        assert image.min() >= 0.2

    stages = [Stage(6, Adam(0.2), jitter=3, projections=(ball, Box(0.2, 2.0)))]
    optimize(canvas, energy_of(cut, target), cut, stages, Run(callback=callback))
    assert max(widest) <= 0.4 + 1e-9
    assert max(widest) > 0.39


def test_l_bfgs_refuses_jitter_and_projections():
    with pytest.raises(ConfigError, match="LBFGS compares the losses of different steps"):
        Stage(5, LBFGS(), jitter=2)
    with pytest.raises(ConfigError, match="projections"):
        Stage(5, LBFGS(), projections=(Box(),))
    Stage(5, Adam(), 2, (Box(),))


def test_settings_that_make_no_sense(target):
    cut = encoder()
    with pytest.raises(ConfigError, match="at least one stage"):
        optimize(canvas_of(), energy_of(cut, target), cut, [])
    for steps, jitter in ((0, 1), (5, 0)):
        with pytest.raises(ConfigError, match="at least 1 step and jitter 1"):
            Stage(steps, Adam(), jitter)
    with pytest.raises(ConfigError, match="2 seeds for 3 samples"):
        optimize(canvas_of(), energy_of(cut, target), cut, [Stage(1, Adam())], Run(seed=[1, 2]))
