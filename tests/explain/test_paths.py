"""Paths through a network: what is natural is like itself, and what is compared is left as it was."""

import pytest
import torch

import tiny
from netinvert.explain.codes import path_similarity
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network


@pytest.fixture
def encoder():
    return Encoder(load_network("posenet"), layers=["relu1", "relu7"])


def test_an_image_is_compared_with_the_others(encoder):
    natural = tiny.images(3).float()
    alone = path_similarity(encoder, natural[:1], natural)
    among = path_similarity(encoder, natural[:1], natural[1:])
    assert {*alone} == {"relu1", "relu7"}
    for layer, value in alone.items():
        assert torch.equal(value, among[layer])


def test_one_that_is_almost_natural_counts_itself(encoder):
    natural = tiny.images(4).float()
    own = path_similarity(encoder, natural, natural)
    near = path_similarity(encoder, (natural + 1e-3 * tiny.images(4, seed=3).float()).clamp(0, 1), natural)
    for layer, value in own.items():
        assert value.shape == (4,)
        assert bool((near[layer] >= value - 0.01).all())  # itself is among those that it is compared with
        assert bool((value.abs() <= 1).all())
