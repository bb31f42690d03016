"""Turning codes: operators and directions recover what made the codes."""

import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.views.operators import IdentityMap, PoseDirections, TurnOperator, Turns, pose_features

ANGLES = torch.arange(31) * 360 / 31
ORTHOGONAL = pytest.mark.parametrize("orthogonal", [True, False])


def rotated(codes, degrees):
    """Codes (N, 4) turned in two planes, once and twice as fast: what turning an object might do."""
    turn = torch.tensor(float(degrees)).deg2rad()
    blocks = [
        torch.stack([torch.stack([a.cos(), -a.sin()]), torch.stack([a.sin(), a.cos()])])
        for a in (turn, 2 * turn)
    ]
    return codes @ torch.block_diag(*blocks).T


@ORTHOGONAL
def test_an_operator_finds_a_rotation_of_codes(orthogonal):
    codes = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    operator = TurnOperator.fitted(codes, rotated(codes, 40), orthogonal)
    other = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(operator(other), rotated(other, 40), atol=0.05, rtol=0.05)


def test_an_orthogonal_operator_is_orthogonal():
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randn(50, 6, generator=generator), torch.randn(50, 6, generator=generator)
    matrix = TurnOperator.fitted(before, after, orthogonal=True).matrix
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-5, rtol=0)


@ORTHOGONAL
def test_what_lies_beyond_the_known_directions_stays(orthogonal):
    generator = torch.Generator().manual_seed(0)
    flat = torch.cat([torch.randn(60, 3, generator=generator), torch.zeros(60, 2)], 1)
    operator = TurnOperator.fitted(flat, flat.roll(1, 1) * torch.tensor([1.0, 1, 1, 0, 0]), orthogonal)
    code = torch.tensor([[0.0, 0.0, 0.0, 5.0, -2.0]])
    torch.testing.assert_close(operator(code)[:, 3:], code[:, 3:], atol=1e-4, rtol=0)


def test_a_ring_of_operators_turns_by_any_angle_and_once_around():
    """Also in many more dimensions than there are codes. Between two angles it cuts the corner."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.linalg.qr(torch.randn(300, 4, generator=generator)).Q.T
    codes, other = (torch.randn(count, 4, generator=generator) for count in (12, 3))
    turns = Turns.fitted(torch.stack([rotated(codes, 30 * k) for k in range(12)], 1) @ wide)
    beyond = torch.randn(3, 300, generator=generator)
    beyond -= beyond @ wide.T @ wide
    for degrees, tolerance in ((30, 0.05), (-90, 0.05), (45, 0.25)):
        expected = rotated(other, degrees) @ wide + beyond
        torch.testing.assert_close(turns(other @ wide + beyond, degrees), expected, atol=tolerance, rtol=0.05)
    for degrees in (0, 360, -1e-4):
        torch.testing.assert_close(turns(other @ wide, degrees), other @ wide, atol=1e-3, rtol=1e-3)


def test_operators_need_pairs():
    with pytest.raises(ConfigError, match="two pairs"):
        TurnOperator.fitted(torch.zeros(3, 2), torch.zeros(2, 2), orthogonal=True)
    with pytest.raises(ConfigError, match="too few"):
        PoseDirections.fitted(torch.zeros(3, 2), torch.zeros(3), torch.zeros(3))


def of_pose(azimuth, elevation, weights, identity):
    return pose_features(azimuth, elevation) @ weights + identity


def test_directions_turn_codes_that_are_a_pose_and_an_identity():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(pose_features(ANGLES, ANGLES).shape[1], 8, generator=generator)
    azimuth, elevation = ANGLES.repeat(6), torch.tensor([0.0, 10, 20, 25, 30, 40]).repeat_interleave(31)
    identity = 0.1 * torch.randn(6, 8, generator=generator).repeat_interleave(31, 0)
    identity = identity - identity.mean(0)
    codes = of_pose(azimuth, elevation, weights, 0)
    found = PoseDirections.fitted(codes, azimuth, elevation)
    ends = (
        (torch.tensor([30.0, 200.0]), torch.tensor([20.0, 10.0])),
        (torch.tensor([90.0, 20.0]), torch.tensor([5.0, 30.0])),
    )
    before = of_pose(*ends[0], weights, identity[:2])
    torch.testing.assert_close(
        found.turned(before, *ends), of_pose(*ends[1], weights, identity[:2]), atol=1e-3, rtol=1e-3
    )


def test_a_linear_identity_is_found_from_any_side():
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(40, 3, generator=generator)
    mixing = torch.randn(3, 12, generator=generator)
    weights = torch.randn(pose_features(ANGLES, ANGLES).shape[1], 12, generator=generator)
    azimuth = ANGLES.repeat(40)
    elevation = 20 + 0 * azimuth + torch.rand(len(azimuth), generator=generator) * 10
    every = embeddings.repeat_interleave(31, 0)
    codes = of_pose(azimuth, elevation, weights, every @ mixing)
    found = IdentityMap.fitted(codes, azimuth, elevation, every, ridge=1e-4)
    off = found(codes, azimuth, elevation) - every
    assert off.square().mean() < 0.02 * every.square().mean()
