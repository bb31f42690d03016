"""Shapes from views: hulls, depths and distances, on solids whose shape is known."""

import numpy as np
import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.mesh_builder import box
from netinvert.views.hull import (
    HALF,
    ViewSet,
    as_obj,
    chamfer,
    fused_depths,
    lattice,
    overlap,
    projected,
    solid,
    surface,
    surface_points,
    visual_hull,
)

BALL = 0.3
"""A ball's radius."""


def ring(count, size=48, elevation=20.0):
    return tuple(Camera.orbit(360 * k / count, elevation, 0.0, 1.8, 35.0, size) for k in range(count))


def ball_views(cameras):
    """White balls as seen by cameras: the silhouette is where a ray passes within the radius."""
    planes = []
    for camera in cameras:
        wide, tall = camera.size
        x, y = np.meshgrid(np.arange(wide) + 0.5, np.arange(tall) + 0.5)
        rays = camera.directions(np.stack([x.ravel(), y.ravel()], 1))
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        nearest = np.linalg.norm(np.cross(rays, -np.asarray(camera.position)), axis=1)
        mask = torch.from_numpy(nearest < BALL).float().reshape(1, tall, wide)
        planes.append(mask.expand(4, -1, -1))
    return ViewSet(torch.stack(planes), cameras)


def is_ball(resolution):
    return (lattice(resolution).norm(dim=1) < BALL).reshape((resolution,) * 3)


def boxes(*pairs):
    """Vertices and faces of boxes (centre, half the size) as one mesh."""
    corners = np.concatenate([box(*pair).corners for pair in pairs])
    return corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3)


def test_points_are_projected_as_cameras_do():
    places, depths = projected(torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.2, 0.05]]), ring(3))
    assert places.shape == (3, 2, 2)
    torch.testing.assert_close(places[:, 0], torch.zeros(3, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(depths[:, 0], torch.full((3,), 1.8))


def test_the_hull_of_a_ball_holds_it_and_little_more():
    hull, ball = visual_hull(ball_views(ring(16)), 32) > 0.5, is_ball(32)
    assert (hull & ball).sum() >= 0.97 * ball.sum()
    assert overlap(hull, ball) > 0.8


def test_more_views_carve_more_and_one_wrong_one_all():
    views = ball_views(ring(8))
    few, all_views = (visual_hull(one, 24) for one in (views.some(slice(0, 4)), views))
    assert (all_views <= few).all()
    spoilt = ViewSet(torch.cat([views.planes[:1] * 0, views.planes[1:]]), views.cameras)
    assert not (visual_hull(spoilt, 24) > 0.5).any()


def test_depths_stay_within_the_hull():
    views = ball_views(ring(10))
    hull = visual_hull(views, 24)
    carved = fused_depths(views, hull, planes=24) < 0
    assert not (carved & (hull <= 0.5)).any()
    assert carved.any()


def test_the_surface_of_a_ball_is_at_its_radius():
    distance = BALL - lattice(32).norm(dim=1).reshape(32, 32, 32)
    vertices, faces = surface(distance, 0.0)
    assert np.allclose(np.linalg.norm(vertices, axis=1), BALL, atol=0.01)
    points = surface_points(vertices, faces, 500)
    assert points.shape == (500, 3)
    assert np.allclose(np.linalg.norm(points, axis=1), BALL, atol=0.01)
    assert chamfer(points, points) < 1e-4
    assert chamfer(points, 1.1 * points) == pytest.approx(0.1 * BALL, rel=0.3)


def test_nothing_has_no_surface():
    vertices, faces = surface(torch.zeros(8, 8, 8), 0.5)
    assert not len(vertices)
    assert not len(faces)
    assert chamfer(surface_points(vertices, faces), np.zeros((1, 3))) == float("inf")
    assert as_obj(vertices, faces) == b""


def test_overlapping_boxes_are_one_solid():
    """As far as voxels go: known by the coordinates of the boxes."""
    pairs = (((0.0, 0.0, 0.0), (0.25, 0.15, 0.1)), ((0.2, 0.0, 0.1), (0.1, 0.1, 0.25)))
    found = solid(*boxes(*pairs), resolution=40)
    inside = torch.zeros(40**3, dtype=torch.bool)
    for centre, half in pairs:
        off = (lattice(40) - torch.tensor(centre)).abs()
        inside |= (off < torch.tensor(half)).all(1)
    assert overlap(found, inside.reshape(40, 40, 40)) > 0.97


def test_a_mesh_becomes_a_file():
    vertices, faces = boxes(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    lines = as_obj(vertices, faces).decode().splitlines()
    assert len(lines) == len(vertices) + len(faces)
    assert lines[len(vertices)].startswith("f ")
    assert min(int(word) for line in lines[len(vertices) :] for word in line.split()[1:]) == 1


def test_one_view_is_no_shape():
    with pytest.raises(ConfigError, match="two views"):
        ViewSet(torch.zeros(1, 4, 8, 8), ring(1))


def test_voxels_lie_in_the_cube():
    points = lattice(4)
    assert float(points.max()) == pytest.approx(0.75 * HALF)
    torch.testing.assert_close(points[0], -points[-1])
