"""Strides and receptive fields against the tables of MatConvNet, and by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netinvert as ni
from netinvert.inversion.presets.mahendran15 import CVPR15_SIGMA
from netinvert.inversion.presets.mahendran16 import jitter_of

ALEXNET = {
    "conv1": (4, 11, 1, 1),
    "pool1": (8, 19, 2, 1),
    "relu2": (8, 51, 2, 1),
    "pool2": (16, 67, 4, 10),
    "relu4": (16, 131, 4, 10),
    "conv5": (16, 163, 4, 100),
    "pool5": (32, 195, 8, 100),
    "fc6": (32, 355, 8, 100),
    "fc8": (32, 355, 8, 100),
}
"""Stride, receptive field, jitter of a quarter stride, and λ (of cvpr15)."""


def encoder_of(network, layer, size):
    return ni.Encoder(network.eval(), layer, ni.Preprocessing((size, size)))


@pytest.fixture(scope="module", params=["alexnet-caffe", "alexnet"])
def alexnet(request):
    return ni.load_network(request.param, "random")


@pytest.mark.slow
@pytest.mark.parametrize("layer", ALEXNET)
def test_alexnet(alexnet, layer):
    """Ratios of sizes say 17 and 38, or 37 for torchvision's."""
    cut = ni.Encoder(alexnet, layer)
    stride, field, jitter, own = ALEXNET[layer]
    assert (cut.stride, cut.trace.receptive_field, jitter_of(cut)) == (stride, field, jitter)
    ((weight, tv), _) = ni.recipe("cvpr15", cut).priors
    assert tv.name == "tv"
    pixels = cut.size[0] * cut.size[1]
    sigma2 = CVPR15_SIGMA**2 * pixels / 227**2
    assert weight == pytest.approx(own / 2 * 255**2 * pixels / sigma2)
    # what an activation weighs
    assert ni.maximising_recipe("ijcv16", cut).data_weight == pytest.approx(1e4 / field**2)


@pytest.mark.parametrize(
    ("layer", "own"), [("relu2", 1), ("pool2", 10), ("relu4", 10), ("conv5", 100), ("fc8", 100)]
)
def test_lambda_by_layer_of_posenet(layer, own):
    cut = ni.Encoder(ni.load_network("posenet"), layer)
    weights = [ni.recipe(name, cut).priors[0][0] for name in ("cvpr15", "cvpr15-shallow")]
    # The latter's λ is 1 everywhere, and its σ is not of this size.
    assert weights[0] / weights[1] == pytest.approx(own * 227**2 / 128**2)


def test_dropout_and_flattening_are_no_layers():
    parts = [nn.Conv2d(3, 4, 3), nn.Dropout(), nn.ReLU(), nn.Identity(), nn.AdaptiveAvgPool2d(14)]
    network = nn.Sequential(*parts, nn.Flatten(), nn.Linear(784, 3))
    depths = [encoder_of(network, str(index), 16).depth for index in range(7)]
    assert depths == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
    cut = ni.Encoder(network, layers=["0", "1"], preprocessing=ni.Preprocessing((16, 16)))
    assert cut.trace.layer.name == "1"  # of two at the same depth, the one that runs last


class Headed(nn.Module):
    """Two heads, or one after the other."""

    def __init__(self, beside):
        super().__init__()
        self.body, self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.beside = beside

    def forward(self, x):
        x = self.body(x)
        one = self.one(x)
        return torch.cat([one, self.two(x if self.beside else one)], 1)


@pytest.mark.parametrize(("beside", "depths"), [(True, [0.5, 1, 1]), (False, [1 / 3, 2 / 3, 1])])
def test_heads_side_by_side_are_one_layer(beside, depths):
    network = Headed(beside)
    assert [encoder_of(network, name, 8).depth for name in ("body", "one", "two")] == pytest.approx(depths)


def test_a_layer_behind_one_that_works_in_place_is_not_beside_it():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
    assert [encoder_of(network, str(k), 8).depth for k in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])


class Residual(nn.Module):
    def __init__(self, channels, step):
        super().__init__()
        self.one = nn.Conv2d(channels, 2 * channels, 3, step, 1)
        self.two = nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1)
        self.short = nn.Conv2d(channels, 2 * channels, 1, step)

    def forward(self, x):
        return F.relu(self.two(F.relu(self.one(x))) + self.short(x))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 5, 2), nn.Conv2d(4, 4, 3)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.two(F.max_pool2d(F.relu(self.one(x)), 2)).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excitation: what it sees of all the map changes no stride."""

    def __init__(self):
        super().__init__()
        self.before, self.gate = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
        self.after = nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x):
        y = self.before(x)
        return self.after(y * self.gate(F.adaptive_avg_pool2d(y, 1)).sigmoid())


@pytest.mark.parametrize(
    ("build", "layer", "size", "stride", "field"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), Residual(4, 1), Residual(8, 2)), "1", 33, 2, 15),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), Residual(4, 1), Residual(8, 2)), "2", 33, 4, 27),
        (Functional, "two", 33, 4, 15),
        (Functional, "last", 33, 4, 15 + 4 * 4),
        (Gated, "after", 32, 4, 7),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, dilation=4), nn.ReLU()), "1", 20, 1, 9),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.AdaptiveAvgPool2d(1)), "1", 32, 4, 32),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.AvgPool2d(8)), "1", 32, 4, 32),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.MaxPool2d(8)), "1", 32, 32, 32),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.ConvTranspose2d(4, 3, 2, 2)), "1", 32, 1, 1),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Upsample(scale_factor=2)), "1", 32, 2, 4),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True)), "1", 31, 4, 7),
    ],
)
def test_by_hand(build, layer, size, stride, field):
    torch.manual_seed(0)
    trace = encoder_of(build(), layer, size).trace
    assert (trace.stride, trace.receptive_field) == (stride, field)
