"""The batched L-BFGS takes the steps of the one that goes sample by sample; here on the CPU."""

import pytest
import torch
from torch import nn

from netinvert import LBFGS
from netinvert.inversion.lbfgs import LBFGSUpdater
from netinvert.inversion.lbfgs_batched import BatchedLBFGSUpdater
from netinvert.inversion.lbfgs_parts import WarmUp

WARM = LBFGS(history=3, warm_up=WarmUp(0.05, until=0.5, steps=6))


def rosenbrock(x):
    a, b = x[:, :-1], x[:, 1:]
    return (100 * (b - a.square()).square() + (1 - a).square()).sum(1)


def quadratic(x):
    return 0.5 * (torch.logspace(0, 3, x.shape[1], dtype=x.dtype) * (x - 1).square()).sum(1)


def walled(x):
    return torch.where(x.amax(1) < 1.3, quadratic(x), torch.nan)


def kinked(x):
    return x.abs().sum(1)


def tell(updater, parameters, function):
    leaves = [parameter.detach().clone().requires_grad_(True) for parameter in parameters]
    losses = function(torch.cat([leaf.flatten(1) for leaf in leaves], 1))
    gradients = torch.autograd.grad(losses.sum(), leaves)
    return losses.detach(), updater.update(losses.detach(), gradients)


def starts(dtype=torch.float64, count=4):
    source = torch.Generator().manual_seed(3)
    shapes = [(count, 2, 3), (count, 2)]
    return [
        nn.Parameter(torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)) for shape in shapes
    ]


@pytest.mark.parametrize("how", [LBFGS(), LBFGS(history=3), WARM], ids=["plain", "short", "warm"])
@pytest.mark.parametrize("function", [rosenbrock, quadratic, walled, kinked])
@pytest.mark.parametrize("count", [1, 4])
def test_the_same_steps(function, how, count):
    ones, others = starts(count=count), starts(count=count)
    one, other = LBFGSUpdater(how, ones), BatchedLBFGSUpdater(how, others)
    for _ in range(25):  # later, rounding has grown
        losses, going = tell(one, ones, function)
        found, goes = tell(other, others, function)
        torch.testing.assert_close(found, losses, rtol=1e-5, atol=1e-9, equal_nan=True)
        assert torch.equal(goes, going)


def test_long_vectors():
    """Which are kept in chunks, the last of them in part."""
    source = torch.Generator().manual_seed(3)
    ones, others = (
        [nn.Parameter(torch.randn(2, 2500, generator=source.manual_seed(3), dtype=torch.float64))]
        for _ in range(2)
    )
    one, other = LBFGSUpdater(WARM, ones), BatchedLBFGSUpdater(WARM, others)
    for step in range(16):
        losses, _ = tell(one, ones, quadratic)
        found, _ = tell(other, others, quadratic)
        torch.testing.assert_close(found, losses, rtol=1e-6, atol=0)
        if step == 9:
            state = {name: value.clone() for name, value in one.state().items()}
            assert all(value.shape == state[name].shape for name, value in other.state().items())
            other.restore(state)


@pytest.mark.parametrize("function", [rosenbrock, quadratic])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_minimum(function, dtype):
    parameters = starts(dtype)
    updater = BatchedLBFGSUpdater(LBFGS(), parameters)
    for _ in range(150):
        losses, _ = tell(updater, parameters, function)
    reference = starts(dtype)
    plain = LBFGSUpdater(LBFGS(), reference)
    for _ in range(150):
        expected, _ = tell(plain, reference, function)
    assert (losses < torch.maximum(10 * expected, expected + 1e-6)).all()


@pytest.mark.parametrize("broken", [0.0, torch.nan])
def test_samples_do_not_see_one_another(broken):
    """Not even one that is no number."""
    paths = []
    for times in (1.0, broken):
        parameters = starts()
        updater = BatchedLBFGSUpdater(WARM, parameters)
        factor = torch.tensor([1, times, 1, 1], dtype=torch.float64)
        for _ in range(20):
            _, going = tell(updater, parameters, lambda x, factor=factor: factor * rosenbrock(x))
        paths.append(parameters[0].detach())
    assert torch.equal(paths[0][[0, 2, 3]], paths[1][[0, 2, 3]])
    assert going.tolist() == [True, False, True, True]
    assert torch.equal(paths[1][1], starts()[0].detach()[1])  # and it stays where it was


@pytest.mark.parametrize("stop", [0, 1, 5, 9, 18])
@pytest.mark.parametrize("how", [LBFGS(history=3), WARM], ids=["plain", "warm"])
def test_it_goes_on_from_its_state(how, stop):
    parameters = starts()
    updater = BatchedLBFGSUpdater(how, parameters)
    for _ in range(stop):
        tell(updater, parameters, rosenbrock)
    state = {name: value.clone() for name, value in updater.state().items()}
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    fresh = BatchedLBFGSUpdater(how, copies)
    fresh.restore(state)
    for _ in range(10):
        tell(updater, parameters, rosenbrock)
        tell(fresh, copies, rosenbrock)
        assert all(torch.equal(copy, one) for copy, one in zip(copies, parameters, strict=True))


@pytest.mark.parametrize("stop", [0, 1, 5, 9, 18])
@pytest.mark.parametrize("how", [LBFGS(history=3), WARM], ids=["plain", "warm"])
@pytest.mark.parametrize("kinds", [(LBFGSUpdater, BatchedLBFGSUpdater), (BatchedLBFGSUpdater, LBFGSUpdater)])
def test_each_goes_on_from_the_other_s_state(kinds, how, stop):
    """A run that began on the CPU ends on a GPU, and the other way."""
    parameters = starts()
    updater = kinds[0](how, parameters)
    for _ in range(stop):
        tell(updater, parameters, rosenbrock)
    state = {name: value.clone() for name, value in updater.state().items()}
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    other = kinds[1](how, copies)
    other.restore(state)
    for _ in range(6):
        losses, _ = tell(updater, parameters, rosenbrock)
        found, _ = tell(other, copies, rosenbrock)
        torch.testing.assert_close(found, losses, rtol=1e-5, atol=1e-9)
