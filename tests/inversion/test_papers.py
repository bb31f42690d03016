"""The papers' presets against NumPy that is written after the papers and their released code alone.

Of netinvert it takes the network's value and gradient, nothing else: noise, regularisers, jitter, schedules,
momentum and normalisation are by hand, for images x (C, H, W) in 0..255 around the mean.
"""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

import netinvert as ni
import tiny
from netinvert.io.assets import photographs

MEAN = np.array([0.485, 0.456, 0.406])
SIZE = (24, 20)
STEPS = 14


def network(channels=3):
    return lambda: nn.Sequential(
        nn.Conv2d(channels, 6, 5, stride=8, padding=2),
        nn.Tanh(),
        nn.Conv2d(6, 5, 1),
        nn.Tanh(),
        nn.Conv2d(5, 4, 1),
    )


def encoder_of(layer="output", size=SIZE, channels=3):
    mean = tuple(MEAN[:channels])
    form = ni.Preprocessing(size, mean=mean, std=(0.25,) * channels)
    return ni.Encoder(tiny.seeded(network(channels)), layer, form)


def around(cut, x):
    return torch.from_numpy(x / 255 + MEAN[: len(x), None, None])[None].requires_grad_(True)


def error_and_pull(cut, x, target):
    """‖Φ(x) - Φ0‖² / ‖Φ0‖² and its gradient."""
    image = around(cut, x)
    error = (cut(image) - target).square().sum() / target.square().sum()
    (gradient,) = torch.autograd.grad(error, image)
    return error.item(), gradient[0].numpy() / 255


def tv2(x):
    """Σ dx² + dy² with the last row and column repeated, and the gradient."""
    down, right = np.diff(x, axis=1, append=x[:, -1:]), np.diff(x, axis=2, append=x[:, :, -1:])
    pull = -2 * (down + right)
    pull[:, 1:] += 2 * down[:, :-1]
    pull[:, :, 1:] += 2 * right[:, :, :-1]
    return (down**2).sum() + (right**2).sum(), pull


def agree(result, energies, xs):
    """The energy of every step, and of these images the best."""
    found = result.losses.sum(1)[:, 0].numpy()
    np.testing.assert_allclose(found, energies, rtol=1e-6)
    x = xs[int(np.argmin(energies[-len(xs) :]))]
    image = x / 255 + MEAN[: len(x), None, None]
    np.testing.assert_allclose(result.image[0].numpy(), image, atol=1e-5)


# -- Mahendran & Vedaldi 2015: invert_nn.m ----------------------------------------------------------------


def mahendran15(cut, x, target, sigma, lambda_tv, schedule):
    energies, xs = [], []
    for steps, rate in schedule:
        momentum = 0.0
        for _ in range(steps):
            error, pull = error_and_pull(cut, x, target)
            tv, tv_pull = tv2(x)
            xs.append(x)
            energies.append(error + lambda_tv / 2 * tv / sigma**2 + 8e-10 / 2 * (x**6).sum() / sigma**2)
            regulariser = lambda_tv / 2 * tv_pull + 8e-10 / 2 * 6 * x**5
            momentum = 0.9 * momentum - rate * regulariser - rate * sigma**2 * pull
            x = x + momentum
    return energies, xs


def normal(shape, sigma, seed):
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double().numpy()
    return noise / np.linalg.norm(noise) * sigma


