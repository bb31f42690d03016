from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert.scenes.cameras import (
    angles_from_rotation,
    azimuth_difference,
    equivalent_rotations,
    geodesic_degrees,
    matrix_to_6d,
    pose_summary,
    rotation_from_6d,
    rotation_from_angles,
    rotation_from_quaternion,
    symmetric_geodesic_degrees,
    turn_about,
)

DOUBLE = torch.float64
ANGLE = st.floats(-720, 720)
ELEVATION = st.floats(-90, 90)


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def random_rotations(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return rotation_from_quaternion(torch.randn((count, 4), generator=generator, dtype=DOUBLE))


@given(ANGLE, ELEVATION, ANGLE)
def test_angles_and_matrices_are_one_another(azimuth, elevation, in_plane):
    rotation = rotation_from_angles(*tensor(azimuth, elevation, in_plane))
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=DOUBLE))
    assert torch.linalg.det(rotation) == pytest.approx(1)
    a, e, t = angles_from_rotation(rotation)
    assert 0 <= a < 360
    assert -180 <= t < 180
    again = rotation_from_angles(a, e, t)
    assert geodesic_degrees(again, rotation) < 1e-4  # 1e-6 of a circle beside the poles


@pytest.mark.parametrize("elevation", [90.0, -90.0])
def test_straight_above_and_below_the_in_plane_rotation_is_zero(elevation):
    rotation = rotation_from_angles(*tensor(40, elevation, 25))
    azimuth, found, in_plane = angles_from_rotation(rotation)
    assert found == pytest.approx(elevation)
    assert in_plane == 0
    torch.testing.assert_close(rotation_from_angles(azimuth, found, in_plane), rotation)


def test_known_cameras():
    # azimuth 0, elevation 0: x stays right, z becomes up, and the camera looks along +y
    front = rotation_from_angles(*tensor(0, 0, 0))
    torch.testing.assert_close(front, tensor([1, 0, 0], [0, 0, 1], [0, -1, 0]))
    # from +x, the object's front (-y) is on the left
    side = rotation_from_angles(*tensor(90, 0, 0))
    torch.testing.assert_close(side @ tensor(0, -1, 0), tensor(-1, 0, 0))
    # a positive in-plane rotation turns the image counter-clockwise
    torch.testing.assert_close(rotation_from_angles(*tensor(0, 0, 90)) @ tensor(1, 0, 0), tensor(0, 1, 0))


def test_six_numbers_round_trip():
    rotation = random_rotations(100)
    torch.testing.assert_close(rotation_from_6d(matrix_to_6d(rotation)), rotation)
    torch.testing.assert_close(rotation_from_6d(3 * matrix_to_6d(rotation)), rotation)


@pytest.mark.parametrize(
    "values", [[0.0] * 6, [1.0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1.0, 0], [0, 2.0, 0, 0, -3, 0], [1e-9] * 6]
)
def test_any_six_numbers_give_a_rotation_and_finite_gradients(values):
    numbers = torch.tensor(values, dtype=DOUBLE, requires_grad=True)
    rotation = rotation_from_6d(numbers)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=DOUBLE))
    rotation.sum().backward()
    assert torch.isfinite(numbers.grad).all()


def test_gradients_of_six_numbers():
    numbers = torch.randn(
        (4, 6), dtype=DOUBLE, generator=torch.Generator().manual_seed(1), requires_grad=True
    )
    assert torch.autograd.gradcheck(rotation_from_6d, numbers)


def test_quaternions_turn_about_their_axis():
    half = math.radians(50) / 2
    for axis in range(3):
        quaternion = tensor(math.cos(half), 0, 0, 0)
        quaternion[1 + axis] = math.sin(half)
        for length in (1, -2.5):
            torch.testing.assert_close(
                rotation_from_quaternion(length * quaternion), turn_about(tensor(50)[0], axis)
            )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_numbers_and_tensors_make_the_same_turns(axis):
    torch.testing.assert_close(torch.from_numpy(turn_about(33.0, axis)), turn_about(tensor(33)[0], axis))


@pytest.mark.parametrize("angle", [0.0, 1e-5, 1e-3, 1.0, 90.0, 179.0, 179.9999, 180.0])
def test_the_geodesic_error_is_exact_also_at_its_ends(angle):
    first = random_rotations(20)
    second = turn_about(tensor(angle), 1) @ first
    torch.testing.assert_close(
        geodesic_degrees(first, second), torch.full((20,), angle, dtype=DOUBLE), rtol=1e-9, atol=1e-6
    )


def test_the_geodesic_error_is_the_quaternions():
    first, second = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    dot = torch.cosine_similarity(first, second).abs()
    found = geodesic_degrees(rotation_from_quaternion(first), rotation_from_quaternion(second))
    torch.testing.assert_close(found, torch.rad2deg(2 * torch.arccos(dot)))


def test_the_legacy_error_is_the_spectral_norm_of_the_logarithm_over_root_two():
    first, second = random_rotations(20, 3), random_rotations(20, 4)
    for a, b in zip(first, second, strict=True):
        legacy = pose_summary(a[None], b[None], torch.ones(1, dtype=torch.long))["legacy_median_deg"]
        angle = torch.deg2rad(geodesic_degrees(a, b))
        axis = a.T @ b
        logarithm = (axis - axis.T) * angle / (2 * torch.sin(angle))
        expected = torch.linalg.matrix_norm(logarithm, 2) / math.sqrt(2)
        assert legacy == pytest.approx(math.degrees(float(expected)))


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_symmetric_objects_are_scored_by_their_symmetry(turns):
    true = random_rotations(10)
    for equal in equivalent_rotations(true, turns).unbind(1):
        error = symmetric_geodesic_degrees(equal, true, torch.full((10,), turns))
        torch.testing.assert_close(error, torch.zeros(10, dtype=DOUBLE), rtol=0, atol=1e-5)
    other = true @ turn_about(tensor(360 / turns / 2), 2)
    error = symmetric_geodesic_degrees(other, true, torch.full((10,), turns))
    torch.testing.assert_close(error, torch.full((10,), 180 / turns, dtype=DOUBLE))


def test_for_a_body_of_revolution_the_least_error_over_many_turns():
    true, predicted = random_rotations(10, 5), random_rotations(10, 6)
    brute = geodesic_degrees(predicted[:, None], equivalent_rotations(true, 3600)).amin(1)
    exact = symmetric_geodesic_degrees(predicted, true, torch.zeros(10, dtype=torch.long))
    torch.testing.assert_close(exact, brute, rtol=0, atol=1e-2)


def test_azimuths_differ_on_the_circle():
    torch.testing.assert_close(
        azimuth_difference(tensor(359, 10, 0), tensor(1, 350, 180)), tensor(2, 20, 180)
    )


def test_a_summary_of_known_errors():
    true = rotation_from_angles(*tensor([0] * 4, [20] * 4, [0] * 4))
    predicted = rotation_from_angles(*tensor([5, 12, 20, 170], [20] * 4, [0] * 4))
    summary = pose_summary(predicted, true, torch.ones(4, dtype=torch.long))
    assert summary["acc_30"] == 0.75
    assert summary["acc_15"] == 0.5
    assert summary["acc_10"] == 0.25
    assert summary["median_azimuth_deg"] == pytest.approx(12)
    assert summary["azimuth_flip_rate"] == 0.25
    assert summary["legacy_median_deg"] == pytest.approx(summary["median_geodesic_deg"] / math.sqrt(2))
