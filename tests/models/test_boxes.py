"""A known box under known cameras has to come back."""

import json
import math
from importlib.resources import files

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netinvert.errors import NetworkError
from netinvert.evaluation.evaluate import pose_differences
from netinvert.scenes.cameras import geodesic_degrees
from netinvert.scenes.poses import PoseReading, corner_rays, read_pose, solve_box

SIZE = 224
DOUBLE = torch.float64


def about(axis, degrees):
    """The rotation about a coordinate axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    rotation = torch.eye(3, dtype=DOUBLE)
    rotation[i, i] = rotation[j, j] = c
    rotation[j, i], rotation[i, j] = s, -s
    return rotation


def camera(azimuth, elevation, roll=0.0, pan=(0.0, 0.0)):
    """PASCAL3D+: R = Rz(roll) Rx(-(90 - e)) Rz(-a), then the camera turns a little off the object."""
    looking = about(2, roll) @ about(0, -(90 - elevation)) @ about(2, -azimuth)
    return about(0, pan[0]) @ about(1, pan[1]) @ looking


def project(rotation, direction, edges, field_of_view=35.0, distance=4.0):
    """Keypoints (9, 2) of a box of edges (x, y, z in Objectron's frame: y up, z front)."""
    signs = [(0, 0, 0)] + [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    box = torch.tensor(signs, dtype=DOUBLE) * torch.tensor(edges, dtype=DOUBLE) / 2
    points = torch.stack([box[:, 0], -box[:, 2], box[:, 1]], dim=1)  # Pascal: z up, front -y
    seen = (points - distance * direction) @ rotation.T
    focal = SIZE / 2 / math.tan(math.radians(field_of_view) / 2)
    return torch.stack(
        [SIZE / 2 + focal * seen[:, 0] / -seen[:, 2], SIZE / 2 - focal * seen[:, 1] / -seen[:, 2]], dim=1
    )


def towards(azimuth, elevation):
    a, e = math.radians(azimuth), math.radians(elevation)
    return torch.tensor([math.cos(e) * math.sin(a), -math.cos(e) * math.cos(a), math.sin(e)], dtype=DOUBLE)


def output(*keypoints):
    points = torch.stack(keypoints)
    return {
        "keypoints": points.reshape(len(points), 18),
        "presence": torch.ones(len(points), 1, dtype=DOUBLE),
    }


def apart(first, second):
    return abs((first - second + 180) % 360 - 180)


angles = st.floats(0, 360, exclude_max=True)
edge = st.floats(0.4, 2.0)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    azimuth=angles,
    elevation=st.floats(-80, 80),
    roll=st.floats(-180, 180),
    pan=st.tuples(st.floats(-8, 8), st.floats(-8, 8)),
    edges=st.tuples(edge, edge, edge),
    field_of_view=st.floats(25, 70),
)
def test_known_cameras_come_back(azimuth, elevation, roll, pan, edges, field_of_view):
    rotation = camera(azimuth, elevation, roll, pan)
    keypoints = project(rotation, towards(azimuth, elevation), edges, field_of_view)
    reading = read_pose(output(keypoints), field_of_view)
    assert apart(float(reading.azimuth), azimuth) < 1e-3
    assert abs(float(reading.elevation) - elevation) < 1e-3
    assert (reading.rotation[0] - rotation).abs().max() < 1e-5


@pytest.mark.parametrize("edges", [(1.0, 2.0, 0.5), (0.5, 0.5, 0.5)])
def test_wrong_field_of_view_is_noticed(edges):
    keypoints = project(camera(30, 20), towards(30, 20), edges)
    assert abs(float(read_pose(output(keypoints), 60.0).elevation) - 20) > 0.1


def test_front_and_side_are_where_pascal_has_them():
    front, side = camera(0, 0), camera(90, 0)
    # from the front, the object's +x is to the right; from its +x side, the front (-y) points left
    assert torch.allclose(
        front @ torch.tensor([1.0, 0, 0], dtype=DOUBLE), torch.tensor([1.0, 0, 0], dtype=DOUBLE)
    )
    assert torch.allclose(
        side @ torch.tensor([0, -1.0, 0], dtype=DOUBLE), torch.tensor([-1.0, 0, 0], dtype=DOUBLE)
    )
    keypoints = project(front, towards(0, 0), (1, 1, 1))
    # Objectron's corner 2 (-x -y +z) is nearer than corner 1 (-x -y -z), so it lies farther out
    assert keypoints[2, 0] < keypoints[1, 0] < SIZE / 2


def test_batches_are_single_images():
    keypoints = [project(camera(a, 10), towards(a, 10), (1, 1.5, 0.8)) for a in (0, 100, 359)]
    together = read_pose(output(*keypoints))
    for index, points in enumerate(keypoints):
        assert torch.allclose(together.rotation[index], read_pose(output(points)).rotation[0], atol=1e-9)
    assert all(0 <= float(a) < 360 for a in together.azimuth)


def test_box_lies_in_front_of_the_camera():
    rays = corner_rays(project(camera(10, 10), towards(10, 10), (1, 1, 1)).unsqueeze(0), 35.0, SIZE)
    control = solve_box(rays)
    assert float(control[0, 0, 2]) < 0


def test_rotations_stay_rotations_under_noise():
    noise = torch.rand(20, 9, 2, generator=torch.Generator().manual_seed(0)) * SIZE
    rotation = read_pose({"keypoints": noise.reshape(20, 18), "presence": torch.ones(20, 1)}).rotation
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(20, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(20), atol=1e-5)


def test_noise_does_not_tilt_the_box():
    # root mean square errors of elevation and azimuth: 2.7 and 3.7; linear EPnP alone has 9.6 and 5.6
    keypoints = project(camera(35, 20), towards(35, 20), (0.6, 1.0, 0.65), distance=3.0)
    noise = 4 * torch.randn(200, 9, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    noisy = (keypoints + noise).reshape(200, 18)
    reading = read_pose({"keypoints": noisy, "presence": torch.ones(200, 1)})
    assert float((reading.elevation - 20).square().mean().sqrt()) < 4
    assert float((reading.azimuth - 35).square().mean().sqrt()) < 4.5


def test_a_rendered_chair_has_the_pose_it_was_rendered_at():
    # the renderer's own keypoints and camera, rounded to a thousandth of a pixel
    truth = json.loads((files("netinvert") / "data" / "chair.json").read_text())
    assert truth["field_of_view"] == 35.0
    reading = read_pose(output(torch.tensor(truth["keypoints"], dtype=DOUBLE)))
    assert apart(float(reading.azimuth), truth["azimuth"]) < 0.01
    assert abs(float(reading.elevation) - truth["elevation"]) < 0.01


def test_bad_outputs_are_refused():
    with pytest.raises(NetworkError, match="not finite"):
        read_pose({"keypoints": torch.full((1, 18), math.nan), "presence": torch.ones(1, 1)})
    with pytest.raises(NetworkError, match="Objectron"):
        read_pose({"logits": torch.zeros(1, 18)})


def reading(azimuth, roll=0.0, shift=0.0):
    keypoints = project(camera(azimuth, 10, roll), towards(azimuth, 10), (1, 1, 1)) + torch.tensor(
        [shift, 0.0]
    )
    return PoseReading(
        azimuth=torch.tensor([azimuth], dtype=DOUBLE),
        elevation=torch.tensor([10.0], dtype=DOUBLE),
        rotation=camera(azimuth, 10, roll).unsqueeze(0),
        keypoints=keypoints.unsqueeze(0),
        presence=torch.ones(1),
    )


def test_differences_wrap_and_have_their_units():
    difference = pose_differences(reading(359.0), reading(2.0))
    assert float(difference.azimuth) == pytest.approx(3.0)
    assert float(difference.rotation) == pytest.approx(3.0, abs=1e-6)
    rolled = pose_differences(reading(50.0, roll=25.0), reading(50.0))
    assert float(rolled.azimuth) == 0.0
    assert float(rolled.rotation) == pytest.approx(25.0, abs=1e-6)
    assert float(pose_differences(reading(50.0, shift=7.0), reading(50.0)).keypoints) == pytest.approx(7.0)


def test_geodesic_never_gives_nan():
    rotation = camera(33, 20).float()
    assert float(geodesic_degrees(rotation, rotation)) < 0.1
    assert float(geodesic_degrees(camera(0, 0), about(1, 180) @ camera(0, 0))) == pytest.approx(180)
