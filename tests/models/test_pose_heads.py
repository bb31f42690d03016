"""What the heads of pose networks say, and their losses."""

from __future__ import annotations

import math

import pytest
import torch

from netinvert.models.zoo.pose_heads import (
    AZIMUTH_WEIGHT,
    NEAR,
    TURNS_WEIGHT,
    WIDTH,
    BinsHead,
    SiameseHead,
    ViewHead,
    azimuth_mass,
    azimuth_target,
    relative_loss,
    relative_rotation,
    rotation_loss,
)
from netinvert.models.zoo.pose_topologies import AZIMUTHS, ROTATION, TURNS
from netinvert.scenes.cameras import (
    angles_from_rotation,
    geodesic_degrees,
    matrix_to_6d,
    rotation_from_6d,
    rotation_from_angles,
    turn_about,
)

DOUBLE = torch.float64
VIEW, BINS = ViewHead(), BinsHead()
every_head = pytest.mark.parametrize("head", [VIEW, BINS], ids=lambda head: head.name)


def views(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    azimuth = 360 * torch.rand(count, generator=generator, dtype=DOUBLE)
    elevation = 90 * torch.rand(count, generator=generator, dtype=DOUBLE) - 20
    in_plane = 40 * torch.rand(count, generator=generator, dtype=DOUBLE) - 20
    return rotation_from_angles(azimuth, elevation, in_plane)


def perfect(head, rotation):
    """Outputs that say exactly this, of objects with a front."""
    azimuth, elevation, in_plane = angles_from_rotation(rotation)
    centres = torch.arange(AZIMUTHS, dtype=rotation.dtype) + 0.5
    distance = torch.remainder(azimuth[:, None] / WIDTH - centres + AZIMUTHS / 2, AZIMUTHS) - AZIMUTHS / 2
    logits = -2 * distance.square()
    if head.name == "view":
        front = torch.tensor([9.0, 0, 0, 0], dtype=rotation.dtype).expand(len(rotation), TURNS)
        return torch.cat([matrix_to_6d(rotation), logits, front], dim=1)
    return torch.cat([logits, distance, torch.stack([elevation / 30, in_plane / 30], dim=1)], dim=1)


def looking_from(*azimuths):
    """Rotations at azimuths in degrees, a little from above."""
    azimuth = torch.tensor(azimuths, dtype=DOUBLE)
    return rotation_from_angles(azimuth, torch.full_like(azimuth, 20), torch.zeros_like(azimuth))


# -- rotations -----------------------------------------------------------------------------------------


@every_head
def test_a_head_reads_what_perfect_outputs_say(head):
    rotation = views(50)
    assert geodesic_degrees(head.rotation(perfect(head, rotation)), rotation).max() < 1e-4


@every_head
def test_no_output_near_the_perfect_one_has_less_loss(head):
    rotation = views(50)
    right, front = perfect(head, rotation), torch.ones(50, dtype=torch.long)

    def loss(output):
        # of turns the loss has no least value
        turns = TURNS_WEIGHT * torch.logsumexp(output[:, -TURNS:] - output[:, -TURNS, None], 1)
        more = head.more_loss(output, rotation, front)
        return head.error(output, rotation) + (more - turns if head is VIEW else more)

    for scale in (0.03, 0.3):
        generator = torch.Generator().manual_seed(2)
        other = right + scale * torch.randn(right.shape, generator=generator, dtype=DOUBLE)
        assert (loss(other) >= loss(right) - 1e-9).all()
        assert (loss(other) > loss(right) + 1e-4).float().mean() > 0.9


@every_head
def test_symmetric_objects_cost_the_least_over_their_turns(head):
    rotation = views(6)
    symmetry = torch.tensor([1, 2, 4, 1, 2, 4])
    output = perfect(head, rotation)
    base = rotation_loss(head, output, rotation, symmetry)
    turned = rotation @ turn_about(360 / symmetry.to(DOUBLE), 2)
    torch.testing.assert_close(rotation_loss(head, output, turned, symmetry), base)
    alone = torch.ones(6, dtype=torch.long)
    assert (rotation_loss(head, output, turned, alone)[symmetry > 1] > base[symmetry > 1] + 0.5).all()


def test_of_a_body_of_revolution_only_the_axis_counts():
    rotation = views(4)
    turned = rotation @ turn_about(torch.tensor(70.0, dtype=DOUBLE), 2)
    none = torch.zeros(4, dtype=torch.long)
    assert rotation_loss(VIEW, perfect(VIEW, rotation), turned, none).max() < 0.01


@every_head
def test_gradients_are_finite_at_a_perfect_answer(head):
    rotation = views(8)
    output = perfect(head, rotation).requires_grad_()
    symmetry = torch.tensor([1, 2, 4, 0, 1, 2, 4, 0])
    loss = rotation_loss(head, output, rotation, symmetry) + head.more_loss(output, rotation, symmetry)
    loss.sum().backward()
    assert torch.isfinite(output.grad).all()


def test_six_numbers_are_enough_for_the_rotation():
    rotation = views(5)
    output = perfect(VIEW, rotation)
    assert torch.equal(VIEW.rotation(output[:, :ROTATION]), VIEW.rotation(output))
    assert torch.equal(VIEW.error(output[:, :ROTATION], rotation), VIEW.error(output, rotation))


def test_how_many_numbers_say_a_rotation():
    assert VIEW.outputs == ROTATION
    assert BINS.outputs == 2 * AZIMUTHS + 2


# -- azimuths ------------------------------------------------------------------------------------------


def test_the_target_of_an_azimuth_is_its_bin_with_soft_neighbours():
    azimuth = torch.tensor([7.5, 359.0, 100.0])
    found = azimuth_target(azimuth, torch.ones(3, dtype=torch.long))
    for row, degrees in zip(found.tolist(), azimuth.tolist(), strict=True):
        apart = [abs((degrees - 15 * k - 7.5 + 180) % 360 - 180) / 15 for k in range(24)]
        shares = [math.exp(-2 * one**2) for one in apart]
        assert row == pytest.approx([one / sum(shares) for one in shares], abs=1e-5)
    assert found.argmax(1).tolist() == [0, 23, 6]
    assert found[0, 1] == found[0, 23]  # the first bin and the last are neighbours


@pytest.mark.parametrize("turns", [2, 3, 4, 5, 8])
def test_of_a_symmetric_object_all_azimuths_that_look_the_same_are_right(turns):
    azimuth = torch.tensor([3.0, 7.5, 101.0, 222.0], dtype=DOUBLE)
    symmetry = torch.full((4,), turns)
    found = azimuth_target(azimuth, symmetry)
    torch.testing.assert_close(found.sum(1), torch.ones(4, dtype=DOUBLE))
    for turn in range(turns):
        torch.testing.assert_close(azimuth_target(azimuth + turn * 360 / turns, symmetry), found)
    alone = azimuth_target(azimuth, torch.ones_like(symmetry))
    assert not torch.allclose(found, alone, atol=0.05)
    if 24 % turns == 0:
        torch.testing.assert_close(found.roll(24 // turns, 1), found)
        assert found[1].argmax() % (24 // turns) == 0
        assert found[1].topk(turns).values.min() == pytest.approx(found[1].max().item())


def test_of_a_body_of_revolution_any_azimuth_is_right():
    found = azimuth_target(torch.tensor([0.0, 77.0]), torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(found, torch.full((2, 24), 1 / 24))


@every_head
def test_the_mass_near_the_reading_of_a_sure_and_of_a_flat_output(head):
    rotation = looking_from(*(7.5 + 15 * k for k in range(24)))
    output, where = perfect(head, rotation), slice(0, 24) if head.name == "bins" else slice(6, 30)

    def mass(logits):
        changed = output.clone()
        changed[:, where] = logits
        if head.name == "bins":  # which reads its logits' best: moved back to what it was
            changed[:, 24:48] = output[:, 24:48].gather(1, logits.argmax(1, keepdim=True)).expand(-1, 24)
        return azimuth_mass(head, changed)

    sure = 50 * torch.eye(24, dtype=DOUBLE)
    torch.testing.assert_close(mass(sure), torch.ones(24, dtype=DOUBLE))
    torch.testing.assert_close(mass(0 * sure), torch.full((24,), 2 * NEAR / 360, dtype=DOUBLE))
    torch.testing.assert_close(mass(sure.roll(2, 1)), torch.full((24,), 0.5, dtype=DOUBLE))  # at the edge
    assert mass(sure.roll(3, 1)).max() < 1e-9
    assert mass(sure.roll(12, 1)).max() < 1e-9
    twice = torch.maximum(sure, sure.roll(12, 1))
    torch.testing.assert_close(mass(twice), torch.full((24,), 0.5, dtype=DOUBLE))


def test_the_loss_of_azimuth_and_turns_by_hand():
    rotation = looking_from(10.0, 100.0, 200.0, 300.0, 40.0)
    symmetry = torch.tensor([1, 2, 0, 4, 3])
    classes = torch.tensor([0, 1, 3, 2, 2])  # a front, two sides, any, some other number
    output = torch.zeros(5, 34, dtype=DOUBLE)
    flat = AZIMUTH_WEIGHT * math.log(24) + TURNS_WEIGHT * math.log(4)
    torch.testing.assert_close(
        VIEW.more_loss(output, rotation, symmetry), torch.full((5,), flat, dtype=DOUBLE)
    )
    for told in range(4):
        output[:, -4:] = 0
        output[:, 30 + told] = 60
        wanted = AZIMUTH_WEIGHT * math.log(24) + TURNS_WEIGHT * 60 * (classes != told).double()
        torch.testing.assert_close(VIEW.more_loss(output, rotation, symmetry), wanted)


def test_an_azimuth_told_costs_less_where_it_looks_the_same():
    rotation = looking_from(10.0, 10.0, 10.0)
    symmetry = torch.tensor([1, 2, 0])
    output = perfect(VIEW, rotation)
    output[:, -TURNS:] = 0
    turned = looking_from(190.0, 190.0, 190.0)
    same, other = (VIEW.more_loss(output, each, symmetry) for each in (rotation, turned))
    torch.testing.assert_close(same[1:], other[1:])
    assert other[0] > same[0] + 1
    assert same[0] + 1 < same[1:].min()  # two sides are asked for, and one told


def test_the_judges_head_has_no_more_losses():
    output = torch.randn(3, BINS.outputs)
    assert BINS.more_loss(output, views(3), torch.ones(3)).tolist() == [0, 0, 0]
    assert BINS.frontless(output) is None


def test_frontless_is_what_the_first_class_is_not():
    output = torch.zeros(3, 34)
    output[1, 30], output[2, 33] = 20, 20
    assert VIEW.frontless(output).tolist() == pytest.approx([0.75, 0, 1], abs=1e-6)


# -- pairs ---------------------------------------------------------------------------------------------


def test_the_relative_rotation_takes_one_camera_to_the_other():
    first, second = views(5, 1), views(5, 2)
    point = torch.randn(3, dtype=DOUBLE)
    torch.testing.assert_close(
        relative_rotation(first, second) @ (first @ point)[..., None], (second @ point)[..., None]
    )


def test_zamirs_loss_is_square_up_to_one_and_logarithmic_after():
    truth = torch.eye(3).expand(3, 3, 3)
    exact = matrix_to_6d(truth)
    shifts = torch.tensor([0.5, 1.0, 3.0])
    wrong = exact + torch.nn.functional.one_hot(torch.tensor([0, 0, 0]), 6) * shifts[:, None]
    expected = torch.tensor([0.25, 1.0, 1 + torch.log(torch.tensor(9.0))])
    torch.testing.assert_close(relative_loss(wrong, truth), expected)
    torch.testing.assert_close(rotation_from_6d(exact), truth)


def test_the_pair_head_tells_first_from_second():
    head = SiameseHead(8)
    one, two = torch.randn(2, 5, 8).unbind(0)
    (forward, _), (back, _) = head(one, two), head(two, one)
    assert torch.equal(head.relative(one, two), forward)
    assert not torch.allclose(forward, back)


def test_the_pair_head_learns_to_tell_objects_apart():
    torch.manual_seed(0)
    head = SiameseHead(8, hidden=32, embedding=4)
    objects = torch.randn(12, 4)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)

    def views():  # what the object is, and what only the view decides
        return torch.cat([objects, 3 * torch.randn(12, 4, generator=generator)], dim=1)

    for _ in range(200):
        optimizer.zero_grad()
        head.match_loss(views(), views()).backward()
        optimizer.step()
    head.eval()
    first, second = views(), views()
    _, same = head(first, second)
    _, other = head(first, second.roll(1, 0))
    assert (same > 0).float().mean() > 0.9
    assert (other < 0).float().mean() > 0.9
    assert torch.allclose(head.embedding(first).norm(dim=1), torch.ones(12), atol=1e-5)
