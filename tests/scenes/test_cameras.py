"""Cameras in the PASCAL3D+ frame; that they match the renderer's pixels is tested with the renderer."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert.scenes.cameras import (
    Camera,
    CameraError,
    angles_from_rotation,
    fitting_distance,
    heading,
    is_rotation,
    rotation_from_angles,
)

AZIMUTH, ELEVATION, TURN = st.floats(0, 359.9), st.floats(-89, 89), st.floats(-179, 179)


@given(AZIMUTH, ELEVATION, TURN)
def test_numpy_and_torch_agree_and_angles_come_back(azimuth, elevation, in_plane):
    ours = rotation_from_angles(azimuth, elevation, in_plane)
    angles = torch.tensor([azimuth, elevation, in_plane], dtype=torch.float64)
    assert np.allclose(ours, rotation_from_angles(*angles).numpy(), atol=1e-12)
    assert is_rotation(ours)
    back = np.array(angles_from_rotation(ours))
    assert np.allclose((back - angles.numpy() + 180) % 360, 180, atol=1e-5)


def test_azimuths_are_shown_as_less_than_360_everywhere():
    assert [heading(each) for each in (0.0, 359.4, 359.6, -0.2)] == ["0°", "359°", "0°", "0°"]
    root, by_hand = Path(__file__).parents[2], re.compile(r"azimuth[\w\]['\".()]*:\.\df}")
    sources = [*(root / "src").rglob("*.py"), *(root / "tools").glob("*.py")]
    assert not [path.name for path in sources if by_hand.search(path.read_text())]


@pytest.mark.parametrize("azimuth", [0.0, 360.0, 720.0, -360.0, -1e-15, 180.0])
@pytest.mark.parametrize("in_plane", [0.0, 180.0, -180.0, 540.0, -1e-15])
def test_angles_stay_in_their_half_open_circles(azimuth, in_plane):
    camera = Camera.orbit(azimuth, 10, in_plane)
    assert 0 <= camera.azimuth < 360
    assert -180 <= camera.in_plane < 180
    tensors = torch.from_numpy(camera.rotation), torch.from_numpy(camera.rotation).float()
    for a, _, t in map(angles_from_rotation, tensors):
        assert 0 <= a < 360
        assert -180 <= t < 180


def test_pascal_s_angles():
    # azimuth 0 stands before the front (-y), 90 at +x, elevation 90 above
    assert np.allclose(Camera.orbit(0, 0, distance=3).position, [0, -3, 0], atol=1e-12)
    assert np.allclose(Camera.orbit(90, 0, distance=3).position, [3, 0, 0], atol=1e-12)
    assert np.allclose(Camera.orbit(0, 90, distance=3).position, [0, 0, 3], atol=1e-12)
    # a positive in-plane rotation turns the image counter-clockwise: what is right goes up
    (x, y), (top, _) = Camera.orbit(0, 0, 20, 3, size=64).project([[0.3, 0, 0], [0, 0, 0.3]])[0]
    assert x > 32
    assert y < 32
    assert top < 32


@given(AZIMUTH, ELEVATION, TURN, st.floats(0.5, 20), st.floats(5, 120))
def test_directions_undo_the_projection(azimuth, elevation, in_plane, distance, fov):
    camera = Camera.orbit(azimuth, elevation, in_plane, distance, fov, 50)
    pixels = np.array([[0.5, 0.5], [25, 25], [12, 44]])
    points = camera.position + 2.5 * camera.directions(pixels)
    found, depth = camera.project(points)
    assert np.allclose(found, pixels, atol=1e-6)
    assert np.allclose(depth, 2.5)
    assert camera.fov == pytest.approx(fov)
    assert camera.distance == pytest.approx(distance)


@given(AZIMUTH, ELEVATION, TURN, st.floats(0.3, 1.5))
def test_the_fitting_distance_fills_the_image(azimuth, elevation, in_plane, fill):
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3))
    rotation = rotation_from_angles(azimuth, elevation, in_plane)
    distance = fitting_distance(points, rotation, 35, fill)
    pixels, _ = Camera.orbit(azimuth, elevation, in_plane, distance, 35, 100).project(points)
    assert np.abs(pixels - 50).max() == pytest.approx(50 * fill, rel=1e-6)


@given(AZIMUTH, ELEVATION)
def test_a_camera_in_another_frame_sees_the_same(azimuth, elevation):
    camera = Camera.orbit(azimuth, elevation, 10, 2.0)
    axes, origin = rotation_from_angles(33, 21, 5), np.array([0.1, -0.2, 0.05])
    points = np.random.default_rng(1).uniform(-0.2, 0.2, (5, 3))
    moved = camera.in_frame(axes, origin)
    assert np.allclose(moved.project(points)[0], camera.project(points @ axes.T + origin)[0])


def test_resized_images_show_the_same():
    camera = Camera.orbit(10, 20, size=64)
    points = [[0.1, 0.2, -0.1]]
    wide = camera.resized(128, 96).project(points)[0]
    assert np.allclose(wide, camera.project(points)[0] * [2, 1.5])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rotation": np.eye(4)}, "shapes"),
        ({"position": np.array([0, np.nan, 1])}, "NaN"),
        ({"rotation": 2 * np.eye(3)}, "orthonormal"),
        ({"rotation": np.diag([1.0, 1.0, -1.0])}, "right-handed"),
        ({"size": (0, 3)}, "pixels"),
    ],
)
def test_cameras_that_are_none(changes, said):
    with pytest.raises(CameraError, match=said):
        replace(Camera.orbit(0, 0), **changes)


@pytest.mark.parametrize("changes", [{"distance": 0.0}, {"distance": -1.0}, {"fov": 0.0}, {"fov": 180.0}])
def test_orbits_that_are_none(changes):
    with pytest.raises(CameraError, match="above 0"):
        Camera.orbit(0, 0, **changes)
