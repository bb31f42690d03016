"""Machines that look at pictures in the place of people."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from netinvert import ConfigError, Network
from netinvert.evaluation.preferences import chosen_share, network_observer, observers
from netinvert.evaluation.readers import BYSTANDERS, CELLS, PartReader, part_maps, part_overlap
from tiny import PLAIN, plain, seeded

TINY = Network("tiny", seeded(plain), PLAIN)


@pytest.fixture(scope="module")
def watching():
    return observers(TINY)


def stripes(down: bool, seed: int, count: int = 3) -> torch.Tensor:
    """Images of stripes, each at a place of its own, in noise."""
    source = torch.Generator().manual_seed(seed)
    start = 6.3 * torch.rand(count, 1, 1, 1, generator=source)
    across = torch.linspace(0, 40, 64).expand(count, 3, 64, 64)
    lines = 0.5 + 0.4 * (across + start).sin()
    noise = 0.1 * torch.randn(count, 3, 64, 64, generator=source)
    return ((lines if down else lines.mT) + noise).clamp(0, 1)


@pytest.mark.parametrize("place", [0, 1], ids=["network", "HOG"])
def test_which_of_two_images_excites_the_unit_that_the_references_show(watching, place):
    """The task of Borowski et al.: references are maximally exciting, the others minimally."""
    observer = watching[place]
    queries = torch.cat([stripes(True, 1, 1), stripes(False, 2, 1)])
    shares = []
    for down in (True, False):
        like = observer.likeness(stripes(down, 3, 9), queries).mean(0, keepdim=True)
        shares.append(chosen_share(like, torch.tensor([1 - down])).item())
    assert shares == [1, 1]
    same = observer.likeness(queries, queries)
    torch.testing.assert_close(same.diag(), torch.ones(2))
    assert same[0, 1] < 0.99


def test_chance_and_ties():
    like = torch.rand(200, 7, generator=torch.Generator().manual_seed(0))
    assert chosen_share(like, torch.arange(200) % 7).mean() == pytest.approx(0.5, abs=0.06)
    assert chosen_share(torch.ones(1, 5), torch.tensor([2])).item() == 0.5
    with pytest.raises(ConfigError, match="give more images"):
        chosen_share(torch.ones(1, 1), torch.tensor([0]))


@pytest.mark.slow
def test_nobody_observes_itself():
    found = [network_observer(replace(TINY, name=name)).name for name in ("posenet", *BYSTANDERS)]
    assert found == ["mobilenet-v2", "efficientnet-lite0", "mobilenet-v2"]


@pytest.mark.slow
def test_parts_are_read_from_chairs_that_were_not_learned_from():
    maps = part_maps(24, 101, 64)
    assert maps.shares.sum(1).allclose(torch.ones(24, CELLS, CELLS), atol=1e-5)
    reader = PartReader.fitted(TINY, maps)
    other = part_maps(6, 303, 64, maps.names)
    truth = other.shares.argmax(1)
    found = reader.labels(other.images)
    assert part_overlap(found, truth).mean() > 2 * part_overlap(found.roll(1, 0), truth).mean()
    assert part_overlap(truth, truth).min() == 1


def test_parts_that_are_not_there():
    nothing = torch.zeros(1, 2, 2, dtype=torch.long)
    assert part_overlap(nothing + 1, nothing).isnan().all()
    assert part_overlap(nothing, nothing + 1).item() == 0
    with pytest.raises(ConfigError, match="place by place"):
        part_overlap(nothing, nothing[0])
