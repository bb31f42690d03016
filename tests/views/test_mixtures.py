"""Objects between, new objects, and sums of objects."""

import pytest
import torch

from netinvert.errors import CodeError, ConfigError
from netinvert.models.generator import load_generator
from netinvert.views.mixtures import (
    COMPARED,
    SPACES,
    combined,
    line_between,
    nearest_objects,
    random_embeddings,
    seen_around,
)
from small_generator import small_generator


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return load_generator(small_generator(tmp_path_factory.mktemp("g") / "small.safetensors", objects=8))


def test_a_morph_begins_and_ends_with_the_objects(generator):
    first, second = generator.embedded([1, 5])
    line = line_between(first, second, 4)
    assert torch.equal(line[0], first)
    torch.testing.assert_close(line[-1], second)
    torch.testing.assert_close(line.diff(dim=0), ((second - first) / 4).expand(4, -1))


def test_new_objects_have_the_mean_and_covariance_of_the_known(generator):
    table = generator.module.table.weight
    new = random_embeddings(generator, 50_000, seed=3)
    torch.testing.assert_close(new.mean(0), table.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(new.T.cov(), table.T.cov(), atol=0.06, rtol=0)
    assert torch.equal(random_embeddings(generator, 2, 3), random_embeddings(generator, 2, 3))
    assert not torch.equal(random_embeddings(generator, 2, 3), random_embeddings(generator, 2, 4))


@pytest.mark.parametrize("space", SPACES)
def test_nothing_added_changes_nothing(generator, space):
    same = torch.tensor([[3, 3, 0], [1, 1, 2]])
    expected = generator.layers([0, 2], *COMPARED[1])
    torch.testing.assert_close(combined(generator, same, space, COMPARED[1]), expected, atol=1e-5, rtol=1e-4)
    instead = torch.tensor([[0, 4, 4], [2, 5, 5]])
    torch.testing.assert_close(
        combined(generator, instead, space, COMPARED[1]), expected, atol=1e-5, rtol=1e-4
    )


def test_sums_of_embeddings_are_embeddings(generator):
    a, b, c = generator.embedded([6, 1, 4])
    found = combined(generator, torch.tensor([[6, 1, 4]]), "embedding", (30.0, 20.0))
    torch.testing.assert_close(found, generator.layers((a - b + c)[None], 30.0), atol=1e-5, rtol=1e-4)
    other = combined(generator, torch.tensor([[6, 1, 4]]), "joint 2", (30.0, 20.0))
    assert not torch.allclose(found, other, atol=1e-4)


def test_bad_sums(generator):
    with pytest.raises(ConfigError, match="embedding, identity 1"):
        combined(generator, torch.tensor([[0, 1, 2]]), "pixels")
    with pytest.raises(CodeError, match="objects 0 to 7"):
        combined(generator, torch.tensor([[0, 1, 8]]))


def test_an_object_is_nearest_to_itself(generator):
    planes = seen_around(generator, list(range(8)))
    nearest, far = nearest_objects(planes[[5, 2]], planes)
    assert nearest.tolist() == [5, 2]
    assert far.tolist() == [0, 0]
    others, apart = nearest_objects(planes, planes, same=True)
    assert (others != torch.arange(8)).all()
    assert (apart > 0).all()
    assert nearest_objects(planes[:1] + 0.25, planes[:1])[1].item() == pytest.approx(0.25, abs=1e-6)
