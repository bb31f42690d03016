"""L-BFGS and its line search on functions whose minima are known."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netinvert import LBFGS
from netinvert.inversion.lbfgs_parts import (
    CURVATURE,
    MOST_TRIALS,
    SUFFICIENT_DECREASE,
    Point,
    Search,
    WarmUp,
    cubic_minimum,
)


def rosenbrock(x):
    a, b = x[:, :-1], x[:, 1:]
    return (100 * (b - a.square()).square() + (1 - a).square()).sum(1)


def quadratic(x):
    curvature = torch.logspace(0, 4, x.shape[1], dtype=x.dtype)
    return 0.5 * (curvature * (x - 1).square()).sum(1)


def minimise(function, start, steps, settings=None):
    """The points asked for, their losses, and whether each sample was going after them."""
    parameter = nn.Parameter(start.clone())
    updater = (settings or LBFGS()).start([parameter])
    points, values, goings = [], [], []
    for _ in range(steps):
        x = parameter.detach().clone().requires_grad_(True)
        losses = function(x)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        points.append(x.detach())
        values.append(losses.detach())
        goings.append(updater.update(losses.detach(), [gradient]))
    return torch.stack(points), torch.stack(values), torch.stack(goings)


def test_rosenbrock():
    start = torch.tensor([[-1.2, 1.0], [3.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
    points, values, _ = minimise(rosenbrock, start, 90)
    for row in range(3):
        best = values[:, row].argmin()
        assert values[best, row] < 1e-12
        torch.testing.assert_close(points[best, row], torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-5)


def test_rosenbrock_in_many_dimensions():
    start = torch.full((1, 20), -1.0, dtype=torch.float64)
    _, values, _ = minimise(rosenbrock, start, 300)
    assert values.min() < 1e-10


def test_an_ill_conditioned_quadratic():
    start = torch.zeros(1, 30, dtype=torch.float64)
    _, values, _ = minimise(quadratic, start, 250, LBFGS(history=20))
    # torch's strong-Wolfe L-BFGS reaches 3.9e-9 of the start with as many, SciPy's L-BFGS-B 3.7e-9; steepest
    # descent with its best fixed step would be at 0.04 at best.
    assert values.min() < 5e-9 * values[0, 0]


def test_far_fewer_evaluations_than_gradient_descent_needs():
    _, values, _ = minimise(quadratic, torch.zeros(1, 30, dtype=torch.float64), 60)
    assert values.min() < 1e-3 * values[0, 0]


def test_first_step_is_the_length_asked_for():
    start = torch.zeros(2, 50, dtype=torch.float64)
    for scale in (1e-6, 1.0, 1e6):
        points, _, _ = minimise(lambda x, scale=scale: scale * quadratic(x), start, 2, LBFGS(first_step=0.02))
        rms = (points[1] - points[0]).square().mean(1).sqrt()
        torch.testing.assert_close(rms, torch.full_like(rms, 0.02))


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scale_of_the_loss_does_not_matter(scale):
    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    _, values, _ = minimise(lambda x: scale * rosenbrock(x), start, 90)
    assert values.min() < 1e-12 * scale


def test_it_stops_at_the_minimum():
    points, values, goings = minimise(quadratic, torch.ones(1, 5, dtype=torch.float64), 3)
    assert not goings.any()
    assert (points == 1).all()
    _, values, goings = minimise(rosenbrock, torch.tensor([[-1.2, 1.0]], dtype=torch.float64), 400)
    assert not goings[-1]
    assert values.min() < 1e-20


def test_no_evaluation_is_worse_than_the_last_accepted_point_in_the_end():
    """A descent: the best loss is the loss where it stops."""
    points, values, goings = minimise(rosenbrock, torch.tensor([[-1.2, 1.0]], dtype=torch.float64), 400)
    end = int(goings[:, 0].long().argmin())
    assert rosenbrock(points[-1])[0] <= values[: end + 1].min() * (1 + 1e-9) + 1e-300


def test_samples_search_on_their_own():
    start = torch.tensor([[-1.2, 1.0], [3.0, -2.0], [1.0, 1.0]], dtype=torch.float64)
    together, _, goings = minimise(rosenbrock, start, 60)
    assert not goings[0, 2]
    other = start.clone()
    other[1] = torch.tensor([-5.0, 17.0], dtype=torch.float64)
    changed, _, _ = minimise(rosenbrock, other, 60)
    assert torch.equal(changed[:, [0, 2]], together[:, [0, 2]])
    for row in range(3):
        alone, _, _ = minimise(rosenbrock, start[row : row + 1], 60)
        assert torch.equal(alone[:, 0], together[:, row])


def test_walls_of_nan_are_avoided():
    """The loss is no number beyond a wall; the search steps back from it."""

    def walled(x):
        inside = (x < 1.3).all(1)
        return torch.where(inside, quadratic(x), torch.nan)

    _, values, _ = minimise(walled, torch.zeros(1, 6, dtype=torch.float64), 150, LBFGS(first_step=5.0))
    assert values[:, 0].isnan().any()
    assert values[~values.isnan()].min() < 1e-8


def test_a_start_that_is_no_number():
    start = torch.zeros(2, 4, dtype=torch.float64)
    start[0, 0] = torch.nan
    points, values, goings = minimise(quadratic, start, 40)
    assert not goings[0, 0]
    assert goings[0, 1]
    assert values[:, 1].min() < 1e-8
    assert points[1:, 0, 1:].eq(0).all()


def test_short_histories_and_kinks():
    for history in (1, 2, 50):
        _, values, _ = minimise(
            rosenbrock, torch.tensor([[-1.2, 1.0]], dtype=torch.float64), 250, LBFGS(history=history)
        )
        assert values.min() < 1e-6
    kinked = lambda x: (x - 0.3).abs().sum(1) + quadratic(x)  # noqa: E731
    _, values, _ = minimise(kinked, torch.zeros(1, 8, dtype=torch.float64), 200)
    assert values.isfinite().all()
    assert values.min() < 0.5 * values[0, 0]


def test_float32_images():
    start = torch.zeros(1, 3, 6, 7)
    _, values, _ = minimise(lambda x: (x - 0.4).square().flatten(1).sum(1), start, 10)
    assert values.min() < 1e-10


# --- the line search ----------------------------------------------------------------------------------

curves = {
    "parabola": (lambda t: (t - 3) ** 2, lambda t: 2 * (t - 3)),
    "sine": (lambda t: -math.sin(t) + 0.1 * t, lambda t: -math.cos(t) + 0.1),
    "quartic": (lambda t: (t - 1) ** 4 - t, lambda t: 4 * (t - 1) ** 3 - 1),
    "flat": (lambda t: -t / (t * t + 2), lambda t: (t * t - 2) / (t * t + 2) ** 2),  # Moré & Thuente
    "steep": (lambda t: math.exp(t) - 20 * t, lambda t: math.exp(min(t, 700.0)) - 20),
    "root": (lambda t: 0.01 * t - math.sqrt(t + 1e-3), lambda t: 0.01 - 0.5 / math.sqrt(t + 1e-3)),
}


def search_along(name, first):
    value, slope = curves[name]

    def point(step):
        try:
            return Point(step, value(step), slope(step))
        except OverflowError:
            return Point(step, math.inf, math.inf)

    search = Search(point(0.0), first)
    trials = [first]
    while (step := search.tell(point(trials[-1]))) is not None:
        assert step == search.trial
        trials.append(step)
    return search, trials


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(curves)), st.floats(-3, 3))
def test_strong_wolfe_conditions_hold_where_it_ends(name, magnitude):
    # Cubic steps back from e^50 and more are slow: such a search may end with nothing, and L-BFGS restarts.
    search, trials = search_along(name, min(10.0**magnitude, 50.0 if name == "steep" else math.inf))
    assert len(trials) <= MOST_TRIALS
    taken, start = search.accepted, search.start
    assert taken is not None
    assert taken.step > 0
    assert taken.loss <= start.loss + SUFFICIENT_DECREASE * taken.step * start.slope
    if len(trials) < MOST_TRIALS:
        assert abs(taken.slope) <= -CURVATURE * start.slope
        assert taken.step == trials[-1]


@pytest.mark.parametrize(("a", "b"), [(0.0, 2.0), (2.0, 0.0), (0.5, 3.0)])
def test_the_minimum_of_a_cubic_is_found_at_once(a, b):
    """t³ - 3t falls to its minimum at 1, whichever way round the two points are told."""

    def point(t):
        return Point(t, t**3 - 3 * t, 3 * t**2 - 3)

    assert cubic_minimum(point(a), point(b)) == pytest.approx(1.0, abs=1e-12)


def test_without_a_minimum_the_middle_is_taken():
    rising = (Point(0.0, 0.0, 1.0), Point(2.0, 4 / 3, 1.0))  # a cubic that rises everywhere
    assert cubic_minimum(*rising) == 1.0
    assert cubic_minimum(Point(0.0, 0.0, 1.0), Point(2.0, 2.0, 1.0)) == 1.0  # a straight line


def test_a_good_first_step_is_taken_at_once():
    search, trials = search_along("parabola", 2.9)
    assert trials == [2.9]
    assert search.accepted.step == 2.9


@pytest.mark.parametrize("first", [300.0, 600.0, 1e3])
def test_losses_that_overflow(first):
    search, trials = search_along("steep", first)
    assert all(0 < after < before for before, after in itertools.pairwise(trials))
    assert search.accepted is None or search.accepted.loss < search.start.loss


def test_no_step_is_taken_uphill():
    search = Search(Point(0.0, 1.0, -1.0), 1.0)  # the slope lies: it only goes up
    step = 1.0
    while step is not None:
        step = search.tell(Point(step, 1.0 + step, 1.0))
    assert search.accepted is None


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(curves)), st.floats(-3, 3), st.integers(0, 9))
def test_a_search_goes_on_from_its_state(name, magnitude, stop):
    value, slope = curves[name]
    first = min(10.0**magnitude, 500.0)
    _, trials = search_along(name, first)
    half = Search(Point(0.0, value(0.0), slope(0.0)), first)
    for index, trial in enumerate(trials[:-1]):
        if index == stop:
            before, half = half, Search.restored(half.state())
            assert vars(half) == vars(before)
        assert half.trial == trial
        assert half.tell(Point(trial, value(trial), slope(trial))) == trials[index + 1]


# --- warming up ---------------------------------------------------------------------------------------

WARM = LBFGS(history=4, warm_up=WarmUp(rate=0.05, until=0.25, steps=40, betas=(0.8, 0.95)))


def literal_adam(function, start, steps, how):
    """Kingma & Ba 2015, algorithm 1."""
    x, mean, square, points = start.clone(), 0.0, 0.0, []
    for t in range(1, steps + 1):
        points.append(x.clone())
        x = x.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(function(x).sum(), x)
        first, second = how.betas
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        x = x.detach() - how.rate * (mean / (1 - first**t)) / ((square / (1 - second**t)).sqrt() + 1e-12)
    return torch.stack(points)


def bowls(x):
    """One that is nearly flat and far, one that is near: they warm up for different times."""
    return torch.stack([1e-6 * (x[0] - 3).square().sum(), (x[1:] - 0.3).square().sum()])


def test_a_warm_up_is_adam_until_the_loss_has_fallen():
    start = torch.zeros(2, 6, dtype=torch.float64)
    points, values, goings = minimise(bowls, start, 60, WARM)
    adam = literal_adam(bowls, start, 60, WARM.warm_up)
    for row in range(2):
        below = (values[:, row] <= 0.25 * values[0, row]).nonzero()[0].item()
        steps = min(below, 40)
        torch.testing.assert_close(points[: steps + 1, row], adam[: steps + 1, row], rtol=1e-9, atol=1e-11)
        assert (points[steps + 2, row] - adam[steps + 2, row]).abs().max() > 1e-6
        assert values[-1, row] < 1e-12
    assert goings[:6].all()


def test_a_warm_up_ends_by_its_steps():
    start = torch.zeros(1, 4, dtype=torch.float64)
    far = lambda x: (x - 100).square().sum(1)  # noqa: E731
    _, values, _ = minimise(far, start, 60, LBFGS(warm_up=WarmUp(steps=15)))
    assert values[15] > 0.9 * values[0]
    assert values.min() < 1e-10


def test_a_warm_up_does_not_mind_the_scale():
    start = torch.zeros(1, 5, dtype=torch.float64)
    paths = [minimise(lambda x, s=s: s * (x - 2).square().sum(1), start, 15, WARM)[0] for s in (1.0, 1e-7)]
    torch.testing.assert_close(*paths, rtol=1e-3, atol=1e-4)


def test_a_warm_up_of_one_sample_is_its_own():
    start = torch.zeros(2, 6, dtype=torch.float64)
    together, _, _ = minimise(bowls, start, 40, WARM)
    other = lambda x: torch.stack([bowls(x)[0], rosenbrock(x)[1]])  # noqa: E731
    again, _, _ = minimise(other, start, 40, WARM)
    assert torch.equal(again[:, 0], together[:, 0])
    assert not torch.equal(again[:, 1], together[:, 1])


def test_a_warm_up_stops_where_the_energy_is_no_number():
    broken = lambda x: x.sum(1) * torch.nan  # noqa: E731
    points, _, goings = minimise(broken, torch.ones(1, 3, dtype=torch.float64), 2, WARM)
    assert not goings[0].any()
    assert torch.equal(points[1], points[0])


@pytest.mark.parametrize("stop", [0, 1, 7, 12, 25, 41])
def test_a_warm_up_goes_on_from_its_state(stop):
    def tell(updater, parameter):
        x = parameter.detach().clone().requires_grad_(True)
        losses = bowls(x)
        updater.update(losses.detach(), torch.autograd.grad(losses.sum(), x))

    parameter = nn.Parameter(torch.zeros(2, 6, dtype=torch.float64))
    updater = WARM.start([parameter])
    for _ in range(stop):
        tell(updater, parameter)
    state = {name: value.clone() for name, value in updater.state().items()}
    copied = nn.Parameter(parameter.detach().clone())
    fresh = WARM.start([copied])
    fresh.restore(state)
    for _ in range(12):
        tell(updater, parameter)
        tell(fresh, copied)
        assert torch.equal(copied, parameter)
