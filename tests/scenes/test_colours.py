"""sRGB against the numbers of its standard, written down here and not worked out by the code under test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinvert.scenes.objects import linear_to_srgb, paint, srgb_to_linear

# IEC 61966-2-1: linear light of the bytes 0, 10, 11, 55, 128, 188, 200, 255
KNOWN = {
    0: 0.0,
    10: 0.0030352698,
    11: 0.0033465358,
    55: 0.0382043716,
    128: 0.2158605001,
    188: 0.5028864580,
    200: 0.5775804404,
    255: 1.0,
}


@pytest.mark.parametrize(("byte", "linear"), KNOWN.items())
def test_known_bytes(byte, linear):
    assert srgb_to_linear(byte / 255) == pytest.approx(linear, abs=1e-9)
    assert 255 * linear_to_srgb(linear) == pytest.approx(byte, abs=1e-5)


@given(st.floats(0, 1))
def test_there_and_back(value):
    assert srgb_to_linear(linear_to_srgb(value)) == pytest.approx(value, abs=1e-6)


def test_what_is_brighter_or_darker_is_cut():
    assert linear_to_srgb([-0.5, 7.0]) == pytest.approx([0, 1])


@given(st.integers(0, 1000), st.floats(0.05, 0.7))
def test_paint_is_a_colour_of_surfaces(seed, darkest):
    colour = paint(np.random.default_rng(seed), darkest)
    assert all(0.01 <= value <= 0.78 for value in colour)
    assert max(colour) >= min(darkest, 0.78) - 1e-9
