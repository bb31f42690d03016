from pathlib import Path

import numpy as np
import pytest
import torch

from netinvert import Encoder
from netinvert.errors import ImageError, NetworkError
from netinvert.models.layers import list_layers
from netinvert.models.registry import load_network
from netinvert.models.zoo.descriptors import HOG_LAYERS, Binning, Derivatives, Hog

REFERENCE = np.load(Path(__file__).parent.parent / "data" / "vlfeat.npz")
"""Made by tools/make_vlfeat_reference.py."""


def picture(name):
    image = torch.from_numpy(REFERENCE[f"{name} image"].astype(np.float32))[None, None]
    return image / 255 if name == "faint" else image


def cases(kind):
    return [key for key in REFERENCE.files if key.split()[1] == kind]


# The bilinear ones differ by VLFeat's acos near 1.
@pytest.mark.parametrize(
    ("key", "near"), [*((k, 5e-7) for k in cases("hog")), *((k, 1e-4) for k in cases("hogb"))]
)
def test_the_code_is_vlfeats(key, near):
    name, kind, cell = key.split()
    found = Hog(int(cell), bilinear=kind == "hogb")(picture(name))[0]
    expected = torch.from_numpy(REFERENCE[key])
    assert expected.max() > 0.3
    torch.testing.assert_close(found, expected, rtol=0, atol=near)


def test_a_vertical_edge_by_hand():
    # Black, then white from column 8 on: dx = 127.5 at columns 7 and 8 of the inner rows, towards +x.
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 255
    code = Hog()(image)[0]
    # Both columns give each cell column 1/2 of theirs (tent weights 9/16 and 7/16), the rows the same sums
    # up to the border: every cell has the same histogram, a block four times that, so each unit is 1/2,
    # clamped to 0.2; half of four times 0.2 is 0.4.
    expected = torch.zeros(27, 2, 2)
    expected[0] = expected[18] = 0.4  # direction 0, and the undirected one of it
    torch.testing.assert_close(code, expected)


@pytest.mark.parametrize(("angle", "channel"), [(0, 0), (40, 2), (180, 9), (300, 15)])
def test_directions_turn_clockwise_from_the_x_axis(angle, channel):
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    turn = torch.tensor(angle * torch.pi / 180)
    code = Hog()((turn.cos() * x + turn.sin() * y)[None, None])[0]
    assert (code[:18].sum((1, 2)) > 0).nonzero().tolist() == [[channel]]
    assert (code[18:].sum((1, 2)) > 0).nonzero().tolist() == [[channel % 9]]


@pytest.mark.parametrize("bilinear", [False, True])
def test_brightness_and_contrast_do_not_matter(bilinear):
    image = 128 + 50 * torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        Hog(bilinear=bilinear)(0.5 * image + 20), Hog(bilinear=bilinear)(image), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", ["hog", "hogb", "dsift"])
def test_gradients_of_constant_images_are_zero(name):
    module = load_network(name).module
    image = torch.full((1, 1, 64, 64), 70.0, requires_grad=True)
    code = module(image)
    assert bool((code == 0).all())
    (gradient,) = torch.autograd.grad(code.sum(), image)
    assert bool((gradient == 0).all())


def test_bilinear_bins_have_their_true_gradient():
    image = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layers = torch.nn.Sequential(Derivatives(18), Binning(18, bilinear=True)).double()
    assert torch.autograd.gradcheck(layers, image.requires_grad_())


def test_hard_bins_pass_the_gradient_of_the_magnitude():
    # n = sqrt(sum of x_o² / 9), dn/dx_o = x_o / (9 n), into the chosen map's gradient (hog_net of the paper)
    derivatives = Derivatives(18)(torch.randn(1, 1, 5, 5)).requires_grad_()
    weights = torch.rand(1, 18, 3, 3)
    binned = Binning(18, bilinear=False)(derivatives)
    (gradient,) = torch.autograd.grad((weights * binned).sum(), derivatives)
    magnitude = (derivatives.square().sum(1, keepdim=True) / 9).sqrt()
    chosen = weights.gather(1, derivatives.argmax(1, keepdim=True))
    torch.testing.assert_close(binned.sum(1, keepdim=True), magnitude)
    torch.testing.assert_close(gradient, chosen * derivatives / (9 * magnitude))
    assert bool(((binned > 0).sum(1) == 1).all())


def test_bilinear_bins_share_by_angle():
    angle = torch.tensor(25 * torch.pi / 180)  # a quarter of the way from 20° to 40°
    derivatives = torch.tensor([torch.cos(o * torch.pi / 9 - angle) for o in range(18)]).view(1, 18, 1, 1)
    binned = Binning(18, bilinear=True)(4 * derivatives)[0, :, 0, 0]
    expected = torch.zeros(18)
    expected[1], expected[2] = 3, 1
    torch.testing.assert_close(binned, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_every_stage_can_be_inverted_from():
    layers = {info.name: info for info in list_layers(load_network("hog"))}
    assert set(HOG_LAYERS) < set(layers)
    found = {name: (*info.code_shape, info.stride, info.receptive_field) for name, info in layers.items()}
    assert found["binning"] == (18, 222, 222, 1, 3)
    assert found["pooling"] == (18, 28, 28, 8, 16 + 2)
    assert found["blocks"] == (108, 29, 29, 8, 24 + 2)
    assert found["output"] == found["cells"] == (27, 28, 28, 8, 32 + 2)


@pytest.mark.parametrize("size", [(224, 224), (61, 50)])
def test_cells_at_other_sizes(size):
    encoder = Encoder(load_network("hogb"), "cells", size=size)
    assert encoder.code_shape == (27, (size[0] + 4) // 8, (size[1] + 4) // 8)


@pytest.mark.parametrize("name", ["hog", "hogb", "dsift"])
@pytest.mark.parametrize("weights", ["random", "some.safetensors"])
def test_weights_are_refused(name, weights):
    with pytest.raises(
        NetworkError, match=f"{name} is computed as published and has no weights: leave them out"
    ):
        load_network(name, weights)


def test_colour_is_refused_with_the_shape_that_is_wanted():
    encoder = Encoder(load_network("hog"), "cells")
    with pytest.raises(ImageError, match=r"takes images \(N, 1, H, W\)"):
        encoder(torch.rand(1, 3, 224, 224))