@pytest.mark.parametrize(("layer", "lambda_tv"), [("0", 1), ("1", 10), ("2", 10), ("output", 100)])
def test_cvpr15(layer, lambda_tv):
    """Of five layers, the first lies in the first 30 %, the third at 60 %."""
    cut = encoder_of(layer)
    target = cut(tiny.images(1, SIZE)).detach()
    sigma = 27098.1157 * np.sqrt(SIZE[0] * SIZE[1] / 227**2)
    schedule = [(STEPS // 4, 0.004), (STEPS // 2, 0.0004), (STEPS // 4, 0.00004)]
    how = ni.recipe("cvpr15", cut).with_steps(sum(steps for steps, _ in schedule))
    schedule = [(stage.steps, rate) for stage, (_, rate) in zip(how.stages, schedule, strict=True)]
    result = ni.invert(cut, target, preset=how, seed=5)
    agree(result, *mahendran15(cut, normal((3, *SIZE), sigma, 5), target, sigma, lambda_tv, schedule))


def test_cvpr15_shallow():
    """σ is 27098.1157 whatever the size and the channels, λ the least, of 800 steps 200 at each rate."""
    size = (200, 190)
    cut = encoder_of(size=size, channels=1)
    target = cut(tiny.images(1, size, channels=1)).detach()
    schedule = [(3, 0.004), (3, 0.0004), (3, 0.00004), (3, 0.000004)]
    x = normal((1, *size), 27098.1157, 5)
    full = ni.recipe("cvpr15-shallow", cut)
    assert [stage.steps for stage in full.stages] == [200] * 4
    result = ni.invert(cut, target, preset="cvpr15-shallow", steps=12, seed=5)
    agree(result, *mahendran15(cut, x, target, 27098.1157, 1, schedule))


# -- Mahendran & Vedaldi 2016: nnpreimage.m ---------------------------------------------------------------


def uniform(shape, seed):
    """Its 95 % quantile at B / √3; and the generator, which then draws the shifts of another copy."""
    source = torch.Generator().manual_seed(seed)
    noise = 2 * torch.rand(shape, generator=source) - 1
    ordered = np.sort(noise.numpy().astype(np.float32).ravel())
    peak = ordered[round(0.95 * (ordered.size - 1))]
    return (noise.numpy() / peak * np.float32(80) / np.float32(np.sqrt(3))).astype(np.float64)


def mahendran16(x, pull_of, stages, seed):
    """``pull_of`` gives the data term and its gradient at a view; λ's and steps are the paper's."""
    source = torch.Generator().manual_seed(seed)
    energies, xs = [], []
    pixels = SIZE[0] * SIZE[1]
    for steps, rate, jitter in stages:
        squares, momentum = 0.0, 0.0
        if jitter == 1:
            x, xs = x[:, : SIZE[0], : SIZE[1]], []
        for _ in range(steps):
            top, left = torch.randint(jitter, (2,), generator=source).tolist() if jitter > 1 else (0, 0)
            view = np.s_[:, top : top + SIZE[0], left : left + SIZE[1]]
            value, pull = pull_of(x[view])
            colour = (x**2).sum(0)
            area = colour.size
            tv, tv_pull = tv2(x)
            xs.append(x[view])
            energies.append(value + (colour**3).sum() / 80**6 / area + (6.5 / 80) ** 2 * tv / area)
            gradient = 6 * colour**2 * x / 80**6 / area + (6.5 / 80) ** 2 * tv_pull / area
            gradient[view] += pull
            squares = 0.9 * squares + gradient**2
            momentum = 0.9 * momentum - gradient / (1 / (pixels * rate) + np.sqrt(squares))
            x = x + momentum
            x = x * np.minimum(1, 160 / np.linalg.norm(x, axis=0))
    return energies, xs


RATE = 0.05 * 80**2 / 6


@pytest.mark.parametrize("c", [None, 1, 20, 300])
def test_ijcv16(c):
    cut = encoder_of()
    target = cut(tiny.images(1, SIZE)).detach()

    def pull_of(view):
        error, pull = error_and_pull(cut, view, target)
        return (c or 100) * error, (c or 100) * pull

    result = ni.invert(cut, target, preset="ijcv16", data_weight=c, steps=STEPS, seed=5)
    start = uniform((3, SIZE[0] + 1, SIZE[1] + 1), 5)
    agree(result, *mahendran16(start, pull_of, [(STEPS - 2, RATE, 2), (2, RATE / 10, 1)], 5))


def test_ijcv16_maximising():
    """An inner product at 10⁴ / rf², here of 5 pixels; jittered to the end."""
    cut = encoder_of()
    scale = scale_of(cut, 2)

    def pull_of(view):
        value, pull = response(cut, view, 2)
        return -1e4 / 5**2 * value / scale, -1e4 / 5**2 * pull / scale

    result = ni.maximise(cut, "channel:2", preset="ijcv16", steps=STEPS, seed=5)
    start = uniform((3, SIZE[0] + 1, SIZE[1] + 1), 5)
    agree(result, *mahendran16(start, pull_of, [(STEPS, RATE, 2)], 5))


# -- activations ------------------------------------------------------------------------------------------


def response(cut, x, index):
    """The channel's mean activation, and its gradient."""
    image = around(cut, x)
    value = cut(image)[0, index].mean()
    (gradient,) = torch.autograd.grad(value, image)
    return value.item(), gradient[0].numpy() / 255


def scale_of(cut, index):
    """The largest response to the package's photographs, where any is positive; else their deviation."""
    codes = cut(photographs(cut.size)[1].double())[:, index].mean((1, 2))
    return (codes.max() if codes.max() > 0 else codes.std()).item()


def test_simonyan13():
    """x ← x + lr ∂(S - λ‖x‖²), from the zero image; the rate such that S - λ‖x‖² gains 3 to first order."""
    cut = encoder_of()
    scale = scale_of(cut, 1)
    x, energies, xs = np.zeros((3, *SIZE)), [], []
    for _ in range(STEPS):
        value, pull = response(cut, x, 1)
        xs.append(x)
        weight = 50 / 80**2 / (SIZE[0] * SIZE[1])
        energies.append(-value / scale + weight * (x**2).sum())
        uphill = pull / scale - 2 * weight * x
        x = x + min(3 / (uphill**2).sum(), 1e6) * uphill
    agree(ni.maximise(cut, "channel:1", preset="simonyan13", steps=STEPS), energies, xs)


SETS = {
    "deepvis-1": {"rate": ("progress", 2, 100), "blur": (0.5, 4), "norm": 50},
    "deepvis-2": {"rate": ("constant", 100), "decay": 0.3, "norm": 20},
    "deepvis-3": {"rate": ("constant", 100), "decay": 0.0001, "blur": (1.0, 4)},
    "deepvis-4": {"rate": ("progress", 2, 1e8), "blur": (0.5, 4), "contribution": 90},
}
"""θ of Yosinski et al. 2015, table 1, and the step rules of their gradient_optimizer.py."""


@pytest.mark.parametrize("name", SETS)
def test_yosinski15(name):
    cut, theta = encoder_of(), SETS[name]
    noise = torch.randn((3, *SIZE), generator=torch.Generator().manual_seed(5)).double().numpy()
    low, high = -255 * MEAN[:, None, None], 255 * (1 - MEAN[:, None, None])
    x, energies, xs = np.clip(10 * noise, low, high), [], []
    for step in range(STEPS):
        value, uphill = response(cut, x, 3)
        xs.append(x)
        energies.append(-value)
        kind, *numbers = theta["rate"]
        rate = numbers[0] if kind == "constant" else min(numbers[1], numbers[0] / np.linalg.norm(uphill) ** 2)
        x = (x + rate * uphill) * (1 - theta.get("decay", 0))
        std, every = theta.get("blur", (0, 1))
        if std and step % every == 0:
            x = np.stack([gaussian_filter(one, std) for one in x])
        if "norm" in theta:
            norm = np.linalg.norm(x, axis=0)
            x = np.where(norm < np.percentile(norm, theta["norm"]), 0, x)
        if "contribution" in theta:
            lost = np.abs((uphill * x).sum(0))
            x = np.where(lost < np.percentile(lost, theta["contribution"]), 0, x)
        x = np.clip(x, low, high)
    agree(ni.maximise(cut, "channel:3", preset=name, steps=STEPS, seed=5), energies, xs)
