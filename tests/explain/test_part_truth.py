"""Parts taken away from chairs, and how explanations are held against that."""

import pytest
import torch

from netinvert.experiments.explain.parts import PartScores
from netinvert.explain.part_truth import (
    LEAST_PARTS,
    LEAST_SEEN,
    PartViews,
    mass_in,
    names_the_most,
    part_plan,
    part_views,
    rank_agreement,
)

pytest.importorskip("embreex")


@pytest.fixture(scope="module")
def views():
    return part_views(part_plan(4, 48, 101), range(4))


def test_without_a_part_an_image_changes_where_the_part_was(views):
    assert views.names == ("arms", "back", "legs", "seat")
    assert (views.seen.sum(1) >= LEAST_PARTS).all()
    change = (views.without - views.images[:, None]).abs().amax(2)
    for masks, changes, there in zip(views.masks, change, views.seen, strict=True):
        for mask, where, seen in zip(masks, changes, there, strict=True):
            assert bool(seen) == (mask.float().mean() >= LEAST_SEEN)
            assert bool(where.any()) == bool(seen)
            if seen:  # another part or the paper is seen there, and shadows fall elsewhere
                assert where[mask].mean() > 10 * where[~mask].mean()


def test_masks_do_not_overlap(views):
    assert views.masks.sum(1).max() == 1


def test_chairs_without_parts_enough_are_left_out():
    assert part_views(part_plan(4, 48, 101), ()) is None


def test_scores_are_right_for_maps_that_know_the_truth():
    """Three parts of 1, 2 and 3 rows, of which the smallest turns the pose most."""
    masks = torch.zeros(2, 3, 6, 4, dtype=torch.bool)
    for part, rows in enumerate((slice(0, 1), slice(1, 3), slice(3, 6))):
        masks[:, part, rows] = True
    moves = torch.tensor([[30.0, 20.0, 5.0], [30.0, 20.0, 5.0]]).double()
    blank = torch.zeros(2, 3, 6, 4)
    views = PartViews(blank, blank[:, None].expand(-1, 3, -1, -1, -1), masks, ("a", "b", "c"))
    parts = PartScores(views, blank, moves, moves)
    right = torch.einsum("np,nphw->nhw", moves, masks.double())
    found = parts.scores(right, torch.ones(2, 6, 4))
    assert found["agreement"].tolist() == pytest.approx([1, 1])
    assert found["in all"].tolist() == pytest.approx([0.5, 0.5])  # 120, 160, 60
    assert found["most"].tolist() == [0, 0]
    assert found["random weights"].tolist() == [0, 0]
    assert found["on the chair"].tolist() == [1, 1]
    assert parts.scores(-right, right)["gain"].tolist() == pytest.approx([0, 0])
    uniform, _, _, painted = parts.baselines(torch.zeros(2, 6, 4))
    assert painted["agreement"].tolist() == pytest.approx([1, 1])
    assert uniform["in all"].tolist() == pytest.approx([-1, -1])


def test_only_parts_in_sight_are_compared():
    mass = torch.tensor([[3.0, 2.0, 9.0, 1.0]])
    moves = torch.tensor([[30.0, 20.0, 0.0, 10.0]]).double()
    seen = torch.tensor([[True, True, False, True]])
    assert rank_agreement(mass, moves, seen).item() == pytest.approx(1)
    assert names_the_most(mass, moves, seen).item() == 1
    assert mass_in(-torch.ones(1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool)).item() == 4
