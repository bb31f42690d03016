import torch

from netinvert.scenes.poses import (
    CORNER_SIGNS,
    corner_rays,
    nearest_rotation,
    read_pose,
    refine_box,
    solve_box,
)

SIGNS = torch.tensor(CORNER_SIGNS, dtype=torch.float64)


def test_nearest_rotation_is_never_a_mirror():
    matrices = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rotations = nearest_rotation(matrices)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(50, dtype=torch.float64))
    assert torch.allclose(nearest_rotation(rotations), rotations)


def test_boxes_of_random_points_stay_in_front_of_the_camera():
    points = torch.rand(40, 9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 60 + 80
    rays = corner_rays(points, 35.0, 224)
    rotation, centre = refine_box(solve_box(rays), rays, SIGNS)
    assert bool(rotation.isfinite().all())
    assert bool((centre[:, 2] < 0).all())


def test_degenerate_keypoints_give_numbers():
    flat = torch.full((1, 18), 112.0)
    line = torch.arange(18.0).reshape(1, 18)
    for keypoints in (flat, line):
        reading = read_pose({"keypoints": keypoints, "presence": torch.ones(1, 1)})
        assert bool(reading.rotation.isfinite().all())
        assert bool(reading.azimuth.isfinite().all())
