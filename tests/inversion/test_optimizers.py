"""Optimisers against literal ports of the papers' update rules, and against torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netinvert import LBFGS, Adam
from netinvert.inversion.schedule import DecayingAdaGrad, Momentum
from tiny import images

OPTIMIZERS = [Adam(0.03), Momentum(0.02), DecayingAdaGrad(0.5, 16), LBFGS(history=3)]
ids = [type(optimizer).__name__ for optimizer in OPTIMIZERS]


def bowl(x: torch.Tensor) -> torch.Tensor:
    """A different curved valley a sample, (N,)."""
    weights = torch.linspace(0.1, 3, x[0].numel(), dtype=x.dtype).view_as(x[0])
    return (weights * (x - 0.3).square() + 0.1 * (x - 0.3).pow(4)).flatten(1).sum(1)


def parameters_of(start: torch.Tensor) -> list[nn.Parameter]:
    """Two parameters, for optimisers are told of several."""
    return [nn.Parameter(start[:, :1].clone()), nn.Parameter(start[:, 1:].clone())]


def run(updater, parameters, steps, losses_of=bowl):
    """Tell ``steps`` times; gives where the updater wanted its gradient."""
    path = []
    for _ in range(steps):
        x = torch.cat([parameter.detach() for parameter in parameters], 1).requires_grad_(True)
        losses = losses_of(x)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        path.append(x.detach().clone())
        updater.update(losses.detach(), [gradient[:, :1].clone(), gradient[:, 1:].clone()])
    return torch.stack(path)


def gradients(steps: int, seed: int = 3) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, 4, generator=source, dtype=torch.float64) for _ in range(steps)]


def feed(optimizer, start, given):
    parameter = nn.Parameter(start.clone())
    updater = optimizer.start([parameter])
    for gradient in given:
        going = updater.update(torch.ones(2, dtype=torch.float64), [gradient.clone()])
        assert going.tolist() == [True, True]
    return parameter.detach().numpy()


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-4, 1e3), st.floats(0, 0.99), st.integers(1, 8), st.integers(0, 99))
def test_momentum_is_the_paper_s(rate, momentum, steps, seed):
    start = images(2, (3, 4))[:, 0]
    given_ = gradients(steps, seed)
    x, mu = start.numpy().copy(), 0.0
    for gradient in given_:  # μ ← 0.9 μ - lr g; x ← x + μ
        mu = momentum * mu - rate * gradient.numpy()
        x = x + mu
    np.testing.assert_allclose(
        feed(Momentum(rate, momentum), start, given_), x, rtol=1e-10, atol=1e-10 * rate
    )


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 100), st.integers(1, 10**5), st.integers(1, 8), st.integers(0, 99))
def test_decaying_adagrad_is_the_code_s(rate, pixels, steps, seed):
    start = images(2, (3, 4))[:, 0]
    given_ = gradients(steps, seed)
    x, squares, mu = start.numpy().copy(), 0.0, 0.0
    eta = pixels * rate
    for gradient in given_:  # G ← 0.9 G + g²; μ ← 0.9 μ - g / (1/η + √G); x ← x + μ
        g = gradient.numpy()
        squares = 0.9 * squares + g**2
        mu = 0.9 * mu - g / (1 / eta + np.sqrt(squares))
        x = x + mu
    np.testing.assert_allclose(feed(DecayingAdaGrad(rate, pixels), start, given_), x, rtol=1e-9)


def test_adam_is_torch_s():
    start = images(2, (3, 4))[:, 0]
    given_ = gradients(10)
    reference = nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([reference], lr=0.07, betas=(0.8, 0.95), eps=1e-12)
    for gradient in given_:
        reference.grad = gradient.clone()
        optimizer.step()
    np.testing.assert_array_equal(feed(Adam(0.07, (0.8, 0.95)), start, given_), reference.detach().numpy())


def test_the_rate_of_adam_halves():
    """Torch's, at a rate that its scheduler lowers; after two halvings a quarter is left."""
    start = images(2, (3, 4))[:, 0]
    given_ = gradients(9)
    reference = nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([reference], lr=0.07, eps=1e-12)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5 ** (1 / 4))
    for gradient in given_:
        rate = optimizer.param_groups[0]["lr"]
        reference.grad = gradient.clone()
        optimizer.step()
        schedule.step()
    assert rate == pytest.approx(0.07 / 4)
    found = feed(Adam(0.07, halving=4), start, given_)
    np.testing.assert_allclose(found, reference.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_momentum_is_torch_s(momentum):
    start = images(2, (3, 4))[:, 0]
    given_ = gradients(10)
    reference = nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([reference], lr=0.07, momentum=momentum)
    for gradient in given_:
        reference.grad = gradient.clone()
        optimizer.step()
    found = feed(Momentum(0.07, momentum), start, given_)
    np.testing.assert_allclose(found, reference.detach().numpy(), rtol=1e-12, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-4, 10), st.floats(0, 0.99), st.floats(0.5, 0.9999), st.integers(1, 8))
