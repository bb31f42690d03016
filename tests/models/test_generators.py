"""Generators: what they draw, and what bad input gets."""

import math

import pytest
import torch

import netinvert as ni
from netinvert.errors import CodeError, ConfigError, NetworkError
from netinvert.models.generator import GeneratorForm, ViewWarning, read_generator, transformation
from small_generator import small_generator


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return small_generator(tmp_path_factory.mktemp("generator") / "small.safetensors")


@pytest.fixture(scope="module")
def generator(file):
    return ni.load_generator(file)


def test_objects_by_number_and_by_embedding_are_the_same(generator):
    drawn = generator([2, 3], azimuth=45.0)
    assert drawn.shape == (2, 3, 16, 16)
    assert drawn.amin() >= 0
    assert drawn.amax() <= 1
    torch.testing.assert_close(generator(generator.embedded([2, 3]), azimuth=45.0), drawn)
    assert repr(generator) == "<Generator small: 4 objects, images of 16 pixels>"


def test_a_turn_is_a_circle(generator):
    torch.testing.assert_close(generator(0, 10.0), generator(0, 370.0), atol=1e-5, rtol=0)
    assert not torch.allclose(generator(0, 10.0), generator(0, 190.0), atol=1e-5)


def test_paper_is_where_the_mask_is_not(generator):
    planes = generator.layers(1)
    torch.testing.assert_close(generator(1, paper=0.0), planes[:, :3])
    torch.testing.assert_close(generator(1), (planes[:, :3] + 1 - planes[:, 3:]).clamp(0, 1))


def test_the_quick_one_draws_what_the_trained_one_does(file, generator):
    content = read_generator(file)
    network, numbers = content.module, torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    with torch.no_grad():
        slow = network(network.table(torch.tensor([1])), numbers, transformation())
    with pytest.warns(ViewWarning):
        torch.testing.assert_close(generator.layers(1, 0.0, 0.0), slow, atol=1e-5, rtol=1e-4)


def test_gradients_reach_an_embedding(generator):
    who = generator.embedded(0).clone().requires_grad_()
    generator(who).sum().backward()
    assert who.grad.abs().sum() > 0


def test_an_elevation_outside_the_training_warns_of_the_nearest(generator):
    with pytest.warns(ViewWarning, match=r"20° to 30°, and 60° is outside: the nearest that it knows is 30°"):
        generator(0, elevation=60.0)
    generator(0, elevation=31.0)  # within the margin


@pytest.mark.parametrize("identity", [4, -1, [0, 7]])
def test_an_object_that_does_not_exist(generator, identity):
    with pytest.raises(CodeError, match="objects 0 to 3"):
        generator(identity)


def test_numbers_that_are_not_finite(generator):
    nan = math.nan
    with pytest.raises(CodeError, match="embedding holds NaN"):
        generator(torch.full((6,), nan))
    with pytest.raises(CodeError, match="azimuth holds NaN"):
        generator(0, azimuth=nan)
    with pytest.raises(CodeError, match="elevation holds NaN"):
        generator(0, elevation=math.inf)
    with pytest.raises(CodeError, match="transformation holds NaN"):
        generator(0, transform=torch.full((1, 8), nan))


def test_shapes_that_do_not_fit(generator):
    with pytest.raises(CodeError, match="an embedding has 6 numbers"):
        generator(torch.zeros(1, 5))
    with pytest.raises(CodeError, match="use transformation"):
        generator(0, transform=torch.zeros(8))
    with pytest.raises(ConfigError, match="no transformation 'spin'"):
        transformation(spin=1.0)
    with pytest.raises(ConfigError, match="16, 32, 64"):
        GeneratorForm(2, size=48)


def test_files_that_are_no_generators(file, tmp_path):
    with pytest.raises(NetworkError, match="no generator 'stools'"):
        ni.load_generator("stools")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(NetworkError, match="cut"):
        ni.load_generator(cut)
