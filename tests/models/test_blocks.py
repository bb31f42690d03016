import pytest
import torch
from torch import nn

from netinvert.models.fused_conv import SameConv2d, same_padding
from netinvert.models.zoo.mobile import Family, InvertedResidual, block_shapes


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 3, 1, (1, 1)),
        (224, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (56, 5, 2, (1, 2)),
        (4, 1, 2, (0, 0)),
        (5, 2, 1, (0, 1)),
    ],
)
def test_padding_is_tensorflows(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected


def test_stride_two_pads_at_the_end_only():
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    counted = conv(torch.ones(1, 1, 4, 4))[0, 0]
    # the windows begin inside the picture: only the last ones reach over the edge
    assert counted.tolist() == [[9.0, 6.0], [6.0, 4.0]]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 9])
def test_size_is_the_ceiling(stride, size):
    conv = SameConv2d(2, 3, 5, stride=stride)
    assert conv(torch.rand(1, 2, size, size)).shape == (1, 3, -(-size // stride), -(-size // stride))


def test_block_skips_only_where_shapes_allow():
    family = Family("same")
    features = torch.rand(1, 8, 6, 6)
    block = InvertedResidual(family, (8, 16, 8, 3, 1))
    nn.init.zeros_(block.project.conv.weight)
    nn.init.zeros_(block.project.conv.bias)
    assert torch.equal(block(features), features)
    assert not InvertedResidual(family, (8, 16, 8, 3, 2)).skips
    assert not InvertedResidual(family, (8, 16, 9, 3, 1)).skips


def test_stages_take_the_stride_once():
    shapes = block_shapes(16, ((6, 24, 3, 2, 2),))
    assert shapes == [(16, 96, 24, 3, 2), (24, 144, 24, 3, 1)]