def test_adam_is_the_paper_s(rate, first, second, steps):
    """Kingma & Ba 2015, algorithm 1, with eps where they have it."""
    start = images(2, (3, 4))[:, 0]
    given_ = gradients(steps)
    x, mean, square = start.numpy().copy(), 0.0, 0.0
    for t, gradient in enumerate(given_, start=1):
        g = gradient.numpy()
        mean, square = first * mean + (1 - first) * g, second * square + (1 - second) * g**2
        x = x - rate * (mean / (1 - first**t)) / (np.sqrt(square / (1 - second**t)) + 1e-12)
    np.testing.assert_allclose(feed(Adam(rate, (first, second)), start, given_), x, rtol=1e-9, atol=1e-9)


def test_adam_does_not_mind_the_scale_of_small_losses():
    start = images(2, (3, 4))[:, 0]
    usual = feed(Adam(0.05), start, gradients(8))
    small = feed(Adam(0.05), start, [1e-7 * gradient for gradient in gradients(8)])
    np.testing.assert_allclose(small, usual, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=ids)
def test_a_new_start_forgets_the_momentum(optimizer):
    start = images(2, (3, 4))
    parameters = parameters_of(start)
    run(optimizer.start(parameters), parameters, 4)
    now = torch.cat([parameter.detach() for parameter in parameters], 1)
    fresh = parameters_of(now)
    again = run(optimizer.start(parameters), parameters, 3)
    assert torch.equal(again, run(optimizer.start(fresh), fresh, 3))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=ids)
def test_samples_are_independent_to_the_bit(optimizer):
    start = images(3, (3, 4))
    other = start.clone()
    other[1] = 5 * other[1] - 9
    paths = []
    for begin in (start, other):
        parameters = parameters_of(begin)
        paths.append(run(optimizer.start(parameters), parameters, 25))
    assert torch.equal(paths[0][:, [0, 2]], paths[1][:, [0, 2]])
    assert not torch.equal(paths[0][:, 1], paths[1][:, 1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=ids)
def test_a_sample_of_nan_leaves_the_others_alone(optimizer):
    def losses_of(x):
        losses = bowl(x)
        poison = torch.tensor([1.0, torch.nan, 1.0], dtype=torch.float64)
        return losses * poison

    paths = []
    for function in (bowl, losses_of):
        parameters = parameters_of(images(3, (3, 4)))
        paths.append(run(optimizer.start(parameters), parameters, 12, function))
    assert torch.equal(paths[0][:, [0, 2]], paths[1][:, [0, 2]])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=ids)
def test_a_batch_is_its_singles(optimizer):
    start = images(3, (3, 4))
    parameters = parameters_of(start)
    together = run(optimizer.start(parameters), parameters, 15)
    for row in range(3):
        parameters = parameters_of(start[row : row + 1])
        alone = run(optimizer.start(parameters), parameters, 15)
        torch.testing.assert_close(alone[:, 0], together[:, row], rtol=1e-9, atol=1e-11)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(OPTIMIZERS), st.integers(0, 20), st.integers(0, 12))
def test_state_and_restore_are_exact_anywhere(optimizer, before, after):
    """For L-BFGS in the middle of line searches, too, and through the file format's dtypes."""
    parameters = parameters_of(images(2, (3, 4)))
    updater = optimizer.start(parameters)
    if before:
        run(updater, parameters, before)
    state = {name: value.clone() for name, value in updater.state().items()}
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    copied = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    expected = run(updater, parameters, after + 1)
    fresh = optimizer.start(copied)
    fresh.restore(state)
    assert torch.equal(run(fresh, copied, after + 1), expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=ids)
def test_a_state_does_not_change_with_later_updates(optimizer):
    parameters = parameters_of(images(2, (3, 4)))
    updater = optimizer.start(parameters)
    run(updater, parameters, 5)
    state = updater.state()
    kept = {name: value.clone() for name, value in state.items()}
    run(updater, parameters, 5)
    for name, value in kept.items():  # an open line search has NaN for a bracket
        assert torch.equal(state[name].nan_to_num(nan=-1.0), value.nan_to_num(nan=-1.0)), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=ids)
def test_optimisers_descend_and_keep_no_gradients(optimizer):
    parameters = parameters_of(images(2, (3, 4)))
    path = run(optimizer.start(parameters), parameters, 60)
    assert (bowl(path[-1]) < 0.1 * bowl(path[0])).all()
    assert all(parameter.grad is None for parameter in parameters)


def test_only_l_bfgs_compares_losses():
    assert [type(o).__name__ for o in OPTIMIZERS if o.needs_fixed_objective] == ["LBFGS"]
