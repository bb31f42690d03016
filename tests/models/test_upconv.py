"""Up-convolutional networks."""

import itertools
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from netinvert.errors import ConfigError
from netinvert.models.network import built
from netinvert.models.upconv import (
    KERNEL,
    UPSAMPLINGS,
    WIDTHS,
    Architecture,
    Standardise,
    UpConvolution,
    UpConvolutional,
    as_features,
    made_quick,
    up_convolution,
)

CODES = {
    "vector": (7,),
    "map": (5, 4, 4),
    "flat map": (6, 3, 5),
    "one place": (9, 1, 1),
    "tokens": (16, 3),
    "class token": (17, 3),
    "two tokens before": (11, 2),
    "few tokens": (3, 4),
    "volume": (2, 2, 2, 2),
}
SIZES = [(16, 16), (20, 33), (64, 8), (41, 41)]


def network(code_shape=(7,), size=(16, 16), **more):
    """A small network with statistics that are not 0 and 1."""
    made = built(lambda: UpConvolutional(Architecture(code_shape, size, **more)))
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(made.architecture.features, generator=generator)
    made.set_statistics(mean, 0.5 + mean.abs())
    return made.eval()


def codes(code_shape, count=3, seed=0):
    return torch.randn(count, *code_shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 4), st.integers(1, 4)), st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_an_up_convolution_is_upsampling_and_its_convolution(channels, size):
    up = UpConvolution(*channels).double()
    x = torch.randn(2, channels[0], *size, dtype=torch.float64, requires_grad=True)
    found, wanted = up(x), up.convolution(F.interpolate(x, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    into = torch.randn_like(found)
    inputs = (x, *up.parameters())
    for one, other in zip(*(torch.autograd.grad(out, inputs, into) for out in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_the_kernel_is_the_sum_of_shifted_kernels():
    """Each of the four copies of a pixel adds the 3×3 kernel, mirrored, where the copy stands."""
    up = UpConvolution(2, 3).double()
    wanted = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    mirrored = up.convolution.weight.detach().flip(-2, -1).transpose(0, 1)
    for down, right in itertools.product((0, 1), (0, 1)):
        wanted[:, :, down : down + 3, right : right + 3] += mirrored
    torch.testing.assert_close(up.kernel().detach(), wanted, rtol=1e-12, atol=1e-12)


def test_the_papers_up_convolution_doubles_the_size():
    up = up_convolution(3, 2, "transposed")
    assert (up.kernel_size, up.stride) == ((KERNEL, KERNEL), (2, 2))
    assert up(torch.zeros(1, 3, 5, 7)).shape == (1, 2, 10, 14)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", CODES)
def test_images_have_the_size_asked(kind, size):
    made = network(CODES[kind], size)
    with torch.no_grad():
        images = made(codes(CODES[kind]))
    assert images.shape == (3, 3, *size)
    assert bool(((images > 0) & (images < 1)).all())
    assert made.numbers == made.standardised(codes(CODES[kind])).shape[1]
    assert images[0].std() > 0.01
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize(("mask", "channels"), list(itertools.product((False, True), (1, 3))))
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("kind", ["vector", "map", "class token"])
def test_all_kinds_of_up_convolutions_and_outputs(kind, upsampling, mask, channels):
    made = network(CODES[kind], (24, 16), upsampling=upsampling, mask=mask, channels=channels)
    with torch.no_grad():
        found = made(5 * codes(CODES[kind]))
    assert found.shape == (3, channels + mask, 24, 16)
    images, logits = found[:, :channels], found[:, channels:]
    assert bool(((images >= 0) & (images <= 1)).all())
    if mask:
        assert logits.min() < 0 or logits.max() > 1


def test_the_papers_widths_are_those_of_its_table():
    """Dosovitskiy & Brox 2016: layers of 4096, 4096 and 4×4×256, then up-convolutions."""
    made = network((4096,), (128, 128), widths="paper", upsampling="transposed")
    linear = [part for part in made.modules() if isinstance(part, nn.Linear)]
    ups = [part for part in made.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert [part.out_features for part in linear] == [4096, 4096, 4 * 4 * 256]
    assert [part.out_channels for part in ups] == [128, 64, 32, 32, 3]
    assert {part.negative_slope for part in made.modules() if isinstance(part, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("kind", ["vector", "map", "tokens"])
def test_a_quick_network_is_the_same_function(kind, upsampling):
    slow = network(CODES[kind], (32, 20), upsampling=upsampling, mask=True).double()
    before = {name: value.clone() for name, value in slow.state_dict().items()}
    quick = made_quick(slow)
    code = codes(CODES[kind]).double().requires_grad_()
    torch.testing.assert_close(quick(code), slow(code), rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(one(code).square().sum(), code)[0] for one in (quick, slow)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert not any(isinstance(part, UpConvolution) for part in quick.modules())
    assert not any(parameter.requires_grad for parameter in quick.parameters())
    assert all(parameter.requires_grad for parameter in slow.parameters())
    assert all(torch.equal(value, before[name]) for name, value in slow.state_dict().items())
    with torch.no_grad():  # of which nothing is shared
        for parameter in slow.parameters():
            parameter.zero_()
    assert quick(code).std() > 0.01


@pytest.mark.parametrize("kind", CODES)
def test_gradients_reach_every_number_of_a_code(kind):
    made = network(CODES[kind], (16, 16))
    code = codes(CODES[kind]).requires_grad_()
    (gradient,) = torch.autograd.grad((made(code) - 0.3).square().sum(), code)
    assert bool((gradient != 0).all())


@pytest.mark.parametrize("kind", ["vector", "map", "class token"])
def test_samples_are_independent(kind):
    made = network(CODES[kind], (33, 16))
    many = codes(CODES[kind], 5)
    other = many.clone()
    other[2] = 7.0
    with torch.no_grad():
        first, second = made(many), made(other)
        alone = torch.cat([made(code[None]) for code in many])
    rest = [0, 1, 3, 4]
    assert torch.equal(first[rest], second[rest])
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-5)


def test_tokens_become_maps_and_class_tokens_channels():
    architecture = Architecture((5, 2), (16, 16))
    code = torch.arange(10.0).view(1, 5, 2)
    found = as_features(code, architecture)
    assert architecture.grid == (2, 2)
    assert found.shape == (1, architecture.features, 2, 2)
    assert found[0, 0].tolist() == [[2, 4], [6, 8]]  # the first number of each token, row by row
    assert found[0, 1].tolist() == [[3, 5], [7, 9]]
    assert found[0, 2].tolist() == [[0, 0], [0, 0]]
    assert found[0, 3].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("grid", "size"), [((13, 13), 64), ((7, 7), 100), ((4, 6), 41), ((8, 8), 64)], ids=str
)
def test_what_stands_at_a_place_of_a_map_is_shown_there(grid, size):
    """The head and the ups are made to copy: the picture is the map, enlarged."""
    made = network((1, *grid), (size, size), channels=1)
    made.head = nn.Identity()
    ups = [part for part in made.ups if isinstance(part, UpConvolution)]
    made.ups = nn.Sequential(*[UpConvolution(1, 1) for _ in ups])
    for up in made.ups:
        nn.init.dirac_(up.convolution.weight)
        nn.init.zeros_(up.convolution.bias)
    ramp = [torch.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in (*grid, size, size)]
    for code, wanted in zip(
        torch.meshgrid(*ramp[:2], indexing="ij"), torch.meshgrid(*ramp[2:], indexing="ij"), strict=True
    ):
        made.set_statistics(torch.zeros(1), torch.ones(1))
        with torch.no_grad():
            found = torch.logit(made(code[None, None]))[0, 0]
        middle = slice(size // 8, -size // 8)  # at the rims, half a place stays as it is
        half_a_place = max(made.reach) / min(made.base)
        assert (found - wanted)[middle, middle].abs().max() < 1.01 * half_a_place + 1 / size


def test_a_map_is_not_made_much_smaller():
    for grid in (3, 5, 7, 11, 13, 23, 27):
        base = network((1, grid, grid), (64, 64)).base
        assert min(base) > 0.7 * grid


@pytest.mark.parametrize("kind", CODES)
def test_standardised_codes_have_mean_0_and_deviation_1(kind):
    made = network(CODES[kind])
    many = 3 + 10 * codes(CODES[kind], 200)
    made.set_statistics(*made.features_statistics(torch.split(many, 64)))
    features = made.standardise(as_features(many, made.architecture)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(features.mean(1), torch.zeros(len(features)), rtol=0, atol=1e-4)
    torch.testing.assert_close(features.std(1), torch.ones(len(features)), rtol=0, atol=1e-4)


def test_units_that_never_speak_give_nothing():
    layer = Standardise(3)
    layer.std.copy_(torch.tensor([0.0, 1.0, 2.0]))
    layer.mean.copy_(torch.tensor([0.3, 0.0, 1.0]))
    x = torch.tensor([[5.0, 5.0, 5.0], [0.0, 0.0, 0.0]], requires_grad=True)
    found = layer(x)
    assert found.tolist() == [[0, 5, 2], [0, 0, -0.5]]
    assert torch.autograd.grad(found.sum(), x)[0].tolist() == [[0, 1, 0.5]] * 2


def test_units_that_only_rounding_moves_never_speak():
    many = torch.full((40, 7), 0.3)
    many[::3, 1] += 2e-8
    many[:, 2] = 0
    many[::2, 3] = 0.31
    made = network()
    mean, std = made.features_statistics(torch.split(many, 8))
    assert (std > 0).tolist() == [False, False, False, True, False, False, False]
    assert mean[:3].tolist() == pytest.approx([0.3, 0.3, 0], abs=1e-7)


def test_the_initial_weights_keep_the_scale():
    made = network((512,), (64, 64))
    x = made.head(torch.randn(64, 512, generator=torch.Generator().manual_seed(2)))
    assert 0.3 < x.square().mean() < 3


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"code_shape": ()}, "cannot be decoded"),
        ({"code_shape": (0,)}, "cannot be decoded"),
        ({"size": (7, 16)}, "8 pixels or more"),
        ({"widths": "huge"}, ", ".join(WIDTHS)),
        ({"upsampling": "bicubic"}, ", ".join(UPSAMPLINGS)),
        ({"channels": 0}, "channels"),
        ({"size": (16,)}, "height and width"),
    ],
    ids=str,
)
def test_architectures_that_cannot_be(bad, words):
    with pytest.raises(ConfigError, match=words):
        Architecture(**({"code_shape": (4,), "size": (16, 16)} | bad))


def test_an_architecture_is_read_back_from_plain_values():
    one = Architecture((3, 4, 5), (16, 32), 1, "paper", "transposed", True)
    assert Architecture(**asdict(one)) == one
