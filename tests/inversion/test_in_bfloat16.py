"""Inversions whose first steps are in bfloat16."""

import functools
from dataclasses import replace

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
    Match,
    Pixels,
    Preprocessing,
    Stage,
)
from netinvert.inversion.invert import invert, maximise
from netinvert.inversion.lbfgs_parts import WarmUp
from netinvert.inversion.optimize import Run, optimize
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.schedule import EXACT_SHARE, describe_recipe


def build() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.Tanh())
    tiny.liven(network)
    return network


@functools.cache
def single() -> Encoder:
    """In float32, the only precision that is rounded."""
    return Encoder(tiny.seeded(build, dtype=torch.float32), "2", Preprocessing(tiny.SIZE))


def grey(count: int) -> Pixels:
    return Pixels(torch.full((count, 3, *tiny.SIZE), 0.4), (0.5,) * 3)


def precisions(stages, monkeypatch):
    """Of each step of a run whether the network computes in bfloat16; and the run's result."""
    cut, seen = single(), []
    outputs = type(cut)._outputs

    def watched(self, which, x):
        if torch.is_grad_enabled():
            seen.append(which is self._rounded)
        return outputs(self, which, x)

    monkeypatch.setattr(Encoder, "_outputs", watched)
    code = cut(tiny.images(2).float()).detach()
    seen.clear()
    result = optimize(grey(2), Energy(((1.0, Match(code)),)), cut, stages)
    return seen, result


@pytest.mark.parametrize("optimizer", [Adam(0.03), LBFGS(), torch.optim.Adam], ids=["adam", "lbfgs", "torch"])
def test_the_first_steps_round_and_the_others_do_not(optimizer, monkeypatch):
    stages = (Stage(6, optimizer, rounded=6), Stage(9, optimizer, rounded=4), Stage(3, optimizer))
    seen, result = precisions(stages, monkeypatch)
    assert seen == [True] * 10 + [False] * 8
    assert result.steps == 18


def test_what_is_best_is_looked_for_anew_where_it_rounds_no_more(monkeypatch):
    """Losses of another function do not compete: here, the first steps would have been the best."""
    away = Adam(-0.1)  # uphill
    _, result = precisions((Stage(10, away, rounded=6),), monkeypatch)
    assert set(result.best_step.tolist()) == {6}
    _, result = precisions((Stage(6, away, rounded=6), Stage(4, away)), monkeypatch)
    assert set(result.best_step.tolist()) == {6}
    _, result = precisions((Stage(10, away),), monkeypatch)
    assert set(result.best_step.tolist()) == {0}


def test_a_line_search_that_ends_in_bfloat16_goes_on_in_float32():
    cut = single()
    code = cut(tiny.images(1).float()).detach()

    def error(rounded):
        stages = (Stage(400, LBFGS(warm_up=WarmUp(steps=5)), rounded=rounded),)
        energy = Energy(((1.0, Match(code)),))
        return optimize(grey(1), energy, cut, stages)

    stuck, released = error(399), error(200)
    assert "converged" not in stuck.status[0] or stuck.steps >= 399
    assert released.losses[-1].item() < 0.1 * stuck.losses[398].item()


def test_recipes_end_in_float32():
    cut = single()
    for name in ("default", "quick", "robust", "fourier-adam", "coarse-to-fine", "ijcv16"):
        how = recipe(name, cut)
        short = how.in_bfloat16()
        rounded = [stage.rounded for stage in short.stages]
        assert sum(rounded) == round((1 - EXACT_SHARE) * how.steps)
        assert rounded == sorted(rounded, key=lambda n: n == 0) or len(rounded) == 1  # zeros last
        assert replace(short, stages=how.stages) == how
        plain, told = describe_recipe(how, None), describe_recipe(short, None)
        assert all("rounded" not in stage for stage in plain["stages"])
        assert [stage.get("rounded", 0) for stage in told["stages"]] == rounded
        few = short.with_steps(max(len(how.stages), 20))
        assert all(stage.rounded <= stage.steps for stage in few.stages)


def test_a_run_is_taken_up_to_the_bit_on_either_side_of_the_change(tmp_path):
    cut = single()
    code = cut(tiny.images(2).float()).detach()
    how = recipe("quick", cut).with_steps(30).in_bfloat16()
    whole = invert(cut, code, preset=how)
    for at in (5, 17, 18, 19, 26):
        file = tmp_path / f"{at}.safetensors"

        def stop(info, at=at):
            if info.step == at:
                raise KeyboardInterrupt

        assert invert(cut, code, preset=how, checkpoint=file, callback=stop).interrupted
        again = invert(cut, code, preset=how, checkpoint=file)
        assert torch.equal(again.image, whole.image)
        assert torch.equal(again.losses, whole.losses)


def test_a_sample_is_what_it_is_whatever_its_neighbour_wants():
    cut = single()
    one, other, third = cut(tiny.images(3).float()).detach()
    how = recipe("quick", cut).with_steps(40).in_bfloat16()
    pairs = [invert(cut, torch.stack([one, beside]), preset=how).image[0] for beside in (other, third)]
    assert torch.equal(*pairs)


def test_asked_for_by_name(monkeypatch):
    cut = single()
    code = cut(tiny.images(1).float()).detach()
    plain = invert(cut, code, steps=12)
    monkeypatch.setattr("netinvert.models.precision.has_bfloat16", lambda device: False)
    assert torch.equal(invert(cut, code, steps=12, precision="auto").image, plain.image)
    monkeypatch.setattr("netinvert.models.precision.has_bfloat16", lambda device: True)
    rounded = invert(cut, code, steps=12, precision="bfloat16")
    assert not torch.equal(rounded.image, plain.image)
    assert torch.equal(invert(cut, code, steps=12, precision="auto").image, rounded.image)
    assert torch.allclose(rounded.code, cut(rounded.image))  # what is reported is float32's
    assert not torch.equal(
        maximise(cut, "channel:1", steps=12).image,
        maximise(cut, "channel:1", steps=12, precision="auto").image,
    )
    with pytest.raises(ConfigError, match="the precision is float32, bfloat16, auto"):
        invert(cut, code, precision="float16")
    with pytest.raises(ConfigError, match="takes steps, a decoder and progress"):
        invert(cut, code, method="correct", precision="auto")


def test_a_stage_rounds_in_no_more_steps_than_it_has():
    with pytest.raises(ConfigError, match="a stage of 3 steps cannot round in 4 of them"):
        Stage(3, Adam(), rounded=4)


def test_dead_relus_leak_while_it_rounds():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.rand(8, 3, 3, 3, generator=torch.Generator().manual_seed(1)))
        network[0].bias.fill_(-1.0)
    cut = Encoder(network, "1", Preprocessing(tiny.SIZE))
    code = cut(torch.rand(1, 3, *tiny.SIZE)).detach()
    dark = Pixels(torch.full((1, 3, *tiny.SIZE), 0.001), (0.5,) * 3)
    assert not cut(dark()).any()
    result = optimize(dark, Energy(((1.0, Match(code)),)), cut, (Stage(30, Adam(0.03), rounded=20),))
    assert result.error.item() < 0.5


def test_patience_does_not_end_while_it_rounds():
    """What stagnates there is the rounding."""
    cut = single()
    code = cut(tiny.images(1).float()).detach()
    energy, run = Energy(((1.0, Match(code)),)), Run(stop=EarlyStopping(patience=15))
    result = optimize(grey(1), energy, cut, (Stage(300, LBFGS(), rounded=200),), run)
    assert result.steps > 200
    assert result.losses[-1].item() < 0.1 * result.losses[150:200].min().item()
